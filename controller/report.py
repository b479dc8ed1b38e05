"""Conditions: set in the store, and logged once when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from controller.domain.condition import Condition
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Served
from controller.domain.target import InvalidTarget, Target, TargetKey
from controller.endings import Ending, endings
from controller.expiry import ENDED, say_rest
from controller.installed import installed_leaf
from controller.policies import Facts, unfilled
from controller.store import Store, TargetStatus

log = structlog.get_logger()

PASSING = frozenset(
    {Reason.RELOAD_PENDING, Reason.NOT_INSTALLED, Reason.LEAF_DIFFERS, Reason.CHAIN_DIFFERS, Reason.UNREACHABLE}
)
"""Reasons that certferry is just about to mend by itself, or warns of at each try."""


class Reporter:
    """Writes what is known of targets into the store."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def ready(self, facts: Facts) -> None:
        """The target is as desired."""
        more = (*_distrust(facts), *_stand_ins(facts), *_empty(facts), *_unseen(facts), *_endings(facts), *_doubts(facts))
        said = (_ready_message(facts), *more, *facts.target.notes)
        self._set(facts, facts.served, None, "; ".join(said))

    def not_ready(self, facts: Facts, finding: Finding, served: tuple[Served, ...] | None = None) -> None:
        """The target is not as desired, and why; `served` is what was seen after the facts were gathered."""
        message = "; ".join((finding.message, *_doubts(facts)))
        self._set(facts, facts.served if served is None else served, finding.reason, message)

    def paused(self, facts: Facts, problem: Finding | None, message: str) -> None:
        """The target is only watched; `message` says whether clients accept what it serves, and what would be done."""
        text = "; ".join((message, *_doubts(facts)))
        before = self._store.targets.get(facts.target.key)
        self._set(facts, facts.served, problem.reason if problem else None, "; ".join((text, *_endings(facts))))
        if before is None or before.condition.message != "; ".join((text, *before.endings)):  # that time passes is no news
            log.info("target.watched", target=facts.target.name, message=text)

    def endings(self, facts: Facts, new: Iterable[Ending]) -> None:
        """Installed certificates that were not renewed are at a further step towards their end."""
        for ending in new:
            leaf = ending.leaf
            fields = {
                "target": facts.target.name,
                "fingerprint": leaf.short,
                "names": ", ".join(leaf.names),
                "not_after": leaf.not_after.isoformat(),
                "source": ", ".join(ending.sources),
                "message": ending.message,
            }
            if ending.step == ENDED:
                log.error("certificate.expired", **fields)
            else:
                log.warning("certificate.expires_soon", left=say_rest(ending.rest), **fields)

    def failed(self, key: TargetKey, finding: Finding, found: Target | InvalidTarget | None = None) -> None:
        """The target could not even be looked at; what was known of it before stays. `found` tells its name."""
        known = self._store.targets.get(key)
        name = known.name if known else found.container.name if found else str(key)
        self._put(key, name, known.target if known else None, finding.reason, finding.message, known)

    def blocked(self, target: Target) -> None:
        """The target must wait for another one; what was known of it before stays."""
        if target.key not in self._store.targets:
            message = "not looked at yet: a container that shares its files is being worked on"
            self._put(target.key, target.name, target, Reason.UNREACHABLE, message, None)

    def invalid(self, key: TargetKey, found: InvalidTarget) -> None:
        """The labels cannot be used."""
        self._put(key, found.container.name, None, Reason.INVALID_LABELS, "; ".join(found.problems), None)

    def gone(self, key: TargetKey) -> None:
        """The container is no target (any more)."""
        if (known := self._store.targets.pop(key, None)) is not None:
            log.info("target.left", target=known.name)

    def _set(self, facts: Facts, served: tuple[Served, ...], reason: Reason | None, message: str) -> None:
        target = facts.target
        known = TargetStatus(
            name=target.name,
            condition=Condition(False, None, "", self._now()),
            target=target,
            chosen=tuple((c.source, c.certificate.leaf) for _, c in facts.selection.chosen),
            installed=tuple(leaf for place in target.places if (leaf := installed_leaf(place, facts.observed))),
            served=served,
            endings=_endings(facts),
        )
        self._put(target.key, target.name, target, reason, message, known)

    def _put(
        self,
        key: TargetKey,
        name: str,
        target: Target | None,
        reason: Reason | None,
        message: str,
        facts: TargetStatus | None,
    ) -> None:
        before = self._store.targets.get(key)
        condition = Condition(reason is None, reason, message, self._now())
        if before and condition.says_the_same(before.condition):
            condition = Condition(reason is None, reason, message, before.condition.since)
        else:
            _log(name, condition)
        self._store.targets[key] = TargetStatus(
            name=name,
            condition=condition,
            target=target,
            chosen=facts.chosen if facts else (),
            installed=facts.installed if facts else (),
            served=facts.served if facts else (),
            endings=facts.endings if facts else (),
            last_success=self._now() if reason is None else (before.last_success if before else None),
        )


