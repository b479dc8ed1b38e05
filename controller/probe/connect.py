"""A TCP connection to one of several addresses: the first that answers wins, whatever the others do (RFC 8305)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from aiohappyeyeballs import AddrInfoType, start_connection

from controller.probe.failure import Failure, HandshakeError

ATTEMPT_DELAY = 0.25
"""Seconds that an address has for itself before the next one is tried beside it (RFC 8305 §5)."""


async def connect(addresses: Sequence[str], port: int, *, seconds: float) -> socket.socket:
    """A connected socket, within `seconds` for all addresses together.

    Raises:
        HandshakeError: ``REFUSED`` when an address refused and no other accepted, else ``UNREACHABLE``.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0
    asked = {_info(address, port): address for address in addresses}
    attempts = _Attempts()
    try:
        async with asyncio.timeout(seconds):
            connection = await start_connection(
                list(asked),
                happy_eyeballs_delay=ATTEMPT_DELAY,
                loop=cast("asyncio.AbstractEventLoop", attempts),
                socket_factory=attempts.open,
            )
    except OSError as error:  # TimeoutError among them
        raise _failure({address: attempts.failures.get(info[4]) for info, address in asked.items()}, seconds) from error
    if task and task.cancelling() > cancellations:  # the library forgets a cancellation that comes while it ends the losers
        connection.close()
        raise asyncio.CancelledError
    return connection


class _Attempts:
    """Stands in for the running loop, and notes why each address failed.

    The library tells that of all addresses together only, and not at all when time is up.
    """

    def __init__(self) -> None:
        self.failures: dict[tuple[Any, ...], OSError] = {}
        self._running = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._running, name)

    def open(self, info: AddrInfoType) -> socket.socket:
        try:
            return socket.socket(*info[:3])
        except OSError as error:  # a machine without IPv6
            self.failures[info[4]] = error
            raise

    async def sock_connect(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            await self._running.sock_connect(connection, address)
        except OSError as error:
            self.failures[address] = error
            raise


def _info(address: str, port: int) -> AddrInfoType:
    """What sockets want to know of a numeric address; no name server is asked."""
    return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)[0]


def _failure(failures: dict[str, OSError | None], seconds: float) -> HandshakeError:
    """One that refuses speaks for the host; others may be unreachable from here only, as IPv6 often is."""
    refused = [address for address, failure in failures.items() if isinstance(failure, ConnectionRefusedError)]
    others = "; ".join(f"{address}: {_reason(failures[address], seconds)}" for address in failures if address not in refused)
    if refused:
        text = f"nothing listens there: {' and '.join(refused)} refused the connection"
        return HandshakeError(Failure.REFUSED, f"{text} ({others})" if others else text)
    return HandshakeError(Failure.UNREACHABLE, f"no connection to {others}")


def _reason(failure: OSError | None, seconds: float) -> str:
    if failure is None:
        return f"no answer within {seconds:g} s"
    return os.strerror(failure.errno) if failure.errno else str(failure)
