"""Named tasks that never end by themselves: one that does is the end of all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any


class EternalTasks:
    """The tasks of one group, by name."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def dead(self) -> tuple[str, ...]:
        """Those that ended although nobody stopped them."""
        return tuple(name for name, task in self._tasks.items() if task.done())

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin one; what it raises, or that it ends, ends the group."""
        self._tasks[name] = self._group.create_task(_eternal(name, work), name=name)
        return self._tasks[name]

    async def stop(self, name: str) -> None:
        """End one and wait until it has ended; one that is not there is no matter."""
        if task := self._tasks.pop(name, None):
            task.cancel()
            await asyncio.wait({task})

    def cancel(self) -> None:
        """Have all end."""
        for task in self._tasks.values():
            task.cancel()


async def _eternal(name: str, work: Awaitable[None]) -> None:
    """Whatever ends a task that should never end is the end of the controller, and is said so."""
    await work
    raise RuntimeError(f"the task {name} ended, which it never should")
