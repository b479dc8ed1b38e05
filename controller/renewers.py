"""Who should renew what is installed, and what keeps them from it. It only reads what the store knows."""

from __future__ import annotations

from collections.abc import Iterator

from controller.domain.certificate import Leaf
from controller.domain.origin import Renewer
from controller.expiry import FIFTH
from controller.installed import installed_leaf
from controller.policies import Facts
from controller.selection import Candidate, problems_with
from controller.store import Store


def find_renewers(facts: Facts, store: Store) -> dict[str, Renewer]:
    """Of each installed leaf, by its fingerprint."""
    leaves = (installed_leaf(place, facts.observed) for place in facts.target.places)
    return {leaf.fingerprint: _renewer(leaf, facts, store) for leaf in leaves if leaf}


def _renewer(leaf: Leaf, facts: Facts, store: Store) -> Renewer:
    sources = _sources(leaf, facts)
    first = min((store.first_word(source, leaf) for source in sources), default=FIFTH)
    return Renewer(sources, first, next(_troubles(leaf, sources, facts, store), ""))


def _sources(leaf: Leaf, facts: Facts) -> tuple[str, ...]:
    """Who holds it; else who held it, or holds one for the same names by the same organisation."""
    candidates = facts.selection.candidates
    holding = [c.source for c in candidates if c.certificate.fingerprint == leaf.fingerprint]
    held = sorted(facts.known.held.get(leaf.fingerprint, ()))
    alike = (c.source for c in candidates if not c.stand_in and _is_alike(c.certificate.leaf, leaf))
    return tuple(dict.fromkeys(holding or held or alike))


def _is_alike(one: Leaf, other: Leaf) -> bool:
    return one.organisation == other.organisation and frozenset(one.names) == frozenset(other.names)


def _troubles(leaf: Leaf, sources: tuple[str, ...], facts: Facts, store: Store) -> Iterator[str]:
    """What is known to keep them from it: the source itself, an entry that cannot be used, or a newer one that does not fit."""
    if not sources and facts.known.searching:
        yield "the proxies were not looked for yet, so nobody knows whether there is a newer one"
    if not sources and facts.known.unread:
        names = ", ".join(sorted(facts.known.unread))
        yield f"{names} could not be read yet, so nobody knows whether there is a newer one"
    for source in sources:
        status = store.sources.get(source)
        if source in facts.known.gone:
            yield f"the container or setting of {source} is gone"
        elif status and status.reason:
            yield f"{source} cannot be read: {status.message}"
    for source in sources:
        if snapshot := store.snapshots.get(source):
            yield from (f"{source}:{p.label}: {p.message}" for p in problems_with(snapshot, frozenset(leaf.names)))
    newer = [c for c in facts.selection.candidates if c.reason and c.source in sources and _is_newer(c, leaf)]
    if newer:
        last = max(newer, key=lambda c: c.certificate.leaf.not_after)
        yield f"{last} until {last.certificate.leaf.not_after:%Y-%m-%d} cannot take its place: {last.lost}"


def _is_newer(candidate: Candidate, leaf: Leaf) -> bool:
    return candidate.certificate.leaf.not_after > leaf.not_after
