"""Which fault comes when: all of it decided by the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.campaign.box_faults import BOX_FAULTS
from tests.campaign.fleet import Box
from tests.campaign.other_faults import ENGINE_FAULTS, FERRY_FAULTS, STORE_FAULTS
from tests.campaign.scene import Fault

FAULTS: tuple[Fault, ...] = (*BOX_FAULTS, *ENGINE_FAULTS, *STORE_FAULTS, *FERRY_FAULTS)
PAUSES = (0.0, 2.0)
"""Seconds from one fault's beginning to the next one's."""


@dataclass(frozen=True)
class Step:
    """One fault, on one box (who is concerned, or whose pair is renewed meanwhile), for some seconds."""

    number: int
    fault: Fault
    box: Box
    seconds: float
    pause: float
    seed: int

    @property
    def concerns(self) -> str:
        return self.box.name if self.fault.concerns == "box" else self.fault.concerns

    @property
    def own(self) -> str:
        """The box that is concerned alone; empty where all are."""
        return self.box.name if self.fault.concerns == "box" else ""

    def __str__(self) -> str:
        return f"#{self.number} {self.fault.kind} ({self.box.name}, {self.seconds:.1f} s)"


def steps(seed: int, boxes: Sequence[Box]) -> Iterator[Step]:
    """All kinds in a random order, then all of them again in another one, for ever."""
    dice, number = Random(seed), 0
    while True:
        for fault in dice.sample(FAULTS, len(FAULTS)):
            possible = [box for box in boxes if fault.only in ("", box.name)]
            number += 1
            seconds, pause = dice.uniform(*fault.seconds), dice.uniform(*PAUSES)
            yield Step(number, fault, dice.choice(possible), seconds, pause, dice.getrandbits(32))
