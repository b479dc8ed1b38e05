"""The queue of keys, in virtual time: each once, the earliest first, never two at a time, never lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.workqueue import WorkQueue
from tests.unit import virtual_time
from tests.unit.virtual_time import clock, virtually

RETRY_MIN, RETRY_MAX = 1.0, 300.0


def queue(jitter: Callable[[], float] = lambda: 1.0) -> WorkQueue[str]:
    return WorkQueue(retry_min=RETRY_MIN, retry_max=RETRY_MAX, clock=clock, jitter=jitter)


async def take(held: WorkQueue[str], within: float = 10_000.0) -> tuple[str, int] | None:
    """The next key and the second at which it came; ``None`` when none does."""
    try:
        async with asyncio.timeout(within):
            return await held.get(), round(clock())
    except TimeoutError:
        return None


@virtually
async def test_a_key_comes_at_once() -> None:
    held = queue()
    held.add("a")
    assert await take(held) == ("a", 0)


@virtually
async def test_a_key_comes_when_it_is_due() -> None:
    held = queue()
    held.add("a", 60)
    assert await take(held, within=59) is None
    assert await take(held) == ("a", 60)


@virtually
async def test_a_key_is_in_it_once() -> None:
    held = queue()
    for delay in (3, 1, 2):
        held.add("a", delay)
    assert await take(held) == ("a", 1)
    held.done("a")
    assert await take(held) is None


@virtually
async def test_of_several_keys_the_one_due_first_comes_first() -> None:
    held = queue()
    for key, delay in (("c", 3), ("a", 1), ("b", 2)):
        held.add(key, delay)
    assert [await take(held) for _ in range(3)] == [("a", 1), ("b", 2), ("c", 3)]


@virtually
async def test_a_later_deadline_does_not_put_off_an_earlier_one() -> None:
    held = queue()
    held.add("a", 1)
    held.add("a", 100)
    assert await take(held) == ("a", 1)


@virtually
async def test_an_earlier_deadline_wakes_who_waits_for_a_later_one() -> None:
    held = queue()
    held.add("a", 600)
    waiting = asyncio.ensure_future(take(held))
    await asyncio.sleep(5)
    held.add("a", 2)
    assert await waiting == ("a", 7)


@virtually
async def test_a_key_added_while_it_is_worked_on_runs_once_more_afterwards() -> None:
    """models.md 1.9: caddy-docker-proxy drops an update for a server that is being updated."""
    held = queue()
    held.add("a")
    await take(held)
    for _ in range(3):
        held.add("a")
    assert await take(held, within=60) is None  # never two at a time
    held.done("a")
    assert await take(held) == ("a", 60)
    held.done("a")
    assert await take(held) is None


@virtually
async def test_a_key_planned_while_it_is_worked_on_keeps_its_time() -> None:
    held = queue()
    held.add("a")
    await take(held)
    held.add("a", 30)
    await asyncio.sleep(10)
    held.done("a")
    assert await take(held) == ("a", 30)


@virtually
async def test_a_key_planned_for_a_time_that_is_past_when_the_work_ends_comes_at_once() -> None:
    held = queue()
    held.add("a")
    await take(held)
    held.add("a", 1)
    await asyncio.sleep(10)
    held.done("a")
    assert await take(held) == ("a", 10)


@virtually
async def test_failures_double_the_wait_up_to_the_longest_and_nothing_is_ever_dropped() -> None:
    """models.md 1.9: Reloader drops an item after five tries."""
    held = queue()
    held.add("a")
    delays = []
    for attempt in range(12):
        taken = await take(held)
        assert taken is not None
        assert held.attempt("a") == attempt
        delays.append(held.retry("a"))
        held.done("a")
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


@virtually
async def test_the_wait_of_a_retry_has_some_jitter() -> None:
    factors = iter((0.9, 1.1))
    held = queue(lambda: next(factors))
    assert [held.retry("a"), held.retry("b")] == [0.9, 1.1]


@virtually
async def test_a_new_event_cuts_the_wait_of_a_retry() -> None:
    held = queue()
    for _ in range(9):
        held.retry("a")
    await asyncio.sleep(0)
    held.add("a")
    assert await take(held) == ("a", 0)
    held.done("a")
    assert held.attempt("a") == 9  # and the next failure waits as long as before


@virtually
async def test_success_starts_the_waits_anew() -> None:
    held = queue()
    for _ in range(5):
        held.retry("a")
    held.forget("a")
    assert (held.attempt("a"), held.retry("a")) == (0, 1)


@virtually
async def test_what_is_planned_for_a_key_that_is_gone_is_dropped() -> None:
    held = queue()
    held.add("a", 10)
    held.retry("b")
    held.discard("a")
    held.discard("b")
    held.discard("c")
    assert (await take(held), held.attempt("b")) == (None, 0)


@virtually
async def test_a_key_that_is_gone_while_it_is_worked_on_does_not_come_back() -> None:
    held = queue()
    held.add("a")
    await take(held)
    held.add("a")
    held.discard("a")
    held.done("a")
    assert await take(held) is None


@virtually
async def test_a_key_is_claimed_at_once_though_it_is_due_later_and_keeps_its_time() -> None:
    held = queue()
    held.add("a", 60)
    await held.claim("a")
    assert (held.working, await take(held, within=100)) == (frozenset("a"), None)
    held.done("a")
    assert await take(held) == ("a", 100)


@virtually
async def test_a_key_that_nothing_was_planned_for_is_claimed_too() -> None:
    held = queue()
    await held.claim("a")
    held.done("a")
    assert await take(held) is None


@virtually
async def test_a_claim_waits_until_nobody_works_on_the_key() -> None:
    held = queue()
    held.add("a")
    assert await take(held) == ("a", 0)
    claim = asyncio.create_task(held.claim("a"))
    held.add("b", 5)
    assert await take(held) == ("b", 5)
    assert not claim.done()
    held.done("a")
    await claim
    assert held.working == {"a", "b"}


@virtually
async def test_the_depth_is_what_is_due_or_worked_on() -> None:
    held = queue()
    assert (held.depth, held.idle) == (0, True)
    held.add("a")
    held.add("b")
    held.add("c", 60)
    assert (held.depth, held.idle) == (2, True)
    await take(held)
    assert (held.depth, held.idle, held.working) == (2, False, frozenset({"a"}))
    held.done("a")
    assert (held.depth, held.idle) == (1, True)


@asynccontextmanager
async def workers(held: WorkQueue[str], number: int, seconds: float, log: list[tuple[str, str]]) -> AsyncIterator[None]:
    """Workers that take so many seconds for each key, and note what they begin and end."""

    async def work() -> None:
        while True:
            key = await held.get()
            log.append(("begin", key))
            await asyncio.sleep(seconds)
            log.append(("end", key))
            held.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(number)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@virtually
async def test_several_workers_work_on_several_keys_at_a_time() -> None:
    held, log = queue(), list[tuple[str, str]]()
    async with workers(held, 3, 10, log):
        for key in "abcd":
            held.add(key)
        await asyncio.sleep(5)
        assert log == [("begin", "a"), ("begin", "b"), ("begin", "c")]
        await asyncio.sleep(6)
        assert ("begin", "d") in log


@virtually
async def test_a_slow_key_does_not_hold_up_the_others() -> None:
    held = queue()
    held.add("slow")
    assert await take(held) == ("slow", 0)
    for key in "ab":
        held.add(key)
    assert [await take(held), await take(held)] == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_waiting_workers_get_each_key_exactly_once(number: int) -> None:
    async def test() -> list[tuple[str, str]]:
        held, log = queue(), list[tuple[str, str]]()
        async with workers(held, number, 0, log):
            await asyncio.sleep(1)
            for key in "abc":
                held.add(key)
            await asyncio.sleep(1)
        return log

    log = virtual_time.run(test())
    assert sorted(entry for entry in log if entry[0] == "begin") == [("begin", key) for key in "abc"]


class Model:
    """What the queue promises, as simply as can be: when each key is due, and which are being worked on."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}
        self.again: dict[str, float] = {}
        self.working: set[str] = set()

    def add(self, key: str, due: float) -> None:
        plan = self.again if key in self.working else self.due
        plan[key] = min(due, plan.get(key, due))

    def begin(self, key: str) -> float:
        self.working.add(key)
        return self.due.pop(key)

    def end(self, key: str) -> None:
        self.working.remove(key)
        if key in self.again:
            self.due[key] = self.again.pop(key)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 5.0, 30.0])),
        st.tuples(st.just("take"), st.just(""), st.sampled_from([0.5, 10.0])),
        st.tuples(st.just("end"), st.sampled_from("abc"), st.just(0.0)),
        st.tuples(st.just("sleep"), st.just(""), st.sampled_from([0.5, 3.0, 40.0])),
        st.tuples(st.just("discard"), st.sampled_from("abc"), st.just(0.0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_the_queue_does_as_a_simple_model(steps: list[tuple[str, str, float]]) -> None:
    async def test() -> None:
        held, model = queue(), Model()
        for action, key, seconds in steps:
            if action == "add":
                held.add(key, seconds)
                model.add(key, clock() + seconds)
            elif action == "sleep":
                await asyncio.sleep(seconds)
            elif action == "discard":
                held.discard(key)
                model.due.pop(key, None)
                model.again.pop(key, None)
            elif action == "end" and key in model.working:
                held.done(key)
                model.end(key)
            elif action == "take":
                first = min(model.due.values(), default=None)
                taken = await take(held, within=seconds)
                if taken is None:
                    assert first is None or first > clock() - 1e-3
                else:
                    assert taken[0] not in model.working
                    assert model.begin(taken[0]) == first
            assert held.idle == (not model.working)

    virtual_time.run(test())


def test_under_a_storm_no_key_is_lost_or_worked_on_twice_at_a_time() -> None:
    async def test() -> None:
        rng = random.Random(7)  # noqa: S311 -- the same storm each time
        held = queue()
        running: set[str] = set()
        seen: dict[str, int] = {}
        added: dict[str, int] = {}

        async def work() -> None:
            while True:
                key = await held.get()
                assert key not in running
                running.add(key)
                generation = added[key]
                await asyncio.sleep(rng.random() * 3)
                seen[key] = generation
                running.remove(key)
                if rng.random() < 0.3:
                    held.retry(key)
                held.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(4)]
        for number in range(500):
            key = rng.choice("abcdefgh")
            added[key] = number
            held.add(key, rng.choice([0, 0.25, 1]))
            await asyncio.sleep(rng.random() / 2)
        await asyncio.sleep(2000)
        assert seen == added
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    virtual_time.run(test())
