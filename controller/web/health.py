"""Health and readiness: whether the process works, and whether it has seen everything once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from controller.store import Store


@dataclass(frozen=True, slots=True)
class Vitals:
    """What only the supervisor knows: the eternal tasks that ended, and whether every target was worked on once."""

    dead_tasks: Callable[[], Collection[str]]
    first_pass_done: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Good, or what is missing, in sentences."""

    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.missing

    @property
    def body(self) -> dict[str, Any]:
        return {"ok": self.ok, "missing": list(self.missing)}


def judge_health(vitals: Vitals) -> Verdict:
    """Healthy as long as no eternal task ended; that the loop runs is proved by the answer itself."""
    return Verdict(tuple(f"the task {name} has ended; restart certferry" for name in sorted(vitals.dead_tasks())))


def judge_readiness(store: Store, vitals: Vitals) -> Verdict:
    """Ready once the engine answers, every source was tried and every target was worked on, whatever came of it."""
    missing = []
    if not store.engine_up:
        missing.append(f"the Docker Engine: {store.engine_message}")
    missing += [
        f"source {name}: {status.message}" for name, status in sorted(store.sources.items()) if not (status.up or status.reason)
    ]
    if not vitals.first_pass_done():
        missing.append("the first pass over the containers is not complete")
    return Verdict((*judge_health(vitals).missing, *missing))
