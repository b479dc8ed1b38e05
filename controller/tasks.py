"""Named tasks that never end by themselves: one that does is told, and begun anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from controller.domain.errors import ConfigError
from controller.ending import END_LIMIT, end, pass_on_cancellation
from controller.faults import Faults, panics_as_errors

RESTART_MIN, RESTART_MAX = 1.0, 60.0
"""Seconds before a task that ended is begun anew, at first and at most; it doubles while the task fails again and again."""


class EternalTasks:
    """Tasks by name. Only a `ConfigError` is the end of all: the operator must act first."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._down: set[str] = set()
        self._told: set[str] = set()
        """Those that shall end."""
        self._faults = Faults()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def dead(self) -> tuple[str, ...]:
        """Those that ended although nobody stopped them, and are not begun anew yet."""
        return tuple(name for name, task in self._tasks.items() if task.done() or name in self._down)

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin one: `work` is called again whenever it has ended, after a pause."""
        self._told.discard(name)
        self._begin(name, work)

    async def stop(self, name: str) -> None:
        """End one and wait until it has ended, within a limit; one that is not there is no matter."""
        if task := self._tasks.pop(name, None):
            self._down.discard(name)
            await end(task)

    def _begin(self, name: str, work: Callable[[], Awaitable[None]], *, after: float = 0.0) -> None:
        task = self._tasks[name] = asyncio.create_task(self._keep(name, work, after), name=name)
        task.add_done_callback(partial(self._look_after, name, work))

    def _look_after(self, name: str, work: Callable[[], Awaitable[None]], task: asyncio.Task[None]) -> None:
        """Begin anew what was cancelled though nobody told it: a library can leave a cancellation behind, or pass on that of
        another task. Only here, since a task cannot tell it from one that is meant.
        """
        if not task.cancelled() or name in self._told or self._tasks.get(name) is not task:
            return
        error = RuntimeError(f"the task {name} was cancelled, though nobody told it to end")
        self._faults.tell("task.crashed", error, about=name, task=name, message=str(error), next_in=RESTART_MIN)
        self._begin(name, work, after=RESTART_MIN)

    def cancel(self, *, but: Collection[str] = ()) -> None:
        """Have all end, without those named."""
        for name, task in self._tasks.items():
            if name not in but:
                self._told.add(name)
                task.cancel()

    async def end(self, *, limit: float = END_LIMIT) -> None:
        """Have all end, and wait for that; those that do not within `limit` seconds are named in the log, and left behind."""
        self._told.update(self._tasks)
        await end(*self._tasks.values(), limit=limit)
        if self._failed.done():
            self._failed.exception()  # whoever waited for it was told

    async def until(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set.

        Raises:
            ConfigError: a task cannot go on before the operator has acted.
        """
        stopping = asyncio.create_task(stop.wait(), name="wait for the end")
        either: set[asyncio.Future[Any]] = {stopping, self._failed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(stopping)
        if self._failed.done():
            self._failed.result()

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]], after: float) -> None:
        pause = RESTART_MIN
        loop = asyncio.get_running_loop()
        if after:
            await self._rest(name, after)
        while True:
            pass_on_cancellation()
            begun = loop.time()
            try:
                await _never_end(name, work)
            except ConfigError as error:
                pass_on_cancellation()
                if not self._failed.done():
                    self._failed.set_exception(error)
                return
            except Exception as error:
                pass_on_cancellation()
                if loop.time() - begun > RESTART_MAX:
                    pause = RESTART_MIN
                self._faults.tell("task.crashed", error, about=name, task=name, message=str(error), next_in=pause)
            await self._rest(name, pause)
            pause = min(pause * 2, RESTART_MAX)

    async def _rest(self, name: str, seconds: float) -> None:
        self._down.add(name)
        await asyncio.sleep(seconds)
        self._down.discard(name)


async def _never_end(name: str, work: Callable[[], Awaitable[None]]) -> None:
    with panics_as_errors():
        await work()
    raise RuntimeError(f"the task {name} ended, which it never should")
