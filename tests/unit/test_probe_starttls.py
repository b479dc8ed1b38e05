"""The dialogues before TLS, played without a network."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.mail_ports import PROTOCOLS
from controller.probe.failure import MAXIMUM_QUOTE, Failure, HandshakeError, quote
from controller.probe.starttls import DIALOGUES, FAREWELLS, MAXIMUM_LINES, SmtpLine, parse_smtp_line

CLIENT = "[192.0.2.1]"


def play(protocol: str, lines: Iterable[bytes]) -> tuple[bytes, bool]:
    """What the client sent, and whether the server's lines led to TLS."""
    dialogue = DIALOGUES[protocol](CLIENT)
    sent = next(dialogue)
    for line in lines:
        try:
            sent += dialogue.send(line)
        except StopIteration:
            return sent, True
    return sent, False


def lines_of(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def failure_of(protocol: str, text: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        play(protocol, lines_of(text))
    return caught.value


def test_every_protocol_has_its_dialogue_and_farewell() -> None:
    assert set(DIALOGUES) == {protocol.starttls for protocol in PROTOCOLS.values()} - {""}
    assert set(FAREWELLS) == set(PROTOCOLS) - {"tls"}


@pytest.mark.parametrize(
    ("protocol", "server", "client"),
    [
        ("smtp", b"220 hi\r\n250-me\r\n250 starttls\r\n220 go\r\n", b"EHLO [192.0.2.1]\r\nSTARTTLS\r\n"),
        ("smtp", b"220-hi\n220-\n220\n250-me\n250-STARTTLS now\n250\n220\n", b"EHLO [192.0.2.1]\r\nSTARTTLS\r\n"),
        ("imap", b"* OK\r\n* capability IMAP4rev2 StartTLS\r\nC1 ok\r\nc2 OK\r\n", b"c1 CAPABILITY\r\nc2 STARTTLS\r\n"),
        (
            "imap",
            b"* OK\r\n* CAPABILITY STARTTLS\r\n* NOTE x\r\nc1 OK\r\n* x\r\nc2 OK\r\n",
            b"c1 CAPABILITY\r\nc2 STARTTLS\r\n",
        ),
        ("pop3", b"+OK\r\n+OK\r\nSTLS\r\n.\r\n+OK\r\n", b"CAPA\r\nSTLS\r\n"),
        ("pop3", b"+OK\r\n-ERR what?\r\n+OK\r\n", b"CAPA\r\nSTLS\r\n"),
        ("sieve", b'"STARTTLS"\r\nOK\r\nOK "go"\r\n', b"STARTTLS\r\n"),
        ("sieve", b'{8}\r\nSTARTTLS\r\n"X" {0}\r\n\r\n"Y" {3+\r\n"Z" {2}\r\n\r\n {1}\r\nO\r\nOK\r\nok\r\n', b"STARTTLS\r\n"),
    ],
)
def test_the_dialogue_leads_to_tls(protocol: str, server: bytes, client: bytes) -> None:
    assert play(protocol, lines_of(server)) == (client, True)


@pytest.mark.parametrize(
    ("protocol", "server"),
    [
        ("smtp", b"421 too busy\r\n"),
        ("smtp", b"220 hi\r\n502 EHLO? never heard\r\n"),
        ("smtp", b"220 hi\r\n250-me\r\n250 STARTTLS\r\n454 no key\r\n"),
        ("imap", b"* BYE shutting down\r\n"),
        ("imap", b"* PREAUTH you are in\r\n"),
        ("imap", b"* OK\r\nc1 BAD what?\r\n"),
        ("imap", b"* OK\r\n* BYE\r\n"),
        ("imap", b"* OK\r\nHTTP/1.1 400 Bad Request\r\n"),
        ("imap", b"* OK\r\n\r\n"),
        ("imap", b"* OK\r\n* CAPABILITY STARTTLS\r\nc1 OK\r\nc2 NO not now\r\n"),
        ("pop3", b"-ERR busy\r\n"),
        ("pop3", b"+OK\r\n+OK\r\nSTLS\r\n.\r\n-ERR no\r\n"),
        ("sieve", b'BYE "busy"\r\n'),
        ("sieve", b'"STARTTLS"\r\nOK\r\nNO "not now"\r\n'),
        ("sieve", b'"X" {5000}\r\n'),
        ("sieve", b"\r\n"),
    ],
)
def test_a_server_that_turns_us_away_is_quoted(protocol: str, server: bytes) -> None:
    error = failure_of(protocol, server)

    assert error.kind is Failure.GARBLED
    assert quote(lines_of(server)[-1]) in str(error)


@pytest.mark.parametrize(
    ("protocol", "server"),
    [
        ("smtp", b"220 hi\r\n250 me\r\n"),
        ("smtp", b"220 hi\r\n250-me\r\n250 XSTARTTLS\r\n"),
        ("imap", b"* OK [CAPABILITY STARTTLS]\r\n* CAPABILITY IMAP4rev1 XSTARTTLS\r\nc1 OK\r\n"),
        ("pop3", b"+OK\r\n+OK\r\nUIDL\r\n.\r\n"),
        ("sieve", b'"XSTARTTLS"\r\nOK\r\n'),
    ],
)
def test_a_missing_capability_is_an_error_of_its_own(protocol: str, server: bytes) -> None:
    assert failure_of(protocol, server).kind is Failure.NO_STARTTLS


@pytest.mark.parametrize(
    ("protocol", "begin", "endless"),
    [
        ("smtp", b"", b"220-more\r\n"),
        ("imap", b"* OK\r\n", b"* more\r\n"),
        ("pop3", b"+OK\r\n+OK\r\n", b"more\r\n"),
        ("sieve", b"", b'"more"\r\n'),
    ],
)
def test_an_endless_reply_is_cut_off(protocol: str, begin: bytes, endless: bytes) -> None:
    assert "sent more than 100 lines" in str(failure_of(protocol, begin + endless * (MAXIMUM_LINES + 1)))


@given(st.integers(200, 599), st.sampled_from(["", " ", "-"]), st.binary(max_size=50), st.sampled_from([b"\r\n", b"\n"]))
def test_every_smtp_reply_line_is_taken_apart(code: int, separator: str, text: bytes, end: bytes) -> None:
    text = text.rstrip(b"\r\n") if separator else b""

    assert parse_smtp_line(f"{code}{separator}".encode() + text + end) == SmtpLine(code, separator != "-", text)


@given(st.binary())
def test_an_smtp_line_parses_or_is_refused(line: bytes) -> None:
    code, kind = 0, Failure.GARBLED
    try:
        code = parse_smtp_line(line).code
    except HandshakeError as error:
        kind = error.kind

    assert code == 0 or 200 <= code <= 599
    assert kind is Failure.GARBLED


WORDS = [
    b"220",
    b"250",
    b"250-",
    b" STARTTLS",
    b"* ",
    b"OK",
    b"CAPABILITY",
    b"c1 ",
    b"c2 ",
    b"+OK",
    b"STLS",
    b".",
    b'"',
    b"{3}",
    b" ",
]
LINE = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=5)), max_size=6).map(
    lambda parts: b"".join(parts) + b"\r\n"
)


@given(st.sampled_from(sorted(DIALOGUES)), st.lists(LINE, max_size=30))
def test_whatever_a_server_says_ends_in_tls_an_error_or_waiting(protocol: str, lines: list[bytes]) -> None:
    sent, done, problem = b"", False, ""
    try:
        sent, done = play(protocol, lines)
    except HandshakeError as error:
        problem = str(error)

    assert problem.isprintable()
    assert not done or sent.endswith((b"STARTTLS\r\n", b"STLS\r\n"))


@given(st.sampled_from(sorted(DIALOGUES)), LINE)
def test_no_dialogue_goes_on_for_ever(protocol: str, line: bytes) -> None:
    try:
        _sent, done = play(protocol, [line] * 10_000)
    except HandshakeError:
        done = True
    assert done


@given(st.binary())
def test_a_quote_is_one_short_printable_line(raw: bytes) -> None:
    text = quote(raw)

    assert len(text) <= MAXIMUM_QUOTE
    assert text.isprintable()
