"""An event loop whose clock jumps to the next timer as soon as nothing else is to be done: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from math import ulp
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Where the loop would wait for a timer, the clock is put forward; what the kernel has ready comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if ready := super().select(0):
            return ready
        if timeout is None:
            raise AssertionError("everything waits for something that no timer will bring")
        if timeout > 0:
            self.now += timeout + max(1e-9, 2 * ulp(self.now))  # after some months 1e-9 is lost in rounding
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Threads and real connections would be overtaken by the clock; use it for pure waiting only."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def clock() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def virtually(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a test that runs in virtual time of an async function."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return run_test
