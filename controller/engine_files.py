"""Files of containers by the archive API, of running and of stopped containers alike."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from controller.domain.container import Container
from controller.domain.errors import EngineUnavailable, SourceUnavailable, WriteRefused
from controller.engine_connection import Ask, Connection, Missing, Unreadable
from controller.engine_requests import read_at_most
from controller.ports import PathStat
from controller.threads import LOOK, OwnThread

LARGEST = 4 * 2**20
"""Bytes of a file or of a command's output that are kept: far more than certificates, far less than our memory."""

_STAT = "X-Docker-Container-Path-Stat"
"""Header with what the engine knows of a path, JSON in base64 (Docker Engine API, ContainerArchiveInfo)."""

_HEAD = 16 * 2**10
"""Bytes in which the header of an archive's first file surely is."""


class EngineFiles(Connection, ABC):
    """Implements `controller.ports.ContainerFiles`, and what sinks do to files."""

    _own: Container | None = None
    """The container that certferry itself runs in, if this engine runs it."""
    _asked: ClassVar[dict[Path, OwnThread]] = {}
    """The paths that are being looked at, each by a thread of its own; of all engines, for they are paths of ours."""
    _is_here = False
    """Whether a container of this engine was seen among the processes of certferry's own machine."""

    @abstractmethod
    async def inspect(
        self, container_id: str, *, if_labels: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> Container | None:
        """The container as it is now; ``None`` when there is none."""

    async def stat(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        """See `controller.ports.ContainerFiles.stat`."""
        try:
            return await self._stat(container_id, path)
        except (Missing, Unreadable) as error:
            await self._check_missing(container_id, path, error)
            return None

    async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes | None:
        """See `controller.ports.ContainerFiles.get_archive`."""
        try:
            async with (
                self._guard(Ask.PATH, f"read {path}"),
                self._requests.open("GET", *_archive(container_id, path)) as response,
            ):
                data = await read_at_most(response.content, limit + 1)
        except (Missing, Unreadable) as error:
            await self._check_missing(container_id, path, error)
            return None
        if len(data) > limit:
            raise SourceUnavailable(f"{path} holds more than {limit / 2**20:g} MiB; correct the path, or raise max-size")
        return data

    async def get_file(self, container_id: str, path: PurePosixPath) -> tuple[tarfile.TarInfo, bytes] | None:
        """One file as the archive API shows it; ``None`` when it does not exist.

        The header alone of anything else, and of a file that is larger than `LARGEST`.
        """
        try:
            async with (
                self._guard(Ask.PATH, f"read {path}"),
                self._requests.open("GET", *_archive(container_id, path)) as response,
            ):
                head = await read_at_most(response.content, _HEAD)
                info = first_member(head)
                if not info.isfile() or info.size > LARGEST:
                    return info, b""
                archive = head + await read_at_most(response.content, info.offset_data + info.size - len(head))
        except (Missing, Unreadable) as error:
            await self._check_missing(container_id, path, error)
            return None
        content = archive[info.offset_data : info.offset_data + info.size]
        if len(content) < info.size:
            raise EngineUnavailable(f"the engine sent half of {path}")
        return info, content

    async def put_archive(self, container_id: str, directory: PurePosixPath, archive: bytes) -> None:
        """Unpack a tar below a directory of the container, running or not. A directory is never replaced by a file.

        Raises:
            WriteRefused: the engine refuses (read-only, no such directory).
            WriteFailed: it could not (no space, a path that is in use).
        """
        url, params = _archive(container_id, directory)
        params["noOverwriteDirNonDir"] = "true"
        headers = {"Content-Type": "application/x-tar"}
        try:
            async with self._guard(Ask.WRITE, f"write to {directory}"):
                await self._requests.read("PUT", url, params=params, data=archive, headers=headers)
        except Missing as error:
            await self._check_there(container_id)
            raise WriteRefused(str(error) or f"{directory} does not exist in the container") from error

    async def _stat(self, container_id: str, path: PurePosixPath) -> PathStat:
        async with (
            self._guard(Ask.PATH, f"look at {path}"),
            self._requests.open("HEAD", *_archive(container_id, path)) as response,
        ):
            header = response.headers.get(_STAT, "")
        try:
            return read_path_stat(header)
        except ValueError as error:
            raise EngineUnavailable(f"the engine says of {path} what cannot be read") from error

    async def _check_there(self, container_id: str) -> None:
        """Raises `TargetGone` when there is no such container."""
        async with (
            self._guard(Ask.CONTAINER, f"inspect {container_id[:12]}"),
            self._requests.open("GET", f"containers/{container_id}/json"),
        ):
            pass

    async def _check_missing(self, container_id: str, path: PurePosixPath, why: Missing | Unreadable) -> None:
        """Why a path cannot be read. Returns when there is no such path in the container.

        The status is the same for a container that is gone, and 500 for a path below a file: the next question tells.

        Raises:
            TargetGone, EngineUnavailable: that is why.
        """
        await self._check_there(container_id)
        if isinstance(why, Missing):
            return
        for parent in path.parents:
            try:
                found = await self._stat(container_id, parent)
                if not found.is_folder and not found.link_target:  # where a link leads to, this does not tell
                    return
            except Missing:
                return
            except Unreadable:
                continue
            if found.is_folder:
                break
        raise EngineUnavailable(f"Docker could not read {path}: {why}")

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        """See `controller.ports.ContainerFiles.own_path`."""
        container = await self.inspect(container_id)
        mount = container.mount_of(path) if container else None
        if mount is None or not mount.host_path:
            return None
        on_host = PurePosixPath(mount.host_path) / path.relative_to(mount.destination)
        if self._own is None and self._is_here:
            return await self._existing(Path(on_host), within=Path(mount.host_path))
        ours = self._own.mounts if self._own else ()
        shared = [own for own in ours if own.host_path and on_host.is_relative_to(own.host_path)]
        nearest = max(shared, key=lambda own: len(own.host_path), default=None)
        if nearest is None:
            return None
        theirs = max(PurePosixPath(mount.host_path), PurePosixPath(nearest.host_path), key=lambda each: len(each.parts))
        within = Path(nearest.destination / theirs.relative_to(nearest.host_path))
        return await self._existing(Path(nearest.destination / on_host.relative_to(nearest.host_path)), within=within)

    async def _existing(self, path: Path, *, within: Path | None = None) -> Path | None:
        """The path, if it is there and does not lead out of `within`: a link is for the container, and here leads elsewhere.

        Where its file system hangs it is not, and no second look begins before that answers.
        """

        def is_there() -> bool:
            return path.exists() and (within is None or path.resolve().is_relative_to(within.resolve()))

        asked = self._asked.setdefault(path, OwnThread(f"look at {path}"))
        try:
            async with asyncio.timeout(LOOK):
                return path if await asked.run(is_there, path) else None
        except (OSError, TimeoutError):
            return None
        finally:
            if not asked.busy:
                self._asked.pop(path, None)


def _archive(container_id: str, path: PurePosixPath) -> tuple[str, dict[str, str]]:
    """Path and parameters of the requests about files."""
    return f"containers/{container_id}/archive", {"path": str(path)}


def read_path_stat(header: str) -> PathStat:
    """What the header about a path says. Raises `ValueError` where it says nothing that can be used."""
    try:
        found = json.loads(base64.b64decode(header, validate=True))
        stat = PathStat(found["size"], found["mode"], found["mtime"], found.get("linkTarget") or "")
    except (binascii.Error, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not what the API promises") from error
    numbers, texts = (stat.size, stat.mode), (stat.modified, stat.link_target)
    if not all(isinstance(number, int) for number in numbers) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not what the API promises")
    return stat


def first_member(head: bytes) -> tarfile.TarInfo:
    """The first file of an archive of which only the beginning is there; long and foreign names take extra blocks.

    Raises:
        EngineUnavailable: it is no archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as tar:
            info = next(iter(tar))
    except (tarfile.TarError, StopIteration, ValueError, OverflowError, KeyError, RecursionError, OSError) as error:
        raise EngineUnavailable("the engine sent an archive that cannot be read") from error
    if info.size < 0:
        raise EngineUnavailable("the engine sent an archive that cannot be read")
    return info
