"""Stores in directories of ours under the real follower: what changes is seen, what is mended is taken up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asyncinotify import Inotify

from controller.domain.errors import SourceUnavailable
from tests.unit.sources.toy import EITHER, GENEROUS, TOY, authority, followed, key, put, toy
from tests.unit.sources.trees import modes_count

BOTH_WAYS = pytest.mark.parametrize("options", [{}, {"poll": 0.02}], ids=["inotify", "poll"])


class TestMended:
    """What is wrong with the store is told in one line, and taken up by itself once it is mended."""

    async def test_a_folder_that_comes_later(self, tmp_path):
        root = tmp_path / "store"
        async with followed(toy(root)[0]) as it:
            await it.until(lambda: it.message.startswith(f"the directory {root} does not exist; mount it"))
            root.mkdir()
            await it.holds(put(root, "a"))

    async def test_a_file_in_its_place(self, tmp_path):
        root = tmp_path / "store"
        root.touch()
        async with followed(toy(root)[0]) as it:
            await it.until(lambda: it.message == f"{root} is a file, not a folder; name the folder that holds it")
            root.unlink()
            root.mkdir()
            await it.holds(put(root, "a"))

    @BOTH_WAYS
    @pytest.mark.parametrize("what", ["", "group", "group/a"])
    async def test_a_folder_that_may_not_be_read(self, tmp_path, what, options):
        root = tmp_path / "store"
        pair = put(root, "a")
        (root / what).chmod(0)
        with modes_count():
            source, _ = toy(root, **options)
            async with followed(source) as it:
                await it.until(it.follower.tried.is_set)
                assert it.leaves == set()
                assert what == "group/a" or "may not be read; run certferry as root or as its owner" in it.told
                (root / what).chmod(0o700)
                await it.holds(pair)

    @BOTH_WAYS
    async def test_a_file_that_may_not_be_read(self, tmp_path, options):
        pair = put(tmp_path, "a")
        path = tmp_path / "group" / "a" / "key"
        path.chmod(0)
        with modes_count():
            source, _ = toy(tmp_path, **options)
            async with followed(source) as it:
                await it.until(lambda: "toy" in it.store.snapshots)
                (problem,) = it.store.snapshots["toy"].problems
                assert problem.message.startswith(f"{path} may not be read; run certferry as root or as its owner")
                path.chmod(0o600)
                await it.holds(pair)

    @BOTH_WAYS
    async def test_a_folder_that_is_moved_away_and_another_one_in_its_place(self, tmp_path, options):
        root = tmp_path / "store"
        old = put(root, "a")
        async with followed(toy(root, **options)[0]) as it:
            await it.holds(old)
            root.rename(tmp_path / "away")
            await it.until(lambda: it.message.startswith(f"the directory {root} does not exist"))
            assert it.leaves == {old.certificate.fingerprint}, "stays in use"
            await it.holds(put(root, "a"))

    async def test_a_path_above_which_nothing_may_be_looked_at(self, tmp_path):
        (tmp_path / "closed" / "store").mkdir(parents=True)
        (tmp_path / "closed").chmod(0)
        with modes_count():
            for layout in (TOY, EITHER):
                source, _ = toy(tmp_path / "closed" / "store", layout)
                with pytest.raises(SourceUnavailable, match="may not be read"):
                    await source.load()
                with pytest.raises(SourceUnavailable, match="may not be read"):
                    async with source.subscribe():
                        pass


class TestHints:
    @BOTH_WAYS
    async def test_a_rewrite_in_place_a_rename_and_a_switched_link_are_seen(self, tmp_path, options):
        folder = tmp_path / "group" / "a"
        async with followed(toy(tmp_path, **options)[0]) as it:
            await it.holds(put(tmp_path, "a"))
            await it.holds(put(tmp_path, "a"))
            beside, newer = put(tmp_path.parent / "beside", "a"), authority().issue("a.example.test", key=key())
            (tmp_path.parent / "beside" / "group" / "a" / "crt").rename(folder / "crt")
            await it.holds(beside)
            (tmp_path.parent / "newer").write_bytes(newer.chain)
            (folder / "new").symlink_to(tmp_path.parent / "newer")
            (folder / "new").rename(folder / "crt")
            await it.holds(newer)
            newest = authority().issue("a.example.test", key=key())
            (tmp_path.parent / "newer").write_bytes(newest.chain)
            await it.holds(newest)

    async def test_deep_new_folders_with_their_files_made_at_once_are_seen(self, tmp_path):
        """No watch can stand on a folder before its first files are there."""
        pairs = []
        async with followed(toy(tmp_path)[0]) as it:
            await it.holds()
            for number in range(20):
                pairs.append(put(tmp_path, f"h{number}", group=f"group{number % 3}"))
                if number % 4 == 0:
                    await it.holds(*pairs)
            await it.holds(*pairs)
            pairs[7] = put(tmp_path, "h7", group="group1")
            await it.holds(*pairs)

    async def test_more_folders_than_the_kernel_watches_are_told_with_the_remedy(self, tmp_path, monkeypatch):
        for number in range(20):
            put(tmp_path, f"h{number}", authority().issue("a.example.test", key=key()))
        add_watch, left = Inotify.add_watch, 10

        def add(self: Inotify, path: Path, mask: Any) -> Any:
            """As the kernel does at ``fs.inotify.max_user_watches``, which counts for the whole machine."""
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
            return add_watch(self, path, mask)

        monkeypatch.setattr(Inotify, "add_watch", add)
        with pytest.raises(SourceUnavailable) as caught:
            async with toy(tmp_path)[0].subscribe():
                pass
        assert str(caught.value) == (
            f"{tmp_path} cannot be watched, a limit is reached; raise fs.inotify.max_user_* on the host, or add ?poll=30s"
        )

    async def test_a_path_that_may_name_a_file_or_a_folder_is_looked_at_as_what_it_is(self, tmp_path):
        path = tmp_path / "either"
        source, storage = toy(path, EITHER)
        tree = await storage.tree()
        assert (tree.where, tree.focus) == (str(tmp_path), "either")
        async with source.subscribe() as hints, asyncio.timeout(GENEROUS):
            path.mkdir()
            await anext(hints)
            tree = await storage.tree()
            assert (tree.where, tree.focus) == (str(path), "")
            (path / "file").touch()
            await anext(hints)
