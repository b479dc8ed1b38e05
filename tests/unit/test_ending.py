"""Ends that cannot hang, cancellations that cannot get lost, faults that are told once. Virtual time."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.errors import EngineUnavailable
from controller.ending import END_LIMIT, GrowingLimit, end, finish, pass_on_cancellation
from controller.engine_connection import Ask, Connection
from controller.faults import MOST, Faults
from sources.traefik_kv.http import HttpStore, NoServer
from sources.traefik_kv.network import Endpoint, NetworkOptions
from tests.unit.virtual_time import clock, virtually


async def deaf(times: int) -> None:
    """Swallows so many cancellations."""
    for _ in range(times):
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(1e6)


async def deaf_for(seconds: float) -> None:
    """Takes so long, whoever cancels it."""
    end = clock() + seconds
    while clock() < end:
        try:
            await asyncio.sleep(end - clock())
        except asyncio.CancelledError:
            continue


class TestEnd:
    @virtually
    async def test_waits_for_tasks_and_minds_nothing_that_they_raise(self):
        async def fail() -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                raise ZeroDivisionError

        tasks = [asyncio.create_task(fail()), asyncio.create_task(deaf(0))]
        await asyncio.sleep(0)
        assert await end(*tasks) == ()
        assert (clock(), all(task.done() for task in tasks)) == (0, True)

    @virtually
    async def test_tells_a_task_twice_that_lost_its_cancellation(self):
        task = asyncio.create_task(deaf(1))
        await asyncio.sleep(0)
        assert await end(task) == ()
        assert task.cancelled()

    @pytest.mark.parametrize("cut_off", [False, True], ids=["too late", "while the end itself is cancelled"])
    def test_what_a_task_raises_after_all_is_not_told_with_its_text(self, cut_off):
        told: list[Any] = []

        async def fail_late() -> None:
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                await deaf_for(5)
                raise ValueError("-----BEGIN PRIVATE KEY-----") from None

        @virtually
        async def test() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            task = asyncio.create_task(fail_late())
            await asyncio.sleep(0)
            ending = asyncio.create_task(end(task))
            await asyncio.sleep(0.1)
            if cut_off:
                ending.cancel()
            await asyncio.sleep(10)
            assert task.done()
            del task
            gc.collect()

        test()
        assert told == []

    def test_names_what_does_not_end_and_goes_on_without(self):
        @virtually
        async def test() -> None:
            task = asyncio.create_task(deaf(2), name="source-etcd")
            await asyncio.sleep(0)
            assert await end(task) == ("source-etcd",)
            assert clock() == pytest.approx(END_LIMIT, abs=0.01)

        with capture_logs() as lines:
            test()
        assert [(line["event"], line["tasks"]) for line in lines] == [("task.hangs", "source-etcd")]

    @virtually
    async def test_is_itself_cancelled_when_its_caller_is(self):
        async def caller() -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                await end(asyncio.create_task(deaf(1)), limit=100)

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(1)
        assert task.cancelled()


class TestFinish:
    @virtually
    async def test_lets_what_closes_close(self):
        done: list[int] = []

        async def close() -> None:
            await asyncio.sleep(0.1)
            done.append(1)

        await finish(close(), what="closing it", limit=1)
        assert done == [1]

    @virtually
    async def test_does_not_wait_for_what_hangs_and_minds_nothing_that_it_raises(self):
        async def fail() -> None:
            raise OSError

        await finish(fail(), what="closing it", limit=1)
        await finish(deaf(5), what="closing it", limit=1)
        assert clock() < 1.2


async def hiding(caught: list[str]) -> None:
    """Raises something else in place of its cancellation, and catches that as one does in a loop that never ends."""
    while True:
        try:
            try:
                await asyncio.sleep(1e6)
            finally:
                raise OSError
        except OSError:
            caught.append("error")
            pass_on_cancellation()


@virtually
async def test_a_cancellation_that_something_hides_is_passed_on():
    caught: list[str] = []
    task = asyncio.create_task(hiding(caught))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert (task.cancelled(), caught) == (True, ["error"])


@virtually
async def test_a_time_limit_around_what_hides_it_is_a_time_limit_still():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await hiding([])
    pass_on_cancellation()


class TestWhereErrorsAreTranslated:
    """What breaks while it is cancelled says nothing of a server: the next one would be asked, by a task told to end."""

    @staticmethod
    async def cancelled(work: Any) -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        return task.cancelled()

    @virtually
    async def test_of_a_store(self):
        server = Endpoint("etcd", 2379)
        store = HttpStore("etcd", (server,), NetworkOptions())

        async def ask() -> None:
            with store.explaining(server):
                try:
                    await asyncio.sleep(1e6)
                finally:
                    raise TimeoutError

        assert await self.cancelled(ask)
        with pytest.raises(NoServer), store.explaining(server):
            raise TimeoutError

    @virtually
    async def test_of_docker(self):
        docker = Connection("unix:///docker.sock", timeout=1e9)

        async def ask() -> None:
            async with docker._guard(Ask.HOST, "answer"):
                try:
                    await asyncio.sleep(1e6)
                finally:
                    raise ConnectionResetError

        assert await self.cancelled(ask)
        with pytest.raises(EngineUnavailable):
            async with docker._guard(Ask.HOST, "answer"):
                raise ConnectionResetError


def test_a_limit_grows_while_it_is_too_short_and_begins_anew_when_it_was_not():
    limit = GrowingLimit(10, 35)
    seconds = []
    for _ in range(4):
        seconds.append(limit.seconds)
        limit.exceeded()
    assert seconds == [10, 20, 35, 35]
    limit.kept()
    assert limit.seconds == 10


class TestFaults:
    @staticmethod
    def fault(text: str = "a bug") -> ZeroDivisionError:
        try:
            raise ZeroDivisionError(text)
        except ZeroDivisionError as error:
            return error

    def test_are_told_once_for_each_thing_and_place_until_they_are_over(self):
        faults = Faults()
        with capture_logs() as lines:
            for about in ("a", "a", "b", "a"):
                faults.tell("crashed", self.fault(), about=about)
            faults.tell("crashed", ValueError("another"), about="a")
            faults.over("b")
            faults.tell("crashed", self.fault(), about="b")
        assert [line["log_level"] for line in lines] == ["error", "debug", "error", "debug", "error", "error"]
        assert isinstance(lines[0]["exc_info"], ZeroDivisionError)

    def test_of_what_may_hold_secrets_are_told_without_their_text(self):
        with capture_logs() as lines:
            Faults().tell("crashed", self.fault("-----BEGIN PRIVATE KEY-----"), about="a", secret=True)
        kind, error, trace = lines[0]["exc_info"]
        assert (kind.__name__, trace.tb_frame.f_code.co_name) == ("ZeroDivisionError", "fault")
        assert "PRIVATE" not in f"{lines}{error}"

    def test_of_many_things_are_not_remembered_without_end(self):
        faults = Faults()
        with capture_logs():
            for number in range(MOST * 2):
                faults.tell("crashed", self.fault(), about=str(number))
        assert len(faults._told) == MOST
