"""Servers that do what no real one can be made to do on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from aiohttp import web

from sources import registry
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from sources.traefik_kv.keyed import Client, KeyValueStorage

OBJECT = "traefik/acme/account/object"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server; gives host and port."""
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    runner.app.router.add_route("*", "/{path:.*}", handler)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def saying(*chunks: bytes, hang: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says the same to everybody, and hangs up or hangs; gives host and port."""

    over = asyncio.Event()
    talks: list[asyncio.Task[None]] = []

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            talks.append(task)
        with suppress(ConnectionError):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            if hang:
                await over.wait()
        writer.transport.abort() if over.is_set() else writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()
        await asyncio.gather(*talks)


def client_of(kind: str, *servers: str, options: str = "timeout=30s") -> Client:
    """The limit is against hanging; give a short one where a server is to exceed it."""
    source = registry.create(f"{kind}://{','.join(servers)}/traefik/acme/account?{options}", Surroundings())
    assert isinstance(source, StoredSource)
    assert isinstance(source.storage, KeyValueStorage)
    return source.storage.client


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(60):
        return await awaitable
