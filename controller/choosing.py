"""The choice of a certificate for each place of a target, seen with what is installed there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from controller.domain.certificate import Trust
from controller.domain.finding import Finding
from controller.domain.proxy import told_unused
from controller.domain.snapshot import Snapshot
from controller.domain.target import Place
from controller.installed import installed_leaf, pair_in
from controller.policies import Facts, compare_files, is_worth_keeping, judge_source, preflight
from controller.selection import SHOWN, Candidate, Preferences, Selection, judge_all, select
from controller.switching import Installed, Origin, find_origin, next_look
from controller.x509.pairs import completed


def choose(facts: Facts, snapshots: Mapping[str, Snapshot]) -> Facts:
    """The facts with the choice made: what must not replace the installed files gives way to the next best.

    Where nothing else is left for a place that needs something, the best stays chosen and `decide` says why it is refused; but
    a stand-in that is not needed is none.
    """

    judged = _completed(facts, judge_all(facts.target, snapshots, facts.at))
    installed = {place: leaf for place in facts.target.places if (leaf := installed_leaf(place, facts.observed))}
    origins: dict[Place, Origin] = {}
    facts = replace(facts, origins=origins)
    gone = frozenset(source for source in facts.known.gone if facts.known.is_gone(source))
    choice = partial(
        select, facts.target, snapshots, facts.at, judged=judged, preferences=Preferences(installed=installed, gone=gone)
    )

    def refuse(place: Place, candidate: Candidate) -> Finding | None:
        if facts.target.written_by or not compare_files(facts, place, candidate.certificate):
            return None
        if place not in origins and (origin := _find_origin(facts, place, snapshots, judged)):
            origins[place] = origin
        return preflight(facts, place, candidate)

    selection = choice(refuse)
    if selection.finding:
        best = choice()
        if not any(candidate.stand_in for _, candidate in best.chosen):
            selection = best
    return replace(facts, selection=_explain_choice(facts, selection))


def _completed(facts: Facts, judged: Sequence[Candidate]) -> list[Candidate]:
    """What lost an intermediate in its source, with that of the installed pair: a root that is not known looks the same as an
    intermediate that is missing."""
    if not any(map(_lacks_something, judged)):
        return list(judged)
    pairs = [pair_in(place, facts.observed) for place in facts.target.places]
    others = [one for pair in pairs if pair.trust(facts.now) is Trust.PUBLIC for one in pair.above]
    return [replace(c, certificate=completed(c.certificate, others, facts.now)) if _lacks_something(c) else c for c in judged]


def _lacks_something(candidate: Candidate) -> bool:
    return not candidate.lost and (candidate.certificate.root_unknown or candidate.certificate.trust is Trust.INCOMPLETE)


def _find_origin(facts: Facts, place: Place, snapshots: Mapping[str, Snapshot], judged: Iterable[Candidate]) -> Origin | None:
    """Who delivered what works in a place; ``None`` where nothing does."""
    leaf = installed_leaf(place, facts.observed)
    if leaf is None or not is_worth_keeping(leaf, place, facts):
        return None
    installed = Installed(leaf, pair_in(place, facts.observed).trust(facts.now))
    fitting = (candidate for candidate in judged if not candidate.lost)
    return find_origin(installed, place.slot, snapshots, fitting, facts.known, facts.target.sources)


def tell_unused(facts: Facts) -> tuple[str, ...]:
    """What else could have the certificate, were it used; nothing where the label names the sources to choose from."""
    unused = () if facts.target.sources else islice(facts.unused.items(), SHOWN)
    return tuple(told_unused(name, text) for name, text in unused)


def _explain_choice(facts: Facts, selection: Selection) -> Selection:
    """Say of a switch of source why it is one, where nothing fits what else there is, and when to look again."""
    switched = {}
    for place, candidate in selection.chosen:
        verdict = judge_source(facts, place, candidate)
        if verdict.allowed and verdict.why:
            switched[id(candidate)] = replace(candidate, switch=verdict.why)
    leaves = [candidate.certificate.leaf for _, candidate in selection.chosen]
    finding = selection.finding
    if finding:
        finding = Finding(finding.reason, "; ".join((finding.message, *tell_unused(facts))))
    return replace(
        selection,
        chosen=tuple((place, switched.get(id(candidate), candidate)) for place, candidate in selection.chosen),
        candidates=tuple(switched.get(id(candidate), candidate) for candidate in selection.candidates),
        finding=finding,
        again=next_look(facts.known, tuple(facts.origins.values()), selection.candidates, leaves, facts.now),
    )
