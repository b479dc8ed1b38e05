"""A Unix socket in front of Docker's that can be cut, as socket proxies and restarting daemons do."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DOCKER = "/var/run/docker.sock"


class SocketProxy:
    """Passes bytes both ways until `cut`; after `mend` again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self._connections: set[socket.socket] = set()
        self._server = self._listen()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        with suppress(OSError):  # it is cut already
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Listen again."""
        self._server = self._listen()

    def close(self) -> None:
        self.cut()
        self.path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.path))
        server.listen(64)
        shutil.copymode(DOCKER, self.path)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return server

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                self._welcome(client)

    def _welcome(self, client: socket.socket) -> None:
        self._join(client, self._engine())

    def _engine(self) -> socket.socket:
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(DOCKER)
        return engine

    def _join(self, client: socket.socket, engine: socket.socket) -> None:
        for source, sink in ((client, engine), (engine, client)):
            self._connections.add(source)
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        """Bytes and the end of each direction; the last one of the two to end closes both."""
        with suppress(OSError):
            for data in self._read(source):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        self._connections.discard(source)
        if sink not in self._connections:
            source.close()
            sink.close()

    def _read(self, source: socket.socket) -> Iterator[bytes]:
        while data := source.recv(65536):
            yield data
