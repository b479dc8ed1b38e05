"""Whether certferry itself sees a file of another container, where the file system does not answer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from controller import engine_files
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
