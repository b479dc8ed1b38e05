"""Whether a certificate may take the place of one that another source delivered. Pure.

A switch of source is a decision, not a matter of dates (design §4): of two sources with certificates for one name, each renewal
of either would be newer than what the other brought.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.domain.certificate import Leaf, Trust
from controller.domain.moment import Moment
from controller.domain.origin import GONE_AFTER, Known
from controller.domain.snapshot import Snapshot
from controller.domain.target import Slot
from controller.selection import Candidate, has_problem_with

_USELESS = (Trust.SELF_SIGNED, Trust.STAGING)
"""What no client accepts is not worth keeping from whoever has something better."""
_WITHOUT_CHAIN = (Trust.REFUSED, Trust.INCOMPLETE)
"""Nor is this, from whoever has what all accept. Of a private CA nobody knows whether its clients accept it: its root may be at
hand in the sources, and never is where a pair is installed."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What stands in a place and works: its leaf, and who vouches for it."""

    leaf: Leaf
    trust: Trust


@dataclass(frozen=True, slots=True)
class Origin:
    """Which sources delivered what is `installed` in a place; none where nobody knows.

    `sure`: one of them holds it, or held it in this process. `late` is when the last of their pairs for the place has a fifth
    of its life left; ``None`` where they have none. `waits_for` are sources that may have delivered it and were not read yet.
    """

    installed: Installed
    sources: frozenset[str] = frozenset()
    sure: bool = False
    late: datetime | None = None
    waits_for: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        return ", ".join(sorted(self.sources) or self.waits_for)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may be installed, as far as its source is concerned, and why; `why` is empty for no switch at all."""

    allowed: bool
    why: str = ""


NO_SWITCH = Verdict(True)


def find_origin(
    installed: Installed,
    slot: Slot,
    snapshots: Mapping[str, Snapshot],
    fitting: Iterable[Candidate],
    known: Known,
    wanted: Sequence[str],
) -> Origin:
    """Who delivered what is installed; `fitting` are the candidates that may be used now, `wanted` the sources of the label.

    Who holds it, or held it; else who has a pair for the same names by the same organisation; else the first in order.
    """
    leaf = installed.leaf
    key_type = leaf.key_type if slot.alternative else slot.key_type  # what stands in the first place is none for this one
    fitting = [c for c in fitting if key_type in (None, c.certificate.leaf.key_type)]
    real = [c for c in fitting if not c.stand_in]

    def origin(sources: frozenset[str], *, sure: bool = False) -> Origin:
        return Origin(installed, sources, sure, _late(installed, sources, snapshots, fitting))

    if holding := _holders(leaf, snapshots) | known.held.get(leaf.fingerprint, frozenset()):
        return origin(holding, sure=True)
    if alike := frozenset(c.source for c in real if _is_alike(c.certificate.leaf, leaf)):
        return origin(alike)
    if unread := tuple(sorted(name for name in known.unread if not known.is_gone(name) and name in (wanted or (name,)))):
        return Origin(installed, late=leaf.late, waits_for=unread)
    if known.searching and not wanted:
        return Origin(installed, late=leaf.late, waits_for=("the proxies that are looked for",))
    order = wanted or tuple(snapshots)
    first = min((c.source for c in real), key=order.index, default=None)
    return Origin(installed) if first is None else origin(frozenset({first}))


def _holders(leaf: Leaf, snapshots: Mapping[str, Snapshot]) -> frozenset[str]:
    name = leaf.names[0]
    return frozenset(
        source
        for source, snapshot in snapshots.items()
        if any(entry.certificate.fingerprint == leaf.fingerprint for entry in snapshot.by_name.get(name, ()))
    )


def _is_alike(one: Leaf, other: Leaf) -> bool:
    return one.organisation == other.organisation and frozenset(one.names) == frozenset(other.names)


def _late(
    installed: Installed, sources: Collection[str], snapshots: Mapping[str, Snapshot], fitting: Iterable[Candidate]
) -> datetime | None:
    """Of a source whose certificates are not known any more, or cannot be used just now, what it delivered counts."""
    names = frozenset(installed.leaf.names)
    theirs = [c.certificate.leaf for c in fitting if c.source in sources and c.certificate.trust >= installed.trust]
    if any(source not in snapshots or has_problem_with(snapshots[source], names) for source in sources):
        theirs.append(installed.leaf)
    return max((leaf.late for leaf in theirs), default=None)


def judge(candidate: Candidate, origin: Origin, known: Known, wanted: Sequence[str], now: Moment) -> Verdict:
    """Whether a candidate may replace what works; `wanted` as in `find_origin`."""
    theirs, ours = candidate.certificate.trust, origin.installed.trust
    better = (ours in _USELESS and theirs > ours) or (ours in _WITHOUT_CHAIN and theirs is Trust.PUBLIC)
    if candidate.source in origin.sources or not origin.names or better:
        return NO_SWITCH
    if why := _allowed(candidate, origin, known, wanted, now):
        return Verdict(True, f"a switch of source, since {why}")
    short = origin.installed.leaf.short
    if origin.waits_for:
        told = f"nobody knows who delivered {short}, which works: not read yet: {origin.names}"
    else:
        told = (
            f"{short} works and was delivered by {origin.names}, which is not gone and has more than a fifth of its life left"
        )
        if waited := [known.gone[source] for source in origin.sources if source in known.gone]:
            told = f"{short} works and was delivered by {origin.names}, which is gone for {_minutes(min(waited))} only"
    return Verdict(False, f"{told}; {candidate.source} may replace it {_when(origin, known)}")


def _allowed(candidate: Candidate, origin: Origin, known: Known, wanted: Sequence[str], now: Moment) -> str:
    """Why another source's certificate may replace it; empty where it may not."""
    if origin.sources and wanted and not origin.sources & set(wanted):
        return f"its label does not name {origin.names}"
    if origin.late is None:
        return f"{origin.names} has none for it any more"
    if now.is_after(origin.late):
        return f"{'what is installed' if origin.waits_for else origin.names} has no more than a fifth of its life left"
    return "" if origin.waits_for else _preferred_or_gone(candidate, origin, known, wanted)


