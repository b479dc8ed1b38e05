"""Work on a target that hangs or breaks as nobody foresaw: told, and begun anew. Virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from controller import choosing
from controller.domain.errors import TransientError
from controller.domain.observed import Observed
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import Target
from controller.gathering import MANY
from controller.policies import Facts
from controller.reconciler import Result
from tests.unit.made import NEW, certificate
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

new = certificate(**NEW)


class Odd(Mailbox):
    """Does something odd when its files are looked at, until that is mended."""

    oddity: Any = None

    async def observe(self, wanted: Target) -> Observed:
        if self.oddity:
            await self.oddity()
        return await super().observe(wanted)


async def hang() -> None:
    await asyncio.sleep(1e9)


async def crash() -> None:
    raise ZeroDivisionError("a bug")


@virtually
async def test_a_pass_that_hangs_is_ended_at_its_limit_told_and_begun_anew():
    world = World(Odd.holding(new))
    world.offer(new)
    world.box.oddity = hang  # type: ignore[attr-defined]
    with pytest.raises(TransientError, match="did not end within 3600 s"):
        await world.look()
    assert clock() == pytest.approx(TIMING.longest, abs=1)
    assert (world.status.condition.ready, world.reason) == (False, "Unreachable")
    world.box.oddity = None  # type: ignore[attr-defined]
    assert (await world.look()).result is Result.UNCHANGED
    assert world.status.condition.ready


@virtually
async def test_a_pass_that_breaks_leaves_no_target_ready_of_which_nothing_is_known():
    world = World(Odd.holding(new))
    world.offer(new)
    await world.look()
    assert world.status.condition.ready
    world.box.oddity = crash  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        await world.look()
    assert (world.status.condition.ready, world.reason) == (False, "Unreachable")
    assert "ZeroDivisionError" in world.status.condition.message
    world.box.oddity = None  # type: ignore[attr-defined]
    await world.look()
    assert world.status.condition.ready


@pytest.mark.parametrize(("count", "beside"), [(1, False), (MANY + 1, True)])
async def test_a_choice_among_thousands_of_certificates_is_made_beside_the_loop(monkeypatch, count, beside):
    """In real time: there is a thread."""
    threads: list[threading.Thread] = []
    choose = choosing.choose

    def note(facts: Facts, snapshots: Mapping[str, Snapshot]) -> Facts:
        threads.append(threading.current_thread())
        return choose(facts, snapshots)

    monkeypatch.setattr(choosing, "choose", note)
    world = World(Mailbox.holding(new))
    world.offer_snapshot(Snapshot("traefik", tuple(Entry(f"le/{number}", new) for number in range(count))))
    assert (await world.look()).result is Result.UNCHANGED
    assert [thread is not threading.main_thread() for thread in threads] == [beside]
