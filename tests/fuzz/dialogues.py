"""What a server says before TLS, in each protocol, and what ``openssl s_client`` prints inside a container."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from rich.console import Console

from controller import cli, views
from controller.domain.errors import MalformedPem, ProbeUnavailable, TransientError
from controller.domain.execution import ExecResult
from controller.domain.target import ProbePort
from controller.probe.channel import MAXIMUM_BYTES, MAXIMUM_LINE
from controller.probe.container import handed_out
from controller.probe.failure import HandshakeError
from controller.probe.inside import Question, certificates_of
from controller.probe.starttls import DIALOGUES
from controller.probe.verdict import judge
from tests.fuzz.files import pair
from tests.fuzz.target import Target


def _dialogue(name: str) -> Callable[[bytes], None]:
    """Hold a dialogue with a server that says the input, in lines as a `controller.probe.channel.Channel` cuts them."""

    def hold(data: bytes) -> None:
        dialogue = DIALOGUES[name]("[127.0.0.1]")
        next(dialogue)
        for line in data[:MAXIMUM_BYTES].splitlines(keepends=True):
            for at in range(0, len(line), MAXIMUM_LINE):
                try:
                    sent = dialogue.send(line[at : at + MAXIMUM_LINE])
                except StopIteration:
                    return
                except HandshakeError as error:
                    _check(str(error))
                    return
                assert len(sent) < 512, "a command that no server takes"

    return hold


def _s_client(data: bytes) -> None:
    """Standard output, and after a NUL standard error."""
    stdout, _, stderr = data.partition(b"\0")
    question = Question(ProbePort(993, "imaps"), "mail.example.com", 5.0)
    for code in (0, 1, 124, 127):
        try:
            certificates_of(ExecResult(code, stdout, stderr), question)
        except (HandshakeError, ProbeUnavailable) as error:
            _check(str(error))


def _served(data: bytes) -> None:
    """What a port handed out, in PEM, and the verdict on it."""
    seen = handed_out(ProbePort(993, "imaps"), data, "network")
    for problem in judge(seen, "mail.example.com", datetime(2026, 1, 1, tzinfo=UTC)).problems:
        _check(problem)


def _status(data: bytes) -> None:
    """What answers in the controller's place, as the commands show it."""
    with suppress(ValueError, RecursionError, TransientError), cli._understanding("127.0.0.1:9469"):
        described = json.loads(data)
        out = io.StringIO()
        Console(file=out, width=cli.WIDTH, markup=False).print(views.status(cli._disarmed(described)))
        assert all(character.isprintable() or character == "\n" for character in out.getvalue())


def _check(text: str) -> None:
    assert text.isprintable(), f"what steers a terminal: {text!r}"
    assert len(text) < 4096, f"a message of {len(text)} characters"


_SAID = {
    "smtp": b"220 mail ESMTP\r\n250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\n",
    "imap": b"* OK ready\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\nc1 OK\r\nc2 OK\r\n",
    "pop3": b"+OK\r\n+OK\r\nSTLS\r\n.\r\n+OK\r\n",
    "sieve": b'"IMPLEMENTATION" {5}\r\nabcde\r\n"STARTTLS"\r\nOK\r\nOK "go"\r\n',
}

_STATUS = json.dumps(
    {
        "ready": False,
        "engine": {"up": False, "message": "no answer"},
        "sources": [{"name": "a", "up": True, "entries": 1, "problems": [{"label": "x", "reason": "R", "message": "m"}]}],
        "left": [{"container": "c", "reason": "r"}],
        "targets": [
            {
                "name": "mail",
                "domains": ["mail.example.com"],
                "condition": {"ready": False, "reason": "Expired", "message": "it is"},
                "installed": [{"fingerprint": "0123456789abcdef"}],
                "served": [{"port": 993, "fingerprint": None}],
                "notes": ["beware"],
            }
        ],
    }
).encode()

TARGETS = (
    *(Target(name, _dialogue(name), partial(list, (_SAID[name],))) for name in DIALOGUES),
    Target(
        "s-client",
        _s_client,
        lambda: [b"CONNECTED(00000003)\n" + pair().chain + b"\0depth=0 CN=x\n", b"\0x:error:0A000086:SSL routines::bad\n"],
        (MalformedPem,),
    ),
    Target("served", _served, lambda: [pair().chain, pair().chain * 3, pair().key], (MalformedPem,)),
    Target("status", _status, lambda: [_STATUS, b"{}", b"[" * 5000]),
)
