"""Reading and writing files through the archive API: for containers that do not run or have no shell."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath

from controller.domain.container import Container, State
from controller.domain.errors import FilesUnreadable, WriteRefused
from controller.domain.observed import LARGEST_FILE, InstalledFile, Observed
from controller.ports import ContainerAccess
from sinks import previous
from sinks.files import folders_of
from sinks.script import FileWrite, too_large

_LINK_LIMIT = 8


@dataclass(frozen=True, slots=True)
class _View:
    """The files of a container at one moment, each asked for once: every question takes the engine some 10 ms."""

    access: ContainerAccess
    container_id: str
    found: dict[PurePosixPath, tuple[tarfile.TarInfo, bytes] | None] = field(default_factory=dict, repr=False)

    async def get(self, path: PurePosixPath) -> tuple[tarfile.TarInfo, bytes] | None:
        if path not in self.found:
            self.found[path] = await self.access.get_file(self.container_id, path)
        return self.found[path]

    async def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """Follow every link on the way as the container would: the engine does so too, but tells not into which mount."""
        at, rest, links = PurePosixPath("/"), list(path.parts[1:]), 0
        while rest:
            part = rest.pop(0)
            here = at.parent if part == ".." else at / part
            found = await self.get(here)
            if found is None or not found[0].issym():
                at = here
                continue
            links += 1
            if links > _LINK_LIMIT:
                raise FilesUnreadable(f"{path} is a link in a circle")
            rest[:0] = PurePosixPath(found[0].linkname).parts
            if rest[0] == "/":
                at = PurePosixPath(rest.pop(0))
        return at

    async def read(self, path: PurePosixPath) -> InstalledFile | None:
        found = await self.get(path)
        if found is None or not found[0].isfile():
            return None
        info, content = found
        if info.size > LARGEST_FILE:
            raise FilesUnreadable(too_large(path))
        return InstalledFile(path, content, info.uid, info.gid, info.mode & 0o7777)

    async def is_right(self, file: FileWrite) -> bool:
        found = await self.read(file.path)
        if found is None or file.content is None:
            return found is None and file.content is None
        return found.content == file.content and found.mode == file.mode and file.owner in (None, (found.uid, found.gid))

    async def deepest_directory(self, directory: PurePosixPath) -> tuple[PurePosixPath, tarfile.TarInfo]:
        """The nearest directory that exists, with its header."""
        for candidate in (directory, *directory.parents):
            found = await self.get(candidate)
            if found is not None and not found[0].isdir():
                raise WriteRefused(f"{candidate} is no directory")
            if found is not None:
                return candidate, found[0]
        raise WriteRefused(f"no directory above {directory} exists")


async def observe(access: ContainerAccess, container: Container, paths: Sequence[PurePosixPath]) -> Observed:
    """The files as the archive API shows them; what listens cannot be known this way. A container that does not run is judged
    by its files alone, so what it keeps is not looked for.

    Raises:
        FilesUnreadable: a path can never be written: a link in a circle, or far too large a file.
    """
    view = _View(access, container.id)
    resolved = {path: await view.resolve(path) for path in paths}
    files = {path: await view.read(at) for path, at in resolved.items()}
    kept: dict[PurePosixPath, InstalledFile | None] = {}
    if container.state is State.RUNNING:
        for folder in folders_of(container, resolved.values()):
            found = await view.get(previous.file_in(folder))
            kept |= previous.unpack(folder, found[1]) if found and found[0].isfile() else {}
    return Observed(files, resolved, kept=kept)


async def empty_previous(access: ContainerAccess, container: Container, observed: Observed) -> None:
    """Empty what was kept: without a shell nothing can be removed. Raises as `write`."""
    folders = folders_of(container, observed.resolved.values())
    await write(access, container.id, [FileWrite(previous.file_in(folder), b"") for folder in folders])


async def write(access: ContainerAccess, container_id: str, writes: Sequence[FileWrite]) -> None:
    """Write files in the order given, then read them back. What is right already is left alone.

    Raises:
        WriteRefused: the engine refuses, or what is read back is not what was written. Some files may have been replaced.
    """
    before = _View(access, container_id)
    wrong = [file for file in writes if not await before.is_right(file)]
    for file in wrong:
        if file.content is None:
            raise WriteRefused(f"{file.path} cannot be removed: that takes a shell in a running container")
        if (found := await before.get(file.path)) and (found[0].ischr() or found[0].isblk()):
            raise WriteRefused(f"{file.path} is a device")
    for directory, files in groupby(wrong, key=lambda file: file.path.parent):
        existing, header = await before.deepest_directory(directory)
        await access.put_archive(container_id, existing, _tar(files, directory.relative_to(existing), (header.uid, header.gid)))
    after = _View(access, container_id)
    for file in wrong:
        if not await after.is_right(file):
            raise WriteRefused(f"{file.path} read back through the archive API is not what was written")


def _tar(files: Iterable[FileWrite], missing: PurePosixPath, owner: tuple[int, int]) -> bytes:
    """Files of one directory, and the directories that are missing; those belong to the owner of the one above."""
    buffer = io.BytesIO()
    now = int(time.time())
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for parent in [p for p in (*reversed(missing.parents), missing) if p.parts]:
            folder = tarfile.TarInfo(str(parent))
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, now
            folder.uid, folder.gid = owner
            tar.addfile(folder)
        for file in files:
            content = file.content or b""
            entry = tarfile.TarInfo(str(missing / file.path.name))
            entry.size, entry.mode, entry.mtime = len(content), file.mode, now
            entry.uid, entry.gid = file.owner or owner
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
