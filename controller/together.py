"""Several things at the same time, none of which outlives the others: when one fails, the rest is cancelled and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from controller.ending import end

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each gives, in the order given.

    No `asyncio.TaskGroup`: up to Python 3.12 it leaves its task counted as being cancelled (`asyncio.Task.cancelling`) when
    something fails while it waits, and what asks for that would end.

    Raises:
        What the first that failed raises, as itself; `RuntimeError` where one was cancelled though nobody told it to end, which
        would look as if its caller was.
    """
    tasks: list[asyncio.Task[T]] = []
    try:
        tasks += (asyncio.create_task(work) for work in works)
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.cancelled():
                raise RuntimeError(f"{task.get_name()} was cancelled, though nobody told it to end")
            if task.done() and (error := task.exception()):
                raise error
    finally:
        await end(*tasks)
    return [task.result() for task in tasks]
