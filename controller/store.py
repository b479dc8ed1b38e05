"""What the controller knows at this moment, in memory: snapshots, source states, conditions of targets.

Nothing here is needed to act rightly: a new process reads all of it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.domain.certificate import Leaf
from controller.domain.condition import Condition
from controller.domain.observed import Served
from controller.domain.origin import Known
from controller.domain.snapshot import Snapshot, SourceStatus
from controller.domain.target import Target, TargetKey
from controller.expiry import first_word, usual_part
from controller.origins import Origins
from controller.renewals import Renewals


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """The last word on one target, as the status page shows it."""

    name: str
    condition: Condition
    target: Target | None = None
    chosen: tuple[tuple[str, Leaf], ...] = ()
    """Source and leaf of each certificate that should be installed."""
    installed: tuple[Leaf, ...] = ()
    served: tuple[Served, ...] = ()
    last_success: datetime | None = None
    endings: tuple[str, ...] = ()
    """What is said of installed certificates that were not renewed in time."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Store:
    """Snapshots and states by name. A source that fails keeps its last good snapshot (promise 7)."""

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    sources: dict[str, SourceStatus] = field(default_factory=dict)
    targets: dict[TargetKey, TargetStatus] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    """How each source was found that nobody configured."""
    left: dict[str, str] = field(default_factory=dict)
    """Containers that look like proxies and are no sources, by name, and why."""
    unused: dict[str, str] = field(default_factory=dict, repr=False)
    """Those of them that would be sources did the operator say so: what was found, and the label that says it."""
    origins: Origins = field(default_factory=Origins)
    renewals: Renewals = field(default_factory=Renewals)
    now: Callable[[], datetime] = field(default=_utc_now, repr=False)
    """The wall clock."""
    engine_up: bool = False
    engine_message: str = "not asked yet"

    @property
    def snapshots_in_order(self) -> dict[str, Snapshot]:
        """By the order of the sources, whichever was read first."""
        names = dict.fromkeys((*self.sources, *self.snapshots))
        return {name: self.snapshots[name] for name in names if name in self.snapshots}

    def put(self, snapshot: Snapshot) -> Snapshot:
        """Take what a source was read to hold; what it held before comes back."""
        before = self.snapshots.get(snapshot.source) or Snapshot(snapshot.source)
        self.snapshots[snapshot.source] = snapshot
        self.origins.changed(before, snapshot)
        self.renewals.changed(before, snapshot, self.now())
        self.origins.is_not_gone(snapshot.source)
        return before

    def drop(self, source: str) -> Snapshot | None:
        """Forget a source that is none any more, but for what it held; that comes back."""
        self.sources.pop(source, None)
        self.origins.is_gone(source)
        if before := self.snapshots.pop(source, None):
            self.origins.changed(before, Snapshot(source))
        return before

    def known(self, leaves: Iterable[str]) -> Known:
        """See `controller.origins.Origins.known`."""
        return self.origins.known(leaves, self.sources.keys() - self.snapshots.keys())

    def first_word(self, source: str, leaf: Leaf) -> float:
        """At which part of its life a source should have renewed a certificate; see `controller.expiry.first_word`."""
        snapshot = self.snapshots.get(source)
        usual = usual_part(leaf, snapshot.schedule) if snapshot else None
        return first_word(self.renewals.seen(source, leaf), usual)

    @property
    def all_ready(self) -> bool:
        return all(status.condition.ready for status in self.targets.values())
