"""The only talker to Docker: containers, files, commands and events, in certferry's own words.

With `controller.engine_connection` below it, and the files that sources read in `controller.engine_files`. Facts about the API:
Docker Engine API v1.41 reference.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import aiodocker
import aiohttp
from aiodocker.stream import Stream

from controller.domain.container import Container
from controller.domain.errors import (
    EngineUnavailable,
    ExecTimeout,
    SettingsError,
    TargetGone,
    WriteRefused,
)
from controller.domain.execution import ExecResult
from controller.engine_files import EngineFiles
from controller.inspection import read_container, to_unix_nano

MINIMUM_API = (1, 41)
EVENTS = ("create", "start", "die", "destroy", "rename", "unpause", "update", "health_status")
"""Events that can make a target appear, vanish or need another look; those of our own exec calls are not among them."""

SERVICE = "com.docker.swarm.service.id"
"""The label by which Docker names the Swarm service of a container."""

LARGEST = 4 * 2**20
"""Bytes of a file or of a command's output that are kept: far more than certificates, far less than our memory."""

_HEAD = 16 * 2**10
"""Bytes in which the header of an archive's first file surely is."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a container: a hint, not data to act on."""

    action: str
    container_id: str


class Engine(EngineFiles):
    """One Docker endpoint.

    Every method raises `EngineUnavailable` when the engine does not answer within `timeout` seconds, and `TargetGone` when the
    container does not exist (any more).
    """

    def __init__(self, host: str, *, timeout: float, exec_timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._exec_timeout = exec_timeout
        self._images: dict[str, Mapping[str, Any]] = {}
        self._knows_itself = False

    async def connect(self) -> None:
        """Open the connection and look at the API version and at certferry's own container.

        Raises:
            SettingsError: the engine is too old, or its socket cannot be used; with the remedy.
            EngineUnavailable: it does not answer now.
        """
        self._check_socket()
        try:
            async with self._guard("say its version"):
                version = (await self._docker.version())["ApiVersion"]
            numbers = tuple(int(part) for part in version.split("."))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"what answers at {self.host} is not Docker; correct the mount or DOCKER_HOST") from error
        if numbers < MINIMUM_API:
            wanted = ".".join(map(str, MINIMUM_API))
            raise SettingsError(
                f"Docker at {self.host} speaks API {version}; certferry needs {wanted} (Docker Engine 20.10) or newer"
            )
        await self._look_at_self()

    async def _look_at_self(self) -> None:
        own = own_container_id(Path("/proc/self/mountinfo"))
        self._own = await self.inspect(own) if own else None
        self._runs_on_host = own is None and self.host.startswith("unix://")
        self._knows_itself = True

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        """See `controller.ports.ContainerFiles.own_path`."""
        if not self._knows_itself:  # sources begin to read while the connection is still being opened
            await self._look_at_self()
        return await super().own_path(container_id, path)

    @property
    def own_networks(self) -> frozenset[str] | None:
        """Ids of the Docker networks certferry itself is on; ``None`` when it runs on the host's network."""
        return frozenset(self._own.addresses) if self._own and self._own.network_mode != "host" else None

    async def now(self) -> str:
        """The engine's own clock, as `events` wants it: events are asked for from a moment before the list."""
        async with self._guard("info"):
            info = await self._docker.system.info()
        return to_unix_nano(info["SystemTime"])

    async def labels(self) -> dict[str, dict[str, str]]:
        """All containers, running or not: id → labels, the image's, the operator's and the Swarm service's merged."""
        async with self._guard("list containers"):
            containers = await self._docker.containers.list(all=True)
        await self._look_at_self()  # it may have been attached to another network meanwhile
        own = {container.id: dict(container["Labels"] or {}) for container in containers}
        services = {labels[SERVICE] for labels in own.values() if SERVICE in labels}
        of_service = {service: await self._labels_of_service(service) for service in services}
        return {container_id: {**of_service.get(labels.get(SERVICE, ""), {}), **labels} for container_id, labels in own.items()}

    async def inspect(
        self, container_id: str, *, if_labels: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> Container | None:
        """The container as it is now; ``None`` when there is none.

        Also when `if_labels` is not interested in its labels, the image's among them; those of a Swarm service are not, so its
        containers are always of interest.
        """
        try:
            async with self._guard(f"inspect {container_id[:12]}"):
                raw = await self._docker.containers.container(container_id).show()
        except TargetGone:
            return None
        labels = raw["Config"].get("Labels") or {}
        if SERVICE not in labels and not if_labels(labels):
            return None
        container = read_container(raw, await self._config_of_image(raw["Image"]))
        service = container.labels.get(SERVICE)
        if service is None:
            return container
        return replace(container, labels={**await self._labels_of_service(service), **container.labels})

    async def execute(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        user: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:
        """Run a command in a running container; `stdin` is written to it without closing it.

        Raises:
            TargetNotRunning: the container is paused, stopped or restarting.
            ExecTimeout: no end within `timeout` seconds (default: the engine's `exec_timeout`).
        """
        limit, what = timeout or self._exec_timeout, f"exec in {container_id[:12]}"
        async with self._guard(what):
            execution = await self._docker.containers.container(container_id).exec(list(argv), stdin=bool(stdin), user=user)
        try:
            async with asyncio.timeout(limit), self._guard(what, limit=None), execution.start(detach=False) as stream:
                if stdin:
                    await stream.write_in(stdin)
                stdout, stderr = await _drain(stream)
        except TimeoutError as error:
            command = " ".join(argv).partition("\n")[0][:80]
            raise ExecTimeout(f"`{command}` did not end within {limit:g} s") from error
        async with self._guard(what):
            code = (await execution.inspect())["ExitCode"]
        return ExecResult(code if code is not None else -1, stdout, stderr)

    async def put_archive(self, container_id: str, directory: PurePosixPath, archive: bytes) -> None:
        """Unpack a tar below a directory of the container, running or not. A directory is never replaced by a file.

        Raises:
            WriteRefused: the engine refuses (read-only, busy, no such directory).
        """
        params = {"path": str(directory), "noOverwriteDirNonDir": "true"}
        headers = {"Content-Type": "application/x-tar"}
        async with (
            self._guard(f"write to {directory}"),
            self._docker._query(
                f"containers/{container_id}/archive", method="PUT", params=params, data=archive, headers=headers
            ) as response,
        ):
            await response.read()

    async def get_file(self, container_id: str, path: PurePosixPath) -> tuple[tarfile.TarInfo, bytes] | None:
        """One file as the archive API shows it; ``None`` when it does not exist.

        The header alone of anything else, and of a file that is larger than `LARGEST`.
        """
        params = {"path": str(path)}
        try:
            async with (
                self._guard(f"read {path}"),
                self._docker._query(f"containers/{container_id}/archive", method="GET", params=params) as response,
            ):
                head = await _read_at_most(response.content, _HEAD)
                info = _first_member(head)
                if not info.isfile() or info.size > LARGEST:
                    response.close()
                    return info, b""
                archive = head + await _read_at_most(response.content, info.size + _HEAD)
        except WriteRefused:
            return None
        return info, archive[info.offset_data : info.offset_data + info.size]

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal to the container's first process."""
        async with self._guard(f"signal {container_id[:12]}"):
            await self._docker.containers.container(container_id).kill(signal=signal)

    @asynccontextmanager
    async def events(self, since: str) -> AsyncIterator[AsyncIterator[Event]]:
        """The events since a moment, replayed and live; iterating ends with `EngineUnavailable` when the stream is cut."""
        source = self._docker.events
        subscriber = source.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        filters = json.dumps({"type": ["container"], "event": list(EVENTS)})
        # aiodocker's own background task would not survive a cut stream; ours ends with it, and the caller comes again.
        task = asyncio.create_task(source.run(since=since, filters=filters), name="docker-events")
        try:
            yield self._iterate(subscriber, task)
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # it was told to the caller already, or came too late to matter

    async def _iterate(self, subscriber: Any, task: asyncio.Task[None]) -> AsyncIterator[Event]:
        while (raw := await subscriber.get()) is not None:
            try:
                event = Event(raw["Action"].partition(":")[0], raw["Actor"]["ID"])
            except (KeyError, TypeError, AttributeError) as cause:
                raise EngineUnavailable(f"the event stream of {self.host} holds what is no event") from cause
            yield event
        await asyncio.wait({task})
        error = task.exception() if task.done() and not task.cancelled() else None
        raise EngineUnavailable(f"the event stream of {self.host} ended ({error or 'closed'})") from error

    async def _config_of_image(self, image: str) -> Mapping[str, Any]:
        if image not in self._images:
            try:
                async with self._guard(f"inspect image {image[:19]}"):
                    raw = await self._docker.images.inspect(image)
            except WriteRefused as error:
                raise EngineUnavailable(
                    f"image {image[:19]} is gone, so its labels cannot be told from the operator's; recreate the container"
                ) from error
            self._images[image] = raw.get("Config") or {}
        return self._images[image]

    async def _labels_of_service(self, service: str) -> Mapping[str, str]:
        """The labels of a Swarm service (``deploy.labels``), which its containers do not carry; none on a worker node."""
        if not re.fullmatch(r"[0-9a-z]{25}", service):  # a label anybody may set: no path of the API is made of it unseen
            return {}
        async with self._guard(f"inspect service {service[:12]}"):
            try:
                raw = await self._docker.services.inspect(service)
            except aiodocker.DockerError as error:
                if error.status in (404, 503):  # gone, or this node is no manager
                    return {}
                raise
        return raw["Spec"].get("Labels") or {}


def own_container_id(mountinfo: Path) -> str | None:
    """The id of the container this process runs in, from the files Docker mounts into every one; ``None`` outside.

    On the host the files of others are mounted as well, at other places, while Docker copies into a container or out of it.
    """
    try:
        text = mountinfo.read_text()
    except OSError:
        return None
    found = re.search(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf) /etc/\2 ", text)
    return found.group(1) if found else None


async def _drain(stream: Stream) -> tuple[bytes, bytes]:
    """Both outputs, each cut at `LARGEST`: nothing that chatters on may fill our memory."""
    outputs = {1: bytearray(), 2: bytearray()}
    while (message := await stream.read_out()) is not None:
        output = outputs[message.stream]
        output += message.data[: LARGEST - len(output)]
    return bytes(outputs[1]), bytes(outputs[2])


async def _read_at_most(content: aiohttp.StreamReader, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := await content.read(size - len(data))):
        data += part
    return bytes(data)


def _first_member(head: bytes) -> tarfile.TarInfo:
    """The first file of an archive of which only the beginning is there; long and foreign names take extra blocks."""
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as tar:
            return next(iter(tar))
    except (tarfile.TarError, StopIteration) as error:
        raise EngineUnavailable(f"the engine sent an archive that cannot be read: {error or 'empty'}") from error
