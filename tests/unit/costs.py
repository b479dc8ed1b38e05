"""How processor time grows with the work, judged so that whoever else uses the machine does not matter."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 10


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this process, without that of the garbage collector, which grows with all that other tests left."""
    gc.disable()
    try:
        begin = time.process_time()
        work()
        return time.process_time() - begin
    finally:
        gc.enable()


def costs_at_most(times: float, part: Callable[[], object], whole: Callable[[], object], *, noise: float = 0.0) -> bool:
    """Whether the whole takes less than so many times as long as the part: the least of both, of up to ten tries.

    Others only make it slower, through the caches that all share. Below `noise` seconds a ratio says nothing.
    """
    parts, wholes = [], []
    for _ in range(TRIES):
        wholes.append(seconds(whole))
        parts.append(seconds(part))
        if min(wholes) < max(noise, times * min(parts)):
            return True
    return False
