"""What the kernel says of the machine certferry runs on: which container it is in itself, and which containers are here, too.

Nothing waits for a disk or a network: it is all memory of the kernel.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from controller.domain.container import Container
from controller.rtnetlink import leads_into

PROC = Path("/proc")


def own_container_id(mountinfo: Path) -> str | None:
    """The id of the container this process runs in, from the files Docker mounts into every one; ``None`` outside.

    On the host the files of others are mounted as well, at other places, while Docker copies into a container or out of it.
    """
    found = re.search(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf) /etc/\2 ", _read(mountinfo))
    return found.group(1) if found else None


def runs_here(container: Container) -> bool:
    """Whether the container's first process, as the engine numbers it, is one of this machine.

    Its control groups or its mounts bear the container's id: no other machine, and no other process, has that. False where
    certferry is in a container, and sees no processes but its own.
    """
    if not container.pid:
        return False
    files = (PROC / str(container.pid) / name for name in ("cgroup", "mountinfo"))
    return any(container.id in _read(file) for file in files)


def shares_our_network(container: Container) -> bool:
    """Whether the container has the very network namespace certferry has; false where that cannot be seen, as by no root."""
    try:
        theirs, ours = ((PROC / pid / "ns/net").stat() for pid in (str(container.pid), "self"))
    except OSError:
        return False
    return runs_here(container) and (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def is_linked_to(container: Container) -> bool:
    """Whether a link of certferry's own network namespace, such as one on a bridge, leads into the container's."""
    return runs_here(container) and leads_into(container.pid)


def is_own_address(address: str) -> bool:
    """Whether an IP address is one of this machine, as seen from here: only then packets to it would come from it.

    Nothing is sent: a datagram socket only looks up the way.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, 9))
            return bool(asking.getsockname()[0] == address)
    except (ValueError, OSError):  # no address is no address of ours
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
