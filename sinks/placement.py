"""How a file can be written, decided from ``docker inspect`` alone, never by trial (design §6). Pure."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePosixPath

from controller.domain.container import Container, Mount, State
from controller.domain.errors import TargetNotRunning, WriteRefused


class Method(Enum):
    """The ways to replace a file in a container."""

    SWAP = "stage beside, then rename all files in one exec"
    IN_PLACE = "overwrite in place, all files in one exec; a mounted file cannot be renamed over"
    ARCHIVE = "through the archive API, one file after the other"


def can_execute(container: Container) -> bool:
    """Whether the engine accepts exec for the container in its present state."""
    return container.state is State.RUNNING


def choose(container: Container, path: PurePosixPath, *, shell: bool) -> Method:
    """The method for one path (symbolic links resolved); `shell` tells whether ``sh`` can be run inside now.

    Raises:
        WriteRefused: the mounts do not allow writing; names the mount and what to change.
        TargetNotRunning: possible, but only while the container runs.
    """
    if container.state is State.PAUSED:
        raise TargetNotRunning(f"{path} is not written to while the container is paused; waiting for unpause")
    mount = container.mount_of(path)
    if mount is None:
        return _on_root(container, path, shell=shell)
    if not mount.writable:
        raise WriteRefused(f"{path} is on the read-only mount {mount.destination}; mount it writable (without `:ro`)")
    if mount.kind == "tmpfs" or mount.destination == path:
        return _needs_exec(container, path, mount, shell=shell)
    return Method.SWAP if shell else Method.ARCHIVE


def _on_root(container: Container, path: PurePosixPath, *, shell: bool) -> Method:
    if container.read_only_root:
        raise WriteRefused(f"{path} is on the container's read-only root file system; mount a volume at {path.parent}")
    return Method.SWAP if shell else Method.ARCHIVE


def _needs_exec(container: Container, path: PurePosixPath, mount: Mount, *, shell: bool) -> Method:
    """The archive API writes to a tmpfs without any effect, and is refused for a file that is itself a mount."""
    what = "a tmpfs" if mount.kind == "tmpfs" else "a file mounted by itself"
    if not can_execute(container):
        raise TargetNotRunning(f"{path} is on {what}, which can be written only while the container runs")
    if not shell:
        remedy = f"mount a directory at {path.parent}"
        raise WriteRefused(f"{path} is on {what}, and the image has no shell with cat, mv, stat … to write it with; {remedy}")
    return Method.IN_PLACE if mount.destination == path else Method.SWAP