def _ready_message(facts: Facts) -> str:
    ports = ", ".join(dict.fromkeys(str(served.port) for served in facts.served if served.leaf))
    chosen = [c.certificate.leaf for _, c in facts.selection.chosen]
    held = [installed_leaf(place, facts.observed) for place, _ in facts.selection.chosen]
    there = [leaf for leaf in held if leaf] if facts.target.written_by else chosen
    leaves = " and ".join(dict.fromkeys(f"{leaf.short} until {leaf.not_after:%Y-%m-%d}" for leaf in there))
    if ports:
        inside = any(served.leaf and served.way == "exec" for served in facts.served)
        return f"{leaves}, served on {ports}" + (" (asked from inside: no network in common)" if inside else "")
    if not facts.target.probe:
        return f"{leaves} installed; probing is switched off"
    state = facts.target.container.state
    return f"{leaves} installed; " + ("none of its ports listens" if state == "running" else f"the container is {state}")


def _distrust(facts: Facts) -> tuple[str, ...]:
    """Which trust it is, where clients do not accept it, and why some may not."""
    chosen = [candidate.certificate for _, candidate in facts.selection.chosen if not candidate.stand_in]
    whose = [f"{one.vouched.called}: {one.leaf.short}: {one.why}" for one in chosen if one.why]
    return tuple(dict.fromkeys((*whose, *(f"{one.leaf.short}: {text}" for one in chosen for text in one.warnings))))


def _stand_ins(facts: Facts) -> tuple[str, ...]:
    names = dict.fromkeys(candidate.source for _, candidate in facts.selection.chosen if candidate.stand_in)
    return (f"a stand-in of {', '.join(names)} that no client trusts, until a source holds a real one",) if names else ()


def _empty(facts: Facts) -> tuple[str, ...]:
    """Places for a second key type that nothing was found for."""
    paths = ", ".join(str(path) for place in unfilled(facts) for path in place.paths)
    return (f"{paths} empty, until a source holds a certificate with another key type",) if paths else ()


def _endings(facts: Facts) -> tuple[str, ...]:
    return tuple(ending.message for ending in endings(facts))


def _unseen(facts: Facts) -> tuple[str, ...]:
    """Certificates that a port could not be asked for."""
    return tuple(served.error for served in facts.served if served.unknown)


def _doubts(facts: Facts) -> tuple[str, ...]:
    return (facts.at.doubt,) if facts.at.doubt else ()


def _log(name: str, condition: Condition) -> None:
    if condition.ready:
        log.info("target.ready", target=name, message=condition.message)
    elif condition.reason in PASSING:
        log.info("target.changing", target=name, reason=condition.reason, message=condition.message)
    else:
        log.error("target.not_ready", target=name, reason=condition.reason, message=condition.message)
