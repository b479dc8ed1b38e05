"""One life of a controller: its real supervisor, reconciler and queue over a fleet in memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from controller.domain.certificate import Certificate, Trust
from controller.domain.errors import ReloadFailed
from controller.domain.target import Target
from controller.x509.chains import is_signed_by
from controller.x509.openssl import _converted
from controller.x509.parsed import parsed
from tests.unit.fleet import Fleet, on, renewed, supervised
from tests.unit.made import DOMAIN, IMAPS, authority, snapshot

STEADY = 4
"""Containers that stay."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is used after so many rounds: KiB of Python objects, and entries of everything that remembers."""

    rounds: int
    kib: float
    entries: dict[str, int]


def live(rounds: int, *, every: int, tell: Callable[[Measure], None] = lambda _measure: None) -> list[Measure]:
    """In each round a container comes, a certificate is renewed everywhere, and the container goes; measured every so often."""
    from tests.unit import virtual_time

    with _quietly():
        return virtual_time.run(_live(rounds, every, tell))


async def _live(rounds: int, every: int, tell: Callable[[Measure], None]) -> list[Measure]:
    fleet = Fleet(*(on(f"steady{i}", "/srv/shared" if i % 2 else f"/srv/{i}", probe=(IMAPS,)) for i in range(STEADY)))
    measures: list[Measure] = []
    tracemalloc.start()
    try:
        async with supervised(fleet, workers=4, resync=3600.0) as supervisor:
            for number in range(1, rounds + 1):
                await _one_round(fleet, supervisor, number)
                if number % every == 0:
                    measures.append(_measure(fleet, supervisor, number))
                    tell(measures[-1])
    finally:
        tracemalloc.stop()
    return measures


async def _one_round(fleet: Fleet, supervisor: object, number: int) -> None:
    visitor = on(f"visitor{number}", f"/srv/{number}", "/srv/shared", probe=(IMAPS,))
    fleet.start(_failing_sometimes(fleet, visitor, number))
    before = fleet.store.snapshots["traefik"]
    fleet.store.snapshots["traefik"] = after = snapshot(_issue(number))
    supervisor._on_change(before, after)  # type: ignore[attr-defined]
    await asyncio.sleep(30)
    assert all(renewed(fleet, f"steady{i}") for i in range(STEADY)), number
    fleet.stop(visitor.key)
    await asyncio.sleep(5)
    for box in fleet.boxes.values():
        box.log.clear()
    fleet.looks.clear()
    fleet.met.clear()
    fleet.done.clear()


def _failing_sometimes(fleet: Fleet, visitor: Target, number: int) -> Target:
    """Every third one cannot be reloaded, so that what is remembered of failures counts as well."""
    if number % 3 == 0:
        fleet.faults[visitor.key] = {"postfix reload": [ReloadFailed("no")] * 2}
    return visitor


def _issue(number: int) -> Certificate:
    made = authority().issue(DOMAIN, days=90, age=timedelta(hours=48) - timedelta(seconds=number))
    return replace(made.certificate, trust=Trust.PUBLIC)


def _measure(fleet: Fleet, supervisor: object, number: int) -> Measure:
    reconciler, queue = fleet.reconciler, supervisor._queue  # type: ignore[attr-defined]
    held = {
        "memory": reconciler._memory,
        "attempts": reconciler._attempts._failures,
        "writers": reconciler._writers,
        "locks held": reconciler.locks._held,
        "locks waiting": reconciler.locks._waiting,
        "wishes": reconciler._wishes._by_target,
        "targets": fleet.store.targets,
        "queue due": queue._due,
        "queue again": queue._again,
        "queue failures": queue._failures,
    }
    for bounded in (parsed, is_signed_by, _converted):  # they fill up to a fixed size first
        bounded.cache_clear()
    gc.collect()
    return Measure(number, tracemalloc.get_traced_memory()[0] / 1024, {name: len(entries) for name, entries in held.items()})


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the log: a test that keeps it would be what grows."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def growth(measures: list[Measure]) -> float:
    """KiB between the first third and the last, each by its least measure."""
    third = max(len(measures) // 3, 1)
    return min(m.kib for m in measures[-third:]) - min(m.kib for m in measures[:third])
