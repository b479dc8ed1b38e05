"""Files of other containers, for the sources: by the archive API, of running and of stopped containers alike."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePosixPath

import aiohttp

from controller.domain.container import Container
from controller.domain.errors import EngineUnavailable, SourceUnavailable, TargetGone, WriteRefused
from controller.engine_connection import Connection
from controller.ports import PathStat

_STAT = "X-Docker-Container-Path-Stat"
"""Header with what the engine knows of a path, JSON in base64 (Docker Engine API, ContainerArchiveInfo)."""


class EngineFiles(Connection, ABC):
    """Implements `controller.ports.ContainerFiles`."""

    _own: Container | None = None
    """The container that certferry itself runs in, if this engine runs it."""
    _runs_on_host = False
    """Whether certferry runs beside the engine, in no container."""

    @abstractmethod
    async def inspect(
        self, container_id: str, *, if_labels: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> Container | None:
        """The container as it is now; ``None`` when there is none."""

    async def find(self, selector: str) -> str | None:
        """See `controller.ports.ContainerFiles.find`."""
        kind, pattern = ("label", selector) if "=" in selector else ("name", f"^/?{selector}$")
        async with self._guard(f"look for the container {selector}"):
            found = [one._container for one in await self._docker.containers.list(all=True, filters={kind: [pattern]})]
        if kind == "name":
            found = [one for one in found if f"/{selector}" in (one["Names"] or ())]
        best = max(found, key=lambda one: (one["State"] == "running", one["Created"]), default=None)
        return None if best is None else str(best["Id"])

    async def stat(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        """See `controller.ports.ContainerFiles.stat`."""
        try:
            async with (
                self._guard(f"look at {path}"),
                self._docker._query(
                    f"containers/{container_id}/archive", method="HEAD", params={"path": str(path)}
                ) as response,
            ):
                header = response.headers[_STAT]
        except (WriteRefused, json.JSONDecodeError):  # the answer to HEAD has no body, where the library looks for JSON
            if await self.inspect(container_id) is None:
                raise TargetGone(f"the container {container_id[:12]} is gone") from None
            return None
        try:
            found = json.loads(base64.b64decode(header))
            return PathStat(found["size"], found["mode"], found["mtime"], found.get("linkTarget") or "")
        except (ValueError, KeyError, TypeError) as error:
            raise EngineUnavailable(f"the engine says of {path} what cannot be read") from error

    async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes | None:
        """See `controller.ports.ContainerFiles.get_archive`."""
        data = bytearray()
        try:
            async with (
                self._guard(f"read {path}"),
                self._archive(container_id, path, method="GET") as response,
            ):
                async for part in response.content.iter_any():
                    data += part
                    if len(data) > limit:
                        response.close()
                        text = f"{path} holds more than {limit / 2**20:g} MiB; correct the path, or raise max-size"
                        raise SourceUnavailable(text)
        except WriteRefused:
            return None
        return bytes(data)

    def _archive(
        self, container_id: str, path: PurePosixPath, *, method: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._docker._query(f"containers/{container_id}/archive", method=method, params={"path": str(path)})

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        """See `controller.ports.ContainerFiles.own_path`."""
        container = await self.inspect(container_id)
        mount = container.mount_of(path) if container else None
        if mount is None or not mount.host_path:
            return None
        on_host = PurePosixPath(mount.host_path) / path.relative_to(mount.destination)
        if self._runs_on_host:
            return _existing(Path(on_host))
        ours = self._own.mounts if self._own else ()
        shared = [own for own in ours if own.host_path and on_host.is_relative_to(own.host_path)]
        nearest = max(shared, key=lambda own: len(own.host_path), default=None)
        return _existing(Path(nearest.destination / on_host.relative_to(nearest.host_path))) if nearest else None


def _existing(path: Path) -> Path | None:
    try:
        return path if path.exists() else None
    except OSError:
        return None
