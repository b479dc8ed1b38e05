"""The only talker to Docker: containers, files, commands and events, in certferry's own words.

With `controller.engine_connection` below it, and the files that sources read in `controller.engine_files`. Facts about the API:
Docker Engine API v1.41 reference.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from controller.clocks import elapsed, now
from controller.domain.container import Container
from controller.domain.errors import EngineUnavailable, SettingsError, TargetGone
from controller.domain.recent import Recent
from controller.engine_connection import Ask, Missing
from controller.engine_events import EVENTS, EngineEvents, Event
from controller.engine_exec import EngineExec
from controller.engine_files import LARGEST, EngineFiles
from controller.engine_list import LARGEST_ENTRY, LARGEST_LIST, Listed, read_list
from controller.engine_requests import MIB, Refused
from controller.inspection import config_of_image, image_of, labels_of, labels_of_service, read_container
from controller.machine import own_container_id, runs_here

__all__ = ["EVENTS", "LARGEST", "Engine", "Event"]

log = structlog.get_logger()

MINIMUM_API = (1, 41)

SERVICE = "com.docker.swarm.service.id"
"""The label by which Docker names the Swarm service of a container."""

IMAGES = 256
"""Images of which labels and environment are remembered."""

_REMEMBERED = 64 * 2**10
"""Bytes that may be remembered of one image; usual ones have a few thousand."""


class Engine(EngineFiles, EngineExec, EngineEvents):
    """One Docker endpoint.

    Every method raises `EngineUnavailable` when the engine does not answer within `timeout` seconds, and `TargetGone` when the
    container does not exist (any more).
    """

    def __init__(self, host: str, *, timeout: float, exec_timeout: float) -> None:
        super().__init__(host, timeout=timeout, exec_timeout=exec_timeout)
        self._images: Recent[str, Mapping[str, Any]] = Recent(IMAGES)
        self._told: set[str] = set()
        self._knows_itself = False

    async def connect(self) -> None:
        """Open the connection and look at the API version and at certferry's own container.

        Raises:
            SettingsError: the engine is too old, or its socket cannot be used; with the remedy.
            EngineUnavailable: it does not answer now.
        """
        self._check_socket()
        async with self._guard(Ask.HOST, "say its version"):
            version = await self._requests.version()
        if tuple(int(part) for part in version.split(".")) < MINIMUM_API:
            wanted = ".".join(map(str, MINIMUM_API))
            raise SettingsError(
                f"Docker at {self.host} speaks API {version}; certferry needs {wanted} (Docker Engine 20.10) or newer"
            )
        await self._look_at_self()

    async def _look_at_self(self) -> None:
        own = own_container_id(Path("/proc/self/mountinfo"))
        self._own = await self.inspect(own) if own else None
        self._knows_itself = True

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        """See `controller.ports.ContainerFiles.own_path`."""
        if not self._knows_itself:  # sources begin to read while the connection is still being opened
            await self._look_at_self()
        return await super().own_path(container_id, path)

    @property
    def own(self) -> Container | None:
        """The container that certferry itself runs in, as this engine last told; ``None`` where it knows none."""
        return self._own

    async def now(self) -> str:
        """The engine's own clock, as `events` wants it: events are asked for from a moment before the list.

        By the date of an answer that costs nothing, be it the refusal of a socket proxy: ``/info`` took 10 s while Swarm pulled
        images.
        """
        asked = now()
        async with self._guard(Ask.HOST, "say what time it is"):
            try:
                await self._requests.read("GET", "_ping", versioned=False)
            except Refused as refused:
                if refused.status not in (401, 403, 404):
                    raise
        said = self._requests.dated[0] if self._requests.dated else asked
        moment = asked if asked - timedelta(seconds=1) < said <= now() else said  # the header counts whole seconds
        return f"{int(moment.timestamp())}.{moment.microsecond:06}000"

    def clock(self) -> datetime | None:
        """What the engine's clock says now, going by its last answer; ``None`` where none said what time it was."""
        if self._requests.dated is None:
            return None
        date, heard_at = self._requests.dated
        return date + timedelta(seconds=elapsed() - heard_at)

    async def labels(self) -> dict[str, dict[str, str]]:
        """All containers, running or not: id → labels, the image's, the operator's and the Swarm service's merged."""
        containers = await self._list("list containers")
        await self._look_at_self()  # it may have been attached to another network meanwhile
        self._tell_too_large(containers)
        self._images.keep({one.image for one in containers})
        own = {one.id: one.labels or {} for one in containers}
        services = {labels[SERVICE] for labels in own.values() if SERVICE in labels}
        of_service = {service: await self._labels_of_service(service) for service in services}
        return {container_id: {**of_service.get(labels.get(SERVICE, ""), {}), **labels} for container_id, labels in own.items()}

    async def find(self, selector: str) -> str | None:
        """See `controller.ports.ContainerFiles.find`."""
        kind, pattern = ("label", selector) if "=" in selector else ("name", f"^/?{selector}$")
        found = await self._list(f"look for the container {selector}", filters=json.dumps({kind: [pattern]}))
        found.sort(key=lambda one: (one.running, one.created), reverse=True)
        if kind == "name":
            return next((one.id for one in found if f"/{selector}" in one.names), None)
        name, _, value = selector.partition("=")
        for one in found:  # the list shows labels of images, too, and an image must not give certificates
            container = await self.inspect(one.id)
            if container and container.labels.get(name) == value:
                return container.id
        return None

    async def running(self, command: str) -> list[Container]:
        """The running containers whose first process was started by a command that begins so."""
        found = [one for one in await self._list("list containers") if one.running and one.command.startswith(command)]
        return [container for one in found if (container := await self.inspect(one.id))]

    async def _list(self, what: str, **params: str) -> list[Listed]:
        async with self._guard(Ask.HOST, what):
            data = await self._requests.read("GET", "containers/json", limit=LARGEST_LIST, params={"all": "1", **params})
            return await asyncio.to_thread(read_list, data)

    def _tell_too_large(self, containers: list[Listed]) -> None:
        large = {one.id for one in containers if one.labels is None}
        for container_id in sorted(large - self._told):
            text = f"it has more than {LARGEST_ENTRY / MIB:g} MiB of labels and is left alone"
            log.warning("container.ignored", container=container_id[:12], message=text)
        self._told = large

    async def inspect(
        self, container_id: str, *, if_labels: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> Container | None:
        """The container as it is now; ``None`` when there is none.

        Also when `if_labels` is not interested in its labels, the image's among them; those of a Swarm service are not, so its
        containers are always of interest.
        """
        try:
            async with self._guard(Ask.CONTAINER, f"inspect {container_id[:12]}"):
                raw = await self._requests.json("GET", f"containers/{container_id}/json")
        except TargetGone:
            return None
        labels, image = labels_of(raw), image_of(raw)
        if SERVICE not in labels and not if_labels(labels):
            return None
        container = read_container(raw, await self._config_of_image(image))
        self._is_here = self._is_here or runs_here(container)
        if container.started_at and (clock := self.clock()):
            container = replace(container, age=(clock - container.started_at).total_seconds())
        service = container.labels.get(SERVICE)
        if service is None:
            return container
        return replace(container, labels={**await self._labels_of_service(service), **container.labels})

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal to the container's first process."""
        async with self._guard(Ask.CONTAINER, f"signal {container_id[:12]}"):
            await self._requests.read("POST", f"containers/{container_id}/kill", params={"signal": signal})

    async def _config_of_image(self, image: str) -> Mapping[str, Any]:
        if (known := self._images.get(image)) is not None:
            return known
        try:
            async with self._guard(Ask.THING, f"inspect image {image[:19]}"):
                raw = await self._requests.json("GET", f"images/{image}/json")
        except Missing as error:
            raise EngineUnavailable(
                f"image {image[:19]} is gone, so its labels cannot be told from the operator's; recreate the container"
            ) from error
        config = config_of_image(raw)
        if len(str(config)) <= _REMEMBERED:
            self._images.put(image, config)
        return config

    async def _labels_of_service(self, service: str) -> Mapping[str, str]:
        """The labels of a Swarm service (``deploy.labels``), which its containers do not carry; none on a worker node."""
        if not re.fullmatch(r"[0-9a-z]{25}", service):  # a label anybody may set: no path of the API is made of it unseen
            return {}
        try:
            async with self._guard(Ask.THING, f"inspect service {service[:12]}"):
                try:
                    raw = await self._requests.json("GET", f"services/{service}")
                except Refused as refused:
                    if refused.status == 503:  # this node is no manager
                        return {}
                    raise
        except Missing:
            return {}
        return labels_of_service(raw)
