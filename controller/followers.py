"""The followers of all sources: of those configured, and of the proxies' as they come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import structlog

from controller.domain.errors import ConfigError, Error, TransientError
from controller.domain.snapshot import Snapshot
from controller.ending import GrowingLimit, pass_on_cancellation
from controller.faults import Faults
from controller.following import Follower, Pace
from controller.ports import Source
from controller.proxies import Change, Proxies
from controller.store import Store
from controller.tasks import EternalTasks
from controller.together import together

log = structlog.get_logger()

PROXY_EVENTS = frozenset({"create", "start", "die", "destroy", "rename"})
"""Events after which a container may be another proxy than before, or none."""

FIRST_WAIT = 15.0
"""Seconds that work waits for the first look for proxies and the first reading of all sources. Those that are well are read
within a second or two, and those that are away say so within their own time limits; who takes longer hangs."""
LOOK_LIMIT, LONGEST_LOOK = 60.0, 600.0
"""Seconds that one look for proxies may take, at first and at most."""
LONGEST_PAUSE = 30.0
"""Seconds: the longest wait before containers are looked at again when that failed."""


class Followers:
    """Follows sources into the store.

    `on_change` is told of snapshots as in `Follower`; `on_arrival` that there is a source more, or
    a container that could be one, or that all containers were looked at, late.
    """

    def __init__(  # noqa: PLR0913
        self,
        sources: Sequence[Source],
        store: Store,
        *,
        proxies: Proxies | None,
        on_change: Callable[[Snapshot, Snapshot], None],
        on_arrival: Callable[[], None],
        pace: Pace,
        jitter: Callable[[], float],
    ) -> None:
        store.origins.searching = proxies is not None
        self._store, self._proxies, self._on_change, self._on_arrival = store, proxies, on_change, on_arrival
        self._pace, self._jitter = pace, jitter
        self._tasks: EternalTasks | None = None
        self._to_look_at: asyncio.Queue[str | None] = asyncio.Queue()
        """Containers something happened to; ``None`` for all."""
        self._searched = asyncio.Event()
        self._begun = False
        """Whether proxies were looked for before."""
        self._faults = Faults()
        self._waited = False
        """Whether work has waited long enough."""
        self.each = [self._make(source) for source in sources]

    def __iter__(self) -> Iterator[Follower]:
        return iter(tuple(self.each))

    def start(self, tasks: EternalTasks) -> None:
        """Follow all sources, and the proxies, from now on."""
        self._tasks = tasks
        for follower in self:
            tasks.start(_task_of(follower.source_name), follower.follow)
        if proxies := self._proxies:
            tasks.start("proxies", lambda: self._follow(proxies))

    async def read_once(self) -> None:
        """Look for proxies and read every source; one that fails says so in the store.

        Raises:
            EngineUnavailable: proxies are to be looked for, and cannot.
        """
        if self._proxies:
            try:
                await self._apply(await self._proxies.look())
                self._store.origins.searching = False
            except Error:
                raise
            except Exception as error:  # what is configured is read all the same
                pass_on_cancellation()
                self._faults.tell("proxies.crashed", error, about="proxies", message=str(error))
        await together(follower.load_once() for follower in self)

    async def wait_tried(self) -> None:
        """Wait until proxies were looked for and every source was read, or failed to be, but no longer than `FIRST_WAIT`.

        What takes longer is named, and work goes on without it: it is looked at again when it comes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._waited else FIRST_WAIT):
                await self._wait_tried()
                return
        if self._waited:  # another worker has said so
            return
        self._waited = True
        if self._proxies and not self._searched.is_set():
            log.warning("proxies.slow", message=f"looking for proxies takes longer than {FIRST_WAIT:g} s; work begins without")
        for follower in self:
            follower.late()

    async def _wait_tried(self) -> None:
        if self._proxies:
            await self._searched.wait()
        for follower in self:
            await follower.tried.wait()

    def look_at(self, container_id: str, action: str) -> None:
        """Something happened to a container."""
        if self._proxies and action in PROXY_EVENTS:
            self._to_look_at.put_nowait(container_id)

    def wake(self) -> None:
        """Something happened that may have mended any source, or any proxy may have changed."""
        self.look_at_all()
        for follower in self:
            follower.wake()

    def look_at_all(self) -> None:
        """Something may have happened to any container."""
        if self._proxies:
            self._to_look_at.put_nowait(None)

    async def _follow(self, proxies: Proxies) -> None:
        """Look at containers as they come and go; what was missed while Docker did not answer, when it does again."""
        if self._begun:  # anew, so what was to be looked at is not known any more
            self.look_at_all()
        self._begun = True
        pause, limit = self._pace.retry_min, GrowingLimit(LOOK_LIMIT, LONGEST_LOOK)
        while True:
            pass_on_cancellation()
            looks = {await self._to_look_at.get()}
            while not self._to_look_at.empty():
                looks.add(self._to_look_at.get_nowait())
            try:
                async with asyncio.timeout(limit.seconds):
                    change = await proxies.look(None if None in looks else {look for look in looks if look})
                await self._apply(change)
                if self._store.origins.searching and None in looks:
                    self._store.origins.searching = False
                    self._on_arrival()
            except ConfigError:
                raise
            except Exception as error:  # whatever an engine, or a proxy before it, answers: it is asked again
                pass_on_cancellation()
                await asyncio.sleep(self._explain(error, limit, pause) * self._jitter())
                pause = pause if isinstance(error, TransientError) else min(pause * 2, LONGEST_PAUSE)
                if self._store.engine_up:
                    self.look_at_all()
                continue
            limit.kept()
            pause = self._pace.retry_min
            if not self._searched.is_set():
                self._tell_none(proxies.looked_at)
                self._searched.set()

    def _explain(self, error: Exception, limit: GrowingLimit, pause: float) -> float:
        """Say why proxies could not be looked for; gives the seconds until the next attempt."""
        if isinstance(error, TransientError):
            log.debug("proxies.failed", message=str(error))
            return self._pace.retry_min
        if isinstance(error, TimeoutError):
            limit.exceeded()
            log.warning("proxies.slow", message="looking for proxies takes too long; does Docker hang? It is asked again")
        else:
            self._faults.tell("proxies.crashed", error, about="proxies", message=str(error), next_in=round(pause, 1))
        return pause

    async def _apply(self, change: Change) -> None:
        for name in change.retire:
            await self._leave(name)
            if before := self._store.drop(name):
                self._on_change(before, Snapshot(name))
        for source in change.follow:
            await self._leave(source.name)
            follower = self._make(source)
            self.each.append(follower)
            if self._tasks:
                self._tasks.start(_task_of(source.name), follower.follow)
        for follower in self:
            if follower.source_name in change.touched:
                follower.wake()
        if change.follow or change.unused:
            self._on_arrival()

    def _tell_none(self, looked_at: int) -> None:
        """Say that nothing was found, unless what was left explains it; without any source that is worth a warning."""
        if self._store.found or self._store.unused or (self._store.left and self.each):
            return
        message = f"no proxy found yet: of {looked_at} containers none keeps certificates as the known proxies do"
        if self.each:
            log.info("proxy.none", message=message)
        else:
            log.warning("proxy.none", message=f"{message}; start one, or set CERTFERRY_SOURCES")

    async def _leave(self, name: str) -> None:
        """Stop following a source; what is known of it stays."""
        for follower in [follower for follower in self if follower.source_name == name]:
            self.each.remove(follower)
            follower.leave()
            if self._tasks:
                await self._tasks.stop(_task_of(name))

    def _make(self, source: Source) -> Follower:
        return Follower(source, self._store, self._on_change, pace=self._pace, jitter=self._jitter)


def _task_of(source: str) -> str:
    return f"source-{source}"
