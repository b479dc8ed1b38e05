"""Which certificate a target gets, and why every other candidate lost. Pure.

The order (design §4): the names must fit, the dates, the key type; then higher trust, what all clients accept before what some
refuse, more than a fifth of its life left, a source that is not gone, an exact name before a wildcard, the key type that is
installed, the newest `not_before`, the latest end, and the order of the sources; of what is as good, what is installed, so
that the order inside a store decides nothing. What must not replace the installed files
(`controller.policies` knows) gives way to the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from controller.domain.certificate import Certificate, Leaf, Trust
from controller.domain.finding import Finding, Reason
from controller.domain.moment import Moment
from controller.domain.snapshot import Problem, Snapshot
from controller.domain.target import Place, Slot, Target
from controller.x509.hostnames import wildcard_of

_FILE_ENDING = re.compile(r"\.(?:crt|cer|pem|key|p12|pfx)$")
SHOWN = 5
"""How many names a message lists."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that covers at least one name asked for; `lost` says why it was not chosen, and is empty when it was."""

    source: str
    label: str
    certificate: Certificate
    lost: str = ""
    reason: Reason | None = None
    test: bool = False
    stand_in: bool = False
    """Both as in `Entry`."""
    switch: str = ""
    """Why it may take the place of what another source delivered, if it does."""

    def __str__(self) -> str:
        return f"{self.source}:{self.label} {self.certificate.leaf.short}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What goes into each place that gets something, every candidate's fate, and why nothing was chosen if so."""

    chosen: tuple[tuple[Place, Candidate], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    finding: Finding | None = None
    again: float | None = None
    """Seconds after which the choice may be another one though nothing happens."""


_Chosen = Sequence[tuple[Place, Candidate]]


class _Rank(NamedTuple):
    """What is better is greater."""

    trust: Trust
    sound: bool
    lasting: bool
    there: bool
    exact: int
    kept_type: bool
    begin: datetime
    end: datetime
    order: int
    kept: bool
    alike: tuple[str, str, bytes]
    """What tells two apart that are as good as each other, so that the order inside a store never decides: programs write their
    stores anew, and each change would be a reload."""


_Ranks = Mapping[int, _Rank]
"""Of those that may be chosen, by the identity of candidates, for any place; `_for_place` makes those for one."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What else makes one candidate better than another: what is installed, and which sources are gone."""

    installed: Mapping[Place, Leaf] = field(default_factory=dict, repr=False)
    gone: frozenset[str] = frozenset()


NO_PREFERENCES = Preferences()
Refuse = Callable[[Place, Candidate], Finding | None]
"""Why a candidate must not go into a place, if so."""


def _refuse_nothing(_place: Place, _candidate: Candidate) -> None:
    return None


def select(
    target: Target,
    snapshots: Mapping[str, Snapshot],
    now: datetime | Moment,
    refuse: Refuse = _refuse_nothing,
    *,
    judged: Sequence[Candidate] | None = None,
    preferences: Preferences = NO_PREFERENCES,
) -> Selection:
    """Choose a certificate for every place of a target: the best that fits and is not refused.

    `judged` is what `judge_all` says, where that is known already.
    """
    moment = now if isinstance(now, Moment) else Moment.at(now)
    sources = target.sources or tuple(snapshots)
    judged = judge_all(target, snapshots, moment) if judged is None else judged
    order = {name: -position for position, name in reversed(list(enumerate(sources)))}
    usable = [c for c in judged if not c.lost]
    ranks = {id(c): _rank(c, target.domains, moment, preferences.gone, order[c.source]) for c in usable}
    chosen: list[tuple[Place, Candidate]] = []
    refused: dict[int, Finding] = {}
    for place in target.places:
        for candidate in (
            c for c in _in_order(usable, ranks, preferences.installed.get(place)) if _fits(place.slot, c, chosen)
        ):
            if finding := refuse(place, candidate):
                refused[id(candidate)] = finding
            else:
                chosen.append((place, candidate))
                break
        else:
            if not place.slot.optional:
                told = _tell_refused(judged, (), refused)
                return Selection(
                    (), _explain(told, (), ranks, preferences), _why_none(place.slot, told, snapshots, sources, target)
                )
    return Selection(tuple(chosen), _explain(_tell_refused(judged, chosen, refused), chosen, ranks, preferences))


def judge_all(target: Target, snapshots: Mapping[str, Snapshot], moment: Moment) -> list[Candidate]:
    """Every certificate for a name of the target; those that cannot be used have lost already, and say why."""
    sources = target.sources or tuple(snapshots)
    candidates = _candidates(target.domains, [snapshots[name] for name in sources if name in snapshots])
    wanted = [(domain, wildcard_of(domain)) for domain in target.domains]
    return [_judge(candidate, wanted, target, moment) for candidate in candidates]


def count_held(target: Target, snapshots: Iterable[Snapshot]) -> int:
    """How many certificates there are for the names of a target, some of them counted more than once."""
    names = _names_for(target.domains)
    return sum(len(snapshot.by_name.get(name, ())) for snapshot in snapshots for name in names)


def _names_for(domains: Sequence[str]) -> KeysView[str]:
    """Each name that a certificate may hold for one of those asked for, once: the name itself, or the wildcard above it."""
    return dict.fromkeys(name for domain in domains for name in (domain, wildcard_of(domain))).keys()


def _candidates(domains: Sequence[str], snapshots: Iterable[Snapshot]) -> list[Candidate]:
    """Each once, however many of its names are asked for: in a store there may be thousands of both."""
    names = _names_for(domains)
    found: list[Candidate] = []
    for snapshot in snapshots:
        entries = {id(entry): entry for name in names for entry in snapshot.by_name.get(name, ())}
        found += [
            Candidate(snapshot.source, entry.label, entry.certificate, test=entry.test, stand_in=entry.stand_in)
            for entry in entries.values()
        ]
    return list(dict.fromkeys(found))


def _judge(candidate: Candidate, wanted: Sequence[tuple[str, str]], target: Target, moment: Moment) -> Candidate:
    """`wanted` holds each name asked for with the wildcard that would cover it, made once for thousands of candidates."""
    leaf = candidate.certificate.leaf
    names = frozenset(leaf.names)
    missing = [domain for domain, wildcard in wanted if domain not in names and wildcard not in names]
    if missing:
        return replace(candidate, lost=f"does not name {_some(missing)}", reason=Reason.NAME_MISMATCH)
    if moment.is_after(leaf.not_after):
        return replace(candidate, lost=f"ended on {leaf.not_after:%Y-%m-%d %H:%M} UTC", reason=Reason.EXPIRED)
    if moment.is_before(leaf.not_before):
        return replace(candidate, lost=f"begins on {leaf.not_before:%Y-%m-%d %H:%M} UTC", reason=Reason.NOT_YET_VALID)
    if candidate.test and not target.allow_untrusted:
        return replace(
            candidate, lost="was made for testing; the label allow-untrusted would take it", reason=Reason.UNTRUSTED_ISSUER
        )
    return candidate


def _rank(candidate: Candidate, domains: Sequence[str], moment: Moment, gone: frozenset[str], order: int) -> _Rank:
    leaf = candidate.certificate.leaf
    exact = len(frozenset(leaf.names).intersection(domains))
    lasting = not moment.is_after(leaf.late)
    sound = not candidate.certificate.warnings
    alike = leaf.fingerprint, candidate.label, candidate.certificate.chain_pem
    there, dates = candidate.source not in gone, (leaf.not_before, leaf.not_after)
    return _Rank(candidate.certificate.trust, sound, lasting, there, exact, False, *dates, order, False, alike)


def _for_place(rank: _Rank, candidate: Candidate, installed: Leaf | None) -> _Rank:
    leaf = candidate.certificate.leaf
    if installed is None:
        return rank
    return rank._replace(kept_type=leaf.key_type is installed.key_type, kept=leaf.fingerprint == installed.fingerprint)


def _in_order(usable: Sequence[Candidate], ranks: _Ranks, installed: Leaf | None) -> list[Candidate]:
    """The best first, for a place where that is installed."""
    return sorted(usable, key=lambda c: _for_place(ranks[id(c)], c, installed), reverse=True)


def _fits(slot: Slot, candidate: Candidate, chosen: _Chosen) -> bool:
    key_type = candidate.certificate.leaf.key_type
    if slot.alternative and chosen and key_type is chosen[0][1].certificate.leaf.key_type:
        return False
    return slot.key_type is None or key_type is slot.key_type


def _tell_refused(judged: Sequence[Candidate], chosen: _Chosen, refused: Mapping[int, Finding]) -> tuple[Candidate, ...]:
    """`refused` by the identity of candidates; whoever was chosen for another place was not."""
    why = {each: finding for each, finding in refused.items() if each not in _winners(chosen)}
    return tuple(replace(c, lost=why[id(c)].message, reason=why[id(c)].reason) if id(c) in why else c for c in judged)


def _winners(chosen: _Chosen) -> frozenset[int]:
    return frozenset(id(candidate) for _, candidate in chosen)


def _explain(judged: Sequence[Candidate], chosen: _Chosen, ranks: _Ranks, preferences: Preferences) -> tuple[Candidate, ...]:
    winners = _winners(chosen)
    return tuple(
        c if c.lost or id(c) in winners else replace(c, lost=_lost_against(c, chosen, ranks, preferences)) for c in judged
    )


def _lost_against(loser: Candidate, chosen: _Chosen, ranks: _Ranks, preferences: Preferences) -> str:
    kind = loser.certificate.leaf.key_type
    of_its_type = [one for one in chosen if one[1].certificate.leaf.key_type is kind]
    of_any_type = [one for one in chosen if one[0].slot.key_type is None and not one[0].slot.alternative]
    if not (of_its_type or of_any_type):
        return f"its key type is {kind}, another one is asked for"
    place, winner = (of_its_type or of_any_type)[0]
    installed = preferences.installed.get(place)
    ours, theirs = (_for_place(ranks[id(c)], c, installed) for c in (loser, winner))
    told = {
        "trust": f"fewer clients trust it than {winner}: {_trusts(loser.certificate, winner.certificate)}",
        "sound": f"some clients refuse it: {loser.certificate.warnings[0] if loser.certificate.warnings else ''}",
        "lasting": f"less than a fifth of its life is left, of {winner} more",
        "there": f"its source is gone, that of {winner} is not",
        "exact": f"it fits by a wildcard, {winner} by name",
        "kept_type": f"its key is {kind}; a key of the type that {winner} has is installed",
        "begin": f"it is older than {winner}",
        "end": f"it ends before {winner}",
        "order": f"{winner} stands in an earlier place",
        "kept": f"{winner} is as good and installed",
        "alike": f"{winner} is as good, and one has to be taken",
    }
    differs = (name for name in _Rank._fields if getattr(ours, name) != getattr(theirs, name))
    return told[next(differs, "alike")]


def _trusts(loser: Certificate, winner: Certificate) -> str:
    """The word for the trust of each; where both have roots that nobody here knows, what is behind that."""
    one, other = loser.vouched, winner.vouched
    return f"{one.called}, not {other.called}" if one is not other else f"{loser.trust.called}, not {winner.trust.called}"


def _why_none(
    slot: Slot, judged: Sequence[Candidate], snapshots: Mapping[str, Snapshot], sources: Sequence[str], target: Target
) -> Finding:
    names = _some(target.domains)
    judged = [c for c in judged if not c.stand_in]  # that the last resort is not wanted is no news
    usable = [c for c in judged if not c.lost]
    if usable and (slot.key_type or slot.alternative):
        kind = slot.key_type or "second key type"
        return Finding(Reason.NO_MATCHING_CERTIFICATE, f"no source holds a certificate for {names} with {kind}")
    if judged:
        nearest = max(judged, key=lambda c: (c.reason is not Reason.NAME_MISMATCH, c.certificate.leaf.not_after))
        return Finding(nearest.reason or Reason.NO_MATCHING_CERTIFICATE, f"the certificate {nearest} {nearest.lost}")
    wanted = frozenset(_names_for(target.domains))
    for source in sources:
        for problem in snapshots[source].problems if source in snapshots else ():
            if _concerns(problem, wanted):
                return Finding(problem.reason, f"{source}:{problem.label} {problem.message}")
    text = f"no source holds a certificate for {names}; is a router for it configured in the proxy?"
    return Finding(Reason.NO_MATCHING_CERTIFICATE, f"{text} {_what_there_is(snapshots, sources)}")


def _what_there_is(snapshots: Mapping[str, Snapshot], sources: Sequence[str]) -> str:
    """The names that the sources hold, the first few of them."""
    held = [snapshots[source].by_name.keys() for source in sources if source in snapshots]
    names = list(islice(dict.fromkeys(name for keys in held for name in islice(keys, SHOWN)), SHOWN))
    more = _count(held) - len(names)
    told = f"{', '.join(names)}{f' and {more} more' if more else ''}"
    return f"The sources hold {told}" if names else "The sources hold none at all"


def _count(held: Sequence[KeysView[str]]) -> int:
    """How many names there are in all; of several sources that hold the same, it is looked for in the smaller ones only."""
    largest = max(held, key=len, default={}.keys())
    others = {name for keys in held if keys is not largest for name in keys if name not in largest}
    return len(largest) + len(others)


def _some(names: Sequence[str]) -> str:
    """The first few of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def has_problem_with(snapshot: Snapshot, names: frozenset[str]) -> bool:
    """Whether a source holds something for one of these names that cannot be used."""
    return any(problems_with(snapshot, names))


def problems_with(snapshot: Snapshot, names: frozenset[str]) -> Iterator[Problem]:
    """What it holds for one of these names that cannot be used."""
    return (problem for problem in snapshot.problems if _concerns(problem, names))


def _concerns(problem: Problem, wanted: frozenset[str]) -> bool:
    """Whether an unusable entry would be for the target, by the name at the end of its label."""
    return _FILE_ENDING.sub("", problem.label.rpartition("/")[2].lower()) in wanted
