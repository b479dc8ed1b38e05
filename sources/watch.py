"""Hints that files may have changed, by inotify; where that is blind (NFS, desktop mounts) see `sources.poll`.

A hint carries no data, and one too many is harmless; one too few would be a lost renewal. So for each path is watched

- the directory entry it ends in, and every symbolic link on the way: renames, replaced files, switched links;
- the file itself: a file mounted alone into a container is written through another directory on the host, and only a watch
  on its inode sees that (measured: the watch on the directory stays silent, for bind mounts and for hard links alike).

A path may be a directory; then everything directly in it counts.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from asyncinotify import Event, Inotify, Mask

from controller.domain.errors import SourceUnavailable
from controller.threads import OwnThread, step
from sources.files import explain_folder

Paths = Callable[[], Iterable[Path]]
"""The absolute paths that matter now; asked again after each change, so that new directories are watched as well."""

# The end of what is watched needs no flag: the kernel always tells that a watch was ignored from then on.
_CHANGES = (
    Mask.CLOSE_WRITE | Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.ATTRIB | Mask.MOVE_SELF
)  # fmt: skip
# What is missing or closed at this moment is passed over; the directory above tells when that changes.
_PASSING = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
_MAX_LINKS = 40  # as the kernel's own path walk
_MAX_ROUNDS = 5  # of looking for new directories; what is still being made then gives events


@asynccontextmanager
async def watch(
    root: Path, paths: Paths, *, quiet: float, quiet_max: float, thread: OwnThread | None = None
) -> AsyncIterator[AsyncIterator[None]]:
    """Hints by inotify, `quiet` seconds after the last event but at most `quiet_max` after the first one.

    The watches stand once the context is entered. Paths are looked up in the thread, which is the source's where it has one.

    Raises:
        SourceUnavailable: `root`, the directory that must exist, does not (any more); the kernel's limits are reached; a file
            system hangs.
    """
    thread = thread or OwnThread(f"watch {root}")
    try:
        inotify = Inotify(sync_timeout=0)
    except OSError as error:
        raise SourceUnavailable(_explain(root, error)) from error
    hints = _Watched(root, paths, inotify, quiet, quiet_max, thread)
    try:
        await hints.arm()
        yield hints
    finally:
        hints.end()


@dataclass
class _Watched:
    """Iterates over hints. Events are drained by a callback and never awaited: a cancelled read would lose some."""

    root: Path
    paths: Paths
    inotify: Inotify
    quiet: float
    quiet_max: float
    thread: OwnThread
    armed: dict[int, set[str] | None] = field(default_factory=dict)
    """For each watch the names that matter in its directory, or ``None`` when everything does."""
    moved: bool = True
    """Whether anything happened but writing to files, so that the paths may lead elsewhere now."""
    ended: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    first_at: float = 0.0
    last_at: float = 0.0

    def __aiter__(self) -> AsyncIterator[None]:
        return self

    async def __anext__(self) -> None:
        await self.stirred.wait()
        now = asyncio.get_running_loop().time
        while (wait := min(self.last_at + self.quiet, self.first_at + self.quiet_max) - now()) > 0:  # noqa: ASYNC110 - the end moves
            await asyncio.sleep(wait)
        self.stirred.clear()
        try:
            # Before the hint is given: what changes from here on is seen, what changed before will be read.
            await self.arm()
        except BaseException:
            self.stirred.set()  # whoever was cancelled may ask again
            raise

    def drain(self) -> None:
        """Take all events that wait, and remember whether one of them matters."""
        if events := [event for event in self.inotify if self._matters(event)]:
            self.moved = self.moved or any(event.mask != Mask.CLOSE_WRITE for event in events)
            self.last_at = asyncio.get_running_loop().time()
            if not self.stirred.is_set():
                self.first_at = self.last_at
                self.stirred.set()

    def _matters(self, event: Event) -> bool:
        if Mask.Q_OVERFLOW in event.mask:
            return True  # events were lost, so anything may have happened
        if event.watch is None or event.watch.wd not in self.armed:
            return False  # a watch that was given up
        names = self.armed[event.watch.wd]
        return names is None or event.name is None or str(event.name) in names

    async def arm(self) -> None:
        """Watch what the paths lead to now, and nothing else. A watch that stands already is kept by the kernel."""
        if not self.moved:
            return
        self.moved = False
        self._listen(on=False)  # until it is known what matters the kernel keeps the events
        try:
            self.armed = await self.thread.run(partial(self._look_up, self.armed), self.root)
        except BaseException:
            self.moved = True
            raise
        finally:
            self._listen(on=not self.ended)
        for watch in self.inotify.watches:
            if watch.wd not in self.armed:
                with suppress(OSError):  # the kernel was faster, its notice is not read yet
                    self.inotify.rm_watch(watch)

    def end(self) -> None:
        """Give up all watches; not while a look-up hangs, since another file would get the descriptor's number."""
        self._listen(on=False)
        self.ended = True
        self.thread.afterwards(self.inotify.close)

    def _listen(self, *, on: bool) -> None:
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self.inotify.fd, self.drain)
        elif not self.ended:
            loop.remove_reader(self.inotify.fd)

    def _look_up(self, armed: dict[int, set[str] | None]) -> dict[int, set[str] | None]:
        """In the thread: once more while there are new ones, since what was made in a new directory before it was watched gave
        no event.
        """
        try:
            for _ in range(_MAX_ROUNDS):
                known, armed = armed.keys(), _Arming(self.inotify).arm(self.root, self.paths())
                if armed.keys() <= known:
                    break
        except OSError as error:
            raise SourceUnavailable(_explain(self.root, error)) from error
        return armed


