"""When the previous pair is put back, and what counts against the new one (design §1, promise 2). Pure.

Only an answer counts: a failed check, a failed reload of a service that runs, a port that hands out something else or, long
enough after the reload, nothing. A service that does not run says nothing about the pair.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from controller.domain.errors import Error
from controller.domain.observed import Failure, InstalledFile, Served
from controller.domain.target import ProbePort
from controller.installed import installed_leaf
from controller.policies import Facts, works

Previous = Mapping[PurePosixPath, InstalledFile | None]


def against(facts: Facts, failures: Sequence[Failure]) -> Error | None:
    """The first failure that speaks against the new pair. A command that only its label knows does so where a port answered.

    One that did not end in time has given no answer.
    """
    answered = any(served.leaf for served in facts.served)
    return next((f.error for f in failures if not (f.stopped or f.overdue) and (f.step is None or f.service or answered)), None)


def stopped_services(failures: Sequence[Failure]) -> tuple[str, ...]:
    """The services that did not run when they were to be reloaded."""
    return tuple(dict.fromkeys(failure.service for failure in failures if failure.stopped))


def from_what_worked(facts: Facts) -> Facts:
    """The facts of a change, with what stands there as what to go back to: where an earlier change is not confirmed yet, and it
    worked so far, or what was there before it is not worth it."""
    kept = facts.observed.previous
    if not kept or not (_is_served(facts) or (why_not_put_back(facts, kept) and _works(facts, kept))):
        return facts
    ours = {facts.observed.resolved.get(path, path) for path in kept}
    others = {path: file for path, file in facts.observed.kept.items() if path not in ours}
    return replace(facts, observed=replace(facts.observed, kept=others))


def _is_served(facts: Facts) -> bool:
    """Whether every port that was asked hands out what is installed."""
    installed = {leaf.fingerprint for place in facts.target.places if (leaf := installed_leaf(place, facts.observed))}
    return bool(facts.served) and all(served.leaf and served.leaf.fingerprint in installed for served in facts.served)


def _works(facts: Facts, paths: Collection[PurePosixPath]) -> bool:
    """Whether the pairs that stand at some paths are valid now, for the names asked for, and with their keys."""
    needed = [place for place in facts.target.places if place.private and not place.slot.optional]
    return all(works(place, facts) for place in needed if not set(place.paths).isdisjoint(paths))


def why_not_put_back(facts: Facts, previous: Previous, *, now_without: Collection[ProbePort] = ()) -> str:
    """Why what was there before is not put back; empty where it is.

    `now_without` are the ports that hand out nothing with the new pair: one that did before is worse than an old certificate.
    """
    if any(served.leaf and served.port in now_without for served in facts.served):
        return ""
    files = {path: file for path, file in previous.items() if file}
    if not files:
        return "there was nothing before"
    before = replace(facts, observed=replace(facts.observed, files=facts.observed.files | dict(previous)))
    if not _works(before, previous):
        return "what was there before is expired, for another name, or without its key"
    return ""


def check_puts_back(facts: Facts, previous: Previous) -> bool:
    """Whether a failed check puts back what was there, or removes the files where nothing was."""
    return not any(previous.values()) or not why_not_put_back(facts, previous)


def without_answer(served: Sequence[Served]) -> frozenset[ProbePort]:
    """Ports that hand out nothing."""
    return frozenset(one.port for one in served if one.leaf is None and not one.unknown)
