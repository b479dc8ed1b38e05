"""A file system that does not answer: a mount of a server that is away, or a disk that hangs.

The calls are made to hang themselves, each in turn, on an event: a real file system that hangs needs the right to mount one,
which who runs these tests may not have.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from asyncinotify import Inotify

from controller import threads
from controller.domain.errors import SourceUnavailable
from sources import files, local
from sources.container import ContainerStorage
from sources.layout import FileOptions
from sources.registry import LAYOUTS, create
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from tests.unit.sources.descriptors import inotifies, until_no_inotify_is_left
from tests.unit.sources.test_container import Engine
from tests.unit.sources.toy import GENEROUS, TOY, followed, put, toy

CALLS: dict[str, tuple[Any, str]] = {
    "stat": (os, "stat"),
    "open": (os, "open"),
    "listdir": (os, "listdir"),
    "scandir": (os, "scandir"),
    "readlink": (os, "readlink"),
    "flock": (fcntl, "flock"),
    "read": (os, "read"),
    "inotify_add_watch": (Inotify, "add_watch"),
}
OF_A_LOAD = ("stat", "open", "listdir", "read", "flock")
OF_A_SUBSCRIPTION = ("scandir", "readlink", "inotify_add_watch")


class Mount:
    """A folder whose file system can be told to hang. What asks it from the event loop fails the test.

    Patience with it is short while it hangs, and long before and after.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._answers = threading.Event()
        self.asked: list[str] = []
        self._hangs_since = 0.0
        self._limit(GENEROUS)

    def hang(self, name: str) -> None:
        class Work(threads._Work[Any]):
            """Goes forward until it hangs, however long a busy machine takes for that."""

            moved_at = property(lambda _: self._hangs_since or time.monotonic(), lambda *_: None)

        self._monkeypatch.setattr(threads, "_Work", Work)
        self._limit(0.5)
        module, attribute = CALLS[name]
        real = getattr(module, attribute)

        def call(*arguments: Any, **named: Any) -> Any:
            if self._is_ours([*arguments, *named.values()]) and not self._answers.is_set():
                assert threading.current_thread() is not threading.main_thread(), f"{name} in the event loop"
                self._hangs_since = self._hangs_since or time.monotonic()
                self.asked.append(name)
                assert self._answers.wait(GENEROUS)
            return real(*arguments, **named)

        self._monkeypatch.setattr(module, attribute, call)

    def answer(self) -> None:
        self._limit(GENEROUS)
        self._answers.set()

    def _limit(self, seconds: float) -> None:
        self._monkeypatch.setattr(threads, "LIMIT", seconds)

    def _is_ours(self, arguments: list[Any]) -> bool:
        return any(self._path_of(one).startswith(str(self.path)) for one in arguments)

    def _path_of(self, value: Any) -> str:
        if isinstance(value, str | os.PathLike):
            return os.fspath(value)
        return os.readlink(f"/proc/self/fd/{value}") if type(value) is int and 2 < value < 1024 else ""  # noqa: PTH115


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    monkeypatch.setattr(local, "COARSEST", -1.0)
    folder = tmp_path / "nfs"
    put(folder, "a")
    mount = Mount(folder, monkeypatch)
    yield mount
    mount.answer()


def threads_of(mount: Mount) -> int:
    return sum(thread.name == f"source {mount.path}" for thread in threading.enumerate())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 -- threads tell nobody
            await asyncio.sleep(0.01)


LOCKED = TOY.__class__(**{**{name: getattr(TOY, name) for name in TOY.__slots__}, "locked": True})


@pytest.mark.parametrize("call", OF_A_LOAD)
async def test_a_read_that_hangs_is_told_with_its_path_and_is_not_begun_again_before_it_returns(mount, call):
    source, _ = toy(mount.path, LOCKED)
    mount.hang(call)
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match=rf"^{mount.path}\S* has not answered for 0\.5 s; is its mount away\?$"):
            await source.load()
    assert len(mount.asked) == 1
    assert threads_of(mount) == 1
    mount.answer()
    assert len((await source.load()).entries) == 1
    assert threads_of(mount) == 1


