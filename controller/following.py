"""Turn a source into a stream of snapshots: enter → load → (hint → load)*; unavailable → leave, back off, enter again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Set
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from controller.domain.errors import SourceGone, SourceMalformed, SourceUnavailable
from controller.domain.finding import Finding, Reason
from controller.domain.snapshot import Problem, Snapshot, SourceStatus
from controller.ending import GrowingLimit, end, pass_on_cancellation
from controller.expiry import longest_pause
from controller.faults import Faults
from controller.ports import Source
from controller.store import Store

log = structlog.get_logger()

TORN_PAUSE, TORN_READINGS = 0.1, 3
"""Seconds before a source that did not parse is read again, at first: proxies rewrite in place, and are done by then. So many
readings in a row may fail before that is news."""

LONGEST_AWAY = 30.0
"""Seconds: the longest wait before a source that cannot be had is tried again."""

WATCH_LIMIT, LONGEST_WATCH = 10.0, 60.0
"""Seconds that a subscription may take to stand, at first and at most. Real ones stand within a second; a gateway that buffers
what it passes on never lets one stand. Then the source is read at each attempt."""
LOAD_LIMIT, LONGEST_LOAD = 30.0, 600.0
"""Seconds that one reading may take, at first and at most: who is slow, but alive, gets twice as long each time."""
LEAVE_LIMIT = 1.0
"""Seconds that a subscription may take to be left."""

SLOW = "reading it takes too long: does its mount hang, or its server? What was read last stays in use; it is tried again"
UNWATCHED = "it is read from time to time, since it does not tell of changes"

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
        self._told: Finding | None = None
        self._note = ""
        self._faults = Faults()
        self._watching, self._loading = GrowingLimit(WATCH_LIMIT, LONGEST_WATCH), GrowingLimit(LOAD_LIMIT, LONGEST_LOAD)
        self._reading: asyncio.Task[Snapshot] | None = None
        """The reading that did not end, not even when it was told to: another one is not begun before."""
        self._faults_in_a_row = 0
        self._over = False
        self._gone = False
        """Whether what was last wrong is that what it is read from was removed."""
        self._met = 0.0
        """When the source was last read under a subscription, by the loop's clock."""
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

    def late(self) -> None:
        """Say that work goes on without this source, if it was not read yet."""
        if not self.tried.is_set():
            self._failed(Finding(Reason.SOURCE_UNAVAILABLE, SLOW))

    def leave(self) -> None:
        """Let nobody wait for this source any more; what it may still bring is not wanted."""
        self._over = True
        self.tried.set()

    async def follow(self) -> None:
        """Run for ever: whatever goes wrong is told, and tried again."""
        loop = asyncio.get_running_loop()
        self._met = loop.time()
        while True:
            pass_on_cancellation()
            before = self._faults_in_a_row
            self._woken.clear()  # before the attempt: who wakes us meanwhile may have mended what it found broken
            try:
                await self._watch()
            except Exception as error:
                pass_on_cancellation()
                self._failed(self._trouble(error))
            if self._faults_in_a_row == before:
                self._faults_in_a_row = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait(loop.time() - self._met)):
                    await self._woken.wait()

    async def load(self) -> bool:
        """Read the source once; false when it failed: that is recorded, and the last good state stays."""
        found = await self._read()
        if isinstance(found, Finding):
            self._failed(found)
            return False
        self._loaded(found)
        return True

    async def load_once(self) -> None:
        """Read the source for a command that does not stay; every failure is recorded."""
        for _ in range(5):
            if await self.load() or self._store.sources[self._source.name].reason is Reason.SOURCE_UNAVAILABLE:
                return
            await asyncio.sleep(TORN_PAUSE)

    async def _watch(self) -> None:
        """Subscribe, and load at each hint until there are none any more; a source that cannot be watched may yet be read.

        Raises:
            SourceUnavailable: the subscription broke.
        """
        trouble = await self._follow_hints()
        if trouble is None:
            return
        away = asyncio.get_running_loop().time() - self._met
        if trouble.message and away < WATCH_LIMIT:  # who starts anew is back by then, with all that it can
            self._failed(trouble)
            return
        found = await self._read()
        if not isinstance(found, Finding):
            self._loaded(found, f"{UNWATCHED}: {trouble.message}" if trouble.message else UNWATCHED)
        else:
            self._failed(trouble if trouble.message else found)

    async def _follow_hints(self) -> Finding | None:
        """Why there is no subscription, without a message where the source gives none; ``None`` when there was one."""
        loop, stands, limit = asyncio.get_running_loop(), False, asyncio.timeout(self._watching.seconds)
        try:
            async with limit, self._source.subscribe() as hints:
                limit.reschedule(None)
                stands = True
                self._watching.kept()
                try:
                    await self._load_at_hints(hints)
                finally:
                    limit.reschedule(loop.time() + LEAVE_LIMIT)
        except Exception as error:
            pass_on_cancellation()
            if stands and limit.expired():
                raise SourceUnavailable(f"its subscription did not end within {LEAVE_LIMIT:g} s; it begins anew") from error
            if limit.expired():
                self._watching.exceeded()
                return Finding(Reason.SOURCE_UNAVAILABLE, "")
            if stands:
                raise
            trouble = self._trouble(error)
            return trouble if isinstance(error, SourceUnavailable) else replace(trouble, message="")
        return None

    async def _load_at_hints(self, hints: AsyncIterator[None]) -> None:
        """Load, and again at each hint or when it is time to look without one; ends with the hints.

        It is time sooner when the source is being written to.

        The next hint is awaited all the while, also beyond a look without it: cancelling could lose one, or end the source.
        """
        loop, torn_pause = asyncio.get_running_loop(), TORN_PAUSE
        hint = self._await_hint(hints)
        try:
            while True:
                pass_on_cancellation()
                good = await self.load()
                self._met = loop.time()
                await asyncio.wait({hint}, timeout=self._until_next_look() if good else torn_pause)
                torn_pause = TORN_PAUSE if good or hint.done() else min(torn_pause * 2, self._pace.retry_max)
                if hint.done():
                    if hint.cancelled() or not hint.result():
                        return
                    hint = self._await_hint(hints)
        finally:
            await end(hint)

    def _await_hint(self, hints: AsyncIterator[None]) -> asyncio.Task[bool]:
        return asyncio.create_task(_next(hints), name=f"hints of {self._source.name}")

    async def _read(self) -> Snapshot | Finding:
        """What the source holds, or why that cannot be had within the limit."""
        task = self._reading or asyncio.create_task(self._source.load(), name=f"reading {self._source.name}")
        try:
            await asyncio.wait({task}, timeout=self._loading.seconds)
            slow = not task.done()
        finally:
            await end(task)
            self._reading = None if task.done() else task
        if slow:
            self._loading.exceeded()
            return Finding(Reason.SOURCE_UNAVAILABLE, SLOW)
        self._loading.kept()
        try:
            return task.result()
        except asyncio.CancelledError:  # not by us: something within gave up
            return Finding(Reason.SOURCE_UNAVAILABLE, SLOW)
        except Exception as error:
            return self._trouble(error)

    def _trouble(self, error: Exception) -> Finding:
        """What an error means; one that nobody foresaw is told with its traceback."""
        self._gone = isinstance(error, SourceGone)
        if isinstance(error, SourceUnavailable):
            return Finding(Reason.SOURCE_UNAVAILABLE, str(error))
        if isinstance(error, SourceMalformed):
            return Finding(Reason.SOURCE_MALFORMED, str(error))
        self._faults_in_a_row += 1
        self._faults.tell("source.crashed", error, about="source", secret=True, source=self._source.name)
        text = f"a fault in certferry ({type(error).__name__}), see its log; what was read last stays in use; it is tried again"
        return Finding(Reason.SOURCE_UNAVAILABLE, text)

    def _wait(self, away: float) -> float:
        """Seconds until the next attempt; longer each time where a fault of ours would come back at once."""
        after_faults = self._pace.retry_min * 2.0 ** min(self._faults_in_a_row - 1, 60) if self._faults_in_a_row else 0.0
        return max(self._pace.wait_after(away), min(after_faults, LONGEST_AWAY)) * self._jitter()

    def _until_next_look(self) -> float:
        snapshot = self._store.snapshots[self._source.name]
        longest = min((longest_pause(entry.certificate.leaf) for entry in snapshot.entries), default=self._pace.resync)
        resync = min(self._pace.resync, longest) * self._jitter()
        again = snapshot.again
        return resync if again is None else min(resync, again)

    def _loaded(self, snapshot: Snapshot, note: str = "") -> None:
        """Take what was read; `note` says why its changes are not told."""
        if self._over:
            return
        self.tried.set()
        name = self._source.name
        unread = name not in self._store.snapshots
        before = self._store.put(snapshot)
        self._store.sources[name] = SourceStatus(up=True, message=note, loaded_at=time.time())
        if unread or self._told:
            log.info("source.loaded", source=name, certificates=len(snapshot.entries))
        if note and note != self._note:
            log.warning("source.unwatched", source=name, message=note)
        self._failures, self._told, self._note, self._gone = 0, None, note, False
        for problem in snapshot.problems:
            if problem not in self._problems:
                about = {"entry": problem.label, "reason": problem.reason, "message": problem.message}
                log.warning("source.entry_unusable", source=name, **about)
        self._problems = frozenset(snapshot.problems)
        if unread or before != snapshot:
            self._on_change(before, snapshot)

    def _note_gone(self) -> None:
        """Whom that concerns is looked at when it is news: another source may take over some time after."""
        name, gone, self._gone = self._source.name, self._gone, False
        if not gone:
            self._store.origins.is_not_gone(name)
        elif self._store.origins.is_gone(name) and (kept := self._store.snapshots.get(name)):
            self._on_change(Snapshot(name), kept)

    def _failed(self, trouble: Finding) -> None:
        if self._over:
            return
        self.tried.set()
        before = self._store.sources.get(self._source.name, SourceStatus())
        self._store.sources[self._source.name] = SourceStatus(False, trouble.reason, trouble.message, before.loaded_at)
        self._failures += 1
        self._note_gone()
        if trouble.reason is Reason.SOURCE_MALFORMED and self._failures <= TORN_READINGS:
            log.debug("source.torn", source=self._source.name, message=trouble.message)
        elif self._told != trouble:
            self._told = trouble
            log.warning("source.degraded", source=self._source.name, reason=trouble.reason, message=trouble.message)


async def _next(hints: AsyncIterator[None]) -> bool:
    """Wait for a hint; false when there will be none any more."""
    async for _ in hints:
        return True
    return False


def changed_names(before: Snapshot, after: Snapshot) -> Set[str]:
    """The DNS names of every certificate that came or went, be it only with another chain or key."""
    if not before.entries:
        return after.by_name.keys()  # those are all, and there may be millions
    changed = set(before.entries) ^ set(after.entries)
    return frozenset(name for entry in changed for name in entry.certificate.leaf.names)
