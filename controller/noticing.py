"""How long a container's own change detector is left to itself before certferry makes the services use the files. Pure."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from controller import policies
from controller.domain.observed import Served
from controller.expiry import TWENTIETH
from controller.policies import Facts

SOON = 5.0
"""Seconds between two looks of a detector that comes soon enough even where what is served is wrong."""

AT_ONCE = 10.0
"""Seconds that such a one is given then: its pause, its lock once, and two reloads."""

ECHO = 3.0
"""Seconds that the services are given where the detector has reloaded them a moment ago."""


def seconds_to_wait(facts: Facts, written: Collection[PurePosixPath]) -> float:
    """Seconds to wait for the detector after these files were written, or without a write; 0 where certferry must reload.

    It must where the detector will not act: it does not run, does not look at what changed, or took note of the files as they
    are. And where a client should not have to wait for it: what is served is wrong, or ends soon. But what another wrote a
    moment ago, file after file, services may have met in its middle: a detector that is about to look puts that right.
    """
    patience = max((step.patience for step in facts.target.reload if step.kind == "self"), default=0.0)
    if not facts.target.internal_reload:
        return patience  # there is nothing else to be done
    if is_done(facts, written):
        return ECHO
    if (detector := facts.target.detector) is not None:
        new = detector.watched & frozenset(written) if written else detector.watched - detector.seen
        patience = detector.patience if new else 0.0
    if all(_is_good(served, facts) for served in facts.served):
        return patience
    soon = detector is not None and not written and detector.poll <= SOON
    return min(patience, AT_ONCE) if soon else 0.0


def is_done(facts: Facts, written: Collection[PurePosixPath]) -> bool:
    """Whether the detector has taken note of everything and reloaded a moment ago, and nothing was written since."""
    detector = facts.target.detector
    if detector is None or written or not detector.patience:
        return False
    return detector.acted and bool(detector.watched) and detector.watched <= detector.seen


def _is_good(served: Served, facts: Facts) -> bool:
    """Whether clients can live for a while with what a port does, so with a certificate that has a twentieth of its life left;
    one that is closed, silent or without TLS says nothing."""
    if served.leaf is None:
        return served.refused or served.plain or served.silent or served.unknown
    leaf = served.leaf
    if any(c.stand_in and c.certificate.fingerprint == leaf.fingerprint for c in facts.selection.candidates):
        return False
    complete = not policies.chain_problem(served, policies.acceptable(facts))
    return complete and leaf.issuer != leaf.subject and policies.is_good_until(leaf, facts, TWENTIETH)
