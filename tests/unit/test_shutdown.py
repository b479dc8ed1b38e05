"""Real processes that are told to end while everything in them hangs: a read, a command in a container, the loop itself."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller import app, running, supervisor
from controller.web import server
from tests.certs import acme_json
from tests.unit.docker_server import DockerServer, listening
from tests.unit.made import DOMAIN, NEW, pair
from tests.unit.test_inspection import ID, RECORDED, changed

ROOT = Path(__file__).resolve().parents[2]
DRAIN = 1.0
HANGING = 20.0
"""Seconds: ten times what the end takes at most on a machine that is not busy. What hangs in here hangs for longer."""
IN_ORDER = "import controller.app\ncontroller.app.GOODBYE = 60.0\n"
"""So that on a busy machine the end in good order is not cut off."""
PATIENT = "import controller.running\ncontroller.running.LAST_WORDS = 20.0\n"
"""So that on a busy machine the last line is said."""
LONG_ECHO = "import controller.running\ncontroller.running.ECHO = 30.0\n"
"""So that on a busy machine two signals still come at once."""
HUNG_READ = """
import threading, sources.files, sources.local

def read(path, **given):
    if "acme" not in str(path):
        return sources.files.read_file(path, **given)
    print("HANGS", flush=True)
    threading.Event().wait()

sources.local.read_file = read
"""
HUNG_LOOP = (
    "import time, sources.stored as s; s.StoredSource.load = lambda self: (print('HANGS', flush=True), time.sleep(1000))"
)
HUNG_NAMES = "import socket, time; socket.getaddrinfo = lambda *a, **k: (print('HANGS', flush=True), time.sleep(1000))"


def shell() -> bytes:
    """What the archive API gives of a shell."""
    info, buffer = tarfile.TarInfo("sh"), io.BytesIO()
    info.mode = 0o755
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(info)
    return buffer.getvalue()


class HungDocker(DockerServer):
    """A running mail container in which every command hangs, and an answer to one question that never comes."""

    def __init__(self) -> None:
        raw = changed("State", to={"Status": "running", "StartedAt": "2026-11-01T00:00:00Z"})
        raw["Config"]["Labels"] = {
            "certferry.domain": DOMAIN,
            "certferry.cert-path": "/tls/cert.pem",
            "certferry.key-path": "/tls/key.pem",
        }
        super().__init__(
            answers={
                "/info": {"SystemTime": "2026-11-23T15:03:37.091111471Z"},
                "/_ping": web.Response,
                "/containers/json": [{"Id": ID, "Labels": raw["Config"]["Labels"]}],
                f"/containers/{ID}/json": raw,
                f"/images/{RECORDED['Image']}/json": {"Config": {"Labels": {}}},
                f"/containers/{ID}/exec": {"Id": "e1"},
                f"/containers/{ID}/archive": lambda: web.Response(body=shell(), content_type="application/x-tar"),
            }
        )
        self.hangs_at = "/exec/e1/start"
        self.reached = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith(self.hangs_at):
            self.reached.set()
            await asyncio.sleep(1000)
        return await super().__call__(request)


class Process:
    """``certferry`` with something in it that hangs; its output so far."""

    def __init__(self, folder: Path, *argv: str, patch: str = "", **settings: str) -> None:
        given = {
            "sources": f"traefik://{folder}/acme.json",
            "docker_host": f"unix://{folder}/docker.sock",
            "discover": "off",
            "http": "off",
            "drain": f"{DRAIN}s",
            "log_format": "json",
            **settings,
        }
        environment = {f"CERTFERRY_{name.upper()}": value for name, value in given.items()}
        self._out = folder / "out"
        with self._out.open("wb") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-c", f"{patch}\nfrom controller.cli import main\nmain()", *argv],
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **environment},
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(3000):
            if condition():
                return
            assert self.child.poll() is None, self.out
            await asyncio.sleep(0.02)
        pytest.fail(f"nothing of the kind within 60 s:\n{self.out}")

    async def end(self, number: int) -> float:
        """Seconds from the signal to the end."""
        told = time.monotonic()
        self.child.send_signal(number)
        await asyncio.to_thread(self.child.wait, 60)
        return time.monotonic() - told


@pytest.fixture
async def hung(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts processes beside an engine that hangs, and ends what is left of them."""
    (tmp_path / "acme.json").write_bytes(acme_json(pair(**NEW)))
    started: list[Process] = []

    @asynccontextmanager
    async def start(*argv: str, **options: str) -> AsyncIterator[tuple[Process, HungDocker]]:
        docker = HungDocker()
        async with listening(docker, tmp_path / "docker.sock"):
            started.append(Process(tmp_path, *argv, **options))
            yield started[-1], docker

    yield start
    for process in started:
        process.child.kill()
        process.child.wait()


