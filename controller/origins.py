"""Which source held which certificate in this process, and since when sources are gone: state in memory, of bounded size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from controller.domain.origin import Known
from controller.domain.recent import Recent
from controller.domain.snapshot import Snapshot

LEAVES = 10_000
"""Leaves that are remembered after they left their source: one target has one or two, and a renewal leaves one behind."""
SOURCES = 256
"""Sources that are remembered as gone."""


class Origins:
    """Told by whoever follows the sources; `clock` is one that cannot jump, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: Recent[str, frozenset[str]] = Recent(LEAVES)
        self._gone_since: dict[str, float] = {}
        self.order: tuple[str, ...] = ()
        """See `controller.domain.origin.Known`; so the next."""
        self.searching = False

    def changed(self, before: Snapshot, after: Snapshot) -> None:
        """A source was read: what it held and holds no more is remembered."""
        for fingerprint in _leaves(before) - _leaves(after):
            self._held.put(fingerprint, (self._held.get(fingerprint) or frozenset()) | {after.source})

    def is_not_gone(self, source: str) -> None:
        """It was read, or cannot be reached: so nobody can say that it is gone."""
        self._gone_since.pop(source, None)

    def is_gone(self, source: str) -> bool:
        """Its container or setting is not there; whether that is news."""
        if source in self._gone_since:
            return False
        self._gone_since[source] = self._clock()
        while len(self._gone_since) > SOURCES:
            del self._gone_since[next(iter(self._gone_since))]
        return True

    def known(self, leaves: Iterable[str], unread: Iterable[str] = ()) -> Known:
        """What is known now; of who held what, for these fingerprints."""
        now = self._clock()
        return Known(
            held={leaf: names for leaf in leaves if (names := self._held.get(leaf))},
            gone={source: now - since for source, since in self._gone_since.items()},
            unread=frozenset(unread),
            searching=self.searching,
            order=self.order,
        )


def _leaves(snapshot: Snapshot) -> set[str]:
    return {entry.certificate.fingerprint for entry in snapshot.entries}
