"""A queue of keys, each with the moment it is due (after client-go's workqueue).

A key is in it once; of two deadlines the earlier wins; a key added while it is worked on runs once more afterwards, and never
twice at a time. A key that failed is never dropped: it comes back after a growing delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """All times are seconds of `clock`; `jitter` gives a factor around 1 for the delays of retries."""

    def __init__(self, *, retry_min: float, retry_max: float, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._retry_min, self._retry_max = retry_min, retry_max
        self._clock, self._jitter = clock, jitter
        self._due: dict[K, float] = {}
        self._again: dict[K, float] = {}
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have a key worked on after `delay` seconds, or earlier if it was due earlier."""
        waiting = self._again if key in self._working else self._due
        due = self._clock() + delay
        if due < waiting.get(key, float("inf")):
            waiting[key] = due
            self._changed.set()

    def retry(self, key: K) -> float:
        """Have a key that failed come back, after twice the delay of its last failure; returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._retry_min * 2.0 ** min(failures, 60), self._retry_max) * self._jitter()
        self.add(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Start anew with the delays of a key, since it succeeded."""
        self._failures.pop(key, None)

    def discard(self, key: K) -> None:
        """Drop what is planned for a key that does not exist any more."""
        self._due.pop(key, None)
        self._again.pop(key, None)
        self._failures.pop(key, None)

    def attempt(self, key: K) -> int:
        """How often the key has failed in a row."""
        return self._failures.get(key, 0)

    @property
    def depth(self) -> int:
        """How many keys are due now or being worked on."""
        now = self._clock()
        return len(self._working) + sum(due <= now for due in self._due.values())

    @property
    def working(self) -> frozenset[K]:
        """The keys that are being worked on."""
        return frozenset(self._working)

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on."""
        return not self._working

    async def get(self) -> K:
        """Wait for the key that is due first; the caller must call `done` for it."""
        while True:
            self._changed.clear()
            key = min(self._due, key=self._due.__getitem__, default=None)
            if key is not None and self._due[key] <= self._clock():
                del self._due[key]
                self._working.add(key)
                return key
            await self._wait(None if key is None else self._due[key] - self._clock())

    async def claim(self, key: K) -> None:
        """Begin to work on a key that need not be due, once nobody else works on it; the caller must call `done` for it."""
        while key in self._working:
            self._changed.clear()
            await self._wait(None)
        self._working.add(key)
        if (due := self._due.pop(key, None)) is not None:
            self._again[key] = due

    def done(self, key: K) -> None:
        """End the work on a key."""
        self._working.discard(key)
        if key in self._again:
            due = self._again.pop(key)
            self.add(key, max(0.0, due - self._clock()))
        self._changed.set()

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
