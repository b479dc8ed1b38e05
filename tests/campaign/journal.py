"""What was done to the scene, and when: who judges must know what was in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Span = tuple[float, float]
"""From, to; seconds of the wall clock."""


@dataclass
class Incident:
    """One fault; `box` is empty where all are concerned."""

    text: str
    kind: str
    box: str
    begin: float
    end: float = 0.0
    """0 while it lasts."""

    def __str__(self) -> str:
        ended = f"{self.end - self.begin:.1f} s" if self.end else "still"
        return f"{clock(self.begin)} {self.text}, {ended}"


class Journal:
    """All faults so far."""

    def __init__(self) -> None:
        self.incidents: list[Incident] = []
        self._lock = threading.Lock()

    @contextmanager
    def incident(self, text: str, kind: str, box: str) -> Iterator[None]:
        """A fault, from here until its traces are removed."""
        one = Incident(text, kind, box, time.time())
        with self._lock:
            self.incidents.append(one)
        try:
            yield
        finally:
            one.end = time.time()

    def touching(self, box: str, since: float = 0.0) -> list[Incident]:
        """Those that concern a box, or all, and had not ended before a moment."""
        return [one for one in self.incidents if one.box in ("", box) and (not one.end or one.end >= since)]

    def calm(self, span: Span, box: str, *, after_own: float, after_others: float) -> float:
        """How many seconds of a span no fault lasted, nor the time that is given for recovery after it."""
        busy = [(one.begin, (one.end or time.time()) + (after_own if one.box else after_others)) for one in self.touching(box)]
        return length(span) - sum(map(length, _merged(busy, span)))


def _merged(spans: list[Span], within: Span) -> list[Span]:
    """The parts of `within` that are covered, each once."""
    merged: list[Span] = []
    reached = within[0]
    for begin, end in sorted(spans):
        part = max(begin, reached), min(end, within[1])
        if length(part) > 0:
            merged.append(part)
            reached = part[1]
    return merged


def length(span: Span) -> float:
    return max(span[1] - span[0], 0.0)


def clock(moment: float) -> str:
    """A moment as in the logs, to the tenth of a second, UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(moment)) + f"{moment % 1:.1f}"[1:]
