"""Followers of sources that hang, break or hide a cancellation: each ends when told to, and none is given up. Virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from controller.domain.errors import SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Snapshot
from controller.following import LOAD_LIMIT, LONGEST_LOAD, SLOW, UNWATCHED, WATCH_LIMIT, Follower
from controller.store import Store
from tests.unit.test_following import PACE, Followed, Script, following, logged, new, old, warnings
from tests.unit.virtual_time import clock, virtually

__all__ = ["logged"]
REFUSED = SourceUnavailable("permission denied")


class TornAtTheEnd(Script):
    """Its hint fails when it is cancelled, or just before, as ZooKeeper's does with a key that may not be read."""

    def __init__(self, *readings: Snapshot | Exception, error: BaseException, after: float) -> None:
        super().__init__(*readings)
        self._error, self._after = error, after

    async def _iterate(self) -> AsyncIterator[None]:
        try:
            await asyncio.sleep(self._after)
        finally:
            raise self._error
        yield


@virtually
@pytest.mark.parametrize("error", [REFUSED, ValueError("a bug"), TimeoutError(), OSError(104, "reset")], ids=repr)
async def test_five_hundred_followers_whose_hint_fails_while_they_are_cancelled_all_end(error, logged):
    tasks = []
    for number in range(500):
        source = TornAtTheEnd(new, error=error, after=number / 500)
        follower = Follower(source, Store(), lambda *_: None, pace=PACE, jitter=lambda: 1.0)
        tasks.append(asyncio.create_task(follower.follow()))
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    _, living = await asyncio.wait(tasks, timeout=5)
    assert len(living) == 0
    assert all(task.cancelled() for task in tasks)


class TestACancellation:
    """Whatever a source raises in its place, it is one."""

    @staticmethod
    async def ends(source: Any, after: float) -> bool:
        follower = Follower(source, Store(), lambda *_: None, pace=PACE, jitter=lambda: 1.0)
        task = asyncio.create_task(follower.follow())
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        return task.cancelled()

    @pytest.mark.parametrize("error", [REFUSED, ValueError("a bug")], ids=repr)
    @pytest.mark.parametrize("where", ["enter", "leave", "load"])
    def test_is_not_hidden_by_what_a_source_raises_while_it_is(self, where, error):
        class Hiding(Script):
            async def load(self) -> Snapshot:
                return await super().load() if where != "load" else await self.hide()

            @asynccontextmanager
            async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
                if where == "enter":
                    await self.hide()
                try:
                    yield self._iterate()
                finally:
                    if where == "leave":
                        raise error

            async def hide(self) -> Any:
                try:
                    await asyncio.sleep(1000)
                finally:
                    raise error

        @virtually
        async def test() -> None:
            assert await self.ends(Hiding(new), 1)

        test()

    @virtually
    async def test_ends_a_follower_whose_reading_swallows_it(self):
        class Swallowing(Script):
            async def load(self) -> Snapshot:
                for _ in range(100):
                    try:
                        await asyncio.sleep(1000)
                    except asyncio.CancelledError:
                        continue
                return new

        assert await self.ends(Swallowing(new), 1)
        assert clock() < 5

    @virtually
    async def test_ends_one_whose_subscription_hangs_when_it_is_left(self):
        class Clinging(Script):
            @asynccontextmanager
            async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
                try:
                    yield self._iterate()
                finally:
                    await asyncio.sleep(1000)

        assert await self.ends(Clinging(new), 1)
        assert clock() < 5


class Hanging(Script):
    """Hangs where told to, until told otherwise."""

    def __init__(self, *readings: Snapshot | Exception, where: str) -> None:
        super().__init__(*readings)
        self.where = where
        self.reading = 0
        self.most = 0
        """Readings at a time."""

    async def load(self) -> Snapshot:
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            if self.where == "load":
                self._note("hang")
                await asyncio.sleep(1e9)
            return await super().load()
        finally:
            self.reading -= 1

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        if self.where == "subscribe":
            self._note("hang")
            await asyncio.sleep(1e9)
        async with super().subscribe() as hints:
            yield hints


def test_a_source_that_cannot_be_watched_but_read_is_read(logged):
    """A gateway that buffers answers never lets etcd's watch stand, while every question is answered."""

    @virtually
    async def test() -> None:
        source = Hanging(old, new, where="subscribe")
        async with following(source) as followed:
            await asyncio.sleep(WATCH_LIMIT + 1)
            assert (followed.snapshot, followed.status.up, followed.status.message) == (old, True, UNWATCHED)
            await asyncio.sleep(100)
            assert followed.snapshot == new, "it is read again and again"
            await asyncio.sleep(3600)
            hangs = [moment for what, moment in source.log if what == "hang"]
            assert all(later - earlier <= 95 for earlier, later in pairwise(hangs))
            source.where = ""
            await asyncio.sleep(100)
            assert (followed.status.up, followed.status.message) == (True, "")
            assert source.log[-2][0] == "enter"

    test()
    assert warnings(logged) == ["source.unwatched"]


