"""Threads that nobody ever waits for at the end: not the loop, and not the interpreter.

The standard library joins every thread of its pools when they close and when the process ends; one that hangs would hold both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Daemons(ThreadPoolExecutor):
    """A thread of its own for each piece of work, so that what hangs holds up nothing else; `name` is what each is called."""

    def __init__(self, name: str = "work") -> None:
        super().__init__()
        self._name = name

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `concurrent.futures.Executor.submit`; never waits for a free thread."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001, RUF100 -- as the standard library: whoever waits gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to do: the threads end with the process at the latest."""
