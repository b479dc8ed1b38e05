"""What this process has opened, as the kernel tells it."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress
from pathlib import Path

from tests.unit.sources.toy import GENEROUS


def inotifies() -> list[str]:
    """Each inotify descriptor, by a text that has a line for each of its watches (proc(5))."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # others come and go meanwhile
            if "inotify" in os.readlink(link):  # noqa: PTH115 -- a test lets that one hang
                found.append(Path(f"/proc/self/fdinfo/{link.name}").read_text())
    return found


async def until_no_inotify_is_left() -> None:
    """Threads of tests before may be about to close theirs."""
    gc.collect()
    async with asyncio.timeout(GENEROUS):
        while inotifies():  # noqa: ASYNC110 -- threads tell nobody
            await asyncio.sleep(0.01)
