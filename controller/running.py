"""Run the whole process to an end that nothing can hold up: no thread, no task, no second of Ctrl-C.

The standard library waits for every thread of its pool, when the loop closes and when the interpreter ends: a read from a hung
mount, or a name server that does not answer, would hold the exit for ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import structlog

from controller.daemons import Daemons
from controller.ending import end

T = TypeVar("T")
log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GOODBYE = 1.75
"""Seconds that everything may take to end once it was told to; then the process ends whatever still runs."""
CLOSING = 0.5
"""Seconds that what is left of the tasks and generators may take when the work is over."""
ECHO = 0.1
"""Seconds in which a signal counts once: timeout(1) sends its own to the process, and to the group that it is in."""
LAST_WORDS = 0.2
"""Seconds for a last line in the log, whose reader may hang as well."""


def run(main: Coroutine[Any, Any, T], *, goodbye: float = GOODBYE) -> T:
    """As `asyncio.run`. Told to end by a signal, `main` is cancelled; `goodbye` seconds later, or at a second signal, all ends.

    Raises:
        SystemExit: a signal came; with 128 and its number, as shells say it.
    """
    loop = asyncio.new_event_loop()
    told: list[int] = []
    try:
        asyncio.set_event_loop(loop)
        loop.set_default_executor(Daemons())
        task = loop.create_task(main, name="main")

        def cancel(number: int) -> None:
            told.append(number)
            loop.call_soon_threadsafe(task.cancel)

        with told_to_end(cancel, limit=goodbye):
            try:
                return loop.run_until_complete(task)
            except asyncio.CancelledError:
                if told:
                    raise SystemExit(128 + told[0]) from None
                raise
            finally:
                loop.run_until_complete(_close())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _close() -> None:
    """End what is left; what does not end within its limit is named, and left behind."""
    here = asyncio.current_task()
    await end(*(task for task in asyncio.all_tasks() if task is not here), limit=CLOSING)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSING):
            await asyncio.get_running_loop().shutdown_asyncgens()


@dataclass(slots=True)
class _Guard:
    """What a signal leads to."""

    begin: Callable[[int], None]
    limit: float
    first: int = 0
    """The signal that came."""


_guards: list[_Guard] = []
"""The one that stands, if any."""


@contextmanager
def told_to_end(begin: Callable[[int], None], *, limit: float) -> Iterator[None]:
    """Call `begin` in a thread when a signal comes; `limit` seconds after that, or at the next signal, the process ends.

    A thread looks for signals, since the loop itself may be what hangs. Within another such context this one takes its place,
    and keeps it once a signal has come: then the limit is for all that is left. Nothing is done outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _guards:
        guard = _guards[0]
        before = guard.begin, guard.limit
        guard.begin, guard.limit = begin, limit
        try:
            yield
        finally:
            if not guard.first:
                guard.begin, guard.limit = before
    else:
        with _standing(_Guard(begin, limit)):
            yield


@contextmanager
def _standing(guard: _Guard) -> Iterator[None]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _only_wake) for number in SIGNALS}
    watcher = threading.Thread(target=_watch, args=(ours, guard), name="signals", daemon=True)
    watcher.start()
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(before)
        theirs.close()  # that ends the thread
        watcher.join(LAST_WORDS)
        ours.close()


def _only_wake(*_: object) -> None:
    """Without a handler the kernel would end the process; what is done about a signal is `_watch`'s."""


def _watch(signals: socket.socket, guard: _Guard) -> None:
    """Read the numbers of signals, as Python writes them, until there will be none any more."""
    told_at = 0.0
    while True:
        signals.settimeout(max(told_at + guard.limit - time.monotonic(), 0.001) if guard.first else None)
        try:
            numbers = signals.recv(64)
        except TimeoutError:
            _cut_off(guard.first, f"it did not end within {guard.limit:g} s")
        if not numbers:
            return
        for number in numbers:
            if number not in SIGNALS:
                continue
            if not guard.first:
                guard.first, told_at = number, time.monotonic()
                with suppress(RuntimeError):  # the loop is closed already
                    guard.begin(number)
            elif time.monotonic() - told_at > ECHO:
                _cut_off(number, "it was told a second time")


def _cut_off(number: int, why: str) -> NoReturn:
    """End the process here and now, and say so if that can be done."""

    def speak() -> None:
        threads = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
        log.warning("controller.cut_off", message=f"{why}; ended as it is", threads=", ".join(threads))

    speaking = threading.Thread(target=speak, name="last words", daemon=True)
    speaking.start()
    speaking.join(LAST_WORDS)
    os._exit(128 + number)
