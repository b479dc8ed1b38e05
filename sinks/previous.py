"""``.certferry/previous``: what stood at the places of a change until that is confirmed, kept where no crash can take it.

One file beside the files it tells of: for each a line, ``F uid gid mode size path`` or ``N path`` where nothing was, and the
content. Paths are relative to the folder in which ``.certferry`` is. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.observed import InstalledFile

STAGE, PREVIOUS = ".certferry", "previous"

Files = Mapping[PurePosixPath, InstalledFile | None]
"""By path, symbolic links resolved; ``None`` where nothing was."""


def by_folder(container: Container, files: Files) -> dict[PurePosixPath, dict[PurePosixPath, InstalledFile | None]]:
    """Files by the folder where they are kept; those that can be kept nowhere are not among them."""
    found: dict[PurePosixPath, dict[PurePosixPath, InstalledFile | None]] = {}
    for path, file in files.items():
        if (folder := container.folder_beside(path)) is not None:
            found.setdefault(folder, {})[path] = file
    return found


def file_in(folder: PurePosixPath) -> PurePosixPath:
    """Where it lies."""
    return folder / STAGE / PREVIOUS


def pack(folder: PurePosixPath, files: Files) -> bytes:
    """The content of the file in a folder."""
    return b"".join(_entry(PurePosixPath(path.relative_to(folder)), file) for path, file in files.items())


def _entry(path: PurePosixPath, file: InstalledFile | None) -> bytes:
    if file is None:
        return f"N {path}\n".encode(errors="surrogateescape")
    head = f"F {file.uid} {file.gid} {file.mode:o} {len(file.content)} {path}\n"
    return head.encode(errors="surrogateescape") + file.content + b"\n"


def unpack(folder: PurePosixPath, content: bytes) -> dict[PurePosixPath, InstalledFile | None]:
    """Undo `pack`; nothing of what is not its like: it is on the container's disk, and anybody there may write to it."""
    found: dict[PurePosixPath, InstalledFile | None] = {}
    rest = content
    while rest:
        head, _, rest = rest.partition(b"\n")
        kind, *fields = head.decode(errors="surrogateescape").split(" ", 5 if head.startswith(b"F ") else 1)
        try:
            if kind == "N":
                found[_inside(folder, fields[0])] = None
                continue
            uid, gid, mode, size = int(fields[0]), int(fields[1]), int(fields[2], 8), int(fields[3])
            path = _inside(folder, fields[4])
        except (ValueError, IndexError):
            return {}
        if kind != "F" or size < 0 or rest[size : size + 1] != b"\n":
            return {}
        found[path] = InstalledFile(path, rest[:size], uid, gid, mode & 0o7777)
        rest = rest[size + 1 :]
    return found


def _inside(folder: PurePosixPath, name: str) -> PurePosixPath:
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError("no path below the folder")
    return folder / name
