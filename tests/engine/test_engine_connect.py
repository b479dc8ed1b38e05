"""When the engine cannot be talked to: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller import engine as engine_module
from controller.domain.errors import EngineUnavailable, SettingsError
from controller.engine import Engine
from tests.engine.delivery import connected


async def test_this_engine_is_new_enough_and_we_are_in_none_of_its_containers(engine: Engine) -> None:
    await engine.connect()

    assert engine.own is None


async def test_an_engine_that_is_too_old_is_told_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MINIMUM_API", (99, 0))

    with pytest.raises(SettingsError, match=r"speaks API 1\.\d+; certferry needs 99.0"):
        await engine.connect()


async def test_a_socket_that_does_not_exist_is_to_be_mounted(tmp_path: Path) -> None:
    async with connected(f"unix://{tmp_path}/docker.sock") as engine:
        with pytest.raises(SettingsError, match=r"no Docker socket at .*/docker.sock; mount it \(-v /var/run/docker.sock:"):
            await engine.connect()


async def test_a_directory_in_place_of_the_socket_is_named(tmp_path: Path) -> None:
    """Docker makes one when the socket did not exist yet at the time of the mount."""
    async with connected(f"unix://{tmp_path}") as engine:
        with pytest.raises(SettingsError, match="is not a socket"):
            await engine.connect()


@contextmanager
def without_privileges() -> Iterator[None]:
    """As another user, where we are root: root may open every socket."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("closed", ["socket", "folder"])
async def test_a_socket_without_permission_is_a_matter_of_settings(closed: str) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder) / "docker.sock"
        server.bind(str(path))
        server.listen()
        path.chmod(0 if closed == "socket" else 0o777)
        Path(folder).chmod(0o755 if closed == "socket" else 0)
        async with connected(f"unix://{path}") as engine:
            with (
                without_privileges(),
                pytest.raises(
                    SettingsError, match=r"no permission on the Docker socket .*; run certferry as root .*--group-add"
                ),
            ):
                await engine.connect()
        Path(folder).chmod(0o700)


@pytest.mark.parametrize("host", ["unix://{folder}/deaf.sock", "tcp://127.0.0.1:{port}"])
async def test_an_engine_that_is_silent_is_given_up_after_the_time_for_it(tmp_path: Path, host: str) -> None:
    with socket.socket(socket.AF_UNIX) as deaf, socket.create_server(("127.0.0.1", 0)) as deaf_too:
        deaf.bind(f"{tmp_path}/deaf.sock")
        deaf.listen()
        engine = Engine(host.format(folder=tmp_path, port=deaf_too.getsockname()[1]), timeout=0.3, exec_timeout=0.5)
        try:
            for question in (
                engine.connect(),
                engine.now(),
                engine.labels(),
                engine.inspect("x"),
                engine.execute("x", ("true",)),
            ):
                async with asyncio.timeout(10):
                    with pytest.raises(EngineUnavailable, match=r"no answer within 0.3 s"):
                        await question
        finally:
            await engine.close()


async def test_an_engine_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with connected(f"tcp://127.0.0.1:{port}") as engine:
        with pytest.raises(EngineUnavailable, match=rf"127.0.0.1:{port}") as failure:
            await asyncio.wait_for(engine.connect(), 20)
    assert "\n" not in str(failure.value)
