"""What time it is, as far as that is known: clocks jump, stand still, and begin in 1970 until a time server answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""No certferry is older, so no clock that says so is right."""

TOLERANCE = timedelta(minutes=5)
"""By so much clocks may differ that nobody would call wrong."""

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Reading(NamedTuple):
    """What another clock says, and whose it is."""

    whose: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """The true time lies between `earliest` and `latest`; `doubt` says why they are not the same, if they are not."""

    earliest: datetime
    latest: datetime
    doubt: str = ""

    @classmethod
    def at(cls, now: datetime) -> Moment:
        """The time where nothing speaks against the clock."""
        return cls(now, now)

    def is_after(self, end: datetime) -> bool:
        """Whether `end` has surely passed."""
        return end <= self.earliest

    def is_before(self, begin: datetime) -> bool:
        """Whether `begin` is surely still to come."""
        return begin > self.latest


def read_clocks(now: datetime, others: Sequence[Reading] = (), *, proven: datetime = EARLIEST) -> Moment:
    """What to believe when the own clock says `now`, and the others say what they say.

    It is not before `proven`, such as the moment at which a public authority issued a certificate that is known: a clock that
    says so is wrong. Of those that may be right nobody knows which is.
    """
    proven = max(proven, EARLIEST)
    readings = (Reading("the clock", now), *others)
    possible = [reading.at for reading in readings if reading.at >= proven - TOLERANCE]
    earliest, latest = max(min(possible, default=proven), proven), max((*possible, proven)) if possible else _END_OF_TIME
    if possible and latest - earliest <= TOLERANCE and now in possible:
        return Moment.at(max(now, proven))
    if now in possible:
        against = ", ".join(f"{whose} {_told(at)}" for whose, at in others if at in possible and abs(at - now) > TOLERANCE)
    else:
        against = f"but it is at least {_told(proven)}"
    return Moment(earliest, latest, f"the clock says {_told(now)}, {against}; dates of certificates are judged with care")


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
