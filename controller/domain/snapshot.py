"""What a source holds at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from controller.domain.certificate import Certificate, Trust
from controller.domain.finding import Reason

Schedule = tuple[tuple[timedelta, timedelta], ...]
"""When a program renews: a certificate that lives at least so long, when so much is left; the longest lives first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate of a source; `label` says where in the source it stands, for messages only.

    `test`: the source itself marks it as made for testing, so it goes only where the operator allows such. `stand_in`: it was
    made by certferry, so that a service can start before there is a real one.
    """

    label: str
    certificate: Certificate
    test: bool = False
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in a source that cannot be used: where it stands, why, and what to do about it."""

    label: str
    reason: Reason
    message: str


@dataclass(frozen=True)
class Snapshot:
    """All usable certificates of one source, and what was not usable.

    `again`: the source is being written to just now and wants to be read once more, after so many seconds. `schedule`: when the
    program that keeps it renews, where that is fixed and known.
    """

    source: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    again: float | None = field(default=None, compare=False)
    schedule: Schedule = field(default=(), compare=False, repr=False)

    @cached_property
    def issued(self) -> datetime | None:
        """When the last certificate of a public authority begins; ``None`` where there is none."""
        return max((e.certificate.leaf.not_before for e in self.entries if e.certificate.trust is Trust.PUBLIC), default=None)

    @cached_property
    def by_name(self) -> dict[str, tuple[Entry, ...]]:
        """Entries by each DNS name of their leaf, wildcards under their literal ``*.`` name."""
        index: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for name in entry.certificate.leaf.names:
                index.setdefault(name, []).append(entry)
        return {name: tuple(entries) for name, entries in index.items()}


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is doing: `up` is false while its last load failed, and then its last good snapshot stays in use."""

    up: bool = False
    reason: Reason | None = None
    message: str = "not read yet"
    loaded_at: float | None = field(default=None)
    """Unix time of the last successful load."""
