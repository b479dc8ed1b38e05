"""The network's way, against real TLS servers on the loopback, these ones hostile, broken or old."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest

from controller.domain.certificate import KeyType
from controller.probe import Failure, HandshakeError, handshake
from tests.unit.probe_server import (
    PATIENT,
    Handler,
    MailServer,
    imap_server,
    pair,
    pop3_server,
    serving,
    sieve_server,
    smtp_server,
    tls_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("patient_probe")
HOST = "127.0.0.1"
QUICK = 3.0
"""Seconds of patience with a server that will never answer: what it does say takes milliseconds."""
HANGS = 25.0
"""Seconds after which something hangs: more than `PATIENT`, and a server would keep us for 30 s or for ever."""


async def failure_of(handler: Handler, protocol: str = "smtp", *, seconds: float = PATIENT) -> HandshakeError:
    async with serving(handler) as port:
        with pytest.raises(HandshakeError) as caught:
            await handshake(HOST, port, protocol, server_name="mail.example.com", timeout=seconds)
    return caught.value


async def failure_with_alert(context: ssl.SSLContext, *, key_type: KeyType | None = None) -> HandshakeError:
    """The failure of a handshake with a blocking server: asyncio's drops the connection and sends no alert."""
    with socket.create_server((HOST, 0)) as listener:

        def accept() -> None:
            connection, _address = listener.accept()
            with suppress(OSError), connection, context.wrap_socket(connection, server_side=True):
                pass

        server = asyncio.create_task(asyncio.to_thread(accept))
        with pytest.raises(HandshakeError) as caught:
            await handshake(HOST, listener.getsockname()[1], "smtps", timeout=PATIENT, key_type=key_type)
        await server
    return caught.value


def saying(*parts: bytes, hang: bool = True) -> Handler:
    """A server that says its parts whatever it hears, then hangs or hangs up."""

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hang:
            await asyncio.sleep(60)

    return handle


async def test_a_server_that_ignores_the_goodbye_does_not_hold_up_the_probe() -> None:
    server = tls_server(replies={b"QUIT": b""}, greeting=b"")
    async with serving(server) as port:
        async with asyncio.timeout(HANGS):
            assert (await handshake(HOST, port, "smtps", timeout=PATIENT)).leaf_der


async def test_a_server_without_the_wanted_kind_is_an_error_that_says_so() -> None:
    error = await failure_with_alert(tls_context(pair("ecdsa")), key_type=KeyType.RSA)

    assert error.kind is Failure.TLS
    assert str(error).startswith("the TLS handshake failed when asked for its RSA certificate by TLS 1.2: ")
    assert str(error).endswith("handshake failure")


async def test_a_silent_server_is_told_from_a_refusing_one() -> None:
    error = await failure_of(saying(), seconds=QUICK)

    assert error.kind is Failure.SILENT
    assert "connected, but no greeting; does the port expect TLS at once (smtps)?" in str(error)
    assert "Postfix" in str(error)


async def test_a_server_that_stops_in_the_middle_of_the_dialogue_is_silent() -> None:
    error = await failure_of(smtp_server(replies={b"EHLO": b"250-half a re"}), seconds=QUICK)

    assert (error.kind, "the dialogue before TLS" in str(error), "Postfix" in str(error)) == (Failure.SILENT, True, False)


@pytest.mark.parametrize("protocol", ["imaps", "tls"])
async def test_a_server_that_does_not_answer_the_handshake_is_silent(protocol: str) -> None:
    error = await failure_of(saying(), protocol, seconds=QUICK)

    assert (error.kind, "no answer to the TLS handshake" in str(error)) == (Failure.SILENT, True)


async def test_a_server_that_drips_is_cut_off_in_time() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"2")
            await asyncio.sleep(0.02)

    async with asyncio.timeout(HANGS):
        error = await failure_of(drip, seconds=QUICK)

    assert error.kind is Failure.SILENT


@pytest.mark.parametrize(
    ("handler", "protocol"),
    [
        (saying(hang=False), "smtp"),
        (saying(b"220 he", hang=False), "smtp"),
        (saying(b"220 hello\r\n", hang=False), "smtp"),
        (saying(hang=False), "imaps"),
    ],
)
async def test_a_server_that_hangs_up_before_tls_has_closed(handler: Handler, protocol: str) -> None:
    assert (await failure_of(handler, protocol)).kind is Failure.CLOSED


async def test_a_server_that_hangs_up_after_agreeing_to_starttls_has_closed() -> None:
    async def agree_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 hi\r\n", b"250-x\r\n250 STARTTLS\r\n"):
            writer.write(reply)
            await reader.readline()
        writer.write(b"220 go\r\n")
        await writer.drain()

    error = await failure_of(agree_and_leave)

    assert (error.kind, str(error)) == (Failure.CLOSED, "closed the connection during the TLS handshake")


