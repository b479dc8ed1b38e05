"""``python -m tests.engine.deaf run``: a certferry to which no event of Docker and no hint of a source ever comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from controller import cli
from controller.engine import Engine
from sources.stored import StoredSource


async def _silence() -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def _subscribe(*_: Any) -> AsyncIterator[AsyncIterator[Any]]:
    yield _silence()


if __name__ == "__main__":
    Engine.events = _subscribe  # type: ignore[method-assign, assignment]
    StoredSource.subscribe = _subscribe  # type: ignore[method-assign, assignment]
    cli.main()
