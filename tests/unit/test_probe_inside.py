"""The way by exec: this machine's own ``openssl s_client`` stands in for the container's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from controller.domain.certificate import KeyType
from controller.domain.errors import ExecTimeout, ProbeUnavailable
from controller.domain.execution import ExecResult
from controller.domain.target import ProbePort
from controller.probe.failure import Failure, HandshakeError
from controller.probe.inside import Question, certificates_of, handshake_inside, s_client
from controller.x509.leaves import parse_leaf
from tests.unit.dead_ends import closed_port
from tests.unit.probe_server import PATIENT, SERVERS, Handler, openssl_server, pair, serving, smtp_server, tls_context

NAME = "mail.example.com"


async def run_here(
    _container_id: str,
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    user: str = "",
    timeout: float,  # noqa: ASYNC109
) -> ExecResult:
    """Like the engine's exec, on this machine: its own process group, and input that stays open; ``timeout`` in seconds."""
    assert (stdin, user) in ((b"", ""), (None, ""))
    pipe = asyncio.subprocess.PIPE
    given = asyncio.subprocess.DEVNULL if stdin is None else pipe
    process = await asyncio.create_subprocess_exec(*argv, stdin=given, stdout=pipe, stderr=pipe, start_new_session=True)
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = await asyncio.wait_for(asyncio.gather(process.stdout.read(), process.stderr.read()), timeout)
    return ExecResult(await process.wait(), stdout, stderr)


@dataclass
class Scripted:
    """Answers from a list, and remembers what was run."""

    results: list[ExecResult]
    ran: list[tuple[str, ...]] = field(default_factory=list)

    async def __call__(
        self,
        _container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float,  # noqa: ASYNC109
    ) -> ExecResult:
        self.ran.append(tuple(argv))
        return self.results.pop(0)


def question(port: int, protocol: str = "smtp", *, timeout: float = PATIENT, key_type: KeyType | None = None) -> Question:
    return Question(ProbePort(port, protocol), NAME, timeout, key_type)


async def failure_of(handler: Handler, protocol: str = "smtp", *, seconds: float = PATIENT) -> HandshakeError:
    async with serving(handler) as port:
        with pytest.raises(HandshakeError) as caught:
            await handshake_inside(run_here, "c", question(port, protocol, timeout=seconds))
    return caught.value


@pytest.mark.parametrize("protocol", SERVERS)
async def test_every_protocol_leads_to_the_certificate(protocol: str) -> None:
    server = SERVERS[protocol]()
    async with serving(server) as port:
        chain = await handshake_inside(run_here, "c", question(port, protocol))

    assert chain == pair().certificate.fullchain_pem
    assert server.server_names == [NAME]


@pytest.mark.parametrize("kind", [KeyType.RSA, KeyType.ECDSA])
async def test_one_of_two_certificates_can_be_asked_for(kind: KeyType) -> None:
    async with serving(smtp_server(context=tls_context(pair("ecdsa"), pair("rsa")))) as port:
        chain = await handshake_inside(run_here, "c", question(port, key_type=kind))

    assert parse_leaf(chain).key_type is kind


@pytest.mark.parametrize("kind", [KeyType.RSA, KeyType.ECDSA])
async def test_a_server_without_tls_1_2_can_be_asked_for_it_by_tls_1_3(kind: KeyType) -> None:
    with openssl_server(pair("ecdsa"), pair("rsa"), options=["-tls1_3"]) as port:
        with pytest.raises(HandshakeError) as caught:
            await handshake_inside(run_here, "c", question(port, "imaps", key_type=kind))
        asked = replace(question(port, "imaps", key_type=kind), version=ssl.TLSVersion.TLSv1_3)
        chain = await handshake_inside(run_here, "c", asked)

    assert caught.value.kind is Failure.TLS_VERSION
    assert parse_leaf(chain).key_type is kind


