"""Processes that look at a pair of files from outside, as fast as they can, while it is replaced."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SECOND_LOOK = 0.05
"""Seconds after which a reader that met a mismatch reads again; a mail server takes longer to start a process."""

LIMIT = 60.0
"""Seconds that such a process may take to start, and to end; only against hanging."""

Contents = tuple[bytes, ...]


@dataclass
class Reading:
    """What a reader met: mismatches, and those that the second look still found."""

    reads: int = 0
    mismatches: int = 0
    lasting: int = 0
    faults: list[str] = field(default_factory=list)


def read_always(pipe: Connection, paths: Sequence[Path], known: Sequence[Contents]) -> None:
    """Read all files again and again."""
    reading = Reading()
    pipe.send("ready")
    while not pipe.poll():
        if not _fits(reading, paths, known):
            reading.mismatches += 1
            time.sleep(SECOND_LOOK)
            reading.lasting += not _fits(reading, paths, known)
    pipe.send(reading)


def _fits(reading: Reading, paths: Sequence[Path], known: Sequence[Contents]) -> bool:
    try:
        found = tuple(path.read_bytes() for path in paths)
    except OSError as error:
        reading.faults.append(str(error))
        return True
    reading.reads += 1
    torn = [path for path, content, whole in zip(paths, found, zip(*known, strict=True), strict=True) if content not in whole]
    reading.faults += [f"{path} is torn" for path in torn]
    return found in known


def time_renames(pipe: Connection, paths: Sequence[Path], _known: object) -> None:
    """Measure how long two files are of different age: microseconds between the first sight of each new inode."""
    windows: list[float] = []
    before = [path.stat().st_ino for path in paths]
    changed = [0.0, 0.0]
    pipe.send("ready")
    while not pipe.poll():
        for _ in range(2000):
            for number, path in enumerate(paths):
                if not changed[number] and path.stat().st_ino != before[number]:
                    changed[number] = time.perf_counter()
            if all(changed):
                windows.append(abs(changed[0] - changed[1]) * 1e6)
                before, changed = [path.stat().st_ino for path in paths], [0.0, 0.0]
    pipe.send(windows)


@contextmanager
def beside(task: Callable[..., None], paths: Sequence[Path], known: Sequence[Contents] = ()) -> Iterator[Callable[[], Any]]:
    """Run one of the above in a process of its own; calling what this yields ends it and gives its answer."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=task, args=(theirs, paths, known), daemon=True)
    process.start()

    def told() -> Any:
        assert ours.poll(LIMIT), "the process beside says nothing"
        return ours.recv()

    def stop() -> Any:
        ours.send("stop")
        return told()

    try:
        told()
        yield stop
    finally:
        process.join(1)
        process.kill()
        process.join(LIMIT)
        process.close()
        ours.close()
        theirs.close()