@pytest.mark.parametrize("call", OF_A_SUBSCRIPTION)
async def test_watches_that_hang_are_told_with_their_path_and_leave_the_loop_alone(mount, call):
    source, _ = toy(mount.path)
    mount.hang(call)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=rf"{mount.path.parent}\S* has not answered"):
            async with source.subscribe():
                pytest.fail("entered")
    mount.answer()
    async with source.subscribe() as hints:
        put(mount.path, "b")
        async with asyncio.timeout(GENEROUS):
            await anext(hints)


async def test_a_poll_that_hangs_is_told_with_its_path(mount):
    source, _ = toy(mount.path, poll=0.01)
    async with source.subscribe() as hints:
        mount.hang("stat")
        with pytest.raises(SourceUnavailable, match=rf"{mount.path}\S* has not answered"):
            async for _ in hints:
                pass


async def test_a_source_that_hangs_stops_no_other_one(mount, tmp_path):
    pair = put(tmp_path / "disk", "b")
    mount.hang("open")
    async with followed(toy(mount.path)[0]) as hanging, followed(toy(tmp_path / "disk")[0]) as other:
        await other.holds(pair)
        await hanging.until(lambda: "has not answered" in hanging.message)
        renewed = put(tmp_path / "disk", "b")
        await other.holds(renewed)
        mount.answer()
        await hanging.until(lambda: hanging.leaves and not hanging.message)


async def test_a_source_that_is_no_longer_wanted_ends_although_its_read_hangs(mount):
    source, _ = toy(mount.path)
    mount.hang("open")
    async with followed(source):
        await until(lambda: mount.asked)


@pytest.mark.parametrize("hangs", [False, True], ids=["free", "while a look-up hangs"])
async def test_the_descriptor_of_the_watches_is_closed_once_no_look_up_uses_it(mount, hangs):
    await until_no_inotify_is_left()
    source, _ = toy(mount.path)
    if not hangs:
        async with source.subscribe():
            assert len(inotifies()) == 1
    else:
        mount.hang("inotify_add_watch")
        with pytest.raises(SourceUnavailable):
            async with source.subscribe():
                pytest.fail("entered")
        assert len(inotifies()) == 1, "another file would get its number, and be given the watches"
        mount.answer()
    await until_no_inotify_is_left()


async def test_a_file_of_a_container_seen_on_a_mount_that_hangs_is_told_as_well(mount):
    layout = LAYOUTS["pem"]
    engine = Engine(mount.path)
    engine.own = mount.path
    storage = ContainerStorage("proxy", PurePosixPath("/certs"), layout, layout.options(), engine)
    source = StoredSource("it", layout, storage, FileOptions())
    mount.hang("listdir")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=f"^{mount.path} has not answered"):
            await source.load()
    assert mount.asked == ["listdir"]


@pytest.mark.parametrize(
    "url",
    [
        "consul://127.0.0.1:9/x?token-file={file}",
        "consul://127.0.0.1:9/x?user=me&password-file={file}",
        "consul://127.0.0.1:9/x?tls-ca={file}",
        "etcd://127.0.0.1:9/x?user=me&password-file={file}",
        "etcd://127.0.0.1:9/x?tls-cert={file}&tls-key={file}",
        "etcd2://127.0.0.1:9/x?user=me&password-file={file}",
        "zookeeper://127.0.0.1:9/x?tls-ca={file}",
        "pem://{folder}?password-file={file}",
        "self-signed:?state={folder}",
    ],
)
@pytest.mark.parametrize("call", ["stat", "open"])
async def test_secrets_and_authorities_on_a_mount_that_hangs_are_told_by_name(mount, call, url):
    for name in ("secret", "ca.pem", "ca-key.pem"):
        (mount.path / name).write_text("secret")
    source = create(url.format(file=mount.path / "secret", folder=mount.path), Surroundings(wishes=Wanted()))
    mount.hang(call)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=rf"^{mount.path}\S* has not answered"):
            await source.load()
    assert len(mount.asked) == 1


class Wanted:
    """Implements `controller.ports.Wishes`."""

    def wanted(self) -> frozenset[Any]:
        return frozenset({(("a.example.test",), None)})

    def subscribe(self) -> Any:
        raise NotImplementedError


def test_files_are_read_in_steps_so_that_a_large_one_can_be_given_up():
    assert files.MIB <= 2**20, "each read is one step"
