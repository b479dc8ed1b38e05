"""Nothing runs on beside the next pass: what was begun together ends together, whatever fails or is cancelled."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from controller.domain.certificate import KeyType
from controller.domain.errors import EngineUnavailable, Error
from controller.domain.observed import Ask, Expected, Served
from controller.domain.target import ProbePort, Target
from controller.ending import pass_on_cancellation
from controller.proof import Prover, Question
from controller.together import together
from tests.unit.made import NEW, OLD, certificate, serves, target
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import clock, virtually

old, new = certificate(**OLD), certificate(**NEW)
PORTS = tuple(ProbePort(number, "imaps") for number in range(1, 257))
RIGHT = (Expected(new.leaf, new.chain_pem),)


class Handshakes:
    """A probe whose handshakes take 30 s; the one with `failing` fails after a second."""

    def __init__(self, failing: int = 100, error: Exception | None = None) -> None:
        self.running = self.asked = 0
        self.failing, self.error = failing, error or EngineUnavailable("the engine is away")

    async def served(self, _target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        self.running += 1
        self.asked += 1
        try:
            await asyncio.sleep(1 if port.port == self.failing else 30)
            if port.port == self.failing:
                raise self.error
            return serves(old, port)
        finally:
            self.running -= 1


def prove(prover: Prover) -> Coroutine[Any, Any, object]:
    return prover.verify(target(), [Question(port, None, RIGHT) for port in PORTS], seconds=65)


def ask(prover: Prover) -> Coroutine[Any, Any, object]:
    return prover.ask(target(), map(Ask, PORTS))


Work = Callable[[Prover], Coroutine[Any, Any, object]]


@pytest.mark.parametrize("work", [prove, ask])
@pytest.mark.parametrize("error", [EngineUnavailable("away"), ZeroDivisionError("a bug")], ids=["error", "bug"])
def test_after_one_handshake_that_raised_none_of_the_others_runs_on(work: Work, error: Exception):
    """Seen: 256 of them beside those of the next pass."""

    @virtually
    async def test() -> None:
        probe = Handshakes(error=error)
        with pytest.raises(type(error)):  # as itself, not as a group
            await work(Prover(probe, clock))
        assert (probe.running, probe.asked) == (0, 256)
        await asyncio.sleep(200)
        assert probe.asked == 256

    test()


@pytest.mark.parametrize("work", [prove, ask])
def test_after_a_pass_that_was_cancelled_no_handshake_runs_on(work: Work):
    @virtually
    async def test() -> None:
        probe = Handshakes(failing=0)
        task = asyncio.create_task(work(Prover(probe, clock)))
        await asyncio.sleep(2)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert (probe.running, probe.asked) == (0, 256)
        await asyncio.sleep(200)
        assert probe.asked == 256

    test()


def test_after_a_look_at_the_files_that_failed_no_handshake_runs_on():
    @virtually
    async def test() -> None:
        world = World(Mailbox.holding(new))
        world.offer(new)
        await world.look()  # now it knows which ports answer, and asks them while the files are read
        probe = Handshakes(failing=0)
        world.box.served = probe.served  # type: ignore[method-assign]
        world.box.faults["observe"] = [EngineUnavailable("away")]
        with pytest.raises(EngineUnavailable):
            await world.look()
        assert probe.running == 0

    test()


@virtually
async def test_what_each_gives_comes_in_the_order_given() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(after(seconds) for seconds in (3, 1, 2)) == [3, 1, 2]
    assert clock() == pytest.approx(3, abs=0.1)
    assert await together([]) == []


@virtually
async def test_of_several_that_fail_the_first_is_told() -> None:
    async def fail(seconds: float, error: Exception) -> None:
        await asyncio.sleep(seconds)
        raise error

    with pytest.raises(Error, match="first"):
        await together([fail(2, ValueError("second")), fail(1, Error("first")), together([fail(3, ValueError())])])


def test_nothing_in_the_project_uses_gather_or_a_task_group() -> None:
    """`asyncio.gather` lets the others run on when one fails; for `asyncio.TaskGroup` see `controller.together`."""
    from pathlib import Path

    root = Path(__file__).parents[2]
    code = [path for folder in ("controller", "sources", "sinks") for path in (root / folder).rglob("*.py")]
    assert len(code) > 80
    texts = {path: path.read_text() for path in code}
    assert [path for path, text in texts.items() if re.search(r"gather\(\*|asyncio\.gather|asyncio\.TaskGroup\(", text)] == []


def test_what_failed_leaves_no_cancellation_behind():
    """Seen: at the next look for one, a worker of the controller ended for good, one more for each container that was removed
    while it was worked on."""

    @virtually
    async def test() -> None:
        task = asyncio.current_task()
        assert task is not None
        for works in ([_fail(1), asyncio.sleep(30)], [_fail(1), _fail(1)], [_fail(0), asyncio.sleep(30)]):
            with pytest.raises(EngineUnavailable):
                await together(works)
            assert task.cancelling() == 0
            pass_on_cancellation()

    test()


def test_a_cancellation_from_outside_is_passed_on_also_where_something_fails_in_the_same_moment():
    @virtually
    async def test() -> None:
        task = asyncio.create_task(together([_fail(1), asyncio.sleep(30)]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, EngineUnavailable)):
            await task

    test()


def test_one_that_was_cancelled_though_nobody_told_it_does_not_look_as_if_its_caller_was():
    async def give_up() -> None:
        awaited = asyncio.get_running_loop().create_future()
        awaited.cancel()
        await awaited

    @virtually
    async def test() -> None:
        with pytest.raises(RuntimeError, match="was cancelled, though nobody told it to end"):
            await together([give_up(), asyncio.sleep(1)])

    test()


def test_works_that_cannot_all_be_made_leave_none_behind():
    def works() -> Iterator[Coroutine[Any, Any, None]]:
        yield asyncio.sleep(30)
        raise ValueError("no more")

    @virtually
    async def test() -> None:
        with pytest.raises(ValueError, match="no more"):
            await together(works())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    test()


async def _fail(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise EngineUnavailable("away")
