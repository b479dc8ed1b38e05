"""Whether certferry itself sees a file of another container, where the file system does not answer."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from controller import engine_files
from controller.domain.container import Container, Mount, State
from controller.engine import Engine


async def test_a_path_on_a_mount_that_hangs_is_not_seen_and_is_asked_once_until_it_answers(tmp_path, monkeypatch):
    answers, asked, exists = threading.Event(), [], Path.exists

    def ask(path: Path) -> bool:
        if path == tmp_path and not answers.is_set():
            asked.append(threading.current_thread())
            answers.wait(30)
        return exists(path)

    monkeypatch.setattr(Path, "exists", ask)
    engine = object.__new__(Engine)  # no engine is needed for a look at files of ours
    for limit in (1.0, 0.1, 0.1):  # within the first one the look has to begin
        monkeypatch.setattr(engine_files, "LOOK", limit)
        assert await engine._existing(tmp_path) is None
    assert len(asked) == 1
    assert asked[0] is not threading.main_thread()
    answers.set()
    monkeypatch.setattr(engine_files, "LOOK", 30.0)
    async with asyncio.timeout(30):
        while await engine._existing(tmp_path) != tmp_path:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await engine._existing(tmp_path / "none") is None
    assert engine._asked == {}


class TestLinks:
    """They are for whoever sees them: `/srv/acme.json` in another container is no file of ours, nor of the host's."""

    def engine(self, there: Container, own: Container | None) -> Engine:
        async def inspect(_container_id: str) -> Container:
            return there

        engine = object.__new__(Engine)
        engine._own, engine._is_here, engine._knows_itself = own, True, True
        engine.inspect = inspect  # type: ignore[assignment, method-assign]
        return engine

    @pytest.mark.parametrize("where", ["on the host", "in a container", "in one that has all of it"])
    async def test_what_leads_out_of_the_volume_is_read_in_the_container(self, tmp_path, where):
        volume, mine = tmp_path / "volume", tmp_path / "mine"
        volume.mkdir()
        mine.mkdir()
        (mine / "acme.json").write_text("ours")
        (volume / "acme.json").write_text("theirs")
        (volume / "inside.json").symlink_to("acme.json")
        (volume / "outside.json").symlink_to(mine / "acme.json")
        (volume / "up.json").symlink_to("../mine/acme.json")
        mount = Mount("volume", "le", PurePosixPath("/letsencrypt"), True, str(volume))
        there = Container("c" * 64, "edge", "traefik", State.RUNNING, mounts=(mount,))
        seen = volume if where == "in a container" else tmp_path
        ours = replace(there, mounts=(Mount("bind", str(seen), PurePosixPath(seen), False, str(seen)),))
        engine = self.engine(there, None if where == "on the host" else ours)
        found = {
            name: await engine.own_path("c", PurePosixPath(f"/letsencrypt/{name}.json"))
            for name in ("acme", "inside", "outside", "up")
        }
        assert found == {"acme": volume / "acme.json", "inside": volume / "inside.json", "outside": None, "up": None}
        assert await engine.own_path("c", PurePosixPath("/letsencrypt")) == volume

    async def test_of_a_file_that_is_mounted_by_itself_nothing_is_asked(self, tmp_path):
        (tmp_path / "real.json").write_text("theirs")
        (tmp_path / "acme.json").symlink_to("real.json")  # on the host, before it was mounted
        mount = Mount("bind", str(tmp_path / "acme.json"), PurePosixPath("/acme.json"), True, str(tmp_path / "acme.json"))
        there = Container("c" * 64, "edge", "traefik", State.RUNNING, mounts=(mount,))
        assert await self.engine(there, None).own_path("c", PurePosixPath("/acme.json")) == tmp_path / "acme.json"