async def test_a_hung_command_is_let_run_for_the_drain_and_not_waited_for_any_longer(hung):
    async with hung("run", patch=IN_ORDER) as (process, docker):
        await process.until(docker.reached.is_set)
        assert DRAIN <= await process.end(signal.SIGTERM) <= HANGING
    assert process.child.returncode == 0
    assert "controller.cut_short" in process.out
    assert "controller.stopped" in process.out


async def test_a_hung_read_does_not_hold_the_exit(hung):
    async with hung("run", patch=IN_ORDER + HUNG_READ) as (process, _):
        await process.until(lambda: "HANGS" in process.out and "engine.connected" in process.out)
        assert await process.end(signal.SIGTERM) <= HANGING
    assert (process.child.returncode, "controller.stopped" in process.out) == (0, True)


async def test_a_hung_read_and_a_hung_command_together_end_within_the_drain_and_two_seconds(hung, tmp_path):
    certificate = tmp_path / "certificate"
    certificate.mkdir()
    (certificate / "tls.pem").write_bytes(pair(**NEW).key + pair(**NEW).chain)
    sources = f"traefik://{tmp_path}/acme.json pem://{certificate}"
    patch = f"import controller.followers\ncontroller.followers.FIRST_WAIT = 1.0\n{HUNG_READ}"
    async with hung("run", patch=patch, sources=sources) as (process, docker):
        await process.until(docker.reached.is_set)
        assert DRAIN <= await process.end(signal.SIGTERM) <= HANGING
    assert process.child.returncode in (0, 128 + signal.SIGTERM), "in order, or cut off on a busy machine"
    assert "reading it takes too long" in process.out


async def test_a_loop_that_hangs_is_ended_all_the_same(hung):
    async with hung("run", patch=PATIENT + HUNG_LOOP) as (process, _):
        await process.until(lambda: "HANGS" in process.out)
        assert await process.end(signal.SIGTERM) <= HANGING
    assert process.child.returncode == 128 + signal.SIGTERM
    assert "controller.cut_off" in process.out


async def test_a_docker_that_does_not_answer_the_first_question_is_not_waited_for(hung):
    docker: HungDocker
    async with hung("run", patch=IN_ORDER) as (process, docker):
        docker.hangs_at = "/version"
        await process.until(docker.reached.is_set)
        assert await process.end(signal.SIGTERM) <= HANGING
    assert process.child.returncode == 0


async def test_a_second_signal_ends_it_at_once(hung):
    async with hung("run", drain="60s") as (process, docker):
        await process.until(docker.reached.is_set)
        began = time.monotonic()
        process.child.send_signal(signal.SIGTERM)
        await process.until(lambda: "controller.stopping" in process.out)
        await asyncio.sleep(0.5)  # until it is no echo of the first any more
        assert process.child.poll() is None
        process.child.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.child.wait, 60)
        assert time.monotonic() - began <= HANGING
    assert process.child.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("argv", "patch", "number"),
    [
        (("once",), "", signal.SIGINT),
        (("once",), HUNG_READ, signal.SIGTERM),
        (("plan",), "", signal.SIGINT),
        (("sources",), HUNG_READ, signal.SIGINT),
        (("sources",), HUNG_LOOP, signal.SIGTERM),
        (("probe", "mail.example.com"), HUNG_NAMES, signal.SIGINT),
    ],
    ids=["once", "once with a hung read", "plan", "sources", "sources with a hung loop", "probe without names"],
)
async def test_a_command_ends_at_a_signal_whatever_hangs(hung, argv, patch, number):
    async with hung(*argv, patch=patch) as (process, docker):
        if "HANGS" in patch:
            await process.until(lambda: "HANGS" in process.out)
        else:
            await process.until(docker.reached.is_set)
        assert await process.end(number) <= HANGING
    assert process.child.returncode == 128 + number
    assert "Traceback" not in process.out


async def test_a_signal_that_comes_twice_at_once_is_one(hung):
    """timeout(1) sends it to the process and to its group."""
    async with hung("run", patch=IN_ORDER + LONG_ECHO) as (process, docker):
        await process.until(docker.reached.is_set)
        began = time.monotonic()
        process.child.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.01)
        await process.end(signal.SIGTERM)
        assert time.monotonic() - began >= DRAIN
    assert process.child.returncode == 0


def test_all_parts_of_the_end_together_take_less_than_the_two_seconds_after_the_drain():
    in_order = supervisor.LAST_LIMIT + app.DISCONNECT + server.CLOSE
    assert in_order < running.GOODBYE
    assert running.GOODBYE + running.LAST_WORDS < 2
