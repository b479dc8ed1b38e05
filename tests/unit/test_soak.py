"""A short piece of `tests.soak`: what was remembered of containers and certificates that are gone is gone, too."""

from __future__ import annotations

import asyncio
import pickle

from controller.domain.errors import ReloadFailed
from tests.soak.life import STEADY, growth, live
from tests.unit.made import NEW, OLD, certificate
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import virtually


@virtually
async def test_what_is_remembered_of_an_attempt_holds_no_key() -> None:
    """It is remembered for days, when the source has long dropped the pair."""
    world = World(Mailbox.holding(certificate(**OLD)))
    world.offer(certificate(**NEW))
    world.box.faults["postfix reload"] = [ReloadFailed("no")]
    await world.look()  # fails, and is remembered
    await asyncio.sleep(TIMING.resync + 1)
    await world.look()
    remembered = [world.reconciler._memory, world.reconciler._attempts._failures]
    await world.look()
    line = certificate(**NEW).key_pem.splitlines()[1]
    for held in (*remembered, world.reconciler._memory, world.store.targets):
        assert held is not None
        assert line not in pickle.dumps(held)


def test_sixty_renewals_and_containers_that_come_and_go_leave_nothing_behind():
    measures = live(60, every=10)
    assert all(measure.entries == measures[0].entries for measure in measures)
    assert measures[0].entries["memory"] == measures[0].entries["targets"] == STEADY
    for of_none in ("attempts", "locks held", "locks waiting", "queue again", "queue failures"):
        assert measures[0].entries[of_none] == 0, of_none
    assert growth(measures) < 120  # less than two KiB for each; one certificate has more
