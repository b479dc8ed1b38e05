"""Facts about a container as the Docker Engine reports them, in certferry's own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath


class State(StrEnum):
    """Container states of the Engine API."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"

    @classmethod
    def _missing_(cls, value: object) -> State:
        """A state that other engines have: nothing is executed in such a container."""
        return cls.EXITED


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: `kind` is ``bind``, ``volume`` or ``tmpfs``; `source` the host path or volume name."""

    kind: str
    source: str
    destination: PurePosixPath
    writable: bool
    host_path: str = ""
    """Where the files lie on the engine's host, of volumes too; empty where they lie nowhere."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container; `labels` are only those its operator set (see promise 9), `all_labels` include the image's.

    Its `repr` is without what people write passwords into: labels, environment and arguments.
    """

    id: str
    name: str
    image: str
    state: State
    labels: dict[str, str] = field(default_factory=dict, repr=False)
    all_labels: dict[str, str] = field(default_factory=dict, repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    own_environment: dict[str, str] = field(default_factory=dict, repr=False)
    """What of the environment the operator set: an image must not choose which certificate it gets."""
    command: tuple[str, ...] = field(default=(), repr=False)
    """Program and arguments as the container was started, entrypoint and command together."""
    own_command: tuple[str, ...] = field(default=(), repr=False)
    """What of it the operator set: an image must not make itself look like a proxy."""
    working_dir: str = ""
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    read_only_root: bool = False
    root_is_limited: bool = False
    """Root inside may not write everywhere: the capabilities for that were dropped."""
    network_mode: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    """IP address by the id of the Docker network."""
    gateways: dict[str, str] = field(default_factory=dict)
    """The network's own address by its id, as far as it has one; of a bridge that is the engine's host."""
    pid: int = 0
    """Its first process, as the engine's host numbers it; 0 when it does not run."""
    started_at: datetime | None = None
    age: float | None = field(default=None, compare=False)
    """Seconds since it was started, by the engine's own clock; ``None`` where that is not known."""

    @property
    def fqdn(self) -> str:
        """The host name the container believes it has."""
        if not self.domainname or self.hostname.endswith(f".{self.domainname}"):
            return self.hostname
        return f"{self.hostname}.{self.domainname}"

    def folder_beside(self, path: PurePosixPath) -> PurePosixPath | None:
        """The folder for what is kept of a file while it is changed: its own, on the same mount.

        For a file that is mounted by itself, one of the container's own file system; ``None`` where that is read-only.
        """
        mount = self.mount_of(path)
        if mount is None or mount.destination != path:
            return path.parent
        if self.read_only_root:
            return None
        return path.parent if self.mount_of(path.parent) is None else PurePosixPath("/")

    def host_file(self, path: PurePosixPath) -> tuple[str, PurePosixPath]:
        """What tells a file from every other that the container reaches: two mounts may lead to the same one."""
        mount = self.mount_of(path)
        if mount is None:
            return "container", path
        below = path.relative_to(mount.destination)
        where = mount.host_path or mount.source or f"{mount.kind} {mount.destination}"
        return ("host", PurePosixPath(where, below)) if where.startswith("/") else (where, below)

    def mount_of(self, path: PurePosixPath) -> Mount | None:
        """The mount a path lies on, the deepest one; ``None`` means the container's own root file system."""
        holding = [m for m in self.mounts if path == m.destination or m.destination in path.parents]
        return max(holding, key=lambda m: len(m.destination.parts), default=None)