async def test_one_that_it_does_not_hold_is_said_to_be_missing() -> None:
    with openssl_server(pair("ecdsa"), options=["-tls1_3"]) as port:
        asked = replace(question(port, "imaps", key_type=KeyType.RSA), version=ssl.TLSVersion.TLSv1_3)
        with pytest.raises(HandshakeError, match="when asked for its RSA certificate by TLS 1.3") as caught:
            await handshake_inside(run_here, "c", asked)

    assert caught.value.kind is Failure.TLS


async def test_a_closed_port_refuses() -> None:
    with closed_port() as port, pytest.raises(HandshakeError) as caught:
        await handshake_inside(run_here, "c", question(port))

    assert caught.value.kind is Failure.REFUSED


async def test_a_silent_server_does_not_hold_up_the_command() -> None:
    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert (await failure_of(silent, seconds=0.5)).kind is Failure.SILENT


async def test_a_server_that_keeps_the_connection_does_not_hold_up_the_command() -> None:
    async def keep(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(tls_context())
        await asyncio.sleep(60)

    codes: list[int] = []

    async def run_and_note(*args: Any, **options: Any) -> ExecResult:
        result = await run_here(*args, **options)
        codes.append(result.exit_code)
        return result

    async with serving(keep) as port:
        assert await handshake_inside(run_and_note, "c", question(port, "imaps", timeout=PATIENT))

    assert codes == [0], "it ended by itself; its limit would have ended it with 124"


@pytest.mark.parametrize("protocol", ["smtp", "imap", "sieve"])
async def test_a_missing_capability_is_an_error_of_its_own(protocol: str) -> None:
    without: dict[str, dict[str, object]] = {
        "smtp": {"replies": {b"EHLO": b"250-me\r\n250 8BITMIME\r\n", b"STARTTLS": b"502 no\r\n"}, "begin": b"-"},
        "imap": {
            "replies": {b"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n<tag> OK\r\n", b"STARTTLS": b"<tag> BAD\r\n"},
            "begin": b"-",
        },
        "sieve": {"greeting": b'"VERSION" "1.0"\r\nOK\r\n', "replies": {b"STARTTLS": b"NO\r\n"}, "begin": b"-"},
    }
    server = SERVERS[protocol](**without[protocol], ends=(b"STARTTLS",))  # openssl goes on all the same, until it is refused
    error = await failure_of(server, protocol, seconds=PATIENT)

    assert error.kind is Failure.NO_STARTTLS


async def test_plain_text_where_tls_was_expected_is_a_failed_handshake() -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await asyncio.sleep(60)

    error = await failure_of(plain, "smtps")

    assert (error.kind, "does the port want STARTTLS?" in str(error)) == (Failure.TLS, True)


@pytest.mark.parametrize(
    ("server_name", "host", "key_type", "command"),
    [
        (NAME, "127.0.0.1", None, f"openssl s_client -connect 127.0.0.1:25 -showcerts -starttls smtp -servername {NAME}"),
        ("", "fd00::2", None, "openssl s_client -connect [fd00::2]:25 -showcerts -starttls smtp"),
        ("::1", "::1", KeyType.RSA, "openssl s_client -connect [::1]:25 -showcerts -starttls smtp -tls1_2 -cipher aRSA"),
        ("-oops", "::1", KeyType.OTHER, "openssl s_client -connect [::1]:25 -showcerts -starttls smtp"),
    ],
)
def test_the_command_line(server_name: str, host: str, key_type: KeyType | None, command: str) -> None:
    assert " ".join(s_client(Question(ProbePort(25, "smtp"), server_name, 5, key_type), host)) == command


MISSING_OPENSSL = [
    ExecResult(127, b"", b"timeout: failed to run command 'openssl': No such file or directory\n"),
    ExecResult(127, b"", b"timeout: can't execute 'openssl': No such file or directory\n"),
]
MISSING_SHELL = ExecResult(126, b'OCI runtime exec failed: exec: "sh": executable file not found in $PATH: unknown\r\n', b"")
MISSING_TIMEOUT = [
    ExecResult(126, b'OCI runtime exec failed: exec: "timeout": executable file not found in $PATH: unknown\r\n', b""),
    ExecResult(127, b"", b'exec: "timeout": executable file not found in $PATH\n'),
    ExecResult(127, b"", b"timeout: can't execute '5': No such file or directory\n"),  # busybox before 1.30 wants -t
]
NO_OPENSSL_AT_ALL = ExecResult(126, b'OCI runtime exec failed: exec: "openssl": executable file not found in $PATH\r\n', b"")


@pytest.mark.parametrize("result", MISSING_OPENSSL)
async def test_an_image_without_openssl_cannot_be_probed_by_exec(result: ExecResult) -> None:
    run = Scripted([result])
    with pytest.raises(ProbeUnavailable, match="there is no openssl"):
        await handshake_inside(run, "c", question(25))

    assert len(run.ran) == 1


@pytest.mark.parametrize("result", MISSING_TIMEOUT)
async def test_an_image_without_shell_and_timeout_runs_openssl_alone(result: ExecResult) -> None:
    run = Scripted([MISSING_SHELL, result, ExecResult(0, pair().chain, b"")])

    assert await handshake_inside(run, "c", question(25)) == pair().certificate.fullchain_pem
    assert [argv[0] for argv in run.ran] == ["sh", "timeout", "openssl"]


async def test_an_openssl_that_prints_without_end_is_told() -> None:
    with pytest.raises(HandshakeError, match="printed more than"):
        await handshake_inside(Scripted([ExecResult(-1, b"y\n" * 100, b"", cut=True)]), "c", question(25))


async def test_an_image_without_either_cannot_be_probed_by_exec() -> None:
    with pytest.raises(ProbeUnavailable):
        await handshake_inside(Scripted([MISSING_SHELL, MISSING_TIMEOUT[0], NO_OPENSSL_AT_ALL]), "c", question(25))


async def test_errors_of_the_engine_pass_through() -> None:
    async def hang(*_args: object, **_options: object) -> ExecResult:
        raise ExecTimeout("too long")

    with pytest.raises(ExecTimeout):
        await handshake_inside(hang, "c", question(25))


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (ExecResult(1, b"", b"Connection refused\nconnect:errno=111\n"), Failure.REFUSED),
        (ExecResult(1, b"", b"BIO_connect:Connection refused\n"), Failure.REFUSED),
        (ExecResult(143, b"CONNECTED(00000003)\n", b""), Failure.SILENT),
        (ExecResult(0, b"CONNECTED(00000003)\nno peer certificate available\n", b"DONE\n"), Failure.NO_CERTIFICATE),
        (ExecResult(1, b"CONNECTED(00000003)\nno peer certificate available\n", b"40:error:0A:SSL::alert\n"), Failure.TLS),
        (ExecResult(1, b"", b""), Failure.TLS),
    ],
)
def test_the_output_of_other_versions_is_understood(result: ExecResult, kind: Failure) -> None:
    with pytest.raises(HandshakeError) as caught:
        certificates_of(result, question(25))

    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            b"139:error:14094410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:s3.c:1:SSL 40\n",
            "sslv3 alert handshake failure",
        ),
        (b"80FB:error:0A000410:SSL routines::sslv3 alert handshake failure:rec.c:1:\nmore\n", "sslv3 alert handshake failure"),
        (b"80FB:error:0A\n", "80FB:error:0A"),
        (b"first\nlast\n", "last"),
    ],
)
def test_openssls_own_reason_is_told(stderr: bytes, reason: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        certificates_of(ExecResult(1, b"", stderr), question(25, key_type=KeyType.ECDSA))

    assert str(caught.value) == f"the TLS handshake failed when asked for its ECDSA certificate by TLS 1.2: {reason}"


def test_an_openssl_that_does_not_know_the_protocol_is_no_answer_of_the_port() -> None:
    output = b"s_client: Value must be one of:\n\tsmtp\n\tpop3\n"
    with pytest.raises(ProbeUnavailable, match="the openssl in the container cannot ask for sieve"):
        certificates_of(ExecResult(1, b"", output), question(4190, "sieve"))
