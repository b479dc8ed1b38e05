"""Every command that asks others ends, whatever hangs on the other side, and its process with it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANGS = 60.0
"""Seconds after which something hangs. The longest limit here is 10 s, that of a handshake; a process starts in one or two."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


async def certferry(*argv: str, program: tuple[str, ...] = ("-m", "controller"), **settings: str) -> Ended:
    """Run a command in a process of its own, whose end is waited for."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CERTFERRY_", "DOCKER_", "KV_", "CERTS_"))}
    pipe = asyncio.subprocess.PIPE
    environ = own | {"CERTFERRY_ENGINE_TIMEOUT": "1s"} | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, *argv, env=environ, cwd=ROOT, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(HANGS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()  # to the end of the other side


async def dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def silent_after_its_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (request := await reader.readuntil(b"\r\n\r\n")).split()[1].endswith(b"/version"):
        body = b'{"ApiVersion": "1.44"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert request
    await reader.read()


def lasting(talk: Talk) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    """A connection's talk, ended with the connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)  # type: ignore[misc]
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    return connected


@asynccontextmanager
async def docker(talk: Talk, folder: Path) -> AsyncIterator[str]:
    server = await asyncio.start_unix_server(lasting(talk), folder / "docker.sock")  # type: ignore[arg-type]
    async with server:
        yield f"unix://{folder}/docker.sock"


@asynccontextmanager
async def port(talk: Talk) -> AsyncIterator[int]:
    server = await asyncio.start_server(lasting(talk), "127.0.0.1", 0)  # type: ignore[arg-type]
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("command", "talk"), [("once", silent_after_its_version), ("plan", dripping), ("plan", silent)])
async def test_a_docker_that_hangs_ends_the_command_with_its_name(command: str, talk: Talk, tmp_path: Path) -> None:
    async with docker(talk, tmp_path) as host:
        ended = await certferry(command, DOCKER_HOST=host, CERTFERRY_SOURCES="self-signed:")

    assert (ended.code, f"Docker at {host}" in ended.err, "Traceback" in ended.err) == (1, True, False)


async def test_sources_are_shown_although_docker_hangs(tmp_path: Path) -> None:
    async with docker(silent_after_its_version, tmp_path) as host:
        ended = await certferry("sources", DOCKER_HOST=host, CERTFERRY_SOURCES="self-signed:")

    assert (ended.code, "self-signed  up" in ended.out, f"Docker at {host}" in ended.out) == (0, True, True)


@pytest.mark.parametrize(("kind", "talk"), [("consul", dripping), ("etcd", dripping), ("etcd2", silent), ("zookeeper", silent)])
async def test_a_store_that_hangs_ends_the_command_with_its_name(kind: str, talk: Talk) -> None:
    async with port(talk) as number:
        url = f"{kind}://127.0.0.1:{number}/traefik/acme/account/object?timeout=1s"
        ended = await certferry("sources", CERTFERRY_DISCOVER="off", CERTFERRY_SOURCES=url)

    assert (ended.code, f"at 127.0.0.1:{number}" in ended.out, "Traceback" in ended.err) == (1, True, False)


@pytest.mark.parametrize(("command", "talk"), [("status", dripping), ("health", silent)])
async def test_a_controller_that_hangs_ends_the_command(command: str, talk: Talk) -> None:
    async with port(talk) as number:
        ended = await certferry(command, CERTFERRY_HTTP=f"127.0.0.1:{number}")

    assert (ended.code, ended.err) == (
        1,
        f"certferry: no controller answers at 127.0.0.1:{number} (nothing within 5 s); is `certferry run` running?\n",
    )


async def test_a_mail_server_that_hangs_ends_the_probe() -> None:
    async with port(silent) as number, port(dripping) as other:
        ended = await certferry("probe", "127.0.0.1", "--ports", f"{number}/smtp,{other}/imaps")

    assert (ended.code, "no port handed out a certificate" in ended.err, "Traceback" in ended.err) == (1, True, False)


SLOW_NAMES = """
import socket, sys, time
real = socket.getaddrinfo
def ask(host, *args, **options):
    if host == "slow.example" and not options.get("flags", 0) & socket.AI_NUMERICHOST:
        time.sleep(3600)
    return real(host, *args, **options)
socket.getaddrinfo = ask
from controller.cli import main
sys.argv = ["certferry", *sys.argv[1:]]
main()
"""
"""The program with a name server that does not answer."""


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("sources", {"CERTFERRY_SOURCES": "consul://slow.example/traefik/acme/account/object?timeout=1s"}, "slow.example"),
        ("sources", {"CERTFERRY_SOURCES": "zookeeper://slow.example/traefik/acme/account/object?timeout=1s"}, "slow.example"),
        ("plan", {"CERTFERRY_SOURCES": "self-signed:", "DOCKER_HOST": "tcp://slow.example:2375"}, "slow.example"),
        ("probe slow.example", {}, "the look-up of slow.example took longer than 6 s"),
        ("health", {"CERTFERRY_HTTP": "slow.example:9469"}, "nothing within 5 s"),
    ],
    ids=["consul", "zookeeper", "docker", "probe", "health"],
)
async def test_a_name_server_that_hangs_ends_the_command(command: str, settings: dict[str, str], said: str) -> None:
    ended = await certferry(*command.split(), program=("-c", SLOW_NAMES), CERTFERRY_DISCOVER="off", **settings)

    assert (ended.code, said in ended.out + ended.err, "Traceback" in ended.err) == (1, True, False)
