"""A pytest plugin: what hangs is ended, and it is said where every task and thread stood.

pytest-timeout decides how long a test may take (``timeout`` in pyproject.toml); a test that needs longer says why by
``@pytest.mark.slow(seconds, reason="…")``. Setting up and taking down have a limit of their own, `FIXTURES`, since
pytest-timeout guards either the test alone or everything together. The alarm is raised where the main thread is; what
swallows it is asked again every `UNWINDING` seconds. What does not listen at all (a call into C that never returns, a
thread that does not let the interpreter end) ends the process, after the stacks of all threads went to stderr.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import pytest
from pytest_timeout import Settings, is_debugging

from tests.stacks import everything

FIXTURES = "300"
"""Seconds that all fixtures of one test together may take to be made, and again to be taken down."""
UNWINDING = "30"
"""Seconds after which what was to end is asked again; three times that, and the process is ended."""

_stderr = pytest.StashKey[int]()
_running = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The limits can be set, so that they can be tested."""
    parser.addini("timeout_fixtures", "seconds for all fixtures of one test", default=FIXTURES)
    parser.addini("timeout_unwinding", "seconds after which what was to end is asked again", default=UNWINDING)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: while a test runs, number 2 is pytest's own file."""
    config.addinivalue_line("markers", "slow(seconds, reason): may take that long, for that reason")
    config.stash[_stderr] = os.dup(2)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The interpreter waits for its threads when it ends, but not for ever; a worker of xdist ends when all others have."""
    if hasattr(config, "workerinput"):
        return
    faulthandler.dump_traceback_later(2 * _unwinding(config), exit=True, file=config.stash[_stderr])


def pytest_itemcollected(item: pytest.Item) -> None:
    """A longer limit has a reason."""
    if item.get_closest_marker("timeout"):
        raise pytest.UsageError(f"{item.nodeid}: say why it takes long: @pytest.mark.slow(seconds, reason=…)")
    if slow := item.get_closest_marker("slow"):
        item.add_marker(pytest.mark.timeout(_seconds(item, *slow.args, **slow.kwargs)))


def _seconds(item: pytest.Item, seconds: float = 0, reason: str = "") -> float:
    if not (seconds and reason):
        raise pytest.UsageError(f"{item.nodeid}: slow wants seconds and a reason")
    return seconds


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """The fixtures are made."""
    with limit(item.config, float(item.config.getini("timeout_fixtures")), "the fixtures are not ready"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """The fixtures are taken down, and the tasks that a test left behind."""
    with limit(item.config, float(item.config.getini("timeout_fixtures")), "the fixtures have not ended"):
        return (yield)


def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> bool | None:
    """Instead of pytest-timeout's own alarm, which knows no tasks, and which a worker of xdist prints to nowhere."""
    if threading.current_thread() is not threading.main_thread():
        return None
    stack = item.stash.setdefault(_running, ExitStack())
    stack.enter_context(limit(item.config, settings.timeout, "the test has not ended"))
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """The test is over, or somebody looks at its failure in the debugger."""
    if running := item.stash.get(_running, None):
        running.close()


@contextmanager
def limit(config: pytest.Config, seconds: float, what: str) -> Iterator[None]:
    """End what takes longer; the limit around it stands still meanwhile.

    Raises: the failure of the test, in the main thread, wherever that is.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if not is_debugging():
            pytest.fail(f"after {seconds:g} s: {what}\n{everything()}")

    again = _unwinding(config)
    last = seconds + 3 * again
    before = signal.signal(signal.SIGALRM, ring)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, seconds, again)
    faulthandler.dump_traceback_later(last, exit=True, file=config.stash[_stderr])
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
        if rest:
            signal.setitimer(signal.ITIMER_REAL, rest, again)
            faulthandler.dump_traceback_later(rest + 3 * again, exit=True, file=config.stash[_stderr])


def _unwinding(config: pytest.Config) -> float:
    return float(config.getini("timeout_unwinding"))
