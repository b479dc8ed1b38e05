"""Stores in directories of ours: what is read again and what is not, and what it costs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from controller.domain.errors import SourceUnavailable
from sources.local import COARSEST, FileCache, LocalTree
from tests.unit.sources.toy import authority, key, put, toy

LIMIT = 1024 * 1024
MANY = 2000


def replace(path: Path, content: bytes) -> None:
    """By a rename: another inode, so that it differs however fast this was."""
    path.with_name("new").write_bytes(content)
    path.with_name("new").rename(path)


@pytest.fixture
def old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old from the moment they are written."""
    monkeypatch.setattr("sources.local.COARSEST", -1.0)


class TestReadingAgain:
    async def test_only_changed_files_are_read_again(self, tmp_path, old_enough):
        for name in ("a", "b", "c"):
            put(tmp_path, name)
        source, storage = toy(tmp_path)
        before = await source.load()
        assert storage.cache.reads == 6
        assert await source.load() == before
        assert storage.cache.reads == 6
        renewed = authority().issue("b.example.test", key=key())
        replace(tmp_path / "group" / "b" / "crt", renewed.chain)
        assert (await source.load()).entries[1].certificate == renewed.certificate
        assert storage.cache.reads == 7

    @pytest.mark.parametrize(("coarsest", "reads"), [(3600.0, 3), (0.0, 1)], ids=["young", "old"])
    def test_what_has_just_changed_is_read_again_until_it_has_aged(self, tmp_path, monkeypatch, coarsest, reads):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        written = path.stat().st_ctime
        while time.time() <= written:
            pass
        monkeypatch.setattr("sources.local.COARSEST", coarsest)
        cache = FileCache()
        for _ in range(3):
            assert cache.read(str(path), limit=LIMIT) == b"old"
        assert cache.reads == reads

    def test_a_rewrite_within_one_tick_of_the_clock_is_seen(self, tmp_path):
        """Same size and, often, the same time: only reading again can tell."""
        path = tmp_path / "file"
        cache = FileCache()
        for number in range(100, 300):
            path.write_bytes(b"%d" % number)
            assert cache.read(str(path), limit=LIMIT) == b"%d" % number
        assert COARSEST >= 2, "as the time stamps of FAT are"

    def test_a_time_that_was_set_back_hides_no_change(self, tmp_path, old_enough):
        """``rsync --times``, ``cp -p`` and ``tar`` set the time of the content; that of the change they cannot."""
        path = tmp_path / "file"
        path.write_bytes(b"old")
        cache = FileCache()
        cache.read(str(path), limit=LIMIT)
        status = path.stat()
        while path.stat().st_ctime_ns == status.st_ctime_ns:
            path.write_bytes(b"new")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert cache.read(str(path), limit=LIMIT) == b"new"

    def test_a_file_from_the_future_is_always_read(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        os.utime(path, (2**32, 2**32))
        cache = FileCache()
        for reads in (1, 2):
            cache.read(str(path), limit=LIMIT)
            assert cache.reads == reads

    @pytest.mark.parametrize("how", ["renamed over it", "link switched"])
    def test_another_file_in_its_place_is_read_although_it_is_older(self, tmp_path, old_enough, how):
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "old").write_bytes(b"old")
        path = tmp_path / "link"
        path.symlink_to("old")
        cache = FileCache()
        assert cache.read(str(path), limit=LIMIT) == b"old"
        if how == "link switched":
            path.unlink()
            path.symlink_to("new")
        else:
            (tmp_path / "new").rename(tmp_path / "old")
        assert cache.read(str(path), limit=LIMIT) == b"new"

    async def test_files_that_nobody_asks_for_any_more_are_forgotten(self, tmp_path, old_enough):
        put(tmp_path, "a")
        put(tmp_path, "b")
        source, storage = toy(tmp_path)
        await source.load()
        assert len(storage.cache.files) == 4
        (tmp_path / "group" / "b").rename(tmp_path / "b")
        await source.load()
        assert {Path(path).parent.name for path in storage.cache.files} == {"a"}

    def test_no_more_bytes_are_kept_than_allowed_and_what_was_forgotten_is_not_counted(self, tmp_path, monkeypatch, old_enough):
        monkeypatch.setattr("sources.local.REMEMBERED", 1000)
        cache = FileCache()
        for round_ in range(3):
            for number in range(10):
                path = tmp_path / f"{round_}-{number}"
                path.write_bytes(b"x" * 300)
                assert len(cache.read(str(path), limit=LIMIT)) == 300
            assert sum(len(data) for _, data in cache.files.values()) == cache.size == 900
            for path in tmp_path.iterdir():
                path.unlink()
            cache.forget_unwanted()
            cache.forget_unwanted()
            assert (cache.files, cache.size) == ({}, 0)

    def test_a_file_that_went_and_keys_that_are_never_shown(self, tmp_path, old_enough):
        path = tmp_path / "file"
        path.write_bytes(b"secret")
        cache = FileCache()
        cache.read(str(path), limit=LIMIT)
        assert "secret" not in repr(cache)
        path.unlink()
        with pytest.raises(SourceUnavailable, match="does not exist"):
            cache.read(str(path), limit=LIMIT)
        assert cache.files == {}