@pytest.mark.parametrize(
    ("server", "protocol"),
    [
        (smtp_server(replies={b"EHLO": b"250-mail.example.com\r\n250 8BITMIME\r\n"}), "smtp"),
        (smtp_server(replies={b"EHLO": b"250 STARTTLS\r\n"}), "smtp"),  # the first line is the server's name
        (imap_server(replies={b"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n<tag> OK done\r\n"}), "imap"),
        (pop3_server(replies={b"CAPA": b"+OK\r\nUIDL\r\n.\r\n"}), "pop3"),
        (sieve_server(greeting=b'"VERSION" "1.0"\r\nOK\r\n'), "sieve"),
    ],
)
async def test_no_starttls_is_said_in_so_many_words(server: MailServer, protocol: str) -> None:
    error = await failure_of(server, protocol)

    assert (error.kind, "does not offer STARTTLS" in str(error)) == (Failure.NO_STARTTLS, True)


async def test_a_refused_starttls_tells_the_servers_reason() -> None:
    error = await failure_of(smtp_server(replies={b"STARTTLS": b"454 4.7.0 TLS not available due to local problem\r\n"}))

    assert (error.kind, "454 4.7.0 TLS not available due to local problem" in str(error)) == (Failure.GARBLED, True)


@pytest.mark.parametrize(
    ("server", "protocol"),
    [
        (smtp_server(replies={b"STARTTLS": b"220 go\r\n250 forged\r\n"}), "smtp"),
        (imap_server(replies={b"STARTTLS": b"<tag> OK go\r\n* OK forged\r\n"}), "imap"),
        (pop3_server(replies={b"STLS": b"+OK go\r\n+OK forged\r\n"}), "pop3"),
        (sieve_server(replies={b"STARTTLS": b"OK\r\nOK forged\r\n"}), "sieve"),
    ],
)
async def test_plain_text_slipped_in_front_of_tls_is_refused(server: MailServer, protocol: str) -> None:
    error = await failure_of(server, protocol)

    assert (error.kind, "between its consent to STARTTLS and TLS" in str(error)) == (Failure.GARBLED, True)


@pytest.mark.parametrize(
    "greeting",
    [
        b"220-and on\r\n" * 100_000,
        b"2" * 100_000,
        b"220-" + b"x" * 20_000 + b"\r\n220 y\r\n",
        b"220-" + b"x" * 7_000 + b"\r\n",
        b"\0\0\0\r\n",
        b"220-a\r\n250 b\r\n",
        b"220\0\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"554 5.7.1 go away\r\n",
        b"\r\n",
    ],
    ids=[
        "endless",
        "giant line",
        "giant line with an end",
        "long lines",
        "NUL",
        "two codes",
        "code and NUL",
        "ssh",
        "554",
        "empty",
    ],
)
async def test_a_hostile_greeting_ends_in_an_error(greeting: bytes) -> None:
    error = await failure_of(saying(*[greeting] * 12))

    assert error.kind is Failure.GARBLED
    assert len(str(error)) < 400
    assert str(error).isprintable()


async def test_an_endless_reply_over_tls_does_not_hold_up_the_goodbye() -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(tls_context())
        while True:
            writer.write(b"220-more\r\n" * 1000)
            await writer.drain()

    async with serving(flood) as port:
        async with asyncio.timeout(HANGS):
            assert (await handshake(HOST, port, "smtps", timeout=PATIENT)).leaf_der


async def test_plain_text_where_tls_was_expected_names_starttls() -> None:
    error = await failure_of(saying(b"220 hello\r\n"), "smtps")

    assert (error.kind, "does the port want STARTTLS?" in str(error)) == (Failure.TLS, True)


async def test_garbage_instead_of_tls_after_starttls_is_a_failed_handshake() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 hi\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"):
            writer.write(reply)
            await reader.readline()
        await reader.read(1)
        writer.write(b"\x15\x03\x01garbage that is no TLS record")
        await asyncio.sleep(60)

    assert (await failure_of(garbage)).kind is Failure.TLS


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_a_server_that_knows_only_old_tls_is_an_error_text() -> None:
    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    error = await failure_with_alert(context)

    assert (error.kind, "protocol version" in str(error)) == (Failure.TLS, True)


async def test_a_server_without_certificate_is_an_error_text() -> None:
    error = await failure_with_alert(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    assert (error.kind, str(error).endswith("handshake failure")) == (Failure.TLS, True)


async def test_a_server_that_fails_without_an_alert_has_closed_during_the_handshake() -> None:
    async with serving(smtp_server(context=tls_context(pair("ecdsa")))) as port:
        with pytest.raises(HandshakeError, match="during the TLS handshake when asked for its RSA certificate") as caught:
            await handshake(HOST, port, "smtp", timeout=PATIENT, key_type=KeyType.RSA)

    assert caught.value.kind is Failure.CLOSED


async def test_a_session_without_certificate_is_an_error_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl.SSLObject, "getpeercert", lambda *_args, **_options: None)
    error = await failure_of(tls_server(), "imaps")

    assert error.kind is Failure.NO_CERTIFICATE
