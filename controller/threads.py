"""A thread of its own for whoever does what may block: a mount that hangs holds up that one, and nothing else.

Not asyncio's executor: its threads are shared by all, there are few of them, and Python waits for each when it ends.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

from controller.daemons import Daemons
from controller.domain.errors import SourceUnavailable

LIMIT = 20.0
"""Seconds without a step forward before work counts as hanging; a file system that is there answers within a few."""

LOOK = 2.0
"""Seconds for a first look at a path, where nothing else can begin before."""

T = TypeVar("T")
_here = threading.local()


class GivenUp(BaseException):
    """Nobody waits any more for the work that this thread does. Nothing but its end may catch it."""


def step(where: object = None) -> None:
    """Called by work every 100 ms or sooner, and before each call that may block; `where` is the path that it asks then.

    Anywhere but in the thread of an `OwnThread` it does nothing.

    Raises:
        GivenUp: nobody waits for the work any more.
    """
    work: _Work[object] | None = getattr(_here, "work", None)
    if work is None:
        return
    if work.given_up:
        raise GivenUp
    work.moved_at = time.monotonic()
    if where is not None:
        work.where = where


@dataclass(eq=False, slots=True)
class _Work(Generic[T]):
    call: Callable[[], T]
    where: object = field(repr=False)
    """What it asked last, to be named when it hangs."""
    moved_at: float = field(default_factory=time.monotonic)
    given_up: bool = False
    over: bool = False
    result: T | None = field(default=None, repr=False)
    error: BaseException | None = field(default=None, repr=False)
    wakers: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def do(self) -> None:
        """Run in the thread, and wake who waits. What nobody waits for is not kept: it may hold keys."""
        _here.work = self
        try:
            if not self.given_up:
                self.result = self.call()
        except BaseException as error:
            self.error = error
        _here.work = None
        self.over = True
        if self.given_up:
            self.drop()
        for wake in tuple(self.wakers):
            with suppress(RuntimeError):  # its loop is gone
                wake()

    def give_up(self) -> None:
        """Nobody waits any more. Set before `over` is looked at, and there the other way round: one of both drops it."""
        self.given_up = True
        if self.over:
            self.drop()

    def drop(self) -> None:
        self.result = self.error = None

    def take(self) -> T:
        """The result, which is not kept."""
        result, error = cast(T, self.result), self.error
        self.drop()
        if error is not None:
            try:
                if isinstance(error, Exception):
                    raise error
                raise RuntimeError(f"{type(error).__name__}: {error}") from error  # a panic in Rust is no `Exception`
            finally:
                del error  # it would hold this frame, and the frame it
        return result


class OwnThread:
    """One thread, ever; it begins with the first work and ends with this object. It does not hold up the interpreter's end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._latest: _Work[object] | None = None

    @property
    def busy(self) -> bool:
        """Whether it is at work, be it that nobody waits for that any more."""
        return self._latest is not None and not self._latest.over

    async def run(self, call: Callable[[], T], where: object) -> T:
        """What a call returns; `where` is the path that it asks first. What is at work already is waited for.

        Whoever is cancelled meanwhile, or waited too long, leaves the call behind: it ends at its next `step`, and no other
        begins before.

        Raises:
            SourceUnavailable: what is at work makes no step forward for `LIMIT`.
        """
        while self._latest is not None and not self._latest.over:
            await _wait(self._latest)
        work = _Work(call, where)
        self._latest = cast("_Work[object]", work)
        self._hand_over(work.do)
        try:
            await _wait(work)
        except BaseException:
            work.give_up()
            raise
        return work.take()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Do something small that never blocks once nothing is at work: now, if nothing is."""
        if self.busy:
            self._hand_over(call)
        else:
            call()

    def _hand_over(self, call: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._queue,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._queue.put, None).atexit = False
        self._queue.put(call)


def _serve(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := queue.get()) is not None:
        call()
        del call  # with all that it holds


async def _wait(work: _Work[T]) -> None:
    """Wait for the end of work, whoever began it, so that what is next begins as soon as a mount is back."""
    begin, loop, woken = time.monotonic(), asyncio.get_running_loop(), asyncio.Event()
    waker = lambda: loop.call_soon_threadsafe(woken.set)  # noqa: E731 -- removed again by its identity
    work.wakers.append(waker)
    try:
        while not work.over:
            rest = max(begin, work.moved_at) + LIMIT - time.monotonic()
            if rest <= 0:
                raise SourceUnavailable(f"{work.where} has not answered for {LIMIT:g} s; is its mount away?")
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await woken.wait()
    finally:
        work.wakers.remove(waker)


def look_at_all(calls: Sequence[Callable[[], T]]) -> tuple[T | None, ...]:
    """What each call returns, without a loop; ``None`` for those that do not within `LOOK` seconds in all.

    The calls must raise nothing. Each has a thread of its own meanwhile.
    """
    looks = [Daemons("look").submit(call) for call in calls]
    done, _ = futures.wait(looks, timeout=LOOK)
    return tuple(look.result() if look in done else None for look in looks)
