"""Nothing of certferry may block the event loop: what does so in a test fails it, whoever caught the exception meanwhile."""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction, BlockingError
from blockbuster import blockbuster as library

PACKAGES = ["controller", "sources", "sinks"]

ALLOWED = (
    # Files of /proc are memory of the kernel; nothing on a disk or a network is asked.
    ("controller/machine.py", "_read"),
    ("controller/machine.py", "shares_our_network"),
    ("controller/machine.py", "is_own_address"),
    ("controller/rtnetlink.py", "leads_into"),
    ("controller/web/metrics.py", "__init__"),
    ("controller/web/metrics.py", "render"),
    # Asked only when the loop has seen that there are events.
    ("sources/watch.py", "drain"),
    # Python looks for the lines of a traceback in our own files.
    ("controller/faults.py", "tell"),
    # The last thing of all, and for a limited time.
    ("controller/running.py", "_standing"),
    # One look at the socket, where everything else waits for Docker anyway.
    ("controller/engine_connection.py", "_check_socket"),
    # The measuring of branches looks up each file that it meets for the first time.
    ("coverage/control.py", "_should_trace"),
    # The list of roots that the image brings, read once in a process.
    ("controller/x509/roots.py", "_system_roots"),
)
"""What may block: the end of a file's path, and a function in it."""

_ROOT = Path(__file__).parents[2]
_TESTS = f"{_ROOT}/tests/"
_OWN = tuple(f"{_ROOT}/{package}/" for package in PACKAGES)


def _never(*_: Any, **__: Any) -> bool:
    return False


def _asks_no_server(*_: Any, flags: int = 0, **__: Any) -> bool:
    return bool(flags & socket.AI_NUMERICHOST)


MORE: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("os.open", "os.lstat", "io.open", "builtins.open"), _never),
    "socket.getaddrinfo": _asks_no_server,
}
"""What may block beside what the library knows of, and when it does not."""


def _is_of_a_test() -> bool:
    """Whether it is a test's own doing, be it that certferry called what the test put in some other thing's place."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code.co_filename.startswith(_OWN):
            return False
        if frame.f_code.co_filename.startswith(_TESTS) and frame.f_code.co_filename != __file__:
            return True
    return False


@cache
def _functions() -> dict[str, BlockBusterFunction]:
    functions = BlockBuster(PACKAGES).functions
    for name, harmless in MORE.items():
        functions[name] = BlockBusterFunction(None, name, scanned_modules=PACKAGES, can_block_predicate=harmless)
    for function in functions.values():
        harmless = function.can_block_predicate
        function.can_block_predicate = lambda *args, harmless=harmless, **named: harmless(*args, **named) or _is_of_a_test()
        for file, name in ALLOWED:
            function.can_block_in(file, name)
    return functions


@contextmanager
def watched() -> Iterator[None]:
    """Within this a blocking call of certferry on the loop raises, and the end raises again what was caught."""
    calls: dict[str, None] = {}

    class Noted(BlockingError):
        def __init__(self, func: str) -> None:
            super().__init__(func)
            own = [frame for frame in traceback.extract_stack() if frame.filename.startswith(_OWN)][:-5:-1]
            calls[f"{func} by " + " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in own)] = None

    functions, original = _functions(), library.BlockingError
    library.BlockingError = Noted  # type: ignore[misc]
    for function in functions.values():
        function.activate()
    try:
        yield
    finally:
        for function in functions.values():
            function.deactivate()
        library.BlockingError = original  # type: ignore[misc]
    assert not calls, f"the loop was blocked: {'; '.join(calls)}"