class _Arming:
    """One round of watching; what many paths have in common is looked up once."""

    def __init__(self, inotify: Inotify) -> None:
        self._inotify = inotify
        self._link_target = cache(_link_target)
        self._try_directory = cache(lambda path: self._try(Path(path), Mask.ONLYDIR))
        self._armed: dict[int, set[str] | None] = {}

    def arm(self, root: Path, paths: Iterable[Path]) -> dict[int, set[str] | None]:
        """Watch `root` and everything that decides what the paths lead to; the result is as `_Watched.armed`."""
        self._armed[self._add(root, Mask.ONLYDIR)] = set()
        for path in paths:
            self._arm_path(path)
        return self._armed

    def _arm_path(self, path: Path) -> None:
        for directory, name in self._entries_on_the_way(path):
            if (watch := self._try_directory(directory)) is not None:
                names = self._armed.setdefault(watch, set())
                if names is not None:
                    names.add(name)
        if (watch := self._try(path)) is not None:
            self._armed[watch] = None

    def _entries_on_the_way(self, path: Path) -> list[tuple[str, str]]:
        """Each directory entry that decides where a path leads: the symbolic links met on the way, and the one at the end."""
        found: list[tuple[str, str]] = []
        todo = list(reversed(path.parts[1:]))
        here = "/"
        links = 0
        while todo and links < _MAX_LINKS:
            part = todo.pop()
            entry = os.path.normpath(here + part)
            target = self._link_target(entry)
            if target is not None or not todo:
                found.append((here, part))
            if target is None:
                here = f"{entry}/"
                continue
            links += 1
            here = "/" if target.startswith("/") else here
            todo += [part for part in reversed(target.split("/")) if part]
        return found

    def _try(self, path: Path, flags: Mask = Mask.ZERO) -> int | None:
        try:
            return self._add(path, flags)
        except OSError as error:
            if error.errno in _PASSING:
                return None
            raise

    def _add(self, path: Path, flags: Mask) -> int:
        step(path)
        return self._inotify.add_watch(path, _CHANGES | flags).wd


def _link_target(path: str) -> str | None:
    step(path)
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115 -- thousands of paths are looked up, and this is several times as fast
    return None


def _explain(root: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EACCES:
            return explain_folder(root, error)
        case errno.EMFILE | errno.ENOSPC:
            return f"{root} cannot be watched, a limit is reached; raise fs.inotify.max_user_* on the host, or add ?poll=30s"
        case _:
            return f"{root} cannot be watched ({error.strerror}); add ?poll=30s to the source"
