"""Read one file whole, or say in one line why not and what to do about it.

What the bytes mean is for the sources to know. All of it may block for as long as the file system does: call it in the thread
of a source (`controller.threads`).
"""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.threads import step
from sources.locks import shared_lock

MIB = 1024 * 1024
# Between the look and the opening something else may take the file's place: a pipe must not block the reader, nor a terminal
# become the controlling one.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OF_THE_KERNEL = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "pstore"})
"""File systems without a disk (filesystems(5)): some of their files wait for ever, or take away what others wait for, as
``/proc/kmsg`` does, and all of them say that they are regular ones.
"""


def read_file(path: Path, *, limit: int, locked: bool = False) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; `locked`: its writer locks it while it writes.

    What is no regular file is never opened: that alone has effects (a tape rewinds, a writer at a pipe wakes).

    Raises:
        SourceUnavailable: it is missing, too large, not a file, may not be read, or stays locked.
        SourceMalformed: it was written to meanwhile, so the bytes may be of two versions.
    """
    step(path)
    try:
        _check(path, os.stat(path), limit)  # noqa: PTH116 -- thousands of files, and pathlib takes several times as long
        descriptor = os.open(path, _FLAGS)
        try:
            with shared_lock(descriptor, path) if locked else nullcontext():
                before = os.fstat(descriptor)
                _check(path, before, limit)
                data = _read(descriptor, limit)
                after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SourceUnavailable(_explain(path, error)) from error
    if len(data) > limit:
        raise SourceUnavailable(_too_large(path, limit))
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise SourceMalformed(f"{path} was written to while it was read; it is read again")
    return data


def is_orphaned(path: Path) -> bool:
    """Whether a path leads to something that no directory holds any more.

    Only a mount does that: it keeps showing the old file when another one takes its name on the host.
    """
    with suppress(OSError):
        return path.stat().st_nlink == 0
    return False


def explain_folder(path: Path, error: OSError) -> str:
    """What to say about a folder whose names cannot be had."""
    match error:
        case FileNotFoundError() if is_orphaned(path.parent):
            return f"{path} is gone: its directory was removed on the host after it was mounted; recreate certferry's container"
        case NotADirectoryError() if path.is_file():
            return f"{path} is a file, not a folder; name the folder that holds it"
        case FileNotFoundError() | NotADirectoryError():
            return f"the directory {path} does not exist; mount it into certferry's container, or correct the path"
        case PermissionError():
            return f"the directory {path} may not be read; run certferry as root or as {_owner(path)}"
        case _:
            return f"the directory {path} cannot be read ({error.strerror}); correct the path or the mount"


def _read(descriptor: int, limit: int) -> bytes:
    """Up to one byte more than the limit, whatever size the file system claims."""
    chunks: list[bytes] = []
    rest = limit + 1
    while rest > 0 and (chunk := os.read(descriptor, min(rest, MIB))):
        step()
        chunks.append(chunk)
        rest -= len(chunk)
    return b"".join(chunks)


def _check(path: Path, status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceUnavailable(
            f"{path} is a directory: Docker makes one when the file of a bind mount does not exist on the host;"
            " mount the directory that holds the file in its place"
        )
    if not stat.S_ISREG(status.st_mode):
        raise SourceUnavailable(f"{path} is {_what(status.st_mode)}, not a file; correct the path")
    if status.st_dev in _devices_of_the_kernel():
        raise SourceUnavailable(f"{path} belongs to the kernel and is no file on a disk; correct the path")
    if status.st_size > limit:
        raise SourceUnavailable(_too_large(path, limit))


def _what(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


@cache
def _devices_of_the_kernel() -> frozenset[int]:
    found: set[int] = set()
    with suppress(OSError):
        for mount in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():  # proc(5)
            before, _, after = mount.partition(" - ")
            if after.split(" ")[0] in _OF_THE_KERNEL:
                major, _, minor = before.split(" ")[2].partition(":")
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _too_large(path: Path, limit: int) -> str:
    return f"{path} is larger than {limit / MIB:g} MiB; correct the path, or raise max-size if it is the right file"


def _explain(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError() if is_orphaned(path.parent):
            return f"{path} is gone: its directory was removed on the host after it was mounted; recreate certferry's container"
        case FileNotFoundError() if target := _target(path):
            there = "which is not there in certferry's container; mount the folder that holds both (of certbot all of it)"
            return f"{path} is a link to {target}, {there}"
        case FileNotFoundError():
            remedy = "mount the directory that holds it into certferry's container, or correct the path"
            return f"{path} does not exist (yet); {remedy}"
        case PermissionError():
            return f"{path} may not be read; run certferry as root or as {_owner(path)}, and leave the file's mode as it is"
        case _:
            return f"{path} cannot be read ({error.strerror}); correct the path or the mount"


def _target(path: Path) -> str:
    """Where a link leads; empty for anything else."""
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _owner(path: Path) -> str:
    with suppress(OSError):
        return f"its owner (uid {path.stat().st_uid})"
    return "its owner"
