"""What etcd's JSON gateway sends: one JSON object for an answer, one a line for a stream."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from controller.ending import end
from sources.foreign_json import parse_json
from sources.pairs import label_of

SMALL = 16 * 2**10
"""Bytes that are parsed at once; more is, beside the loop. An error's message is never larger."""

Fields = dict[str, Any]


class Chunks(Protocol):
    """A body as it comes in; `aiohttp.StreamReader` is one."""

    async def readany(self) -> bytes:
        """What has come; empty at the end."""
        ...


def to_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fields(value: object) -> Fields:
    """The fields of an object; nothing else has fields."""
    return value if isinstance(value, dict) else {}


def said(value: object) -> str:
    """A short text or a number that a server sent, on one line and not endless; empty for all else."""
    return label_of(str(value)) if isinstance(value, str | int) else ""


def read_fields(text: bytes) -> Fields | None:
    """The fields of a JSON object; ``None`` for all other bytes."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


async def read_fields_apart(text: bytes) -> Fields | None:
    """As `read_fields`, without holding the loop while a large text is parsed."""
    return read_fields(text) if len(text) <= SMALL else await asyncio.to_thread(read_fields, text)


def read_error(text: bytes) -> Fields:
    """The fields of the answer to something that failed; none where it has no such form."""
    return (read_fields(text) if len(text) <= SMALL else None) or {}


async def messages(chunks: Chunks, *, limit: int, every: float, idle: Callable[[], Awaitable[object]]) -> AsyncIterator[Fields]:
    """Each message of a stream, until it ends. After `every` seconds of silence `idle` is called, whose errors end it.

    Raises:
        ValueError: what comes is not made of such messages, or one is larger than `limit` bytes.
    """
    line = bytearray()
    reading = asyncio.create_task(chunks.readany(), name="reading a watch")
    try:
        while True:
            await asyncio.wait({reading}, timeout=every)
            if not reading.done():
                await idle()
                continue
            chunk = reading.result()
            if not chunk:
                return
            reading = asyncio.create_task(chunks.readany(), name="reading a watch")
            *lines, rest = chunk.split(b"\n")
            for part in lines:
                message = await read_fields_apart(bytes(line + part))
                line.clear()
                if message is None:
                    raise ValueError("not a message")
                yield message
                await asyncio.sleep(0)  # others take their turn, however many messages came at once
            line += rest
            if len(line) > limit:
                raise ValueError("a message without end")
    finally:
        await end(reading)
