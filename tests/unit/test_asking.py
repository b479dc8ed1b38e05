"""Asking the running controller, and what answers in its place: it hangs, drips, floods, or is something else."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from controller import asking
from controller.domain.errors import TransientError

HANGS = 20.0
"""Seconds after which something hangs; the limit is half a second here."""


@contextlib.contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A server that reads the request of one client and answers as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANGS)

        clients: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                clients.append(client)
                with client:
                    client.settimeout(HANGS)
                    client.recv(4096)
                    talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        for client in clients:  # the end of what talks for ever
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        thread.join(HANGS)
        assert not thread.is_alive()


def silence(client: socket.socket) -> None:
    client.recv(1)  # until the client leaves


def drip(client: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000:
        client.send(bytes([byte]))
        time.sleep(0.05)


def drip_the_body(client: socket.socket) -> None:
    client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        client.send(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [silence, drip, drip_the_body])
def test_a_controller_that_hangs_does_not_hold_the_command(talk: Callable[[socket.socket], None]) -> None:
    with answering(talk) as address:
        before = time.monotonic()
        with pytest.raises(TransientError, match=r"no controller answers at 127\.0\.0\.1:\d+ \(nothing within 0\.5 s\)"):
            ask_quickly(address)
        assert time.monotonic() - before < HANGS


def ask_quickly(address: tuple[str, int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "TIMEOUT", 0.5)
        asking.ask(address, "/healthz", holds="ok")


def test_a_name_server_that_hangs_does_not_hold_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answered.wait(HANGS) and [])
    with pytest.raises(TransientError, match="nothing within"):
        ask_quickly(("mail.example.com", 9469))
    answered.set()


@pytest.mark.parametrize("length", [b"", b"Content-Length: 1073741824\r\n"], ids=["without a length", "with its length"])
def test_an_answer_of_a_gigabyte_is_not_read(length: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LARGEST", 2**20)
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    sent = 0

    def flood(client: socket.socket) -> None:
        nonlocal sent
        client.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        while sent < 2**30:
            sent += client.send(b" " * 65536)

    with answering(flood) as address, pytest.raises(TransientError, match=r"sends more than 1 MiB"):
        asking.ask(address, "/status", holds="targets")
    assert sent < 32 * 2**20, "what the kernel holds between two sockets"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"9" * 10_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"",
    ],
)
def test_what_is_no_controller_is_said_to_be_none(answer: bytes) -> None:
    def say(client: socket.socket) -> None:
        client.sendall(answer)

    with answering(say) as address, pytest.raises(TransientError, match=r"no controller answers|is not certferry"):
        asking.ask(address, "/status", holds="targets")
