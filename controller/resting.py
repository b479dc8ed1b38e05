"""Why a target that needs nothing done is not ready all the same, and when it is looked at again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.domain.container import State
from controller.domain.finding import Finding, Reason
from controller.domain.target import ProbePort
from controller.policies import Facts, not_askable

SHORTEST_LOOK, LONGEST_LOOK = 5.0, 60.0
"""Seconds between two looks at a container in which something does not run or listen: no event tells when it does again."""


@dataclass(frozen=True, slots=True)
class Unready:
    """Why it is not ready. `again`: nothing will tell when that changes, so it is looked at from time to time."""

    finding: Finding
    again: bool = False


def unready(facts: Facts, known: Iterable[ProbePort]) -> Unready | None:
    """What is wrong where files and leaves are right; `known` are the ports that were right since the container's start."""
    state = facts.target.container.state
    if state is State.RESTARTING:
        text = ("installed, but the container restarts again and again: its own log says why", *facts.target.notes)
        return Unready(Finding(Reason.RELOAD_PENDING, "; ".join(text)))
    if state is not State.RUNNING or not facts.target.probe:
        return None
    return _not_askable(facts) or _nothing_listens(facts) or _closed(facts, known)


def _not_askable(facts: Facts) -> Unready | None:
    unknown = not_askable(facts)
    return Unready(Finding(Reason.PORTS_NOT_ASKABLE, unknown[0].error)) if unknown else None


def _nothing_listens(facts: Facts) -> Unready | None:
    """No port hands out anything: whether certificate and server fit each other, nobody can say."""
    if any(served.leaf for served in facts.served):
        return None
    plain = [str(served.port) for served in facts.served if served.plain]
    ports = ", ".join(str(port) for port in facts.target.probe)
    what = f"port {', '.join(plain)} answers without TLS, and no other" if plain else "none of the ports"
    text = f"the certificate is installed, but {what} listens ({ports}); if it has no such port, set certferry.probe=off"
    return Unready(Finding(Reason.NOTHING_LISTENS, text), again=True)


def _closed(facts: Facts, known: Iterable[ProbePort]) -> Unready | None:
    """Ports that were right and are closed now: a service has ended."""
    open_now = {served.port for served in facts.served if not served.refused}
    if not (closed := sorted(set(known) - open_now)):
        return None
    text = f"nothing listens any more on {', '.join(map(str, closed))}"
    return Unready(Finding(Reason.SERVED_DIFFERS, text), again=True)
