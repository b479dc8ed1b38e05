"""A tiny Docker Engine on a Unix socket: it answers from a table and can hang, fail and cut its event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from controller.engine import Engine

Json = dict[str, Any]


@dataclass
class DockerServer:
    """What it answers by path, without the version in front; a callable is asked each time, an integer is a failure."""

    api: str = "1.41"
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hangs: bool = False
    stream: asyncio.Queue[Json | None] = field(default_factory=asyncio.Queue)
    """Events to come; ``None`` cuts the connection."""
    queries: list[dict[str, str]] = field(default_factory=list)
    """The parameters of each subscription to events."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix(f"/v{self.api}")
        self.asked.append(f"{request.method} {path}")
        if self.hangs:
            await asyncio.sleep(60)
        if path == "/version":
            return web.json_response({"ApiVersion": self.api})
        if path == "/events":
            return await self._send_events(request)
        answer = self.answers.get(path, 404)
        answer = answer() if isinstance(answer, Callable) else answer  # type: ignore[arg-type]
        if isinstance(answer, web.Response):
            return answer
        if isinstance(answer, int):
            return web.json_response({"message": self.answers.get("message", "page not found")}, status=answer)
        return web.json_response(answer)

    async def _send_events(self, request: web.BaseRequest) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while (event := await self.stream.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    def event(self, action: str, container_id: str) -> None:
        self.stream.put_nowait({"Type": "container", "Action": action, "Actor": {"ID": container_id}, "time": 1, "timeNano": 1})


@asynccontextmanager
async def listening(server: Any, path: Path) -> AsyncIterator[None]:
    """Serve on a socket while the context lasts."""
    runner = web.ServerRunner(web.Server(server, access_log=None), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(server: Any, folder: Path, *, timeout: float = 30.0) -> AsyncIterator[Engine]:  # noqa: ASYNC109
    """An engine of certferry's that talks to such a server."""
    path = folder / "docker.sock"
    async with listening(server, path):
        engine = Engine(f"unix://{path}", timeout=timeout, exec_timeout=timeout)
        try:
            yield engine
        finally:
            await engine.close()
