"""Targets of which a part is found out in their containers: which files they use, and who else writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from controller.domain.container import Mount
from controller.domain.detector import Detector
from controller.domain.observed import Observed
from controller.domain.target import InvalidTarget, Place, Reload, Slot, Target
from controller.ports import Wish
from controller.reconciler import UNREADABLE_PAUSE, Outcome, Reconciler, Result
from controller.wishes import Wishes
from tests.unit.made import CERT, DOMAIN, KEY, NEW, NOW, OLD, PLACE, PRIVATE, RELOAD, certificate, container, file, target
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

old, new, newest = certificate(**OLD), certificate(**NEW), certificate(hours_old=0.5)
FOUND = Place(Slot(), PurePosixPath("/own/cert"), PurePosixPath("/own/key"))


def _with_found(wanted: Target) -> Target | InvalidTarget:
    return replace(wanted, places=(*wanted.places, FOUND), beside=())


@dataclass
class Asked(Mailbox):
    """One whose target is another one once its container was asked."""

    adapted: Callable[[Target], Target | InvalidTarget] = _with_found
    looked_at: list[tuple[PurePosixPath, ...]] = field(default_factory=list)
    """The files of each look."""

    def adapt(self, target: Target, _observed: Observed) -> Target | InvalidTarget:
        return self.adapted(replace(self.target, container=target.container) if isinstance(self.target, Target) else target)

    async def observe(self, wanted: Target) -> Observed:
        self.looked_at.append(wanted.paths)
        return replace(await super().observe(wanted), files={path: self.files.get(path) for path in wanted.paths})


@dataclass
class AskedWorld(World):
    """Knows which certificates are asked for."""

    wishes: Wishes = field(default_factory=Wishes)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(
            targets=self.box,
            sink=self.box,
            probe=self.box,
            store=self.store,
            timing=TIMING,
            now=lambda: NOW + timedelta(seconds=clock()),
            clock=clock,
            wishes=self.wishes,
        )


def asked(*places: Place, **options: Any) -> tuple[AskedWorld, Asked]:
    box = Asked(target=target(places=places, ask="postconf"), reads=FOUND.paths[1], **options)
    world = AskedWorld(box)
    world.offer(new)
    return world, box


BOTH = (*PLACE.paths, *FOUND.paths)


@virtually
async def test_files_that_were_not_thought_of_are_read_before_anything_is_decided():
    world, box = asked(PLACE)
    await world.look()
    assert box.looked_at == [PLACE.paths, BOTH]
    written = [held.content if (held := box.files.get(path)) else b"" for path in (CERT, *FOUND.paths)]
    assert written == [new.fullchain_pem, new.key_pem, new.fullchain_pem]


@virtually
async def test_at_the_next_look_they_are_read_at_once():
    world, box = asked(PLACE)
    await world.look()
    await world.look()
    assert box.looked_at[2:] == [BOTH]


@virtually
async def test_there_may_be_none_before():
    world, box = asked()
    await world.look()
    assert box.files.keys() == set(FOUND.paths)
    assert world.wishes.wanted() == {Wish((DOMAIN,))}


@virtually
async def test_what_it_answers_may_leave_nothing_to_be_done():
    world, box = asked(PLACE, adapted=lambda wanted: InvalidTarget(wanted.container, ("it is not to be had",)))
    assert await world.look() == Outcome(Result.REFUSED, UNREADABLE_PAUSE)
    assert (world.reason, box.files, world.wishes.wanted()) == ("InvalidLabels", {}, frozenset())
    assert isinstance(await world.reconciler.plan(KEY), InvalidTarget)


def written_by_another() -> World:
    world = World(Mailbox.holding(old, wanted=target(written_by="somebody else")))
    world.offer(new)
    return world


@virtually
async def test_another_who_writes_the_files_is_waited_for_and_what_he_wrote_counts():
    world = written_by_another()
    looks = 0
    while (outcome := await world.look()).result is Result.WAITING:
        assert world.reason == "ReloadPending"
        assert outcome.again is not None
        await asyncio.sleep(outcome.again)
        looks += 1
    assert (world.box.log, world.reason) == ([], "")
    assert old.leaf.short in world.status.condition.message
    assert clock() >= 60
    assert looks < 15


@virtually
async def test_the_wait_begins_anew_with_another_certificate():
    world = written_by_another()
    await world.look()
    await asyncio.sleep(50)
    world.offer(newest)
    await world.look()
    await asyncio.sleep(50)
    assert (await world.look()).result is Result.WAITING
    assert world.box.log == []


def half_written() -> World:
    """Another program has written its key, and not its certificate yet."""
    mounts = (Mount("bind", "/srv", CERT.parent, writable=True),)
    world = World(Mailbox.holding(old, wanted=target(container=container(mounts=mounts))))
    world.offer(old)
    return world


HALF = {PRIVATE: file(PRIVATE, new.key_pem)}


async def until_over(world: World) -> Outcome:
    """Look as often as is asked for, until it is not waited any more."""
    for _ in range(20):
        if (outcome := await world.look()).result is not Result.WAITING:
            return outcome
        await asyncio.sleep(outcome.again or 0.0)
    raise AssertionError("it is waited for ever")


@virtually
async def test_between_two_writes_of_another_nothing_is_written_and_no_port_is_asked_again():
    world = half_written()
    assert (await world.look()).result is Result.UNCHANGED
    box = world.box
    box.files |= HALF
    box.asked.clear()
    for _ in range(3):
        outcome = await world.look()
        assert (outcome.result, world.reason) == (Result.WAITING, "ReloadPending")
        await asyncio.sleep(outcome.again or 0.0)
    assert (box.asked, box.log) == ([], [])
    world.offer(new)
    box.files |= Mailbox.holding(new).files
    await world.look()
    assert world.done() == ["check", "postfix reload"]


@virtually
async def test_what_stays_half_is_put_right_once():
    world = half_written()
    box = world.box
    box.files |= HALF
    await until_over(world)
    assert clock() == pytest.approx(5.0)
    assert world.done() == ["apply", "check", "postfix reload"]
    box.files |= HALF  # and again
    outcome = await until_over(world)
    assert (outcome.result, world.reason, world.done()) == (Result.FAILED, "WriteRefused", [])


@virtually
async def test_once_the_files_are_right_they_must_be_in_use():
    world = written_by_another()
    await world.look()
    world.box.files |= Mailbox.holding(new).files
    assert (await world.look()).result is Result.CHANGED
    assert world.done() == ["check", "postfix reload"]
    assert world.box.in_use == new.leaf


WATCHED = frozenset(PLACE.paths)
NOTICING = target(
    ask="postconf",
    reload=(Reload("self", patience=20.0),),
    internal_reload=(RELOAD,),
    detector=Detector(20.0, WATCHED),
)


@dataclass
class WithDetector(Mailbox):
    """It has a detector that takes note of a change after some seconds, or dies instead."""

    dies_after: float = 1e9
    busy: bool = False
    acted: bool = False
    """It has reloaded a moment ago."""
    looks: int = 0

    async def observe(self, wanted: Target) -> Observed:
        self.looks += 1
        return await super().observe(wanted)

    def adapt(self, target: Target, _observed: Observed) -> Target | InvalidTarget:
        if clock() >= self.dies_after:
            return replace(target, detector=Detector())
        noticed = self.notices_after is not None and clock() >= self.notices_after
        seen = WATCHED if noticed or self.acted else frozenset[PurePosixPath]()
        return replace(target, detector=Detector(20.0, WATCHED, seen, poll=2.0, busy=self.busy, acted=self.acted))

    def replaced_by_another(self) -> None:
        """The files, while the services hold what they met in between."""
        self.files |= Mailbox.holding(new).files
        self.in_use, self._changed_at = certificate("other.example.com").leaf, clock()


def with_detector(**options: Any) -> tuple[World, WithDetector]:
    box = WithDetector.holding(old, wanted=NOTICING, **options)
    assert isinstance(box, WithDetector)
    world = World(box)
    world.offer(new)
    return world, box


class TestADetector:
    @virtually
    async def test_that_takes_note_is_left_to_it(self):
        world, box = with_detector(notices_after=8.0)
        assert (await world.look()).result is Result.CHANGED
        assert RELOAD.command not in box.log
        assert box.in_use == new.leaf
        assert 8 <= clock() < 10
        assert box.looks < 20

    @virtually
    async def test_that_does_not_take_note_in_time_is_not_waited_for_longer(self):
        world, box = with_detector()
        await world.look()
        assert RELOAD.command in box.log
        assert box.in_use == new.leaf
        assert 18 < clock() < 21

    @pytest.mark.parametrize(("after", "alone"), [(35.0, True), (70.0, False)])
    @virtually
    async def test_that_is_at_it_when_its_time_is_over_gets_more(self, after, alone):
        world, box = with_detector(notices_after=after, busy=True)
        await world.look()
        assert (RELOAD.command not in box.log) is alone
        assert box.in_use == new.leaf
        assert clock() < 43

    @virtually
    async def test_that_dies_meanwhile_is_not_waited_for(self):
        world, box = with_detector(dies_after=3.0)
        await world.look()
        assert RELOAD.command in box.log
        assert 3 <= clock() < 5

    @pytest.mark.parametrize(("after", "alone"), [(3.0, True), (30.0, False)])
    @virtually
    async def test_that_met_files_of_another_in_between_looks_again_and_is_awaited(self, after, alone):
        world, box = with_detector(notices_after=after)
        box.replaced_by_another()
        await world.look()
        assert (RELOAD.command not in box.log) is alone
        assert box.in_use == new.leaf
        assert clock() < 12

    @pytest.mark.parametrize(("after", "alone"), [(1.0, True), (30.0, False)])
    @virtually
    async def test_that_has_just_reloaded_is_given_the_time_for_it(self, after, alone):
        world, box = with_detector(notices_after=after, acted=True)
        box.replaced_by_another()
        await world.look()
        assert (RELOAD.command not in box.log) is alone
        assert box.in_use == new.leaf
        assert clock() < 4


@virtually
async def test_the_same_pair_told_to_be_elsewhere_is_not_loaded_again():
    """docker-mailserver's read-only originals are the files only until its detector has copied them."""
    elsewhere = [False]
    box = Asked.holding(new, wanted=target(probe=()), adapted=lambda wanted: _with_found(wanted) if elsewhere[0] else wanted)
    box.files |= Mailbox.holding(new, wanted=target(places=(FOUND,))).files
    world = World(box)
    world.offer(new)
    await world.look()
    elsewhere[0] = True
    assert (await world.look()).result is Result.UNCHANGED
    assert world.done() == []
