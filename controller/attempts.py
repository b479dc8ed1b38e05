"""How often the same change may be tried in a container where it failed. Pure state.

A reload ends mail sessions, so a pair that was rolled back, or a reload without effect, is not repeated at every resync: the
same input is tried again after the resync interval, then after twice that, up to a day. Another certificate, or a restart of
the container, is new input and is tried at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from controller.domain.finding import Finding
from controller.domain.target import TargetKey

LONGEST = 86400.0
"""Seconds: the longest wait."""


@dataclass(frozen=True, slots=True)
class _Failure:
    input: Hashable
    finding: Finding
    count: int
    again_at: float


class Attempts:
    """Failures by target; `first` is the wait after the first one. All times are seconds of a clock that cannot jump."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._failures: dict[TargetKey, _Failure] = {}

    def standing(self, key: TargetKey, given: Hashable, now: float) -> Finding | None:
        """The failure of this input, as long as it must wait for it; another input than the failed one never waits."""
        failure = self._failures.get(key)
        return failure.finding if failure and failure.input == given and now < failure.again_at else None

    def failed(self, key: TargetKey, given: Hashable, finding: Finding, now: float, longest: float = LONGEST) -> None:
        """Remember that this input failed, and how; it waits for `longest` at most."""
        failure = self._failures.get(key)
        count = failure.count + 1 if failure and failure.input == given else 1
        again_at = now + min(self._first * 2 ** min(count - 1, 20), longest, LONGEST)
        self._failures[key] = _Failure(given, finding, count, again_at)

    def forget(self, key: TargetKey) -> None:
        """It worked, or the target is gone."""
        self._failures.pop(key, None)