def test_a_source_that_says_that_it_cannot_be_watched_is_read_all_the_same_once_it_is_not_just_starting(logged):
    """A gateway that holds back the head of the answer as well lets the watch run out of its own time limit."""

    @virtually
    async def test() -> None:
        source = Script(old, new)
        source.refuses = [SourceUnavailable("no answer within 5 s")] * 100
        async with following(source) as followed:
            assert (followed.snapshot, followed.status.message) == (None, "no answer within 5 s")
            await asyncio.sleep(WATCH_LIMIT + 2)
            assert followed.snapshot is not None
            assert (followed.status.up, followed.status.message) == (True, f"{UNWATCHED}: no answer within 5 s")
            await asyncio.sleep(60)
            assert followed.snapshot == new

    test()
    assert warnings(logged) == ["source.degraded", "source.unwatched"]


def test_a_source_whose_reading_hangs_is_named_and_tried_again_and_keeps_what_it_had(logged):
    @virtually
    async def test() -> None:
        source = Hanging(old, new, where="")
        async with following(source) as followed:
            source.where = "load"
            source.hint()
            await asyncio.sleep(LOAD_LIMIT + 1)
            assert (followed.snapshot, followed.status.up, followed.status.reason) == (old, False, Reason.SOURCE_UNAVAILABLE)
            assert followed.status.message == SLOW
            await asyncio.sleep(3600)
            hangs = [moment for what, moment in source.log if what == "hang"]
            assert len(hangs) < 15, "each time it gets longer"
            source.where = ""
            await asyncio.sleep(LONGEST_LOAD + 100)
            assert (followed.snapshot, followed.status.up) == (new, True)
        assert source.most == 1

    test()
    assert warnings(logged) == ["source.degraded"]


@virtually
async def test_a_source_that_is_slow_but_alive_gets_the_time_it_needs():
    class Slow(Script):
        async def load(self) -> Snapshot:
            await asyncio.sleep(200)
            return await super().load()

    async with following(Slow(new)) as followed:
        await asyncio.sleep(1000)
        assert (followed.snapshot, followed.status.up) == (new, True)


@virtually
async def test_a_reading_that_cannot_be_cancelled_is_not_begun_a_second_time_beside_it():
    let_go = asyncio.Event()

    class Deaf(Hanging):
        async def load(self) -> Snapshot:
            self.reading += 1
            self.most = max(self.most, self.reading)
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            self.reading -= 1
            return await Script.load(self)

    source = Deaf(new, where="")
    async with following(source) as followed:
        await asyncio.sleep(3600)
        assert (source.most, followed.status.message) == (1, SLOW)
        let_go.set()
        await asyncio.sleep(100)
        assert (followed.snapshot, followed.status.up) == (new, True)


class TestAFaultNobodyForesaw:
    @pytest.mark.parametrize("where", ["load", "subscribe", "hints"])
    def test_is_told_once_without_its_text_and_tried_again_with_growing_pauses(self, logged, where):
        tries: list[float] = []

        class Broken(Script):
            mended = False

            async def load(self) -> Snapshot:
                return await self.fail() if where == "load" else await super().load()

            @asynccontextmanager
            async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
                if where == "subscribe":
                    await self.fail()
                yield self._iterate()

            async def _iterate(self) -> AsyncIterator[None]:
                if where == "hints":
                    await self.fail()
                async for _ in super()._iterate():
                    yield

            async def fail(self) -> Any:
                tries.append(clock())
                if not self.mended:
                    raise KeyError("-----BEGIN PRIVATE KEY-----")
                return new

        @virtually
        async def test() -> None:
            source = Broken(new)
            async with following(source) as followed:
                await asyncio.sleep(600)
                assert len(tries) < 40
                assert max(later - earlier for earlier, later in pairwise(tries)) > 20
                if where == "load":
                    assert "KeyError" in followed.status.message
                    assert "PRIVATE" not in followed.status.message
                source.mended = True
                await asyncio.sleep(100)
                assert (followed.snapshot, followed.status.up) == (new, True)

        test()
        (told,) = (line for line in logged if line["event"] == "source.crashed" and line["log_level"] == "error")
        kind, error, trace = told["exc_info"]
        assert (kind.__name__, trace.tb_frame.f_code.co_filename.endswith(".py")) == ("KeyError", True)
        assert "PRIVATE" not in f"{error}{told}"


@virtually
async def test_a_wake_up_in_the_middle_of_an_attempt_that_fails_is_not_lost():
    class Slow(Script):
        tried_at = 0.0

        @asynccontextmanager
        async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
            self.tried_at = clock()
            if self.refuses:
                await asyncio.sleep(2)
                raise self.refuses.pop(0)
            async with super().subscribe() as hints:
                yield hints

    source = Slow(new)
    source.refuses = [SourceUnavailable("not yet")] * 1000
    async with following(source) as followed:
        await asyncio.sleep(1000)  # the pauses have grown to some 25 s
        last = source.tried_at
        while source.tried_at == last:  # noqa: ASYNC110 -- until the next attempt has begun
            await asyncio.sleep(0.1)
        source.refuses = [SourceUnavailable("just then")]  # the last that fails
        followed.follower.wake()
        await asyncio.sleep(5)
        assert followed.status.up


async def test_a_hint_that_was_cancelled_by_itself_is_an_end_of_hints_and_no_end_of_the_follower() -> None:
    class GivesUp(Script):
        async def _iterate(self) -> AsyncIterator[None]:
            raise asyncio.CancelledError
            yield

    follower = Followed(GivesUp(new)).follower
    task = asyncio.create_task(follower.follow())
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=60)
    assert task.cancelled()
