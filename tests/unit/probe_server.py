"""Small TLS and STARTTLS servers on the loopback for the probe's tests; they follow a script, and the script may be bad."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.certs import Authority, Pair, self_signed

PATIENT = 20.0
"""Seconds for what takes milliseconds on a quiet machine."""
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@cache
def authority() -> Authority:
    return Authority()


def pair(kind: str = "ecdsa") -> Pair:
    return _pairs(kind)


@cache
def _pairs(kind: str) -> Pair:
    return authority().issue("mail.example.com", kind=kind)


@cache
def lonely() -> Pair:
    return self_signed("mail.example.com")


def tls_context(*pairs: Pair, level: int | None = None) -> ssl.SSLContext:
    """A server's context that holds the pairs; Python loads them from files only. `level` is OpenSSL's of security."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if level is not None:
        context.set_ciphers(f"ALL:@SECLEVEL={level}")
    for held in pairs or (pair(),):
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(held.key + held.chain)
            context.load_cert_chain(file.name)
    return context


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """The port of a server that runs `handler` for each connection and leaves nothing open."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@dataclass
class MailServer:
    """Answers commands from a script; the answer to `begin` starts TLS. An empty `begin` starts it at once; `ends` hang up."""

    greeting: bytes
    replies: dict[bytes, bytes]
    begin: bytes
    context: ssl.SSLContext = field(default_factory=tls_context)
    after_tls: bytes = b""
    ends: tuple[bytes, ...] = (b"QUIT", b"LOGOUT")
    heard: list[bytes] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.context.sni_callback = lambda _session, name, _context: self.server_names.append(name)
        if not self.begin:
            await writer.start_tls(self.context)
        writer.write(self.greeting)
        while line := await reader.readline():
            self.heard.append(line.strip())
            command = next((command for command in self.replies if command in line.upper()), b"")
            tag = line.split(None, 1)[0] if line.strip() else b""  # what an IMAP client calls its command
            writer.write(self.replies.get(command, b"").replace(b"<tag>", tag))
            await writer.drain()
            if command and command == self.begin:
                await writer.start_tls(self.context)
                writer.write(self.after_tls)
            if command in self.ends:
                return


def smtp_server(**changes: object) -> MailServer:
    replies = {
        b"EHLO": b"250-mail.example.com greets you\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
        b"STARTTLS": b"220 2.0.0 Ready to start TLS\r\n",
        b"QUIT": b"221 2.0.0 Bye\r\n",
    }
    return _changed(MailServer(b"220-mail.example.com ESMTP\r\n220 wait for it\r\n", replies, b"STARTTLS"), changes)


def imap_server(**changes: object) -> MailServer:
    replies = {
        b"CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n<tag> OK done\r\n",
        b"STARTTLS": b"<tag> OK Begin TLS negotiation now.\r\n",
        b"LOGOUT": b"* BYE Logging out\r\n<tag> OK Logout completed.\r\n",
    }
    return _changed(MailServer(b"* OK [CAPABILITY IMAP4rev1] ready.\r\n", replies, b"STARTTLS"), changes)


def pop3_server(**changes: object) -> MailServer:
    replies = {
        b"CAPA": b"+OK\r\nUIDL\r\nSTLS\r\nUSER\r\n.\r\n",
        b"STLS": b"+OK Begin TLS negotiation now.\r\n",
        b"QUIT": b"+OK Logging out\r\n",
    }
    return _changed(MailServer(b"+OK ready.\r\n", replies, b"STLS"), changes)


def sieve_server(**changes: object) -> MailServer:
    greeting = b'"IMPLEMENTATION" {10}\r\nOK "a"\r\nb"\r\n"SIEVE" "fileinto"\r\n"STARTTLS"\r\n"VERSION" "1.0"\r\nOK "ready"\r\n'
    replies = {b"STARTTLS": b'OK "Begin TLS negotiation now."\r\n', b"LOGOUT": b'OK "Logout completed."\r\n'}
    return _changed(MailServer(greeting, replies, b"STARTTLS", after_tls=b'"VERSION" "1.0"\r\nOK\r\n'), changes)


def tls_server(**changes: object) -> MailServer:
    return _changed(MailServer(b"220 hello\r\n", {b"QUIT": b"221 bye\r\n", b"LOGOUT": b"* BYE\r\n"}, b""), changes)


SERVERS: dict[str, Callable[..., MailServer]] = {
    "smtp": smtp_server,
    "imap": imap_server,
    "pop3": pop3_server,
    "sieve": sieve_server,
    "smtps": tls_server,
    "imaps": tls_server,
    "pop3s": tls_server,
    "tls": tls_server,
}


def _changed(server: MailServer, changes: dict[str, object]) -> MailServer:
    for name, value in changes.items():
        setattr(server, name, server.replies | value if name == "replies" and isinstance(value, dict) else value)
    return server


@contextmanager
def openssl_server(*pairs: Pair, options: Sequence[str] = ()) -> Iterator[int]:
    """The port of an ``openssl s_server``, which tells its clients why it refuses them; up to two pairs. TLS at once."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arguments = [*options]
        for prefix, held in zip(("", "d"), pairs, strict=False):
            for kind, content in (("cert", held.chain), ("key", held.key), ("cert_chain", held.chain)):
                path = Path(folder, f"{prefix}{kind}.pem")
                path.write_bytes(content)
                arguments += [f"-{prefix}{kind}", str(path)]
        pipe = subprocess.PIPE
        command = ("openssl", "s_server", "-accept", "127.0.0.1:0", *arguments)
        server = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL))
        stack.callback(server.kill)
        assert server.stdout is not None
        said = next((line for line in server.stdout if line.startswith(b"ACCEPT")), b"")
        assert said, "openssl s_server did not start"
        yield int(said.rpartition(b":")[2])
