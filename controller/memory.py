"""What is remembered of a target from one look to the next. Losing it costs at most one reload or one wait. Pure state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from pathlib import PurePosixPath

from controller.domain.container import State
from controller.domain.observed import Ask, Served
from controller.domain.target import Place, Reload, Target
from controller.endings import Ending
from controller.locks import Area
from controller.policies import Facts


@dataclass(frozen=True, slots=True)
class Input:
    """What makes an attempt another one: the certificates and where they go, how they are loaded, the container's start.

    Of a certificate its leaf's fingerprint and a digest of the whole: this is remembered for days, and shall hold no key.
    """

    chosen: tuple[tuple[Place, str, str], ...]
    reload: tuple[Reload, ...]
    started_at: datetime | None

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The certificates alone, wherever they go: where that is may be told differently from one look to the next."""
        return frozenset((fingerprint, digest) for _, fingerprint, digest in self.chosen)

    @property
    def leaves(self) -> tuple[str, ...]:
        return tuple(fingerprint for _, fingerprint, _ in self.chosen)


def input_of(facts: Facts) -> Input:
    """The input of an act on these facts."""
    chosen = tuple((place, c.certificate.fingerprint, c.certificate.digest) for place, c in facts.selection.chosen)
    return Input(chosen, facts.target.reload, facts.target.container.started_at)


@dataclass(slots=True)
class Memory:
    """Of one target. Times are seconds of the monotonic clock."""

    silent_since: float | None = None
    written: Input | None = None
    """The input of a write, until the target was seen without anything to write."""
    overwritten: Input | None = None
    """The input of a write that somebody else undid at once, until the target was ready."""
    reloaded: Input | None = None
    """The input of a reload without a write, until the target was ready."""
    owed: Input | None = None
    """The input whose reload failed."""
    cut_off: tuple[Input, int] | None = None
    """The input of an act whose commands were cut off, and how often in a row."""
    in_use: Input | None = None
    """The input that the services loaded last."""
    verified: dict[Ask, Served] = field(default_factory=dict)
    """What each port handed out, leaf and chain, when it was last right, since the container's start at `verified_since`."""
    verified_since: datetime | None = None
    settled: frozenset[Ask] = frozenset()
    """What need not be asked again at the next look: it was right a moment ago."""
    partly: bool = False
    """The last look was such a one."""
    confirm_at: float | None = None
    """When an act is to be looked at once more."""
    stopped: dict[str, datetime] = field(default_factory=dict)
    """Services that did not run when they were to be reloaded, and since when that is known."""
    looks: int = 0
    """How often in a row nothing could be done but look again."""
    started: tuple[datetime, float] | None = None
    """A start of the container by the engine's clock, and by ours that cannot jump."""
    differs: tuple[Input, float] | None = None
    """What the files were first seen to differ from, and since when."""
    beside: tuple[PurePosixPath, ...] = ()
    """Files that its container was found to use at the last look: read at once at the next."""
    told_endings: dict[str, float] = field(default_factory=dict)
    """At which step of its life something was last said of an installed leaf, by its fingerprint."""
    leads_to: frozenset[PurePosixPath] = frozenset()
    """Where the symbolic links among its paths led at the last look."""
    areas: frozenset[Area] = frozenset()
    """What it may share with others, links included."""

    def known(self, target: Target) -> dict[Ask, Served]:
        """Ports that were right since the container was started, and what they handed out."""
        if self.verified_since != target.container.started_at or target.container.state is not State.RUNNING:
            return {}
        return {ask: served for ask, served in self.verified.items() if ask.port in target.probe}

    def learn(self, target: Target, served: tuple[Served, ...]) -> None:
        """Ports that are right now."""
        ports = {one.port for one in served if one.leaf}
        others = {ask: one for ask, one in self.known(target).items() if ask.port not in ports}
        self.verified = others | {one.ask: one for one in served if one.leaf}
        self.verified_since = target.container.started_at

    def count_cut(self, given: Input) -> int:
        """One more act whose commands were cut off; how often in a row that is."""
        before = self.cut_off[1] if self.cut_off and self.cut_off[0] == given else 0
        self.cut_off = given, before + 1
        return before + 1

    def not_told(self, all_endings: Iterable[Ending]) -> list[Ending]:
        """Those at a step at which nothing was said of them yet; from now on it was."""
        all_endings = tuple(all_endings)
        new = [ending for ending in all_endings if ending.step < self.told_endings.get(ending.leaf.fingerprint, inf)]
        self.told_endings = {ending.leaf.fingerprint: ending.step for ending in all_endings}
        return new

    def pause(self, shortest: float, longest: float) -> float:
        """Seconds until the next of many looks: each time twice as long."""
        pause = min(shortest * 2.0 ** min(self.looks, 20), longest)
        self.looks += 1
        return pause
