"""Limits of waits: ends that cannot hang, cancellations that cannot get lost, and limits that grow where they are too short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

log = structlog.get_logger()

END_LIMIT = 1.0
"""Seconds that a cancelled task may take to end. What it has to close is closed in far less; longer hangs."""


async def end(*tasks: asyncio.Task[Any], limit: float = END_LIMIT) -> tuple[str, ...]:
    """Cancel tasks and wait for them; what they raise then is of no matter, and never takes the place of a cancellation.

    The names of those that live on after `limit` seconds, which are logged. They are told twice: libraries lose a cancellation
    at times.
    """
    for task in tasks:
        _see(task) if task.done() else task.add_done_callback(_see)
    pending = {task for task in tasks if not task.done()}
    for _ in range(2):
        if pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=limit / 2)
    hanging = tuple(sorted(task.get_name() for task in pending))
    if hanging:
        log.warning("task.hangs", tasks=", ".join(hanging), message=f"did not end within {limit:g} s; it is left behind")
    return hanging


def _see(task: asyncio.Task[Any]) -> None:
    """Otherwise asyncio complains, with the text of the exception, which may hold a key."""
    if not task.cancelled():
        task.exception()


async def finish(work: Coroutine[Any, Any, object], *, what: str, limit: float) -> None:
    """Let something be closed, for at most `limit` seconds; what fails or hangs then is logged, and no matter."""
    task = asyncio.create_task(work, name=what)
    try:
        await asyncio.wait({task}, timeout=limit)
    finally:
        hanging = not task.done()
        await end(task, limit=0.1)
    if not hanging and not task.cancelled() and (error := task.exception()):
        log.debug("closing.failed", what=what, error=type(error).__name__, message=str(error))


def pass_on_cancellation() -> None:
    """To be called at each turn of a loop that never ends, and where it catches an exception: a cancellation may be hidden.

    Whatever raises while it is being cancelled, a ``finally`` for example, hides the `asyncio.CancelledError` on its way; and
    whoever catches that, and gives it back as a result, hides it for good.

    Raises:
        asyncio.CancelledError: the running task was asked to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@dataclass(slots=True)
class GrowingLimit:
    """Seconds that something may take: twice as long after each time that was not enough, up to the longest."""

    first: float
    longest: float
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self.first

    def exceeded(self) -> None:
        self.seconds = min(self.seconds * 2, self.longest)

    def kept(self) -> None:
        self.seconds = self.first