def _preferred_or_gone(candidate: Candidate, origin: Origin, known: Known, wanted: Sequence[str]) -> str:
    if _stands_before(candidate.source, origin.sources, wanted if len(wanted) > 1 else known.order):
        return f"{candidate.source} stands before {origin.names} in the order of the sources"
    if all(known.is_gone(source) for source in origin.sources):
        return f"{origin.names} is gone for {_minutes(min(known.gone[source] for source in origin.sources))}"
    return ""


def _stands_before(source: str, others: Collection[str], order: Sequence[str]) -> bool:
    return source in order and all(other in order and order.index(source) < order.index(other) for other in others)


def _when(origin: Origin, known: Known) -> str:
    after = f"from {origin.late:%Y-%m-%d %H:%M} UTC on"
    return f"after {_minutes(GONE_AFTER)}, or {after}" if any(source in known.gone for source in origin.sources) else after


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min"


def next_look(
    known: Known, origins: Collection[Origin], candidates: Iterable[Candidate], chosen: Iterable[Leaf], now: datetime
) -> float | None:
    """Seconds until the choice may be another one by what is decided here: a source counts as gone, a pair as late, or it ends.

    Only where there is another source's candidate, or one that ends later: each look costs a connection to every port.
    """
    candidates = tuple(candidates)
    ends = [candidate.certificate.leaf.not_after for candidate in candidates]
    sources = {candidate.source for candidate in candidates}
    concerned = sources.union(*known.held.values(), *(origin.waits_for for origin in origins))
    rests = [
        GONE_AFTER - gone
        for source, gone in known.gone.items()
        if gone < GONE_AFTER and source in concerned and sources - {source}
    ]
    moments = [*(origin.late for origin in origins if origin.late), *(leaf.late for leaf in chosen if len(sources) > 1)]
    moments += [end for origin in origins if (end := origin.installed.leaf.not_after) < max(ends, default=end)]
    rests += [(moment - now).total_seconds() for moment in moments if moment > now]
    return min(rests, default=None)
