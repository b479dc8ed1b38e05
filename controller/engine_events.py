"""What happens to containers, as Docker tells it: hints, however large and however odd the lines are that bring them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp

from controller.domain.errors import EngineUnavailable
from controller.engine_connection import Ask, Connection

EVENTS = ("create", "start", "die", "destroy", "rename", "unpause", "update", "health_status")
"""Events that can make a target appear, vanish or need another look; those of our own exec calls are not among them."""

LONGEST_LINE = 64 * 2**10
"""Bytes of a line that are kept. An event carries all labels of its container, which may be of any size; of a longer line only
the beginning is read, where action and id stand (Docker Engine API, SystemEvents)."""

_ACTION, _ID = re.compile(rb'"Action"\s*:\s*"([^"\\]*)"'), re.compile(rb'"(?:ID|id)"\s*:\s*"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a container: a hint, not data to act on."""

    action: str
    container_id: str


class EngineEvents(Connection):
    """The event stream."""

    @asynccontextmanager
    async def events(self, since: str) -> AsyncIterator[AsyncIterator[Event]]:
        """The events since a moment, replayed and live; iterating ends with `EngineUnavailable` when the stream is cut.

        Nothing is asked before the first iteration, and nothing is lost by that: `since` is a moment of its own.
        """
        stream = self._stream(since)
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _stream(self, since: str) -> AsyncGenerator[Event, None]:
        params = {"since": since, "filters": json.dumps({"type": ["container"], "event": list(EVENTS)})}
        async with (
            self._guard(Ask.HOST, "tell what happens", limit=None),
            self._requests.open("GET", "events", params=params) as response,
        ):
            with suppress(aiohttp.ClientError, OSError):  # however it ends, it ended
                async for line in lines_of(response.content):
                    yield read_event(line)
        raise EngineUnavailable(f"the event stream of {self.host} ended")


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream that are not empty, each cut to `LONGEST_LINE` bytes."""
    line = bytearray()
    while chunk := await content.readany():
        for number, part in enumerate(chunk.split(b"\n")):
            if number:
                if line.strip():
                    yield bytes(line)
                line.clear()
            line += part[: LONGEST_LINE - len(line)]


def read_event(line: bytes) -> Event:
    """One line of the stream; raises `EngineUnavailable` where it is no event."""
    if len(line) >= LONGEST_LINE:
        action, container = _ACTION.search(line), _ID.search(line)
        found = (action[1].decode(errors="replace"), container[1].decode()) if action and container else None
    else:
        found = _parse(line)
    if found is None:
        raise EngineUnavailable("the event stream of Docker holds what is no event")
    return Event(found[0].partition(":")[0], found[1])


def _parse(line: bytes) -> tuple[str, str] | None:
    try:
        raw = json.loads(line)
        action, container = raw["Action"], raw["Actor"]["ID"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return (action, container) if isinstance(action, str) and isinstance(container, str) else None
