"""A Docker socket that misbehaves on request: single calls fail, are slow, hang or are cut after some bytes."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.socket_proxy import SocketProxy

LARGEST_HEAD = 65536
HELD_AT_MOST = 60.0
"""Seconds; only against threads that stay for ever."""


def _answer(status: bytes, kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


FAILURE = _answer(b"500 Internal Server Error", b"application/json", b'{"message":"the campaign lets this call fail"}')
NO_BACKEND = _answer(b"503 Service Unavailable", b"text/html", b"<html><body><h1>503 Service Unavailable</h1></body></html>")
"""What a socket proxy says while the engine restarts."""
JUNK = _answer(b"200 OK", b"text/html", b"<html><body>Please log in</body></html>")


@dataclass(eq=False)
class Rule:
    """What becomes of the calls whose "METHOD /path" matches `calls`; every n-th of them is met."""

    calls: str
    fails: bool = False
    answer: bytes = FAILURE
    """What is said where it fails."""
    delay: float = 0.0
    """Seconds before the call is passed on."""
    holds: bool = False
    """Nothing is passed on before the rule ends."""
    cut_after: int | None = None
    """Bytes of the answer after which the connection is cut."""
    every: int = 1
    met: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def meets(self, call: str) -> bool:
        """Whether it is this call's turn."""
        if self.over.is_set() or not re.search(self.calls, call):
            return False
        self.met += 1
        return self.met % self.every == 0


class ApiProxy(SocketProxy):
    """Understands HTTP as far as the head of a request. Each connection carries one request, so that each can be judged."""

    def __init__(self, path: Path) -> None:
        self._rules: list[Rule] = []
        self._calls: dict[socket.socket, str] = {}
        self._budgets: dict[socket.socket, int] = {}
        self._flowing = threading.Event()
        self._flowing.set()
        super().__init__(path)

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[Rule]:
        """A rule, as long as this is entered; what it held goes on afterwards."""
        self._rules.append(rule)
        try:
            yield rule
        finally:
            self._rules.remove(rule)
            rule.over.set()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections stay, and nothing moves on them."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def cut_calls(self, calls: str = "") -> int:
        """Cut the connections whose call matches; how many there were."""
        found = [connection for connection, call in self._open_calls().items() if re.search(calls, call)]
        for connection in found:
            _shut(connection)
        return len(found)

    def _welcome(self, client: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request."""
        self._connections.add(client)
        with suppress(OSError):
            head, rest = _read_head(client)
            call = _call(head)
            self._calls = self._open_calls() | {client: call}
            rules = [rule for rule in list(self._rules) if rule.meets(call)]
            for rule in rules:
                time.sleep(rule.delay)
                if rule.holds:
                    rule.over.wait(HELD_AT_MOST)
            if answers := [rule.answer for rule in rules if rule.fails]:
                _refuse(client, answers[0])
                self._connections.discard(client)
                return
            engine = self._engine()
            if budgets := [rule.cut_after for rule in rules if rule.cut_after is not None]:
                self._budgets[engine] = min(budgets)
            engine.sendall(_last_on_its_connection(head) + rest)
            self._join(client, engine)
            return
        self._connections.discard(client)
        client.close()

    def _read(self, source: socket.socket) -> Iterator[bytes]:
        try:
            for data in super()._read(source):
                self._flowing.wait(HELD_AT_MOST)
                budget = self._budgets.get(source)
                yield data if budget is None else data[:budget]
                if budget is not None:
                    self._budgets[source] = budget - len(data)
                    if budget <= len(data):
                        _shut(source)
                        return
        finally:
            self._budgets.pop(source, None)

    def _open_calls(self) -> dict[socket.socket, str]:
        return {client: call for client, call in list(self._calls.items()) if client.fileno() != -1}


def _call(head: bytes) -> str:
    return " ".join(head.decode(errors="replace").split(" ", 2)[:2])


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(LARGEST_HEAD)
        if not more or len(data) > LARGEST_HEAD:
            raise OSError("no request came")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _last_on_its_connection(head: bytes) -> bytes:
    """The head of a request that the engine ends the connection after; an exec takes its connection over anyway."""
    if b"\r\nupgrade:" in head.lower():
        return head + b"\r\n\r\n"
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


def _refuse(client: socket.socket, answer: bytes) -> None:
    client.sendall(answer)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(1)
    with suppress(OSError):
        while client.recv(LARGEST_HEAD):
            pass
    client.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
