"""Turn a source into a stream of snapshots: enter → load → (hint → load)*; unavailable → leave, back off, enter again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem, Snapshot, SourceStatus
from controller.ports import Source
from controller.store import Store

log = structlog.get_logger()

TORN_PAUSE, TORN_READINGS = 0.1, 3
"""Seconds before a source that did not parse is read again, at first: proxies rewrite in place, and are done by then. So many
readings in a row may fail before that is news."""

LONGEST_AWAY = 30.0
"""Seconds: the longest wait before a source that cannot be had is tried again."""
_SHARE = 40
"""Who was away for a minute is met again within one and a half seconds, who was away for twenty within half a minute."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: the first and the longest wait after a failure, and the time after which a source is read without any hint."""

    retry_min: float
    retry_max: float
    resync: float

    def wait_after(self, away: float) -> float:
        """How long to wait before a source that has been away for so many seconds is tried again."""
        return min(max(self.retry_min, away / _SHARE), self.retry_max, LONGEST_AWAY)


class Follower:
    """Keeps the store's view of one source; `on_change` gets the snapshot before and after, when they differ."""

    def __init__(
        self,
        source: Source,
        store: Store,
        on_change: Callable[[Snapshot, Snapshot], None],
        *,
        pace: Pace,
        jitter: Callable[[], float],
    ) -> None:
        self._source, self._store, self._on_change = source, store, on_change
        self._pace, self._jitter = pace, jitter
        self._problems: frozenset[Problem] = frozenset()
        self._failures = 0
        self._told: tuple[Reason, str] | None = None
        self._woken = asyncio.Event()
        self.tried = asyncio.Event()
        """Set once the source was read, or failed to be."""
        store.sources.setdefault(source.name, SourceStatus())

    @property
    def source_name(self) -> str:
        return self._source.name

    def wake(self) -> None:
        """Something happened that may have mended a source that is down: try it now."""
        self._woken.set()

    async def follow(self) -> None:
        """Run for ever."""
        loop = asyncio.get_running_loop()
        stood = loop.time()
        while True:
            try:
                async with self._source.subscribe() as hints:
                    async for _ in self._load_at_hints(hints):
                        stood = loop.time()
            except SourceUnavailable as error:
                self._failed(Reason.SOURCE_UNAVAILABLE, str(error))
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.wait_after(loop.time() - stood) * self._jitter()):
                    await self._woken.wait()

    async def load(self) -> bool:
        """Read the source once; false when it failed: that is recorded, and the last good state stays."""
        try:
            snapshot = await self._source.load()
        except SourceUnavailable as error:
            self._failed(Reason.SOURCE_UNAVAILABLE, str(error))
        except SourceMalformed as error:
            self._failed(Reason.SOURCE_MALFORMED, str(error))
        else:
            self._loaded(snapshot)
            return True
        return False

    async def load_once(self) -> None:
        """Read the source for a command that does not stay; every failure is recorded."""
        for _ in range(5):
            if await self.load() or self._store.sources[self._source.name].reason is Reason.SOURCE_UNAVAILABLE:
                return
            await asyncio.sleep(TORN_PAUSE)

    async def _load_at_hints(self, hints: AsyncIterator[None]) -> AsyncIterator[None]:
        """Load, and again at each hint or when it is time to look without one; ends with the hints.

        It is time sooner when the source is being written to.

        The next hint is awaited all the while, also beyond a look without it: cancelling could lose one, or end the source.
        """
        hint = asyncio.ensure_future(_next(hints))
        torn_pause = TORN_PAUSE
        try:
            while True:
                good = await self.load()
                yield
                await asyncio.wait({hint}, timeout=self._until_next_look() if good else torn_pause)
                torn_pause = TORN_PAUSE if good or hint.done() else min(torn_pause * 2, self._pace.retry_max)
                if hint.done():
                    if not hint.result():
                        return
                    hint = asyncio.ensure_future(_next(hints))
        finally:
            hint.cancel()
            with suppress(asyncio.CancelledError):
                await hint

    def _until_next_look(self) -> float:
        resync = self._pace.resync * self._jitter()
        again = self._store.snapshots[self._source.name].again
        return resync if again is None else min(resync, again)

    def _loaded(self, snapshot: Snapshot) -> None:
        self.tried.set()
        before = self._store.snapshots.get(self._source.name)
        self._store.snapshots[self._source.name] = snapshot
        self._store.sources[self._source.name] = SourceStatus(up=True, message="", loaded_at=time.time())
        if before is None or self._told:
            log.info("source.loaded", source=self._source.name, certificates=len(snapshot.entries))
        self._failures, self._told = 0, None
        for problem in snapshot.problems:
            if problem not in self._problems:
                log.warning(
                    "source.entry_unusable",
                    source=self._source.name,
                    entry=problem.label,
                    reason=problem.reason,
                    message=problem.message,
                )
        self._problems = frozenset(snapshot.problems)
        if before is None or before != snapshot:
            self._on_change(before or Snapshot(self._source.name), snapshot)

    def _failed(self, reason: Reason, message: str) -> None:
        self.tried.set()
        before = self._store.sources[self._source.name]
        self._store.sources[self._source.name] = SourceStatus(False, reason, message, before.loaded_at)
        self._failures += 1
        if reason is Reason.SOURCE_MALFORMED and self._failures <= TORN_READINGS:
            log.debug("source.torn", source=self._source.name, message=message)
        elif self._told != (reason, message):
            self._told = (reason, message)
            log.warning("source.degraded", source=self._source.name, reason=reason, message=message)


async def _next(hints: AsyncIterator[None]) -> bool:
    """Wait for a hint; false when there will be none any more."""
    async for _ in hints:
        return True
    return False


def changed_names(before: Snapshot, after: Snapshot) -> frozenset[str]:
    """The DNS names of every certificate that came or went, be it only with another chain or key."""
    changed = set(before.entries) ^ set(after.entries)
    return frozenset(name for entry in changed for name in entry.certificate.leaf.names)