class TestTree:
    @pytest.fixture
    def tree(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_bytes(b"content")
        for link, target in {"to-folder": "folder", "to-file": "file", "dangling": "no/where", "circle": "circle"}.items():
            (tmp_path / link).symlink_to(target)
        os.mkfifo(tmp_path / "pipe")
        return LocalTree(tmp_path, focus="", cache=FileCache(), limit=LIMIT)

    def test_kinds_are_told_through_links_and_links_as_they_are_written(self, tree):
        told = {name: (tree.kind(name), tree.link(name)) for name in ("", *tree.names(), "none", "file/x", "a\0b", "x" * 300)}
        assert told == {
            "": ("folder", ""),
            "circle": ("missing", "circle"),
            "dangling": ("missing", "no/where"),
            "file": ("file", ""),
            "folder": ("folder", ""),
            "pipe": ("file", ""),
            "to-file": ("file", "file"),
            "to-folder": ("folder", "folder"),
            "none": ("missing", ""),
            "file/x": ("missing", ""),
            "a\0b": ("missing", ""),
            "x" * 300: ("missing", ""),
        }

    @pytest.mark.parametrize("name", ["folder", "pipe", "dangling", "circle", "none", "file/x", "a\0b", "x" * 300, "\ud800"])
    def test_what_is_no_file_is_told_in_one_line(self, tree, name):
        with pytest.raises(SourceUnavailable) as caught:
            tree.read(name)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        ("folder", "message"),
        [
            ("none", "{root}/none does not exist; mount it into certferry's container, or correct the path"),
            ("file", "{root}/file is a file, not a folder; name the folder that holds it"),
            ("file/x", "{root}/file/x does not exist; mount it into certferry's container, or correct the path"),
            ("circle", "{root}/circle cannot be read (Too many levels of symbolic links); correct the path or the mount"),
        ],
    )
    def test_names_that_cannot_be_had_are_told_with_the_remedy(self, tree, folder, message):
        with pytest.raises(SourceUnavailable) as caught:
            tree.names(folder)
        assert str(caught.value).removeprefix("the directory ") == message.format(root=tree.where)

    def test_the_root_of_all_is_no_special_place(self):
        tree = LocalTree(Path("/"), focus="", cache=FileCache(), limit=LIMIT)
        assert "proc" in tree.names()
        with pytest.raises(SourceUnavailable, match="^/none does not exist"):
            tree.read("none")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("many")
    pair = authority().issue("h.example.test", key=key())
    for number in range(MANY):
        put(root, f"h{number}", pair)
    return root


class TestTwoThousandFolders:
    async def test_one_that_is_renewed_costs_two_readings_and_little_time(self, root, old_enough):
        source, storage = toy(root)
        begin = time.process_time()
        assert len((await source.load()).entries) == MANY
        first = time.process_time() - begin
        assert len((await source.load()).entries) == MANY
        assert storage.cache.reads == 2 * MANY
        seconds = []
        for number in range(5):
            reads, renewed = storage.cache.reads, put(root, f"h{number}")
            before = time.process_time()
            snapshot = await source.load()
            seconds.append(time.process_time() - before)
            assert storage.cache.reads - reads == 2
            assert renewed.certificate in [entry.certificate for entry in snapshot.entries]
        print(f"{first:.2f} s of the processor for the first reading, {min(seconds):.3f} for a renewal")  # noqa: T201
        assert min(seconds) < 0.7 * first, "a quarter"

    async def test_to_watch_them_when_nothing_is_new_takes_little_time(self, root):
        begin = time.process_time()
        async with toy(root)[0].subscribe() as hints:
            first = time.process_time() - begin
            watching: Any = hints
            seconds = []
            for _ in range(5):
                watching.moved = True
                watches, before = set(watching.armed), time.process_time()
                await watching.arm()
                seconds.append(time.process_time() - before)
                assert set(watching.armed) == watches
            print(f"{first:.2f} s of the processor for the first watch, {min(seconds):.3f} for looking again")  # noqa: T201
            assert min(seconds) < 0.7 * first, "a third"
