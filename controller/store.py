"""What the controller knows at this moment, in memory: snapshots, source states, conditions of targets.

Nothing here is needed to act rightly: a new process reads all of it anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from controller.domain.certificate import Leaf
from controller.domain.condition import Condition
from controller.domain.observed import Served
from controller.domain.snapshot import Snapshot, SourceStatus
from controller.domain.target import Target, TargetKey


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
    unused: dict[str, str] = field(default_factory=dict)
    """Those of them that would be sources did the operator say so: what was found, and the label that says it."""
    engine_up: bool = False
    engine_message: str = "not asked yet"

    @property
    def snapshots_in_order(self) -> dict[str, Snapshot]:
        """By the order of the sources, whichever was read first."""
        names = dict.fromkeys((*self.sources, *self.snapshots))
        return {name: self.snapshots[name] for name in names if name in self.snapshots}

    @property
    def all_ready(self) -> bool:
        return all(status.condition.ready for status in self.targets.values())
