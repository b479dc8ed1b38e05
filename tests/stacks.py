"""Where every task and every thread of this process stands, as text."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any


def everything() -> str:
    """All tasks of all event loops, then all threads."""
    return "\n".join([*_tasks(), *_threads()])


def _tasks() -> Iterator[str]:
    """The loops are asked of the garbage collector: a thread may have one of its own."""
    for loop in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.BaseEventLoop) and not thing.is_closed()]:
        for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
            yield f"--- task {task.get_name()}: {_name(task.get_coro())}"
            yield "".join(_awaited(task.get_coro())) + f"  waits for {getattr(task, '_fut_waiter', None)!r:.200}"


def _awaited(awaitable: Any) -> Iterator[str]:
    """The calls from a task's own coroutine down to what it waits for; `asyncio.Task.get_stack` shows the first alone."""
    while awaitable is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaitable, f"{kind}_frame")), "")
        frame = getattr(awaitable, f"{kind}_frame", None)
        if frame is None:
            return
        yield from _lines(frame, limit=1)
        awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")


def _threads() -> Iterator[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"--- thread {names.get(ident, ident)}"
        yield "".join(_lines(frame, limit=15))


def _lines(frame: FrameType, limit: int) -> list[str]:
    return traceback.format_stack(frame, limit=limit)


def _name(awaitable: object) -> str:
    return getattr(awaitable, "__qualname__", repr(awaitable))
