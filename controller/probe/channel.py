"""A TCP connection to a server that may be hostile: connect, bounded lines, TLS on top, an end that leaves nothing open."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

from controller.probe.connect import connect
from controller.probe.failure import Failure, HandshakeError, quote

MAXIMUM_LINE = 8192
"""Bytes; RFC 5321 §4.5.3.1.5 allows 512, capability lines are somewhat longer in practice."""
MAXIMUM_BYTES = 65536
"""Of a whole dialogue before TLS."""
_CHUNK = 4096


class Channel:
    """One connection. The caller limits the time and calls `close` whatever happens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._received = 0

    @classmethod
    async def connect(cls, addresses: Sequence[str], port: int, *, seconds: float) -> Channel:
        """Connect to the first of the addresses that answers, within `seconds`.

        Raises:
            HandshakeError: ``REFUSED`` or ``UNREACHABLE``; see `controller.probe.connect`.
        """
        connection = await connect(addresses, port, seconds=seconds)
        return cls(*await asyncio.open_connection(sock=connection, limit=_CHUNK))

    @property
    def local_literal(self) -> str:
        """Our own address as an EHLO argument (RFC 5321 §4.1.3): it needs no name and no server may doubt it."""
        address = str(self._writer.get_extra_info("sockname")[0]).partition("%")[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    @property
    def heard(self) -> bool:
        """The server has said something."""
        return self._received > 0

    @property
    def surplus(self) -> bytes:
        """What was received and not asked for yet."""
        return self._buffer

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, once it stands."""
        session: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return session

    async def line(self) -> bytes:
        """The next line with its end.

        Raises:
            HandshakeError: the connection ended, or the server sent more than a client should have to read.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAXIMUM_LINE:
                raise HandshakeError(Failure.GARBLED, f"sent a line of more than {MAXIMUM_LINE} bytes: {quote(self._buffer)!r}")
            self._buffer += await self._more()
        head, end, self._buffer = self._buffer.partition(b"\n")
        return head + end

    async def send(self, data: bytes) -> None:
        """Write bytes.

        Raises:
            OSError: the connection ended.
        """
        self._writer.write(data)
        await self._writer.drain()

    async def start_tls(self, context: ssl.SSLContext, server_name: str, *, seconds: float) -> None:
        """Shake hands; an empty `server_name` sends no SNI.

        Raises:
            OSError: (`ssl.SSLError` among them) the handshake failed.
        """
        await self._writer.start_tls(context, server_hostname=server_name or None, ssl_handshake_timeout=seconds)

    async def leave(self, farewell: bytes, *, greeted: bool, seconds: float) -> None:
        """Say goodbye inside TLS and wait for the server's end, as long as that takes no longer than `seconds`."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                if not greeted:  # to speak before the greeting is what spammers do
                    self._acknowledge_now()
                    await self._reader.read(_CHUNK)
                await self.send(farewell)
                for _ in range(MAXIMUM_BYTES // _CHUNK):
                    if not await self._reader.read(_CHUNK):
                        return

    async def close(self) -> None:
        """Drop the connection now; a peer that ignores the closing of TLS would keep it for 30 s otherwise."""
        self._writer.transport.abort()
        await asyncio.sleep(0)  # the transport gives its socket back in the next turn of the loop

    def _acknowledge_now(self) -> None:
        """Postfix sends the greeting only when its session tickets are acknowledged, which the kernel delays by 40 ms."""
        connection = self._writer.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_QUICKACK"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def _more(self) -> bytes:
        chunk = await self._reader.read(_CHUNK)
        if not chunk:
            said = f" after {quote(self._buffer)!r}" if self._buffer else ""
            raise HandshakeError(Failure.CLOSED, f"closed the connection{said} before TLS began")
        self._received += len(chunk)
        if self._received > MAXIMUM_BYTES:
            raise HandshakeError(Failure.GARBLED, f"sent more than {MAXIMUM_BYTES} bytes before TLS")
        return chunk
