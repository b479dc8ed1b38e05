"""JSON that somebody else wrote, read in bounded time and memory.

Python reads JSON in one step that nothing can interrupt, and each value takes far more memory than its text: 64 MiB of ``{}``
are 30 s and 4 GiB. So what would be too many values is refused before it is read.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

MOST_VALUES = 250_000
"""Values, names and escapes that a text may have: a store of 18,000 certificates has as many, and they take a
tenth of a second."""
LONGEST_NUMBER = 20
"""Digits of 64 bits; a longer number stays text, as fractions do, since it takes time with the square of its length."""
_MARKS = (b",", b"{", b"[", b":", b"\\")
"""Each value but one comes after one of these; what is written with a backslash costs as much as a value."""


class TooManyValues(ValueError):
    """The text has more values than anything real."""

    def __init__(self) -> None:
        super().__init__(f"it has more than {MOST_VALUES:,} values")


def _number(text: str) -> int | str:
    return int(text) if len(text) <= LONGEST_NUMBER else text


_decode = partial(json.loads, parse_int=_number, parse_float=str, parse_constant=str)


def parse_json(data: bytes) -> Any:
    """What a text in UTF-8 says, with or without a byte order mark; fractions and endless numbers stay text.

    Raises:
        TooManyValues: more than `MOST_VALUES`.
        ValueError: no JSON, nested too deeply, or not UTF-8; `json.JSONDecodeError` where a place can be named.
    """
    values = 0
    for mark in _MARKS:  # one after the other, so that other threads run in between
        values += data.count(mark)
    if values > MOST_VALUES:
        raise TooManyValues
    try:
        return _decode(data.decode("utf-8-sig"))
    except RecursionError:
        problem = "it is nested too deeply"
    raise ValueError(problem)
