"""Hints by looking again and again."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from controller.domain.errors import SourceUnavailable
from sources.poll import poll

EVERY = 0.01


def polling(path: Path) -> AbstractAsyncContextManager[AsyncIterator[None]]:
    return poll(path.parent, lambda: (path,), every=EVERY)


async def hinted(hints: AsyncIterator[None], within: float = 60.0) -> bool:
    try:
        await asyncio.wait_for(anext(hints), within)
    except TimeoutError:
        return False
    return True


async def silent(hints: AsyncIterator[None]) -> bool:
    return not await hinted(hints, within=10 * EVERY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "acme.json"
    path.write_text("{}")
    return path


def grow(path: Path) -> None:
    path.write_text("{    }")


def rewrite_in_the_same_size(path: Path) -> None:
    path.write_text("[]")
    os.utime(path, ns=(0, 1))


def replace_with_the_same_time_and_size(path: Path) -> None:
    status = path.stat()
    new = path.with_name("new")
    new.write_text("{}")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(path)


def grow_with_the_same_time(path: Path) -> None:
    status = path.stat()
    path.write_text("{    }")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def mend_mode(path: Path) -> None:
    path.chmod(0o640)


@pytest.mark.parametrize(
    "change",
    [grow, grow_with_the_same_time, rewrite_in_the_same_size, replace_with_the_same_time_and_size, mend_mode, Path.unlink],
)
async def test_every_change_gives_a_hint_and_one_more_since_time_stamps_may_be_coarse(path, change):
    async with polling(path) as hints:
        assert await hinted(hints)
        assert await silent(hints)
        change(path)
        assert await hinted(hints)
        assert await hinted(hints)
        assert await silent(hints)


async def test_a_file_that_comes_later_gives_a_hint(path):
    path.unlink()
    async with polling(path) as hints:
        assert await hinted(hints)
        grow(path)
        async for _ in hints:
            break


async def test_a_change_between_entering_and_the_first_look_gives_a_hint(path):
    async with polling(path) as hints:
        grow(path)
        assert await hinted(hints)


async def test_a_missing_directory_is_said_on_entering(tmp_path):
    with pytest.raises(SourceUnavailable, match="missing does not exist; mount it into certferry's container"):
        async with polling(tmp_path / "missing" / "acme.json"):
            pass


async def test_a_directory_that_vanishes_ends_the_subscription(path):
    async with polling(path) as hints:
        path.parent.rename(path.parent.with_name("gone"))
        with pytest.raises(SourceUnavailable, match="does not exist"):
            await asyncio.wait_for(anext(hints), 60)


async def test_a_file_in_place_of_the_directory_is_said(path):
    with pytest.raises(SourceUnavailable, match=r"acme\.json is a file, not a folder; name the folder that holds it"):
        async with polling(path / "acme.json"):
            pass
