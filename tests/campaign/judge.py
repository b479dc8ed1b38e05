"""What is asserted. Each thing that does not hold is printed at once with its evidence, and counted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.domain.finding import Reason
from tests.campaign.ferry import moment_of
from tests.campaign.fleet import Box
from tests.campaign.journal import clock, length
from tests.campaign.reader import Reader, Sight
from tests.campaign.scene import Scene
from tests.campaign.watch import Clients, Outage

RECENT = 25.0
"""Seconds of log and faults before a failure that are shown with it."""
AFTER = 5.0
"""Seconds of faults after its beginning."""
SHOWN = 40
"""Lines of log, at most."""
SIGNS = ("Traceback (", "asyncio: ", "Exception ignored", "Unclosed ", "Warning: ", "Fatal Python error")
"""What Python and its libraries say of what nobody dealt with: a traceback, tasks and connections that were left."""


@dataclass(frozen=True)
class Limits:
    """Seconds, but for what is said."""

    healed: float = 15.0
    silent: float = 65.0
    """The same where Postfix itself keeps a service silent."""
    outage: float = 5.0
    """How long handshakes may fail with no fault in the way: to the next reload, the detector's included."""
    mismatch: float = 1.0
    """How long a key may lie beside another certificate, with no fault in the way."""
    start: float = 10.0
    """What a box is given after a fault of its own: its services start."""
    notice: float = 5.0
    """What certferry is given after a fault of another kind."""
    ended: float = 7.5
    """From SIGTERM to the end: CERTFERRY_DRAIN, 2 s, and the time of the signal itself."""
    mebibytes: float = 16.0
    """By how much more a life may hold in any calm than the first one did before the first fault."""
    descriptors: int = 4
    threads: int = 3


def slowness() -> float:
    """How many times longer than on a quiet machine things may take now: what runs beside this shares its cores."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass
class Judge:
    """Collects what does not hold."""

    scene: Scene
    limits: Limits
    tell: Callable[[str], None]
    failures: dict[str, int] = field(default_factory=dict)
    """How often each assertion did not hold."""
    longest_outage: float = 0.0

    def fail(self, what: str, box: Box | None, text: str, since: float = 0.0) -> None:
        """One failure, with what was done and said before it."""
        self.failures[what] = self.failures.get(what, 0) + 1
        now = time.time()
        begin = (since or now) - RECENT
        name = box.name if box else ""
        lines = [f"FAILED {clock(now)} {what}{f' ({name})' if name else ''}: {text}"]
        lines += [f"    fault  {one}" for one in self.scene.journal.touching(name, begin) if one.begin < (since or now) + AFTER]
        container = str(box.container.id)[:12] if box else ""
        said = self.scene.ferry.said_of(box.mail.name, begin, container=container) if box else []
        if len(said) > SHOWN:
            said = [*said[: SHOWN // 2], "…", *said[-SHOWN // 2 :]]
        self.tell("\n".join([*lines, *(f"    said   {line[:400]}" for line in said)]))

    def outages(self, box: Box, clients: Clients) -> None:
        """No client is without TLS for longer than to the next reload, but for the faults."""
        for outage in clients.take_outages(time.time()):
            calm = self._calm(box, outage)
            self.longest_outage = max(self.longest_outage, calm)
            if calm > self.limits.outage * _slow(outage):
                errors = ", ".join(f"{count} x {error}" for error, count in outage.errors.items())
                begin, end = outage.span
                text = f"port {outage.port} from {clock(begin)} to {clock(end)}, {calm:.1f} s without a fault: {errors}"
                self.fail("handshakes failed", box, text, begin)

    def sights(self, box: Box, reader: Reader) -> None:
        """What lies there belongs together, and never gives way to something older."""
        before: Sight | None = None
        for sight in reader.take_sights():
            begin, end = sight.span
            if sight.mismatched:
                if (calm := self._calm(box, sight)) > self.limits.mismatch:
                    text = f"{_describe(sight)} from {clock(begin)} to {clock(end)}, {calm:.1f} s without a fault"
                    self.fail("key and certificate did not belong together", box, text, begin)
            elif sight.key is not None:
                same = before and (box.kind.volume or before.container == sight.container)
                if before and before.key and same and sight.key.number < before.key.number:
                    text = f"pair {before.key.number} gave way to pair {sight.key.number} at {clock(begin)}"
                    self.fail("a right pair was taken back", box, text, begin)
                before = sight
            elif not box.kind.seeded:  # it was started again, and made a pair of its own: what was there before is gone
                before = None

    def log(self, boxes: dict[str, Box]) -> None:
        """Nothing was rolled back, and nothing happened that nobody foresaw."""
        for line in self.scene.ferry.take_lines():
            if _is_rolled_back(line):
                self.fail("rolled back", boxes.get(str(line.get("target"))), str(line.get("message")), moment_of(line))
            elif _is_unforeseen(line):
                self.fail("an error that nobody foresaw", boxes.get(str(line.get("target"))), str(line)[:3000])

    def _calm(self, box: Box, seen: Outage | Sight) -> float:
        if length(seen.span) <= min(self.limits.outage, self.limits.mismatch):
            return length(seen.span)
        slow = _slow(seen)
        after = {"after_own": self.limits.start * slow, "after_others": self.limits.notice * slow}
        return self.scene.journal.calm(seen.span, box.name, **after)


def _slow(seen: Outage | Sight) -> float:
    """How much longer it may last on a busy machine. A service takes as long to start as the machine lets it."""
    return slowness() if isinstance(seen, Outage) and seen.silent else min(slowness(), 3.0)


def _is_rolled_back(line: dict[str, object]) -> bool:
    """All pairs of a campaign are right. A failed check puts the old one back within the container, and is told as a reason."""
    return line.get("event") == "target.rolling_back" or line.get("reason") == Reason.CHECK_FAILED


def _is_unforeseen(line: dict[str, object]) -> bool:
    return str(line["event"]).endswith(".crashed") or any(sign in str(line.get("text", "")) for sign in SIGNS)


def _describe(sight: Sight) -> str:
    key, certificate = (f"of pair {one.number}" if one else "of no known pair" for one in (sight.key, sight.certificate))
    return f"a key {key} beside a certificate {certificate}"
