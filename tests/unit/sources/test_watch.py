"""Hints by inotify, on real files."""

import asyncio
import os
import resource
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from controller.domain.errors import SourceUnavailable
from sources.watch import watch
from tests.unit.sources.descriptors import inotifies, until_no_inotify_is_left
from tests.unit.virtual_time import clock, virtually

QUIET = 0.02


def watching(path: Path, quiet: float = QUIET, quiet_max: float = 1.0) -> AbstractAsyncContextManager[AsyncIterator[None]]:
    return watch(path.parent, lambda: (path,), quiet=quiet, quiet_max=quiet_max)


async def hinted(hints: AsyncIterator[None], within: float = 60.0) -> bool:
    """Whether a hint comes."""
    try:
        await asyncio.wait_for(anext(hints), within)
    except TimeoutError:
        return False
    return True


async def silent(hints: AsyncIterator[None]) -> bool:
    return not await hinted(hints, within=5 * QUIET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "traefik" / "acme.json"
    path.parent.mkdir()
    path.write_text("{}")
    return path


def rewrite(path: Path) -> None:
    path.write_text("{ }")


def rename_over(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("{ }")
    new.rename(path)


def replace_by_link(path: Path) -> None:
    new = path.parent.parent / "elsewhere"
    new.write_text("{ }")
    path.unlink(missing_ok=True)
    path.hardlink_to(new)


def mend_mode(path: Path) -> None:
    path.chmod(0o640)


def touch(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("change", [rewrite, rename_over, replace_by_link, mend_mode, touch, Path.unlink])
async def test_every_way_to_change_the_file_gives_one_hint(path, change):
    async with watching(path) as hints:
        change(path)
        assert await hinted(hints)
        assert await silent(hints)


@pytest.mark.parametrize("first", [rename_over, replace_by_link, Path.unlink])
@pytest.mark.parametrize("then", [rewrite, rename_over, mend_mode])
async def test_a_replaced_file_is_watched_as_the_first_one_was(path, first, then):
    async with watching(path) as hints:
        first(path)
        assert await hinted(hints)
        path.touch()
        await hinted(hints, within=0.2)
        then(path)
        assert await hinted(hints)


async def test_the_watch_stands_once_the_context_is_entered(path):
    async with watching(path) as hints:
        rewrite(path)
        await asyncio.sleep(0.1)
        assert await hinted(hints)


@pytest.mark.parametrize("come", [rewrite, rename_over, replace_by_link])
async def test_a_file_that_does_not_exist_yet_is_seen_when_it_comes(path, come):
    path.rename(path.parent.parent / "away")
    async with watching(path) as hints:
        come(path)
        assert await hinted(hints)


async def test_a_file_that_comes_by_a_rename_alone_is_seen(path):
    away = path.rename(path.parent.parent / "away")
    async with watching(path) as hints:
        away.rename(path)
        assert await hinted(hints)


async def test_other_files_of_the_directory_and_mere_reading_give_no_hint(path):
    async with watching(path) as hints:
        path.with_name("other.json").write_text("{}")
        path.with_name("other.json").rename(path.with_name("acme.json.bak"))
        path.read_bytes()
        assert await silent(hints)


async def test_a_write_through_another_directory_is_seen_as_a_single_file_mount_needs_it(path, tmp_path):
    # Inside a container, the file's directory is not the one the host writes through; a hard link is the same to inotify.
    host = tmp_path / "host.json"
    host.hardlink_to(path)
    async with watching(path) as hints:
        rewrite(host)
        assert await hinted(hints)


async def test_the_old_file_is_not_watched_any_more_once_it_was_renamed_away(path):
    async with watching(path) as hints:
        path.rename(path.with_name("old.json"))
        assert await hinted(hints)
        rewrite(path.with_name("old.json"))
        assert await silent(hints)


async def test_watches_of_old_files_do_not_pile_up(path):
    def count() -> int:
        return sum(text.count("inotify wd:") for text in inotifies())

    await until_no_inotify_is_left()
    async with watching(path, quiet=0) as hints:
        before = count()
        for number in range(20):
            path.rename(path.with_name(f"old-{number}"))
            rewrite(path)
            assert await hinted(hints)
        assert count() == before


async def test_a_link_into_another_directory_is_watched_there_and_at_the_link(path, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to("traefik/acme.json")
    async with watching(link) as hints:
        for change in (rewrite, rename_over, rewrite):
            change(path)
            assert await hinted(hints)
        other = tmp_path / "other.json"
        other.write_text("{}")
        link.unlink()
        link.symlink_to(other)
        assert await hinted(hints)
        rewrite(other)
        assert await hinted(hints)
        rewrite(path)
        assert await silent(hints)


async def test_a_switched_directory_link_is_seen_as_orchestrators_do_it(tmp_path):
    for version in ("..v1", "..v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "acme.json").write_text(version)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "acme.json").symlink_to("..data/acme.json")
    async with watching(tmp_path / "acme.json") as hints:
        (tmp_path / "..new").symlink_to("..v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert await hinted(hints)
        (tmp_path / "..v1" / "acme.json").unlink()
        (tmp_path / "..v1").rmdir()
        assert await silent(hints)
        rewrite(tmp_path / "..v2" / "acme.json")
        assert await hinted(hints)


async def test_a_switched_directory_link_whose_old_target_is_removed_at_once_is_followed_as_well(tmp_path):
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "acme.json").write_text(version)
    (tmp_path / "live").symlink_to("v1")
    async with watch(tmp_path, lambda: (tmp_path / "live" / "acme.json",), quiet=QUIET, quiet_max=1) as hints:
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").rename(tmp_path / "live")
        shutil.rmtree(tmp_path / "v1")
        assert await hinted(hints)
        rewrite(tmp_path / "v2" / "acme.json")
        assert await hinted(hints)


async def test_a_link_upwards_and_an_absolute_link_are_followed(path, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to("../traefik")
    (tmp_path / "absolute").symlink_to(tmp_path / "deep" / "up")
    async with watching(tmp_path / "absolute" / "acme.json") as hints:
        rewrite(path)
        assert await hinted(hints)


async def test_a_circle_of_links_is_watched_until_it_is_broken(tmp_path):
    for link, target in (("acme.json", "other"), ("other", "acme.json")):
        (tmp_path / link).symlink_to(target)
    async with watching(tmp_path / "acme.json") as hints:
        assert await silent(hints)
        rename_over(tmp_path / "other")
        assert await hinted(hints)
        rewrite(tmp_path / "other")
        assert await hinted(hints)


async def test_a_directory_among_the_paths_is_watched_with_all_that_is_in_it(tmp_path):
    def directories() -> list[Path]:
        return [tmp_path, *(entry for entry in tmp_path.iterdir() if entry.is_dir())]

    async with watch(tmp_path, directories, quiet=QUIET, quiet_max=1) as hints:
        (tmp_path / "mail.example.test").mkdir()
        assert await hinted(hints)
        (tmp_path / "mail.example.test" / "fullchain.pem").write_text("pem")
        assert await hinted(hints)
        (tmp_path / "mail.example.test" / "fullchain.pem").rename(tmp_path.parent / "away.pem")
        assert await hinted(hints)
        (tmp_path / "mail.example.test" / "link").symlink_to("nowhere")
        assert await hinted(hints)
        (tmp_path / "mail.example.test" / "link").unlink()
        assert await hinted(hints)


async def test_a_missing_directory_is_said_to_be_mounted(tmp_path):
    with pytest.raises(SourceUnavailable) as caught:
        async with watching(tmp_path / "missing" / "acme.json"):
            pass
    assert str(caught.value) == (
        f"the directory {tmp_path}/missing does not exist; mount it into certferry's container, or correct the path"
    )


async def test_a_directory_that_vanishes_ends_the_subscription(path):
    async with watching(path) as hints:
        path.parent.rename(path.parent.with_name("gone"))
        with pytest.raises(SourceUnavailable, match="traefik does not exist"):
            await asyncio.wait_for(anext(hints), 60)


async def test_a_directory_that_is_removed_ends_the_subscription(path):
    path.unlink()
    async with watching(path) as hints:
        path.parent.rmdir()
        with pytest.raises(SourceUnavailable, match="traefik does not exist"):
            await asyncio.wait_for(anext(hints), 60)


async def test_a_directory_that_was_replaced_is_watched_on(path):
    async with watching(path) as hints:
        path.parent.rename(path.parent.with_name("old"))
        path.parent.mkdir()
        rewrite(path)
        assert await hinted(hints)
        rewrite(path)
        assert await hinted(hints)
        rewrite(path.parent.with_name("old") / "acme.json")
        assert await silent(hints)


async def test_a_file_in_place_of_the_directory_is_said(path):
    with pytest.raises(SourceUnavailable, match=r"acme\.json is a file, not a folder; name the folder that holds it"):
        async with watching(path / "acme.json"):
            pass


async def test_a_directory_that_may_not_be_read_is_said(open_directory, unprivileged):
    closed = open_directory / "closed"
    closed.mkdir(mode=0o300)
    with (
        unprivileged(),
        pytest.raises(SourceUnavailable, match=r"closed may not be read; run certferry as root or as its owner \(uid \d+\)"),
    ):
        async with watching(closed / "acme.json"):
            pass


async def test_a_file_that_may_not_be_read_gives_a_hint_when_its_mode_is_mended(open_directory, unprivileged):
    path = open_directory / "acme.json"
    path.write_text("{}")
    path.chmod(0)
    with unprivileged():
        context = watching(path)
        hints = await context.__aenter__()
    path.chmod(0o644)
    assert await hinted(hints)
    await context.__aexit__(None, None, None)


async def test_the_kernels_limits_are_named_with_the_remedy(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(SourceUnavailable, match=r"raise fs\.inotify\.max_user_\* on the host, or add \?poll=30s"):
            async with watching(path):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@virtually
async def test_a_row_of_changes_is_one_hint_after_quiet_has_come(path):
    async with watching(path, quiet=0.3, quiet_max=10) as hints:
        waiting = asyncio.create_task(hinted(hints))
        for _ in range(4):
            rewrite(path)
            last = clock()
            await asyncio.sleep(0.2)
        assert await waiting
        assert clock() - last == pytest.approx(0.3)
        assert await silent(hints)


@virtually
async def test_a_writer_that_never_rests_cannot_hold_up_the_hint(path):
    async def scribble() -> None:
        while True:
            rewrite(path)
            await asyncio.sleep(0.01)

    async with watching(path, quiet=0.1, quiet_max=0.3) as hints:
        begin = clock()
        scribbler = asyncio.create_task(scribble())
        assert await hinted(hints)
        assert clock() - begin == pytest.approx(0.3)
        scribbler.cancel()


@virtually
async def test_changes_while_the_caller_is_busy_are_one_hint_without_further_delay(path):
    async with watching(path, quiet=0.3) as hints:
        for _ in range(3):
            rewrite(path)
        await asyncio.sleep(0.4)
        before = clock()
        assert await hinted(hints)
        assert clock() == before
        assert await silent(hints)


@virtually
async def test_a_wait_that_was_given_up_loses_no_hint(path):
    async with watching(path, quiet=0.2) as hints:
        rewrite(path)
        assert not await hinted(hints, within=0.05)
        assert await hinted(hints)


async def test_lost_events_are_a_hint(path):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    others = [path.with_name("a"), path.with_name("b")]
    async with watching(path) as hints:
        for number in range(limit + 10):
            os.close(os.open(others[number % 2], os.O_WRONLY | os.O_CREAT))
        assert await hinted(hints)
        rewrite(path)
        assert await hinted(hints)


async def test_hints_are_iterated_over_in_a_plain_loop(path):
    async with watching(path) as hints:
        rewrite(path)
        async for _ in hints:
            break


async def test_nothing_is_left_open_behind_the_context(path):
    await until_no_inotify_is_left()
    async with watching(path) as hints:
        assert len(inotifies()) == 1
        rewrite(path)
        assert await hinted(hints)
    assert inotifies() == []
