"""What a server says before TLS, in each protocol, and what ``openssl s_client`` prints inside a container."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from controller.domain.errors import MalformedPem, ProbeUnavailable
from controller.domain.execution import ExecResult
from controller.domain.target import ProbePort
from controller.probe.channel import MAXIMUM_BYTES, MAXIMUM_LINE
from controller.probe.failure import HandshakeError
from controller.probe.inside import Question, certificates_of
from controller.probe.starttls import DIALOGUES
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
                assert len(sent) < 512, "a command that no server takes"

    return hold


def _s_client(data: bytes) -> None:
    """Standard output, and after a NUL standard error."""
    stdout, _, stderr = data.partition(b"\0")
    question = Question(ProbePort(993, "imaps"), "mail.example.com", 5.0)
    for code in (0, 1, 124, 127):
        try:
            certificates_of(ExecResult(code, stdout, stderr), question)
        except (HandshakeError, ProbeUnavailable):
            continue


_SAID = {
    "smtp": b"220 mail ESMTP\r\n250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\n",
    "imap": b"* OK ready\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\nc1 OK\r\nc2 OK\r\n",
    "pop3": b"+OK\r\n+OK\r\nSTLS\r\n.\r\n+OK\r\n",
    "sieve": b'"IMPLEMENTATION" {5}\r\nabcde\r\n"STARTTLS"\r\nOK\r\nOK "go"\r\n',
}

TARGETS = (
    *(Target(name, _dialogue(name), partial(list, (_SAID[name],))) for name in DIALOGUES),
    Target(
        "s-client",
        _s_client,
        lambda: [b"CONNECTED(00000003)\n" + pair().chain + b"\0depth=0 CN=x\n", b"\0x:error:0A000086:SSL routines::bad\n"],
        (MalformedPem,),
    ),
)
