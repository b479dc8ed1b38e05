"""Which certificates the targets ask for, for the source that makes what nobody has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controller.domain.target import Target, TargetKey
from controller.ports import Wish


class Wishes:
    """Implements `controller.ports.Wishes`; the reconciler tells it what each target wants."""

    def __init__(self) -> None:
        self._by_target: dict[TargetKey, frozenset[Wish]] = {}
        self._subscribers: set[asyncio.Event] = set()

    def note(self, target: Target) -> None:
        """What a target needs; places that may stay as they are need nothing."""
        wishes = frozenset(Wish(target.domains, p.slot.key_type) for p in target.places if not p.slot.optional)
        if self._by_target.get(target.key) != wishes:
            self._by_target[target.key] = wishes
            self._tell()

    def forget(self, key: TargetKey) -> None:
        """A target is none any more."""
        if self._by_target.pop(key, None) is not None:
            self._tell()

    def wanted(self) -> frozenset[Wish]:
        """See `controller.ports.Wishes.wanted`."""
        return frozenset().union(*self._by_target.values())

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        """See `controller.ports.Wishes.subscribe`."""
        changed = asyncio.Event()
        self._subscribers.add(changed)
        try:
            yield _hints(changed)
        finally:
            self._subscribers.discard(changed)

    def _tell(self) -> None:
        for subscriber in self._subscribers:
            subscriber.set()


async def _hints(changed: asyncio.Event) -> AsyncIterator[None]:
    while True:
        await changed.wait()
        changed.clear()
        yield
