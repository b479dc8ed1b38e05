"""Addresses of this machine that do not answer, or refuse at once: what broken IPv6 looks like. No packet leaves it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

NO_ROUTE = "255.255.255.255"
"""Linux has no TCP connection for a broadcast address: "Network is unreachable", at once and everywhere."""


@contextmanager
def closed_port(address: str = "127.0.0.1") -> Iterator[int]:
    """A port at which nobody listens, and which nobody else is given meanwhile."""
    with socket.socket() as taken:
        taken.bind((address, 0))
        yield taken.getsockname()[1]


@contextmanager
def black_hole(address: str, port: int = 0) -> Iterator[int]:
    """A port whose queue of connections is full: Linux drops what comes, so that nobody ever answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):  # more than the queue takes
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect((address, port))
        yield port
