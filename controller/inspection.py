"""What the Docker API says of a container, in certferry's own words. Pure; asking is `controller.engine`'s business."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from controller.domain.container import Container, Mount, State
from controller.domain.errors import EngineUnavailable

_MADE_BY_COMPOSE = "com.docker.compose.config-hash"
_COMPOSE_SETS = ("com.docker.compose.project", "com.docker.compose.service")
"""Of a container with a hash of its own that its image has not: then these two are Compose's as well."""

_ROOT_CAPABILITIES = {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
"""What root needs to write files for others; Docker gives all three unless told otherwise."""

_COMMAND = ("Entrypoint", "Cmd")
"""What is run, and its arguments; a container shows its image's where it has none of its own."""

_SYSTEM_TMPFS = ("/dev", "/dev/shm", "/proc", "/sys")  # noqa: S108 -- names of mounts, nothing is created there


def read_container(raw: Any, image: Mapping[str, Any]) -> Container:
    """One container; `image` is what `config_of_image` says of its image: a container shows all that as its own.

    Raises:
        EngineUnavailable: it is not what the API promises.
    """
    with _promised("the container"):
        return _read_container(raw, image)


def labels_of(raw: Any) -> dict[str, str]:
    """The labels that a container shows, its image's among them. Raises as `read_container`."""
    with _promised("the container"):
        return _texts(raw["Config"].get("Labels"))


def image_of(raw: Any) -> str:
    """The id of a container's image. Raises as `read_container`."""
    with _promised("the container"):
        if not isinstance(raw["Image"], str) or not re.fullmatch(r"[A-Za-z0-9_.:/@-]+", raw["Image"]):
            raise TypeError("no id")
        return raw["Image"]


def config_of_image(raw: Any) -> dict[str, Any]:
    """What has to be known of an image: labels, environment and command of its ``Config``. Raises as `read_container`."""
    with _promised("the image"):
        config = raw.get("Config") or {}
        lists = {name: _list_of_texts(config.get(name)) for name in ("Env", *_COMMAND)}
        return {"Labels": _texts(config.get("Labels")), **lists}


def labels_of_service(raw: Any) -> dict[str, str]:
    """The labels of a Swarm service. Raises as `read_container`."""
    with _promised("the service"):
        return _texts(raw["Spec"].get("Labels"))


@contextmanager
def _promised(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EngineUnavailable(f"what Docker says of {what} cannot be read") from error


def _texts(raw: Any) -> dict[str, str]:
    found = dict(raw or {})
    _list_of_texts([*found, *found.values()])
    return found


def _list_of_texts(raw: Any) -> list[str]:
    found = list(raw or ())
    if not all(isinstance(text, str) for text in found):
        raise TypeError("no text")
    return found


def _read_container(raw: Any, image: Mapping[str, Any]) -> Container:
    config, host = raw["Config"], raw["HostConfig"]
    labels, image_labels = _texts(config.get("Labels")), image.get("Labels") or {}
    environment, image_environment = _environment(config), _environment(image)
    networks = raw["NetworkSettings"].get("Networks") or {}
    return Container(
        id=raw["Id"],
        name=raw["Name"].removeprefix("/"),
        image=config["Image"],
        state=State(raw["State"]["Status"]),
        labels=_own_labels(labels, image_labels),
        all_labels=labels,
        environment=environment,
        own_environment={name: value for name, value in environment.items() if image_environment.get(name) != value},
        command=(raw.get("Path") or "", *_list_of_texts(raw.get("Args"))),
        own_command=tuple(_own_command(config, image)),
        working_dir=config.get("WorkingDir") or "",
        hostname=config.get("Hostname") or "",
        domainname=config.get("Domainname") or "",
        user=config.get("User") or "",
        mounts=tuple(_mounts(raw)),
        read_only_root=bool(host.get("ReadonlyRootfs")),
        root_is_limited=_is_root_limited(host),
        network_mode=host.get("NetworkMode") or "",
        addresses={
            network["NetworkID"]: network["IPAddress"] or network.get("GlobalIPv6Address", "")
            for network in networks.values()
            if network.get("IPAddress") or network.get("GlobalIPv6Address")
        },
        gateways={
            network["NetworkID"]: gateway
            for network in networks.values()
            if (gateway := network.get("Gateway") if network.get("IPAddress") else network.get("IPv6Gateway"))
        },
        pid=_number(raw["State"].get("Pid")),
        started_at=_moment(raw["State"].get("StartedAt")),
    )


def _own_labels(labels: Mapping[str, str], image_labels: Mapping[str, str]) -> dict[str, str]:
    """Those that the image has not; Compose puts some of its own into images that it builds, and into each container anew."""
    own = {name: value for name, value in labels.items() if image_labels.get(name) != value}
    again = _COMPOSE_SETS if _MADE_BY_COMPOSE in own else ()
    return own | {name: labels[name] for name in again if name in labels}


def _own_command(config: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[str]:
    for part in _COMMAND:
        words = _list_of_texts(config.get(part))
        yield from words if words != list(image.get(part) or ()) else ()


def _environment(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in _list_of_texts(config.get("Env")))


def _mounts(raw: Mapping[str, Any]) -> list[Mount]:
    mounts = [
        Mount(
            mount.get("Type", "bind"),
            mount.get("Name") or mount.get("Source", ""),
            PurePosixPath(mount["Destination"]),
            mount.get("RW", True),
            mount.get("Source", ""),
        )
        for mount in raw.get("Mounts") or ()
    ]
    for path, options in (raw["HostConfig"].get("Tmpfs") or {}).items():
        mounts.append(Mount("tmpfs", "", PurePosixPath(path), "ro" not in options.split(",")))
    return mounts + [Mount("tmpfs", "", PurePosixPath(path), True) for path in _SYSTEM_TMPFS]


def _number(raw: Any) -> int:
    if not isinstance(raw or 0, int):
        raise TypeError("no number")
    return raw or 0


def _is_root_limited(host: Mapping[str, Any]) -> bool:
    added, dropped = ({name.upper().removeprefix("CAP_") for name in host.get(key) or ()} for key in ("CapAdd", "CapDrop"))
    missing = (_ROOT_CAPABILITIES if "ALL" in dropped else _ROOT_CAPABILITIES & dropped) - added
    return bool(missing) and not host.get("Privileged")


def _moment(text: str | None) -> datetime | None:
    """A time of the API; Go's zero time means never."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
