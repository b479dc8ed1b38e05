"""What looks for changed certificate files inside a container by itself, and makes the services there use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Detector:
    """`patience` are the seconds within which it acts on a change, 0 where it does not run or looks too rarely.

    `watched` are the files it looks at; `seen` those of them whose present content it took note of and will not act on again.
    `poll` are the seconds between two of its looks. `busy`: it is at a change now. `acted`: it was so a moment ago, and
    services may still be at it.
    """

    patience: float = 0.0
    watched: frozenset[PurePosixPath] = frozenset()
    seen: frozenset[PurePosixPath] = frozenset()
    poll: float = 0.0
    busy: bool = False
    acted: bool = False
