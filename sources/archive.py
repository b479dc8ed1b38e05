"""A store inside another container, as Docker's archive API gives it: tar archives, held in memory, with links followed."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.threads import step
from sources.files import MIB
from sources.layout import Kind

_MAX_LINKS = 40  # as the kernel's own path walk


@dataclass(frozen=True, slots=True)
class Node:
    """One path of the container. `link` is where a symbolic link points, as it is written; `data` what a regular file holds."""

    is_folder: bool
    size: int
    modified: int
    link: str = ""
    data: bytes | None = field(default=None, repr=False)


_NOTHING = Node(is_folder=False, size=0, modified=0)
"""A hard link to what is not in the archive, which Docker does not send."""

Nodes = dict[PurePosixPath, Node]
"""By absolute path inside the container."""


def unpack(archive: bytes, parent: PurePosixPath, *, limit: int) -> Nodes:
    """What stands in an archive whose first member lies in `parent`; of larger files than `limit` not what they hold.

    Raises:
        SourceMalformed: it is no archive, or only half of one.
    """
    nodes: Nodes = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                step()
                path = parent / member.name.strip("/")
                if member.islnk():  # a second name of a file before it: the same bytes, not the same again for each name
                    nodes[path] = nodes.get(parent / member.linkname.strip("/"), _NOTHING)
                    continue
                whole = member.isreg() and not member.issparse()  # Docker sends holes as zeros; others cost nothing to claim
                file = tar.extractfile(member) if whole and member.size <= limit else None
                link = member.linkname if member.issym() else ""
                nodes[path] = Node(member.isdir(), member.size, int(member.mtime), link, file.read() if file else None)
    except (tarfile.TarError, EOFError, ValueError, KeyError, OverflowError, RecursionError, OSError) as error:
        raise SourceMalformed(f"the archive of {parent} that the engine sent cannot be read; it is asked for again") from error
    return nodes


def lead(nodes: Nodes, path: PurePosixPath) -> PurePosixPath | None:
    """Where a path leads through all links, be it to something that is not among the nodes; ``None`` in a circle."""
    todo, here, links = [*reversed(path.parts[1:])], PurePosixPath("/"), 0
    while todo:
        part = todo.pop()
        here = here.parent if part == ".." else here / part
        node = nodes.get(here)
        if node is not None and node.link:
            links += 1
            if links > _MAX_LINKS:
                return None
            target = PurePosixPath(node.link)
            here = PurePosixPath("/") if target.is_absolute() else here.parent
            todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return here


class ArchiveTree:
    """Implements `sources.layout.Tree`. `name` is what the operator calls the container."""

    def __init__(self, name: str, root: PurePosixPath, nodes: Nodes, *, focus: str, limit: int) -> None:
        self.where, self.focus = f"{name}:{root}", focus
        self._root, self._nodes, self._limit = root, nodes, limit
        self._names: dict[PurePosixPath, list[str]] = {}
        for path in sorted(nodes):
            self._names.setdefault(path.parent, []).append(path.name)

    def names(self, folder: str = "") -> list[str]:
        path, node = self._find(folder)
        if node is not None and not node.is_folder:
            raise SourceUnavailable(f"{self._called(folder)} is a file, not a folder; name the folder that holds it")
        if node is None and path not in self._names:
            raise SourceUnavailable(
                f"the directory {self._called(folder)} does not exist (yet); correct the path if it never will"
            )
        return self._names.get(path, []) if path else []

    def kind(self, path: str) -> Kind:
        found, node = self._find(path)
        if node is None:
            return "folder" if found in self._names else "missing"
        return "folder" if node.is_folder else "file"

    def link(self, path: str) -> str:
        parent = lead(self._nodes, (self._root / path).parent)
        node = self._nodes.get(parent / PurePosixPath(path).name) if parent else None
        return node.link if node else ""

    def read(self, path: str) -> bytes:
        where, (_, node) = self._called(path), self._find(path)
        if node is None:
            raise SourceUnavailable(f"{where} does not exist (yet); correct the path if it never will")
        if node.is_folder:
            raise SourceUnavailable(f"{where} is a directory, not a file; correct the path")
        if node.size > self._limit:
            raise SourceUnavailable(
                f"{where} is larger than {self._limit / MIB:g} MiB; correct the path, or raise max-size if it is the right file"
            )
        if node.data is None:
            raise SourceUnavailable(f"{where} is a pipe, a device or a broken link, not a file; correct the path")
        return node.data

    def _find(self, path: str) -> tuple[PurePosixPath | None, Node | None]:
        found = lead(self._nodes, self._root / path)
        return found, self._nodes.get(found) if found else None

    def _called(self, path: str) -> str:
        return f"{self.where.rstrip('/')}/{path}" if path else self.where
