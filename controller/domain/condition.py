"""The last known state of a target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.domain.finding import Reason


@dataclass(frozen=True, slots=True)
class Condition:
    """`Ready` with the reason why not; `since` is the moment the reason last changed."""

    ready: bool
    reason: Reason | None
    message: str
    since: datetime

    def says_the_same(self, other: Condition | None) -> bool:
        """Whether both report the same state, whatever the wording and time."""
        return other is not None and (self.ready, self.reason) == (other.ready, other.reason)
