"""Hints that files may have changed, by looking again and again: for NFS and desktop mounts, where inotify is blind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from controller.domain.errors import SourceUnavailable
from controller.threads import OwnThread, step
from sources.files import explain_folder
from sources.watch import Paths

Look = dict[Path, tuple[int, ...] | None]


@asynccontextmanager
async def poll(
    root: Path, paths: Paths, *, every: float, thread: OwnThread | None = None
) -> AsyncIterator[AsyncIterator[None]]:
    """Hints by looking at `paths()` each `every` seconds, in a thread. The first look is taken on entering.

    Raises:
        SourceUnavailable: `root`, the directory that must exist, does not (any more), or a file system hangs.
    """
    thread = thread or OwnThread(f"poll {root}")
    yield _Polled(root, paths, every, thread, await thread.run(partial(_look, root, paths), root))


@dataclass
class _Polled:
    """Iterates over hints. Gives one more after each change, since time stamps may be as coarse as two seconds."""

    root: Path
    paths: Paths
    every: float
    thread: OwnThread
    seen: Look
    again: bool = True

    def __aiter__(self) -> AsyncIterator[None]:
        return self

    async def __anext__(self) -> None:
        while not await self._is_due():
            pass

    async def _is_due(self) -> bool:
        await asyncio.sleep(self.every)
        before, self.seen = self.seen, await self.thread.run(partial(_look, self.root, self.paths), self.root)
        changed = before != self.seen
        due, self.again = changed or self.again, changed
        return due


def _look(root: Path, paths: Paths) -> Look:
    """What tells one state of the files from the next."""
    try:
        os.stat(f"{root}/")  # noqa: PTH116 -- a Path forgets the slash, which says that it must be a directory
    except OSError as error:
        raise SourceUnavailable(explain_folder(root, error)) from error
    return {path: _look_at(path) for path in paths()}


def _look_at(path: Path) -> tuple[int, ...] | None:
    step(path)
    with suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode, status.st_uid, status.st_gid
    return None
