"""Locks of whole files (``flock``), as some programs hold them while they write.

A reader that holds such a lock for long, or takes it again and again, keeps the program from writing: so it is held for one
reading only.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.domain.errors import SourceUnavailable
from controller.threads import step

PATIENCE = 2.0
"""Seconds that a writer may take; Traefik holds its lock for some milliseconds."""
PAUSE = 0.001
"""Seconds between two attempts."""
_UNKNOWN = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What file systems say that know no such locks: some network mounts."""


@contextmanager
def shared_lock(descriptor: int, path: Path) -> Iterator[None]:
    """No writer that locks the file is at work meanwhile; where the file system knows no locks, nothing is sure.

    Raises:
        SourceUnavailable: another program keeps it locked.
        OSError: the file system fails.
    """
    is_locked = _acquire(descriptor, path)
    try:
        yield
    finally:
        if is_locked:  # closing would do, were the descriptor not also in a child that has not called exec yet
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _acquire(descriptor: int, path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    f"{path} is kept locked by another program; stop that program, or name a copy of the file"
                ) from None
        except OSError as error:
            if error.errno in _UNKNOWN:
                return False
            raise
        else:
            return True
        step()
        time.sleep(PAUSE)
