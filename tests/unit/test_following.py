"""A source becomes a stream of snapshots; virtual time, and a source that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.errors import SourceGone, SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Entry, Problem, Snapshot
from controller.following import TORN_PAUSE, TORN_READINGS, Follower, Pace, changed_names
from controller.store import Store
from tests.unit.made import NEW, OLD, certificate, snapshot
from tests.unit.virtual_time import clock, virtually

PACE = Pace(retry_min=1.0, retry_max=60.0, resync=600.0)
GONE, TORN = SourceUnavailable("acme.json does not exist"), SourceMalformed("acme.json does not parse")
old, new = snapshot(certificate(**OLD)), snapshot(certificate(**NEW))
PROBLEM = Problem("le/x.example.com", Reason.WEAK_KEY, "too short")


class Script:
    """A source that gives its readings one after the other, the last one for ever, and hints when told to."""

    name = "traefik"

    def __init__(self, *readings: Snapshot | Exception) -> None:
        self.readings = list(readings)
        self.log: list[tuple[str, int]] = []
        self._hints: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.refuses: list[Exception] = []
        """What entering a subscription raises, one after the other."""

    def _note(self, what: str) -> None:
        self.log.append((what, round(clock())))

    async def load(self) -> Snapshot:
        self._note("load")
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        return reading

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        if self.refuses:
            raise self.refuses.pop(0)
        self._note("enter")
        try:
            yield self._iterate()
        finally:
            self._note("leave")

    async def _iterate(self) -> AsyncIterator[None]:
        while True:
            hint = await self._hints.get()
            if isinstance(hint, StopAsyncIteration):
                return
            if hint is not None:
                raise hint
            yield

    def hint(self) -> None:
        self._hints.put_nowait(None)

    def cut(self, error: Exception) -> None:
        """End the subscription with an error, or without one."""
        self._hints.put_nowait(error)


class Followed:
    """A follower with everything it tells."""

    def __init__(self, source: Script, pace: Pace = PACE) -> None:
        self.source = source
        self.store = Store()
        self.changes: list[tuple[Snapshot, Snapshot]] = []
        self.follower = Follower(source, self.store, lambda *both: self.changes.append(both), pace=pace, jitter=lambda: 1.0)

    @property
    def status(self) -> Any:
        return self.store.sources["traefik"]

    @property
    def snapshot(self) -> Snapshot | None:
        return self.store.snapshots.get("traefik")


@asynccontextmanager
async def following(source: Script, pace: Pace = PACE) -> AsyncIterator[Followed]:
    followed = Followed(source, pace)
    task = asyncio.create_task(followed.follower.follow())
    await asyncio.sleep(0.01)
    try:
        yield followed
    finally:
        assert not task.done(), task
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def warnings(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "warning"]


@virtually
async def test_the_subscription_stands_before_the_first_load():
    """models.md 1.9: traefik lists before it subscribes, and loses what happens in between."""
    async with following(Script(new)) as followed:
        assert followed.source.log == [("enter", 0), ("load", 0)]
        assert (followed.snapshot, followed.status.up) == (new, True)
        assert followed.follower.tried.is_set()


@virtually
async def test_a_hint_that_came_before_the_first_load_was_over_is_not_lost():
    source = Script(old, new)
    source.hint()
    async with following(source) as followed:
        assert followed.snapshot == new


@virtually
async def test_each_hint_is_a_reading():
    async with following(Script(old, new)) as followed:
        followed.source.hint()
        await asyncio.sleep(1)
        assert followed.source.log == [("enter", 0), ("load", 0), ("load", 0)]
        assert followed.changes == [(Snapshot("traefik"), old), (old, new)]


@virtually
async def test_a_reading_that_brings_nothing_new_is_no_change():
    async with following(Script(new, snapshot(certificate(**NEW)))) as followed:
        followed.source.hint()
        await asyncio.sleep(1)
        assert len(followed.source.log) == 3
        assert followed.changes == [(Snapshot("traefik"), new)]


@virtually
async def test_without_any_hint_it_is_read_at_the_resync_and_the_subscription_stays():
    async with following(Script(old, new)) as followed:
        await asyncio.sleep(1210)
        assert followed.source.log == [("enter", 0), ("load", 0), ("load", 600), ("load", 1200)]
        followed.source.hint()
        await asyncio.sleep(1)
        assert followed.source.log[-1] == ("load", 1210)


@pytest.mark.parametrize(("days", "again"), [(90, 86_400), (10, 43_200), (1, 4320), (0.01, 600)])
@virtually
async def test_of_short_lives_a_twentieth_is_the_longest_that_it_is_not_read(days, again):
    """However long the operator lets the resync be."""
    short = snapshot(certificate(days=90), certificate("b.example.com", days=days, hours_old=0.1))
    source = Script(short)
    async with following(source, replace(PACE, resync=86_400.0)):
        await asyncio.sleep(again - 5)
        assert [what for what, _ in source.log].count("load") == 1
        await asyncio.sleep(10)
    assert [what for what, _ in source.log].count("load") == 2


@virtually
async def test_a_torn_reading_keeps_the_last_good_state_and_is_read_again_soon():
    """models.md 1.9: traefik truncates acme.json in place, so readers can see half a file."""
    async with following(Script(old, TORN, TORN, new)) as followed:
        followed.source.hint()
        await asyncio.sleep(TORN_PAUSE / 2)
        assert (followed.snapshot, followed.status.up, followed.status.reason) == (old, False, Reason.SOURCE_MALFORMED)
        await asyncio.sleep(TORN_PAUSE * 3)
        assert (followed.snapshot, followed.status.up) == (new, True)
        assert followed.changes[-1] == (old, new)


@virtually
async def test_a_source_that_stays_torn_is_read_less_and_less_often():
    async with following(Script(TORN)) as followed:
        await asyncio.sleep(600)
        assert 15 <= len(followed.source.log) <= 25
        assert (followed.snapshot, followed.status.message) == (None, str(TORN))


@virtually
async def test_a_hint_cuts_the_pause_after_a_torn_reading():
    async with following(Script(TORN)) as followed:
        await asyncio.sleep(100)
        before = len(followed.source.log)
        followed.source.readings = [new]
        followed.source.hint()
        await asyncio.sleep(0.01)
        assert (len(followed.source.log) - before, followed.snapshot) == (1, new)


def test_a_few_torn_readings_are_no_news_and_many_are(logged):
    @virtually
    async def test() -> None:
        async with following(Script(old, *[TORN] * TORN_READINGS, new)) as followed:
            followed.source.hint()
            await asyncio.sleep(10)
            assert warnings(logged) == []
            followed.source.readings = [TORN]
            followed.source.hint()
            await asyncio.sleep(60)
            assert warnings(logged) == ["source.degraded"]
            followed.source.readings = [new]
            await asyncio.sleep(120)
            assert [line["event"] for line in logged].count("source.loaded") == 2

    test()


@virtually
async def test_a_source_that_cannot_be_read_keeps_its_last_good_state_and_its_subscription():
    async with following(Script(old, GONE)) as followed:
        followed.source.hint()
        await asyncio.sleep(1)
        assert (followed.snapshot, followed.status.up, followed.status.reason) == (old, False, Reason.SOURCE_UNAVAILABLE)
        assert followed.status.message == str(GONE)
        assert followed.status.loaded_at is not None
        assert ("leave", 0) not in followed.source.log


REMOVED = SourceGone("there is no container traefik (yet)")


class TestWhatASourceIsReadFrom:
    """Removed is another matter than not to be reached: after a while another source may take over."""

    @virtually
    async def test_removed_is_noted_once_and_whom_it_concerns_is_looked_at(self):
        async with following(Script(old, REMOVED)) as followed:
            followed.changes.clear()
            followed.source.hint()
            await asyncio.sleep(100)
            assert followed.store.known([]).gone.keys() == {"traefik"}
            assert followed.changes == [(Snapshot("traefik"), old)]
            assert (followed.snapshot, followed.status.reason) == (old, Reason.SOURCE_UNAVAILABLE)

    @virtually
    async def test_removed_before_it_was_read_concerns_nobody(self):
        async with following(Script(REMOVED)) as followed:
            assert followed.store.known([]).gone.keys() == {"traefik"}
            assert followed.changes == []

    @pytest.mark.parametrize("then", [GONE, TORN, old, ZeroDivisionError()])
    def test_is_not_gone_any_more_when_anything_else_is_heard_of_it(self, then):
        @virtually
        async def test() -> None:
            async with following(Script(old, REMOVED, then)) as followed:
                followed.source.hint()
                await asyncio.sleep(0.01)
                assert followed.store.known([]).gone.keys() == {"traefik"}
                await asyncio.sleep(10)
                assert followed.store.known([]).gone == {}

        test()

    @virtually
    async def test_that_does_not_answer_is_not_gone(self):
        async with following(Script(old, REMOVED)) as followed:
            followed.source.hint()
            await asyncio.sleep(0.01)
            followed.follower.tried.clear()
            followed.follower.late()
            assert followed.store.known([]).gone == {}


@virtually
async def test_an_empty_reading_is_a_reading_and_not_a_failure():
    async with following(Script(old, Snapshot("traefik"))) as followed:
        followed.source.hint()
        await asyncio.sleep(1)
        assert followed.snapshot == Snapshot("traefik")
        assert followed.status.up


@virtually
async def test_a_subscription_that_breaks_is_entered_anew_and_read_anew():
    async with following(Script(old, new)) as followed:
        followed.source.cut(SourceUnavailable("connection lost"))
        await asyncio.sleep(0.5)
        assert (followed.status.up, followed.status.message) == (False, "connection lost")
        await asyncio.sleep(1)
        assert followed.source.log == [("enter", 0), ("load", 0), ("leave", 0), ("enter", 1), ("load", 1)]
        assert (followed.snapshot, followed.status.up) == (new, True)


@virtually
async def test_hints_that_simply_end_are_entered_anew():
    async with following(Script(old, new)) as followed:
        followed.source.cut(StopAsyncIteration())
        await asyncio.sleep(2)
        assert [what for what, _ in followed.source.log] == ["enter", "load", "leave", "enter", "load"]


@virtually
async def test_who_comes_back_within_a_minute_is_met_within_two_seconds_and_who_comes_later_within_thirty():
    tries: list[float] = []

    class Away(Script):
        def subscribe(self):
            tries.append(clock())
            raise SourceUnavailable("not yet")

    async with following(Away(new)) as followed:
        assert (followed.status.reason, followed.follower.tried.is_set()) == (Reason.SOURCE_UNAVAILABLE, True)
        await asyncio.sleep(7200)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    begin = tries[0]
    assert all(1 <= pause < 2 / 1.1 for pause, moment in zip(pauses, tries, strict=False) if moment - begin < 60)
    assert all(later > earlier - 1e-6 for earlier, later in pairwise(pauses))
    assert pauses[-1] == pytest.approx(30)


@virtually
async def test_after_a_good_reading_the_pauses_begin_anew():
    source = Script(new)
    source.refuses = [SourceUnavailable("not yet")] * 80
    async with following(source) as followed:
        await asyncio.sleep(150)
        (met,) = (moment for what, moment in source.log if what == "enter")
        assert 80 < met < 150
        followed.source.cut(SourceUnavailable("lost"))
        await asyncio.sleep(1.5)
        assert source.log[-1] == ("load", 151)


def test_the_same_failure_is_told_once(logged):
    @virtually
    async def test() -> None:
        source = Script(new)
        source.refuses = [SourceUnavailable("not yet")] * 5
        async with following(source):
            await asyncio.sleep(100)
        assert warnings(logged) == ["source.degraded"]

    test()


def test_an_unusable_entry_is_told_once_and_again_when_it_came_back(logged):
    @virtually
    async def test() -> None:
        bad = replace(new, problems=(PROBLEM,))
        async with following(Script(bad, replace(bad, entries=old.entries), new, bad)) as followed:
            for _ in range(3):
                followed.source.hint()
                await asyncio.sleep(1)
        assert warnings(logged) == ["source.entry_unusable"] * 2

    test()


class TestForACommand:
    """The source is read once, for a command that does not stay."""

    @virtually
    async def test_a_good_reading_is_enough(self):
        followed = Followed(Script(new))
        await followed.follower.load_once()
        assert (followed.snapshot, followed.source.log) == (new, [("load", 0)])

    @virtually
    async def test_torn_readings_are_repeated(self):
        followed = Followed(Script(TORN, TORN, new))
        await followed.follower.load_once()
        assert followed.snapshot == new

    @virtually
    async def test_but_not_for_ever(self):
        followed = Followed(Script(TORN))
        await followed.follower.load_once()
        assert (len(followed.source.log), followed.status.reason) == (5, Reason.SOURCE_MALFORMED)

    @virtually
    async def test_what_cannot_be_read_is_not_repeated(self):
        followed = Followed(Script(GONE))
        await followed.follower.load_once()
        assert (len(followed.source.log), followed.status.reason) == (1, Reason.SOURCE_UNAVAILABLE)


def test_a_follower_is_called_as_its_source():
    @virtually
    async def test() -> None:
        assert Followed(Script(new)).follower.source_name == "traefik"

    test()


def of(*entries: Entry) -> Snapshot:
    return Snapshot("traefik", entries)


first, second = certificate("a.example.com", "b.example.com", **OLD), certificate("a.example.com", "c.example.com", **NEW)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (of(), of(), set()),
        (of(Entry("x", first)), of(Entry("x", first)), set()),
        (of(), of(Entry("x", first)), {"a.example.com", "b.example.com"}),
        (of(Entry("x", first)), of(), {"a.example.com", "b.example.com"}),
        (of(Entry("x", first)), of(Entry("x", second)), {"a.example.com", "b.example.com", "c.example.com"}),
        (of(Entry("x", first)), of(Entry("x", first), Entry("y", second)), {"a.example.com", "c.example.com"}),
        (of(Entry("x", first)), of(Entry("x", replace(first, chain_pem=b""))), {"a.example.com", "b.example.com"}),
        (of(Entry("x", first)), of(Entry("x", replace(first, key_pem=b"k"))), {"a.example.com", "b.example.com"}),
    ],
    ids=["empty", "the same", "came", "went", "renewed", "one more", "another chain", "another form of the key"],
)
def test_the_names_of_every_certificate_that_changed(before, after, names):
    assert changed_names(before, after) == names
