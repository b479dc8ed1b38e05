"""Stores in directories that certferry can see itself: mounted into its container, or on its host."""

# A store may have thousands of files, and pathlib takes several times as long as the system calls do.
# ruff: noqa: PTH112, PTH115, PTH116, PTH207, PTH208

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from glob import iglob
from itertools import islice
from pathlib import Path

from controller.domain.errors import SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem
from controller.threads import OwnThread, step
from sources.files import MIB, explain_folder, is_orphaned, read_file
from sources.layout import FileOptions, Kind, Layout
from sources.poll import poll
from sources.watch import watch

QUIET_MAX_FACTOR = 10
"""Programs save several times in a row when they get several certificates: for so many quiet times that may hold up a hint."""
WATCHED_FILES = 500
"""So many files of a folder are watched themselves, for those that are mounted or linked one by one; folders always are."""
COARSEST = 2.0
"""Seconds: the coarsest time stamps of a file system. A file changed less than that ago may change again without a trace."""
REMEMBERED = 32 * MIB
"""Bytes of all files of a source that are kept, so that they need not be read again: those of 3,000 pairs of 10 KiB."""


@dataclass(slots=True)
class FileCache:
    """What was read before, by path, so that only changed files are read again; `reads` counts those that were.

    Keys are among it: it is of one source, and keeps what that source read last, at most `REMEMBERED` bytes. It is used by the
    source's own thread alone. `locked` as in `sources.files.read_file`.
    """

    locked: bool = False
    files: dict[str, tuple[tuple[int, ...], bytes]] = field(default_factory=dict, repr=False)
    wanted: set[str] = field(default_factory=set, repr=False)
    reads: int = 0
    size: int = 0
    """Bytes that are kept."""

    def read(self, path: str, *, limit: int) -> bytes:
        """As `sources.files.read_file`."""
        self.wanted.add(path)
        step(path)
        signature = _signature(path)
        known = self.files.get(path)
        if known and known[0] == signature:
            return known[1]
        self.reads += 1
        self._forget(path)
        data = read_file(Path(path), limit=limit, locked=self.locked)
        if signature and signature == _signature(path) and time.time() - signature[0] / 1e9 > COARSEST:
            self._keep(path, signature, data)
        return data

    def forget_unwanted(self) -> None:
        """Forget the files that nobody asked for since the last time."""
        wanted, self.wanted = self.wanted, set()
        for path in self.files.keys() - wanted:
            self._forget(path)

    def _keep(self, path: str, signature: tuple[int, ...], data: bytes) -> None:
        if self.size + len(data) <= REMEMBERED:
            self.files[path] = (signature, data)
            self.size += len(data)

    def _forget(self, path: str) -> None:
        if known := self.files.pop(path, None):
            self.size -= len(known[1])


class LocalTree:
    """Implements `sources.layout.Tree` by asking the file system when it is asked."""

    def __init__(self, root: Path, *, focus: str, cache: FileCache, limit: int) -> None:
        self.where, self.focus = str(root), focus
        self._cache, self._limit = cache, limit
        self._prefix = f"{self.where.rstrip('/')}/"

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._ask(folder)))
        except OSError as error:
            raise SourceUnavailable(explain_folder(Path(self._path(folder)), error)) from error

    def kind(self, path: str) -> Kind:
        with suppress(OSError, ValueError):
            return "folder" if stat.S_ISDIR(os.stat(self._ask(path)).st_mode) else "file"
        return "missing"

    def link(self, path: str) -> str:
        with suppress(OSError, ValueError):
            return os.readlink(self._ask(path))
        return ""

    def read(self, path: str) -> bytes:
        try:
            return self._cache.read(self._path(path), limit=self._limit)
        except ValueError as error:  # a NUL in the name
            raise SourceUnavailable(f"{path!r} is no name of a file") from error

    def _ask(self, path: str) -> str:
        step((self._prefix + path).rstrip("/") or "/")
        return self._prefix + path

    def _path(self, path: str) -> str:
        return self._prefix + path


class LocalStorage:
    """Implements `sources.layout.Storage`. `path` is what the operator named: a folder, or a file if the layout allows one.

    `thread` is that of the source, where it has one already.
    """

    def __init__(self, path: Path, layout: Layout, options: FileOptions, *, thread: OwnThread | None = None) -> None:
        self.path = path
        self.thread = thread or OwnThread(f"source {path}")
        self.cache = FileCache(locked=layout.locked)
        self._layout, self.options = layout, options

    async def tree(self) -> LocalTree:
        root = await self.thread.run(self._root, self.path)
        focus = "" if root == self.path else self.path.name
        return LocalTree(root, focus=focus, cache=self.cache, limit=self.options.max_size)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        root = await self.thread.run(self._root, self.path)
        async with self._poll(root, self.options.poll) if self.options.poll else self._watch(root) as hints:
            yield hints

    def forget(self) -> None:
        self.cache.forget_unwanted()

    def problems(self) -> tuple[Problem, ...]:
        step(self.path)
        if not is_orphaned(self.path):
            return ()
        message = (
            "it was replaced on the host and this is the old one; mount its directory, then recreate certferry's container"
        )
        return (Problem(str(self.path), Reason.SOURCE_UNAVAILABLE, message),)

    def _poll(self, root: Path, every: float) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        return poll(root, lambda: self._paths(files=None), every=every, thread=self.thread)

    def _watch(self, root: Path) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        quiet = self._layout.quiet if self.options.quiet is None else self.options.quiet
        return watch(root, self._paths, quiet=quiet, quiet_max=quiet * QUIET_MAX_FACTOR, thread=self.thread)

    def _root(self) -> Path:
        is_file = self._layout.shape == "file" or (self._layout.shape == "either" and not os.path.isdir(self.path))
        return self.path.parent if is_file else self.path

    def _paths(self, *, files: int | None = WATCHED_FILES) -> Iterator[Path]:
        """What is looked at for changes: the folders that matter, and so many of their files themselves."""
        if self._layout.shape == "file":
            yield self.path
            return
        folders = self._folders() if self._root() == self.path else [str(self.path.parent)]
        yield from map(Path, folders)
        yield from map(Path, islice((file for folder in folders for file in _files(folder)), files))

    def _folders(self) -> list[str]:
        found = [str(self.path)]
        for pattern in self._layout.folders:
            for folder in iglob(f"{pattern}/", root_dir=self.path, include_hidden=True):
                found.append(f"{self.path}/{folder}")
                step(found[-1])
        return found


def _files(folder: str) -> Iterator[str]:
    step(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if not entry.is_dir(follow_symlinks=False))


def _signature(path: str) -> tuple[int, ...]:
    """What tells one content of a file from the next, the time of the last change first; empty when it cannot be had."""
    with suppress(OSError):
        status = os.stat(path)
        return max(status.st_mtime_ns, status.st_ctime_ns), status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
    return ()
