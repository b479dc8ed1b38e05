"""What is known of one kind of store: how its files lie, as data, and where such a store can be kept, as ports.

A layout reads a `Tree`. Whether the tree lies in a directory of ours (`sources.local`) or inside another container
(`sources.container`) is nothing it knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import ByteSize, Field

from controller.domain.snapshot import Problem, Schedule
from controller.threads import OwnThread
from sources.files import MIB
from sources.pairs import Contents
from sources.url import Duration, SourceOptions

Kind = Literal["file", "folder", "missing"]


class StoreOptions(SourceOptions):
    """Query options that every kind has."""

    max_size: ByteSize = Field(default=ByteSize(16 * MIB), gt=0)
    """Refuse to read a larger file or value. Some 1,600 certificates with their chains fit, and parsing so much JSON, which
    holds all else, takes less than a tenth of a second."""


class FileOptions(StoreOptions):
    """Query options of every kind of files."""

    poll: Duration | None = Field(default=None, gt=0)
    """Look at the files this often instead of waiting for inotify; for NFS and desktop mounts."""
    quiet: Duration | None = Field(default=None, ge=0)
    """Read only after the files have been left alone this long."""


class Tree(Protocol):
    """The files of one store at one moment. Paths are relative to its root, with ``/``; the root itself is ``""``."""

    where: str
    """The root as the operator calls it, for messages."""
    focus: str
    """The name of the one file in the root that the source's path names; empty when the path names the root itself."""

    def names(self, folder: str = "") -> list[str]:
        """What is directly in a folder, sorted.

        Raises:
            SourceUnavailable: it is missing, no folder, or may not be read; with the remedy.
        """
        ...

    def kind(self, path: str) -> Kind:
        """What a path leads to, through all links; a link that leads nowhere is ``missing``. Never raises."""
        ...

    def link(self, path: str) -> str:
        """Where a symbolic link points, as it is written; empty for everything else. Never raises."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file, through all links.

        Raises:
            SourceUnavailable: it is missing, no file, too large, or may not be read; with the remedy.
            SourceMalformed: it is being written to.
        """
        ...


Read = Callable[[Tree, StoreOptions], Contents]
"""Finds every pair in a tree; raises `SourceUnavailable` or `SourceMalformed` for the store as a whole only."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of store.

    `read` finds every pair; `reader`, where there is one, makes what does so for one source, and remembers. `folders` are
    glob patterns of the folders below the root that matter, apart from the root. `parts` are the paths below the root that hold
    all of it, so that nothing else is fetched from a container. `patience` is how long, in seconds, something may be unusable
    before that is news: programs write the files of a pair one after the other. `locked`: the program locks a file (``flock``)
    while it writes. `schedule` is when the program renews, where that is later than at a quarter of a life.
    """

    kind: str
    read: Read
    remedy: str
    """What to do about a pair that must not be delivered; the end of a sentence."""
    reader: Callable[[], Read] | None = None
    shape: Literal["file", "folder", "either"] = "folder"
    """What the source's path names."""
    folders: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("",)
    patience: float = 2.0
    quiet: float = 0.05
    options: type[FileOptions] = FileOptions
    locked: bool = False
    schedule: Schedule = ()


class Storage(Protocol):
    """Where a store is kept."""

    @property
    def thread(self) -> OwnThread:
        """Where everything of this source happens that may block, or takes long."""
        ...

    async def tree(self) -> Tree:
        """The store as it is now.

        Raises:
            SourceUnavailable: it cannot be reached.
        """
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Hints that it may have changed; see `controller.ports.Source.subscribe`."""
        ...

    def forget(self) -> None:
        """The store was read: what that reading did not ask for is kept no longer, for it may be keys. In the thread."""
        ...

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the way the store is reached, although it can be read. May block."""
        ...
