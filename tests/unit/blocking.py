"""Nothing of certferry may block the event loop: what does so in a test fails it, whoever caught the exception meanwhile."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction, BlockingError
from blockbuster import blockbuster as library

PACKAGES = ["controller", "sources", "sinks"]


def _never(*_: Any, **__: Any) -> bool:
    return False


def _asks_no_server(*_: Any, flags: int = 0, **__: Any) -> bool:
    return bool(flags & socket.AI_NUMERICHOST)


MORE: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("os.open", "os.lstat", "io.open", "builtins.open"), _never),
    "socket.getaddrinfo": _asks_no_server,
}
"""What may block beside what the library knows of, and when it does not."""

ALLOWED = (
    # Files of /proc are memory of the kernel; nothing on a disk or a network is asked.
    ("controller/engine.py", "own_container_id"),
    ("controller/web/metrics.py", "__init__"),
    ("controller/web/metrics.py", "render"),
    # One look at the socket, where everything else waits for Docker anyway.
    ("controller/engine_connection.py", "_check_socket"),
    # The list of roots that the image brings, read once in a process.
    ("controller/pki.py", "_system_roots"),
)
"""What may block: the end of a file's path, and a function in it."""


@contextmanager
def watched() -> Iterator[None]:
    """Within this a blocking call of certferry on the loop raises, and the end raises again what was caught."""
    calls: list[str] = []

    class Noted(BlockingError):
        def __init__(self, func: str) -> None:
            super().__init__(func)
            own = [f for f in traceback.extract_stack() if any(f"/{package}/" in f.filename for package in PACKAGES)]
            calls.append(
                f"{func} by " + " < ".join(f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in own[::-1][:4])
            )

    buster = BlockBuster(PACKAGES)
    for name, harmless in MORE.items():
        buster.functions[name] = BlockBusterFunction(None, name, scanned_modules=PACKAGES, can_block_predicate=harmless)
    for file, function in ALLOWED:
        for blocking in buster.functions.values():
            blocking.can_block_in(file, function)
    original = library.BlockingError
    library.BlockingError = Noted  # type: ignore[misc]
    buster.activate()
    try:
        yield
    finally:
        buster.deactivate()
        library.BlockingError = original  # type: ignore[misc]
    assert not calls, f"the loop was blocked: {dict.fromkeys(calls).keys()}"
