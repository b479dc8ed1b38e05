"""The clocks: the wall clock and whether it jumped, the time that passes in a suspended machine, and the engine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.domain.moment import EARLIEST, TOLERANCE, Reading

BELIEVED_AFTER = 7 * 86400.0
"""Seconds after which a clock that jumped is believed if nobody put it back. Most jumps put a wrong clock right, and then this
costs nothing; a wrong one is noticed by people in some days."""

SLEPT = 5.0
"""Seconds of sleep that a machine may have without anything being due anew."""

_JUMP = 60.0
"""Seconds by which the wall clock may move between two looks without having jumped; time servers move it by far less."""


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since the machine was booted, those in which it was suspended too; `time.monotonic` leaves them out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clocks:
    """Compares the wall clock with the time that passes and with the engine's; `proven` is what certificates prove."""

    def __init__(
        self,
        now: Callable[[], datetime] = now,
        elapsed: Callable[[], float] = elapsed,
        engine: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self.now, self.elapsed, self._engine = now, elapsed, engine
        self._reference = now(), elapsed()
        """When the wall clock was last as expected."""
        self._jumped_at: float | None = None
        self.proven = EARLIEST

    def others(self) -> tuple[Reading, ...]:
        """What speaks against the wall clock now: what it would say had it not jumped, and what the engine says."""
        readings = [Reading("without its last jump it would say", at) for at in self._expected()]
        if (at := self._engine()) is not None:
            readings.append(Reading("that of Docker", at))
        return tuple(readings)

    def prove(self, moment: datetime) -> None:
        """Certificates show that it is not before a moment; that stays so."""
        self.proven = max(self.proven, moment)

    def _expected(self) -> tuple[datetime, ...]:
        now, elapsed = self.now(), self.elapsed()
        expected = self._reference[0] + timedelta(seconds=elapsed - self._reference[1])
        if self._jumped_at is None:
            self._jumped_at = elapsed if abs(now - expected) > TOLERANCE else None
        believed = self._jumped_at is None or elapsed - self._jumped_at > BELIEVED_AFTER or expected < self.proven
        if believed or abs(now - expected) <= TOLERANCE:
            self._reference, self._jumped_at = (now, elapsed), None
            return ()
        return (expected,)


@dataclass(frozen=True, slots=True)
class Leap:
    """What happened between two looks: the seconds that the machine slept, and by which the wall clock jumped."""

    slept: float = 0.0
    jumped: float = 0.0


class Watch:
    """Notices that the machine was suspended or its clock set; `awake` is a clock that stands still in a suspended machine."""

    def __init__(self, clocks: Clocks, awake: Callable[[], float] = time.monotonic) -> None:
        self._clocks, self._awake = clocks, awake
        self._last = self._read()

    def look(self) -> Leap:
        """What happened since the last look."""
        before, self._last = self._last, self._read()
        wall, passed, awake = (after - former for former, after in zip(before, self._last, strict=True))
        slept, jumped = passed - awake, wall - passed
        return Leap(slept if slept > SLEPT else 0.0, jumped if abs(jumped) > _JUMP else 0.0)

    def _read(self) -> tuple[float, float, float]:
        return self._clocks.now().timestamp(), self._clocks.elapsed(), self._awake()
