"""What client and server say before TLS begins in SMTP, IMAP, POP3 and ManageSieve, without any input or output.

A dialogue is a generator: each ``yield`` hands out the bytes to send (none when only listening) and gets the server's next
line, line end included. It returns when the server has agreed to STARTTLS and raises `HandshakeError` when it has not.
How long a line may be and how long to wait are the caller's business; how many lines a reply may have is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import NamedTuple

from controller.probe.failure import Failure, HandshakeError, quote

Dialogue = Generator[bytes, bytes, None]
_Part = Generator[bytes, bytes, list[bytes]]

MAXIMUM_LINES = 100
"""Of one reply; real servers need about 20."""
MAXIMUM_LITERAL = 4096
"""Bytes of one ManageSieve literal."""

_SMTP_LINE = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_LITERAL = re.compile(rb"\{([0-9]{1,10})\}\r?\n\Z")


class SmtpLine(NamedTuple):
    """One line of an SMTP reply; `last` ends the reply."""

    code: int
    last: bool
    text: bytes


def parse_smtp_line(line: bytes) -> SmtpLine:
    """Take a reply line apart (RFC 5321 §4.2.1: ``250-text`` goes on, ``250 text`` or a bare ``250`` ends it).

    Raises:
        HandshakeError: it is no reply line.
    """
    match = _SMTP_LINE.fullmatch(line.rstrip(b"\r\n"))
    if not match or (match[3] and not match[2]):
        raise _garbled("an SMTP reply", line)
    return SmtpLine(int(match[1]), match[2] != b"-", match[3])


def smtp(client_name: str) -> Dialogue:
    """EHLO and STARTTLS (RFC 3207). `client_name` is the EHLO argument: a host name or an address literal."""
    yield from _smtp_reply(b"", 220, "the greeting")
    features = yield from _smtp_reply(f"EHLO {client_name}\r\n".encode("ascii", "replace"), 250, "EHLO")
    if not any(_first_word(feature) == b"STARTTLS" for feature in features[1:]):
        raise _not_offered("EHLO", b", ".join(features[1:]))
    yield from _smtp_reply(b"STARTTLS\r\n", 220, "STARTTLS")


def imap(_client_name: str) -> Dialogue:
    """CAPABILITY and STARTTLS (RFC 3501 §6.2.1, RFC 9051)."""
    greeting = yield b""
    if not greeting.upper().startswith(b"* OK"):
        raise _turned_away("the greeting", greeting)
    lines = yield from _imap_reply(b"c1 CAPABILITY\r\n", b"C1")
    words = [line.upper().split() for line in lines]
    if not any(b"STARTTLS" in capabilities[2:] for capabilities in words if capabilities[:2] == [b"*", b"CAPABILITY"]):
        raise _not_offered("CAPABILITY", b", ".join(lines))
    yield from _imap_reply(b"c2 STARTTLS\r\n", b"C2")


def pop3(_client_name: str) -> Dialogue:
    """CAPA (RFC 2449) and STLS (RFC 2595 §4). A server that does not know CAPA is asked for STLS all the same."""
    greeting = yield b""
    if not greeting.startswith(b"+OK"):
        raise _turned_away("the greeting", greeting)
    first = yield b"CAPA\r\n"
    if first.startswith(b"+OK"):
        capabilities = yield from _pop3_list()
        if not any(_first_word(capability) == b"STLS" for capability in capabilities):
            raise _not_offered("CAPA", b", ".join(capabilities))
    answer = yield b"STLS\r\n"
    if not answer.startswith(b"+OK"):
        raise _turned_away("STLS", answer)


def sieve(_client_name: str) -> Dialogue:
    """The greeting lists the capabilities, then STARTTLS (RFC 5804 §1.7, §2.2)."""
    capabilities = yield from _sieve_reply(b"", "the greeting")
    if not any(_first_word(capability).strip(b'"') == b"STARTTLS" for capability in capabilities):
        raise _not_offered("the greeting", b", ".join(capabilities))
    yield from _sieve_reply(b"STARTTLS\r\n", "STARTTLS")


DIALOGUES: dict[str, Callable[[str], Dialogue]] = {"smtp": smtp, "imap": imap, "pop3": pop3, "sieve": sieve}
"""By `Protocol.starttls`."""

FAREWELLS: dict[str, bytes] = {
    "smtp": b"QUIT\r\n",
    "smtps": b"QUIT\r\n",
    "imap": b"c3 LOGOUT\r\n",
    "imaps": b"c3 LOGOUT\r\n",
    "pop3": b"QUIT\r\n",
    "pop3s": b"QUIT\r\n",
    "sieve": b"LOGOUT\r\n",
}
"""By the name of the protocol. A client that just hangs up is logged as a lost connection, which intrusion filters count."""


def _smtp_reply(command: bytes, expected: int, after: str) -> _Part:
    texts: list[bytes] = []
    code = 0
    for _ in range(MAXIMUM_LINES):
        raw = yield command
        command = b""
        line = parse_smtp_line(raw)
        if code not in (0, line.code):
            raise _garbled("one reply with one code", raw)
        code = line.code
        texts.append(line.text)
        if line.last:
            if code != expected:
                raise _turned_away(after, raw)
            return texts
    raise _endless(after)


def _imap_reply(command: bytes, tag: bytes) -> _Part:
    lines: list[bytes] = []
    after = command.decode().split()[1]
    for _ in range(MAXIMUM_LINES):
        line = yield command
        command = b""
        words = line.upper().split(None, 2)
        if words[:1] == [tag]:
            if words[1:2] != [b"OK"]:
                raise _turned_away(after, line)
            return lines
        if words[:1] != [b"*"] or words[1:2] == [b"BYE"]:
            raise _turned_away(after, line)
        lines.append(line.strip())
    raise _endless(after)


def _pop3_list() -> _Part:
    lines: list[bytes] = []
    for _ in range(MAXIMUM_LINES):
        line = (yield b"").strip()
        if line == b".":
            return lines
        lines.append(line)
    raise _endless("CAPA")


def _sieve_reply(command: bytes, after: str) -> _Part:
    lines: list[bytes] = []
    for _ in range(MAXIMUM_LINES):
        line = yield command
        command = b""
        word = _first_word(line)
        if word == b"OK":
            return lines
        if not line.startswith((b'"', b"{")):
            raise _turned_away(after, line)
        lines.append((yield from _with_literals(line)).strip())
    raise _endless(after)


def _with_literals(line: bytes) -> Generator[bytes, bytes, bytes]:
    """A line with the strings that were sent as ``{5}``, line end, five bytes (RFC 5804 §4)."""
    whole = b""
    for _ in range(MAXIMUM_LINES):
        match = _LITERAL.search(line)
        if match is None:
            return whole + line
        length = int(match[1])
        if len(whole) + length > MAXIMUM_LITERAL:
            raise _garbled("a literal of a sane length", line)
        content = b""
        while len(content) <= length:  # not "<": the rest of the line follows the literal, if only its end
            content += yield b""
        whole += line[: match.start()] + content[:length]
        line = content[length:]
    raise _garbled("the end of a line", line)


def _first_word(line: bytes) -> bytes:
    return next(iter(line.upper().split(None, 1)), b"")


def _garbled(expected: str, line: bytes) -> HandshakeError:
    return HandshakeError(Failure.GARBLED, f"sent {quote(line)!r} where {expected} was expected")


def _turned_away(after: str, line: bytes) -> HandshakeError:
    return HandshakeError(Failure.GARBLED, f"does not go on after {after}: {quote(line)!r}")


def _not_offered(after: str, offered: bytes) -> HandshakeError:
    return HandshakeError(Failure.NO_STARTTLS, f"does not offer STARTTLS in {after}, only {quote(offered) or 'nothing'!r}")


def _endless(after: str) -> HandshakeError:
    return HandshakeError(Failure.GARBLED, f"sent more than {MAXIMUM_LINES} lines after {after}")
