"""Everything that plays a part in a campaign."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from tests.campaign.api_proxy import ApiProxy
from tests.campaign.ferry import Ferry
from tests.campaign.fleet import Box
from tests.campaign.journal import Journal
from tests.campaign.store import Store
from tests.lab import Lab


@dataclass
class Scene:
    """The laboratory, what stands in it, and what was done to it."""

    lab: Lab
    store: Store
    proxy: ApiProxy
    ferry: Ferry
    boxes: list[Box]
    journal: Journal


Apply = Callable[[Scene, Box, Random], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for a while: entered it lasts, left it is undone.

    `concerns` is what two faults may not have at the same time: a box, ``engine``, ``store`` or ``ferry``.
    """

    kind: str
    concerns: str
    apply: Apply
    seconds: tuple[float, float] = (0.5, 5.0)
    only: str = ""
    """The one box that it can happen to."""
