"""A TLS server in a thread, for what runs an event loop of its own: the commands."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.certs import Pair
from tests.unit.probe_server import tls_context


@contextmanager
def tls_server(held: Pair, *, weak: bool = False) -> Iterator[int]:
    """The port on which a pair is handed out to whoever connects; `weak` where OpenSSL would not load one as bad as that."""
    context = tls_context(held, level=0 if weak else None)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secure:
                    secure.settimeout(2)
                    secure.send(b"* OK ready\r\n")
                    secure.recv(1024)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=20)
