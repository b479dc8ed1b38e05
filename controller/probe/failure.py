"""Why a handshake brought no certificate, in words for the operator. Nothing here talks to a network."""

from __future__ import annotations

from enum import StrEnum

from controller.domain.errors import TransientError

MAXIMUM_QUOTE = 120


class Failure(StrEnum):
    """How far a handshake came."""

    REFUSED = "refused"
    """Nothing listens there."""
    UNREACHABLE = "unreachable"
    """No connection: no route, no such name, no answer. Another way may still lead there."""
    SILENT = "silent"
    """Connected, then an awaited answer did not come in time."""
    CLOSED = "closed"
    """The server ended the connection before TLS stood."""
    GARBLED = "garbled"
    """The server broke the protocol or turned us away."""
    NO_STARTTLS = "no-starttls"
    """The server does not offer STARTTLS."""
    TLS = "tls"
    """TLS was begun and failed."""
    TLS_VERSION = "tls-version"
    """The server does not speak TLS 1.2, by which one of its certificates was asked for."""
    NO_CERTIFICATE = "no-certificate"
    """TLS stands, without a certificate that could be read."""


class HandshakeError(TransientError):
    """No certificate was handed out; `kind` tells how far it came."""

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def quote(raw: bytes) -> str:
    """What a server said, fit for a log line: one line, printable, at most `MAXIMUM_QUOTE` characters."""
    text = raw[: 2 * MAXIMUM_QUOTE].decode("utf-8", "replace").strip()
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return plain if len(plain) <= MAXIMUM_QUOTE else f"{plain[: MAXIMUM_QUOTE - 1]}…"
