"""Clocks that jump, stand still or begin in 1970: nothing good is replaced by something worse, and no timer is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.clocks import BELIEVED_AFTER, Clocks, Leap, Watch, elapsed
from controller.domain.certificate import Trust
from controller.domain.container import Container
from controller.domain.errors import ReloadFailed
from controller.domain.snapshot import Entry, Snapshot
from controller.reconciler import Reconciler, Result
from tests.unit.fleet import Fleet, on, replace_settings, supervisor
from tests.unit.made import IMAPS, NEW, NOW, OLD, certificate, container, serves, target
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

BOOTED = datetime(1970, 1, 1, tzinfo=UTC)
old, new = certificate(**OLD), certificate(**NEW)
stand_in = certificate(hours_old=0.01, trust=Trust.SELF_SIGNED, days=36500)


class Machine:
    """Clocks that can be set: `wall` by hand, `slept` by suspending."""

    def __init__(self, off: timedelta = timedelta()) -> None:
        self.off = off
        self.slept = 0.0
        self.engine_off: timedelta | None = None

    def now(self) -> datetime:
        return NOW + self.off + timedelta(seconds=self.elapsed())

    def elapsed(self) -> float:
        return clock() + self.slept

    def engine(self) -> datetime | None:
        return None if self.engine_off is None else NOW + self.engine_off + timedelta(seconds=self.elapsed())

    def set_to(self, moment: datetime) -> None:
        self.off += moment - self.now()

    def clocks(self) -> Clocks:
        return Clocks(self.now, self.elapsed, self.engine)


class Timed(World):
    """A world with a machine whose clocks can be set."""

    machine: Machine

    @classmethod
    def of(cls, box: Mailbox, machine: Machine) -> Timed:
        world = cls(box)
        world.machine = machine
        world.reconciler = Reconciler(
            targets=box,
            sink=box,
            probe=box,
            store=world.store,
            timing=TIMING,
            now=machine.now,
            clock=clock,
            clocks=machine.clocks(),
        )
        return world

    def offer_stand_in(self) -> None:
        self.offer_snapshot(Snapshot("self-signed", (Entry("mail", stand_in, stand_in=True),)))


def holding(held: Any, *, off: timedelta = timedelta()) -> Timed:
    return Timed.of(Mailbox.holding(held), Machine(off))


class TestAGoodCertificate:
    @pytest.mark.parametrize("moment", [BOOTED, datetime(2025, 2, 1, tzinfo=UTC), NOW - timedelta(days=30)])
    def test_stays_and_is_ready_while_the_clock_is_behind(self, moment):
        @virtually
        async def test() -> None:
            world = holding(new)
            world.machine.set_to(moment)
            world.offer(new)
            world.offer_stand_in()
            assert (await world.look()).result is Result.UNCHANGED
            assert (world.done(), world.reason) == ([], "")
            assert f"the clock says {moment:%Y-%m-%d}" in world.status.condition.message

        test()

    @virtually
    async def test_stays_in_1970_where_its_source_cannot_be_read_and_a_stand_in_is_offered(self):
        world = Timed.of(Mailbox.holding(new), Machine(BOOTED - NOW))
        world.offer_stand_in()
        await world.look()
        assert world.done() == []
        assert "the clock says 1970-01-01" in world.status.condition.message

    @virtually
    async def test_is_installed_in_1970(self):
        world = Timed.of(Mailbox(), Machine(BOOTED - NOW))
        world.offer(new)
        world.offer_stand_in()
        await world.look()
        await world.look()
        assert world.status.chosen == (("traefik", new.leaf),)
        assert world.done()[0] == "apply"

    @pytest.mark.parametrize("years", [1, 10])
    def test_stays_after_the_clock_jumped_years_on_and_for_days_after(self, years):
        @virtually
        async def test() -> None:
            world = holding(new)
            world.offer(new)
            world.offer_stand_in()
            await world.look()
            world.machine.off = timedelta(days=365 * years)
            for _ in range(100):
                assert (await world.look()).result is Result.UNCHANGED
                await asyncio.sleep(3600)
            assert world.done() == []
            assert "without its last jump it would say" in world.status.condition.message

        test()

    @virtually
    async def test_stays_where_the_engine_says_another_year(self):
        world = holding(new, off=timedelta(days=3650))
        world.machine.engine_off = timedelta()
        world.offer(new)
        world.offer_stand_in()
        await world.look()
        assert (world.done(), world.reason) == ([], "")
        assert "that of Docker" in world.status.condition.message

    @virtually
    async def test_is_told_about_once_and_again_when_the_clock_is_right(self):
        world = holding(new)
        world.offer(new)
        with capture_logs() as lines:
            world.machine.set_to(BOOTED)
            for _ in range(5):
                await world.look()
            world.machine.off = timedelta()
            for _ in range(5):
                await world.look()
        told = [line for line in lines if line["event"].startswith("clock.")]
        assert [line["event"] for line in told] == ["clock.doubted", "clock.believed"]
        assert "the clock says 1970-01-01 00:00 UTC" in told[0]["message"]
        assert "1970" not in world.status.condition.message


class TestAnExpiredCertificate:
    @virtually
    async def test_gives_way_as_ever_where_nothing_speaks_against_the_clock(self):
        world = holding(new, off=timedelta(days=365))
        world.offer_stand_in()
        await world.look()
        assert world.status.chosen == (("self-signed", stand_in.leaf),)

    @virtually
    async def test_gives_way_when_the_clock_has_gone_on_by_itself(self):
        world = holding(new)
        world.offer(new)
        world.offer_stand_in()
        for _ in range(14):
            await world.look()
            await asyncio.sleep(86400 * 7)
        await world.look()
        assert world.status.chosen == (("self-signed", stand_in.leaf),)

    @virtually
    async def test_gives_way_while_the_machine_was_suspended(self):
        world = holding(new)
        world.offer(new)
        world.offer_stand_in()
        await world.look()
        world.machine.slept += 86400 * 100
        await world.look()
        assert world.status.chosen == (("self-signed", stand_in.leaf),)

    @virtually
    async def test_gives_way_in_the_end_where_the_clock_stays_where_it_jumped_to(self):
        world = holding(new)
        world.offer(new)
        world.offer_stand_in()
        await world.look()
        world.machine.off = timedelta(days=3650)
        await world.look()
        await asyncio.sleep(BELIEVED_AFTER + 1)
        await world.look()
        assert world.status.chosen == (("self-signed", stand_in.leaf),)


@virtually
async def test_a_clock_that_was_put_right_is_believed_at_once() -> None:
    machine = Machine(BOOTED - NOW)
    clocks = machine.clocks()
    assert clocks.others() == ()
    machine.off = timedelta()
    assert clocks.others() == ()


@virtually
async def test_slow_drift_is_no_jump() -> None:
    machine = Machine()
    clocks = machine.clocks()
    for _ in range(1000):
        machine.off += timedelta(seconds=1)
        await asyncio.sleep(600)
        assert clocks.others() == ()


class TestTheWaitAfterAFailure:
    def failed(self) -> Timed:
        world = holding(old)
        world.offer(new)
        world.box.faults["postfix reload"] = [ReloadFailed("no")]
        return world

    @pytest.mark.parametrize("days", [-400, -1, 1, 400])
    def test_is_neither_lost_nor_cut_short_by_a_clock_that_jumps(self, days):
        @virtually
        async def test() -> None:
            world = self.failed()
            assert (await world.look()).result is Result.FAILED
            world.machine.off = timedelta(days=days)
            await asyncio.sleep(TIMING.resync - 60)
            assert (await world.look()).result is Result.REFUSED
            await asyncio.sleep(120)
            assert (await world.look()).result is Result.CHANGED

        test()

    @virtually
    async def test_is_over_after_a_day_of_sleep(self):
        world = self.failed()
        await world.look()
        world.machine.slept += 86400
        assert (await world.look()).result is Result.CHANGED

    @pytest.mark.parametrize("days", [-400, 400])
    def test_of_a_silent_port_is_counted_by_a_clock_that_cannot_jump(self, days):
        @virtually
        async def test() -> None:
            world = holding(new)
            world.offer(new)
            world.box.answers[993] = serves(None, IMAPS, silent=True)
            assert (await world.look()).result is Result.WAITING
            world.machine.off = timedelta(days=days)
            await asyncio.sleep(30)
            assert (await world.look()).result is Result.WAITING
            await asyncio.sleep(40)
            assert (await world.look()).result is Result.FAILED
            assert world.done()[:2] == ["check", "postfix reload"]

        test()


class TestTheGraceOfAStart:
    """It is counted by the engine's clock, which may be another machine's, and from then on by one that cannot jump."""

    def starting(self, off: timedelta, age: float | None) -> Timed:
        started = container(started_at=NOW + off, age=age)
        world = holding(new)
        world.box.target = target(container=started)
        world.box.in_use = None
        world.box.engine_age = lambda: None if age is None else age + clock()
        world.offer(new)
        return world

    @pytest.mark.parametrize("off", [timedelta(days=-300), timedelta(), timedelta(days=300)])
    @pytest.mark.parametrize("age", [5.0, -400.0, None])
    def test_is_given_and_ends_whatever_our_own_clock_says(self, off, age):
        @virtually
        async def test() -> None:
            world = self.starting(off, age)
            assert (await world.look()).result is Result.WAITING
            await asyncio.sleep(50)
            assert (await world.look()).result is Result.WAITING
            assert world.reason == "ReloadPending"
            await asyncio.sleep(20)
            await world.look()
            assert world.reason == "NothingListens"
            assert world.done() == []

        test()

    @virtually
    async def test_is_not_cut_short_by_a_time_server_that_answers_meanwhile(self):
        world = self.starting(BOOTED - NOW, 5.0)
        assert (await world.look()).result is Result.WAITING
        world.box.engine_age = lambda: 56 * 365 * 86400.0
        await asyncio.sleep(10)
        assert (await world.look()).result is Result.WAITING

    @virtually
    async def test_is_over_for_a_container_that_was_started_long_ago(self):
        world = self.starting(timedelta(), 4000.0)
        await world.look()
        assert world.reason == "NothingListens"


class TestTheWatch:
    @virtually
    async def test_tells_sleep_from_a_jump(self):
        machine = Machine()
        watch = Watch(machine.clocks(), clock)
        await asyncio.sleep(10)
        assert watch.look() == Leap()
        machine.slept += 86400
        leap = watch.look()
        assert (round(leap.slept), round(leap.jumped)) == (86400, 0)
        machine.off += timedelta(days=-2)
        leap = watch.look()
        assert (round(leap.slept), round(leap.jumped)) == (0, -2 * 86400)
        await asyncio.sleep(10)
        assert watch.look() == Leap()

    def test_sees_the_time_that_this_machine_was_suspended(self):
        first = elapsed()
        assert elapsed() >= first > 0

    @pytest.mark.parametrize(
        ("what", "told"), [("sleep", "clock.slept"), ("forward", "clock.jumped"), ("back", "clock.jumped")]
    )
    def test_has_everything_looked_at_anew(self, what, told):
        @virtually
        async def test() -> None:
            fleet, machine = Fleet(on("a"), on("b")), Machine()
            made = supervisor(fleet, replace_settings(resync=7 * 86400.0), watch=Watch(machine.clocks(), clock))
            stop = asyncio.Event()
            with capture_logs() as lines:
                task = asyncio.create_task(made.run(stop))
                await asyncio.sleep(100)
                fleet.looks.clear()
                await asyncio.sleep(1000)
                assert fleet.looks == []
                if what == "sleep":
                    machine.slept += 86400
                else:
                    machine.off += timedelta(days=3 if what == "forward" else -3)
                await asyncio.sleep(20)
                assert sorted(fleet.looks) == ["a", "b"]
                await asyncio.sleep(1000)
                assert len(fleet.looks) == 2
                stop.set()
                await task
            assert [line["event"] for line in lines if line["event"].startswith("clock.")] == [told]

        test()


def test_the_age_of_a_container_makes_no_difference_between_two() -> None:
    assert container(age=1.0) == container(age=2.0)
    assert isinstance(container(), Container)
