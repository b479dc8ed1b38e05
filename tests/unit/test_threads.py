"""The thread that each source has: what hangs in it holds up that source alone."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from controller import threads
from controller.domain.errors import SourceUnavailable
from controller.threads import OwnThread, step

NAME = "thread of a test"
GENEROUS = 30.0


def alive(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 -- threads tell nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocks until it is set, in the end at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of this test's thread alone: those of tests before may be about to end."""
    return str(request.node.name)


async def test_a_result_and_an_error_come_back():
    own = OwnThread(NAME)
    assert await own.run(lambda: 1 + 1, "/x") == 2
    with pytest.raises(ZeroDivisionError):
        await own.run(lambda: 1 / 0, "/x")
    assert await own.run(threading.current_thread, "/x") is await own.run(threading.current_thread, "/x")


async def test_a_call_that_hangs_is_named_by_its_path_and_no_second_one_begins(gate, name, monkeypatch):
    own = OwnThread(name)
    begun = []

    def hang() -> None:
        begun.append(1)
        gate.wait()

    monkeypatch.setattr(threads, "LIMIT", 1.0)  # it has to begin within that
    with pytest.raises(SourceUnavailable, match=r"^/nfs/certs has not answered for 1 s; is its mount away\?$"):
        await own.run(hang, "/nfs/certs")
    monkeypatch.setattr(threads, "LIMIT", 0.05)
    for _ in range(5):
        with pytest.raises(SourceUnavailable, match="/nfs/certs has not answered"):
            await own.run(lambda: begun.append(2), "/nfs/other")
    assert begun == [1]
    assert alive(name) == 1


async def test_once_the_call_that_hung_returns_the_next_one_begins_at_once(gate, name):
    own, begun = OwnThread(name), threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait()

    first = asyncio.create_task(own.run(hang, "/nfs"))
    await until(begun.is_set)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(own.run(lambda: "read", "/nfs"))
    await asyncio.sleep(0.05)
    assert not second.done()
    gate.set()
    assert await asyncio.wait_for(second, GENEROUS) == "read"
    assert alive(name) == 1


async def test_work_that_goes_forward_step_by_step_does_not_hang_however_long_it_takes(monkeypatch):
    monkeypatch.setattr(threads, "LIMIT", 1.0)

    def work() -> str:
        for number in range(250):
            time.sleep(0.01)
            step(f"/file{number}")
        return "done"

    assert await OwnThread(NAME).run(work, "/folder") == "done"


async def test_the_path_that_was_asked_last_is_the_one_that_is_named(gate, monkeypatch):
    monkeypatch.setattr(threads, "LIMIT", 1.0)  # all steps have to be made within that

    def work() -> None:
        step("/certs/a.pem")
        step("/certs/b.pem")
        step()
        gate.wait()

    with pytest.raises(SourceUnavailable, match="^/certs/b.pem has not"):
        await OwnThread(NAME).run(work, "/certs")


async def test_work_that_nobody_waits_for_ends_at_its_next_step(gate):
    steps: list[object] = []

    def work() -> None:
        try:
            while True:
                step()
                steps.append(1)
                time.sleep(0.001)
        except Exception:  # as parsers do with whatever is wrong with a file
            steps.append("swallowed")

    own = OwnThread(NAME)
    task = asyncio.create_task(own.run(work, "/x"))
    await until(lambda: steps)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not own.busy)
    assert "swallowed" not in steps


async def test_two_calls_at_once_come_one_after_the_other():
    own = OwnThread(NAME)
    running: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        running.append(number)
        most.append(len(running))
        time.sleep(0.005)
        running.remove(number)
        return number

    assert await asyncio.gather(*(own.run(partial(work, number), "/x") for number in range(10))) == list(range(10))
    assert max(most) == 1


async def test_the_thread_ends_with_its_owner_and_keeps_nothing_of_what_it_read(name):
    class Secret:
        pass

    own = OwnThread(name)
    await own.run(Secret, "/x")
    gc.collect()
    assert not any(isinstance(one, Secret) for one in gc.get_objects())
    assert alive(name) == 1
    del own
    gc.collect()
    await until(lambda: not alive(name))


async def test_what_a_given_up_call_returns_is_not_kept(gate):
    class Key:
        pass

    own = OwnThread(NAME)
    task = asyncio.create_task(own.run(lambda: gate.wait() and Key(), "/x"))
    await until(lambda: own.busy)
    task.cancel()
    await asyncio.wait({task})
    gate.set()
    await until(lambda: not own.busy)  # it is dropped just after that
    await until(lambda: not any(isinstance(one, Key) for one in gc.get_objects()))


async def test_what_is_left_for_afterwards_waits_for_what_is_at_work(gate):
    own = OwnThread(NAME)
    order: list[str] = []

    def work() -> None:
        gate.wait()
        order.append("work")

    own.afterwards(lambda: order.append("idle"))
    task = asyncio.create_task(own.run(work, "/x"))
    await until(lambda: own.busy)
    own.afterwards(lambda: order.append("after"))
    assert order == ["idle"]
    gate.set()
    await task
    await until(lambda: len(order) == 3)
    assert order == ["idle", "work", "after"]


async def test_a_full_disk_time_out_of_the_system_is_no_hang():
    """`TimeoutError` is what ETIMEDOUT becomes: a server that answers so has answered."""

    def work() -> None:
        raise TimeoutError(110, "Connection timed out")

    with pytest.raises(TimeoutError, match="Connection timed out"):
        await OwnThread(NAME).run(work, "/x")


def test_a_call_that_never_returns_does_not_hold_the_interpreter():
    program = (
        "import asyncio, threading\n"
        "from controller import threads\n"
        "threads.LIMIT = 0.05\n"
        "async def main():\n"
        "    try: await threads.OwnThread('x').run(threading.Event().wait, '/nfs')\n"
        "    except threads.SourceUnavailable as error: print(error)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GENEROUS, check=True)
    assert done.stdout.startswith("/nfs has not answered")
    assert done.stderr == ""


def test_looks_without_a_loop_end_in_time_and_tell_which_did_not_answer(gate, monkeypatch):
    monkeypatch.setattr(threads, "LOOK", 1.0)
    begin = time.monotonic()
    assert threads.look_at_all([lambda: True, *[gate.wait] * 20, lambda: False]) == (True, *[None] * 20, False)
    assert time.monotonic() - begin < 10.0, "one limit for all; else it were 20 s"
    assert threads.look_at_all([]) == ()


class Panic(BaseException):
    """As a library in Rust raises it (pyo3, ``PanicException``), which is no `Exception`."""


async def test_a_panic_in_a_foreign_library_is_a_fault_like_any_other_and_ends_no_task():
    def panic() -> None:
        raise Panic("called `Option::unwrap()`")

    with pytest.raises(RuntimeError, match="Panic: called") as caught:
        await OwnThread("panics").run(panic, "here")
    assert isinstance(caught.value.__cause__, Panic)
