"""PKCS#12 files (RFC 7292), opened in another process.

To try a password costs what the file says: it holds how often a hash is repeated, in part within what the same password hides.
The library does not let other threads run meanwhile, and cannot be interrupted; a process can.
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from controller.domain.errors import MalformedPem
from controller.threads import step

COMPUTING = 5
"""Seconds of computing for one file. OpenSSL, Windows and Java repeat a hash 2,000 to 100,000 times, NSS 600,000 times, which
takes 0.1 s on a server and 2 s on a small NAS. In 5 s a server repeats it 25 million times.
"""
WAITING = 60.0
"""Seconds for one file where others want to compute as well."""
_STEP = 0.1
_BEGIN = re.compile(rb"\x30(?:\x80|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)
"""A sequence whose first value is the version 3 (RFC 7292 §4): nothing else needs a process."""
_PROGRAM = Path(__file__).with_name("pkcs12_process.py")
_TOO_COSTLY = f"to try its password takes more than {COMPUTING} s of computing; export it anew with the usual iteration count"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a file holds, in DER: the certificates, and the key in PKCS#8. `is_protected`: its password is another one."""

    certificates: tuple[bytes, ...] = ()
    key: bytes = field(default=b"", repr=False)
    is_protected: bool = False


class Opener:
    """Opens files as long as the context is entered; the process begins with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; another one begins when it is needed."""
        if (process := self._process) is not None:
            self._process = None
            process.kill()
            process.communicate()

    def open(self, data: bytes, password: bytes | None) -> Opened | None:
        """What a file holds; ``None`` when it is none.

        Raises:
            MalformedPem: trying the password takes too long.
        """
        if not _BEGIN.match(data):
            return None
        process = self._process = self._process or _start()
        answer = b""
        try:
            answer = _ask(process, data, password)
        finally:
            if not answer.endswith(b"\n"):
                self.close()
        if not answer.endswith(b"\n"):
            raise MalformedPem(_TOO_COSTLY)
        return _read(json.loads(answer))


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-W", "ignore", str(_PROGRAM), str(COMPUTING)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)


def _ask(process: subprocess.Popen[bytes], data: bytes, password: bytes | None) -> bytes:
    """The line that it answers; less when it ended, or takes too long."""
    assert process.stdin is not None  # noqa: S101 -- both are pipes
    assert process.stdout is not None  # noqa: S101
    length = -1 if password is None else len(password)
    question = memoryview(b"%d %d\n" % (length, len(data)) + (password or b"") + data)
    answer = b""
    end = time.monotonic() + WAITING
    while not answer.endswith(b"\n") and time.monotonic() < end:
        step()
        ready, writable, _ = select.select([process.stdout], [process.stdin] if question else [], [], _STEP)
        try:
            if writable:
                question = question[os.write(process.stdin.fileno(), question[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            return answer
        if ready:
            if not (part := os.read(process.stdout.fileno(), 2**16)):
                return answer
            answer += part
    return answer


def _read(answer: dict[str, object]) -> Opened | None:
    if answer["is"] == "nothing":
        return None
    if answer["is"] == "protected":
        return Opened(is_protected=True)
    certificates = answer["certificates"]
    assert isinstance(certificates, list)  # noqa: S101 -- as our own program wrote it
    return Opened(tuple(map(base64.b64decode, certificates)), base64.b64decode(str(answer["key"])))
