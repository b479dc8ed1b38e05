"""From a host name to its addresses. The resolver may hang for minutes; no probe and no end of certferry waits for that."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from controller.daemons import Daemons
from controller.probe.failure import Failure, HandshakeError, quote

LOOKUP_SECONDS = 6.0
"""At most for one name; the resolver asks the next name server when one has been silent for 5 s (resolv.conf(5))."""

MAXIMUM_ADDRESSES = 16
"""Of one host; those behind them are left alone."""


async def addresses_of(host: str, *, seconds: float = LOOKUP_SECONDS) -> tuple[str, ...]:
    """The addresses of a host in the order in which the system prefers them (RFC 6724); an address is its own.

    Raises:
        HandshakeError: ``UNREACHABLE``: there is none, or no answer within `seconds`.
    """
    with suppress(OSError, ValueError):
        return _ask(host, socket.AI_NUMERICHOST)  # asks no server
    name = quote(host.encode("utf-8", "replace"))
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(Daemons("name look-up").submit(_ask, host, 0))
    except TimeoutError as error:
        raise HandshakeError(Failure.UNREACHABLE, f"the look-up of {name} took longer than {seconds:g} s") from error
    except (OSError, ValueError) as error:  # ValueError: no host name at all
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no host name"
        raise HandshakeError(Failure.UNREACHABLE, f"{name} has no address: {reason}") from error


def _ask(host: str, flags: int) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(dict.fromkeys(_written(entry[4]) for entry in found))[:MAXIMUM_ADDRESSES]


def _written(address: tuple[Any, ...]) -> str:
    """As people write it; the fourth part of a link-local IPv6 address is the interface (RFC 4007 §11)."""
    return f"{address[0]}%{address[3]}" if len(address) == 4 and address[3] else str(address[0])
