"""One handshake from inside the container, by exec of its own ``openssl s_client``.

The command ends by itself: its input is empty, and a shell around it ends it when the server hangs, or when we go; an exec
cannot be ended from outside. Without a shell ``timeout`` (coreutils, busybox) does. It verifies nothing either, and prints what
the server sent.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.domain import guarded
from controller.domain.certificate import KeyType
from controller.domain.errors import ProbeUnavailable
from controller.domain.execution import ExecResult
from controller.domain.mail_ports import PROTOCOLS
from controller.domain.target import ProbePort
from controller.probe.failure import Failure, HandshakeError, quote
from controller.probe.network import CIPHERS, handshake_failed, sni_of

EXEC_MARGIN = 10.0
"""Seconds that the engine gets on top of the command's own limit."""
LOOPBACK = "127.0.0.1"
MAXIMUM_OUTPUT = 2**20
"""Bytes of what ``openssl s_client`` prints; a chain has at most 100 KiB and is printed twice at most."""
COMPLAINTS = 32 * 1024
"""Bytes of each output that are searched for the reason when there is no certificate; it is about one line."""

TLS12 = {key_type: ("-tls1_2", "-cipher", ciphers) for key_type, ciphers in CIPHERS.items()}
TLS13 = {
    KeyType.RSA: ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512"),
    KeyType.ECDSA: ("-tls1_3", "-sigalgs", "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512"),
}
"""How a server is asked for one of its certificates: by the ciphers of TLS 1.2, or by the signatures that TLS 1.3 offers."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----")
_NO_SUCH_PROGRAM = re.compile(
    rb"executable file not found|no such file or directory|not found|permission denied", re.IGNORECASE
)
_REFUSED = re.compile(rb"connection refused|errno ?= ?111\b", re.IGNORECASE)
_UNSUPPORTED = re.compile(rb"value must be one of|unknown option|usage: s_client|unknown protocol", re.IGNORECASE)
_NOT_OFFERED = re.compile(rb"didn.t find starttls in server response", re.IGNORECASE)
_TIMED_OUT = frozenset({124, 137, 143})
"""Exit codes of ``timeout``: coreutils 124 (137 after a kill), busybox 143."""


class Execute(Protocol):
    """Runs a command in a container (`ContainerAccess.execute`)."""

    async def __call__(
        self,
        container_id: str,
        argv: Sequence[str],
        /,
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float,  # noqa: ASYNC109 -- the port's signature
    ) -> ExecResult:
        """Raises `TargetGone`, `TargetNotRunning`, `EngineUnavailable` or `ExecTimeout`."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask of which port; `timeout` in seconds for one handshake. A key type is asked for by the `version` of TLS."""

    port: ProbePort
    server_name: str
    timeout: float
    key_type: KeyType | None = None
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


async def handshake_inside(execute: Execute, container_id: str, question: Question, host: str = LOOPBACK) -> bytes:
    """The certificates that `host` hands out as seen from inside the container, PEM, leaf first.

    Raises:
        HandshakeError: the port was asked and no certificate was had.
        ProbeUnavailable: the image has no ``openssl``, or one that cannot ask this.
        TargetGone, TargetNotRunning, EngineUnavailable, ExecTimeout: from `execute`.
    """
    command = s_client(question, host)
    seconds = max(1, math.ceil(question.timeout))

    async def run(argv: tuple[str, ...], *, stdin: bytes | None = None) -> ExecResult:
        result = await execute(container_id, argv, stdin=stdin, timeout=seconds + EXEC_MARGIN)
        if len(result.stdout) + len(result.stderr) > MAXIMUM_OUTPUT or result.cut:
            raise HandshakeError(
                Failure.GARBLED, f"the openssl in the container printed more than {MAXIMUM_OUTPUT // 2**20} MiB"
            )
        return result

    result = await run(guarded.command(command, seconds=seconds, tied=True), stdin=b"")
    if _missing_around_openssl(result):
        result = await run(("timeout", str(seconds), *command))
    if _missing_around_openssl(result):
        result = await run(command)
    return certificates_of(result, question)


def _missing_around_openssl(result: ExecResult) -> bool:
    """Whether the image lacks what should have run openssl, which may be there."""
    return _missing(result) and b"openssl" not in result.stdout + result.stderr


def s_client(question: Question, host: str) -> tuple[str, ...]:
    """The command line; options that OpenSSL has known since 1.1.1."""
    address = f"[{host}]" if ":" in host else host
    command = ["openssl", "s_client", "-connect", f"{address}:{question.port.port}", "-showcerts"]
    if starttls := PROTOCOLS[question.port.protocol].starttls:
        command += ["-starttls", starttls]
    if name := sni_of(question.server_name):
        command += ["-servername", name]
    if question.key_type in CIPHERS:
        by = TLS12 if question.version is ssl.TLSVersion.TLSv1_2 else TLS13
        command += by[question.key_type]
    return tuple(command)


def certificates_of(result: ExecResult, question: Question) -> bytes:
    """The certificates in the output of ``openssl s_client``, PEM, leaf first.

    Raises:
        HandshakeError, ProbeUnavailable: as `handshake_inside`.
    """
    blocks = _PEM.findall(result.stdout)
    if blocks:
        return b"\n".join((*blocks, b""))
    result = ExecResult(result.exit_code, result.stdout[:COMPLAINTS], result.stderr[:COMPLAINTS])
    if _missing(result):
        raise ProbeUnavailable("there is no openssl in the container")
    output = result.stderr + b"\n" + result.stdout
    if _UNSUPPORTED.search(output):
        raise ProbeUnavailable(f"the openssl in the container cannot ask for {question.port.protocol}: {_reason(result)}")
    raise _failure(result, output, question)


def _missing(result: ExecResult) -> bool:
    """The program could not be started; the engine reports that in the output, with a code that differs by version."""
    output = result.stdout[:COMPLAINTS] + result.stderr[:COMPLAINTS]
    not_started = result.exit_code in {126, 127} or b"OCI runtime exec failed" in output
    return not_started and bool(_NO_SUCH_PROGRAM.search(output) or not result.stdout)


def _failure(result: ExecResult, output: bytes, question: Question) -> HandshakeError:
    if _REFUSED.search(output):
        return HandshakeError(Failure.REFUSED, "nothing listens there: refused from inside the container")
    if _NOT_OFFERED.search(output):
        return HandshakeError(Failure.NO_STARTTLS, "does not offer STARTTLS")
    if result.exit_code in _TIMED_OUT:
        return HandshakeError(Failure.SILENT, f"no TLS within {question.timeout:g} s, asked from inside the container")
    if b"no peer certificate available" in output and result.exit_code == 0:
        return HandshakeError(Failure.NO_CERTIFICATE, "TLS stands, but the server sent no certificate")
    return handshake_failed(_reason(result), PROTOCOLS[question.port.protocol], question.key_type, question.version)


def _reason(result: ExecResult) -> str:
    """What OpenSSL says of its own error (``id:error:code:library:function:reason:file:line:``), else the last line."""
    lines = [line for line in (result.stderr.strip() or result.stdout.strip()).splitlines() if line.strip()]
    if error := next((line for line in lines if b":error:" in line), None):
        return quote((*error.partition(b":error:")[2].split(b":"), b"", b"", b"")[3] or error)
    return quote((lines or [b"no output"])[-1])
