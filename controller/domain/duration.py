"""Durations as people write them: ``100ms``, ``30s``, ``5m``, ``2h``, ``1d``, ``1h30m``."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Nine digits keep every result finite.
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_WHOLE = re.compile(f"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds of a duration; a bare number is refused, because nobody can tell its unit.

    Raises:
        ValueError: not a duration; the message shows how one is written.
    """
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write a number with its unit, such as 100ms, 30s, 5m, 2h or 1d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
