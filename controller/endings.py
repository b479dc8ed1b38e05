"""Which installed certificates come to their end without having been renewed, and what is said of that. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller import expiry
from controller.domain.certificate import Leaf
from controller.domain.origin import Renewer
from controller.domain.target import Place
from controller.expiry import FIFTH, Nearness
from controller.installed import installed_leaf
from controller.policies import Facts
from controller.selection import Candidate

UNKNOWN = Renewer((), FIFTH)


@dataclass(frozen=True, slots=True)
class Ending:
    """An installed certificate that is past the `step` at which its renewer should have renewed it."""

    leaf: Leaf
    step: float
    """The part of its life that was left at the last step."""
    rest: timedelta
    sources: tuple[str, ...]
    message: str


def endings(facts: Facts) -> tuple[Ending, ...]:
    """Of all that is installed."""
    return tuple(_endings(facts))


def _endings(facts: Facts) -> Iterator[Ending]:
    for place, leaf, near in _judged(facts):
        if near.step is not None:
            renewer = facts.renewers.get(leaf.fingerprint, UNKNOWN)
            end = f"{leaf.short} for {_some(leaf.names)} {expiry.say(near, leaf)}"
            yield Ending(leaf, near.step, near.rest, renewer.sources, f"{end}, {_why(renewer, _next(facts, place, leaf))}")


def next_word(facts: Facts) -> datetime | None:
    """When there will be something to say that was not before."""
    return min((near.next for _, _, near in _judged(facts) if near.next), default=None)


def _judged(facts: Facts) -> Iterator[tuple[Place, Leaf, Nearness]]:
    """Each leaf once, in whatever places it stands."""
    seen = set[str]()
    for place in facts.target.places:
        leaf = installed_leaf(place, facts.observed)
        if leaf and leaf.fingerprint not in seen:
            seen.add(leaf.fingerprint)
            yield place, leaf, expiry.judge(leaf, facts.at, facts.renewers.get(leaf.fingerprint, UNKNOWN).first)


def _next(facts: Facts, place: Place, leaf: Leaf) -> Candidate | None:
    """What is to take its place."""
    chosen = (candidate for where, candidate in facts.selection.chosen if where == place)
    return next((candidate for candidate in chosen if candidate.certificate.fingerprint != leaf.fingerprint), None)


def _why(renewer: Renewer, after: Candidate | None) -> str:
    if after:
        return f"and is to be replaced by {after} until {after.certificate.leaf.not_after:%Y-%m-%d}, which is not installed yet"
    if renewer.trouble:
        return f"and was not renewed: {renewer.trouble}"
    if not renewer.sources:
        return "and no source holds it, so nobody is known who renews it: have a source hold one for these names"
    names = " and ".join(renewer.sources)
    return f"and {names} should have renewed it by now: the log of the program behind that source says why it did not"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}" or "no name"
