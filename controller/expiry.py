"""How near its end a certificate is, by its own life: 90 days, 45 or six. Pure.

What is left is counted in parts of the whole life, since everybody who renews does so: a third, or what comes near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.domain.certificate import Leaf
from controller.domain.moment import Moment
from controller.domain.snapshot import Schedule

FIFTH, TENTH, TWENTIETH = 0.2, 0.1, 0.05
"""The parts of a life that are left when a word is said (design §4): 18, 9 and 4.5 days of 90,
or 29, 14 and 7 hours of six."""

LONGEST_LIFE = timedelta(days=400)
"""What lives longer counts as if it lived so long: nobody renews a certificate of ten years two years before its end. Public
authorities issue none for longer than 398 days."""

ENDED = 0.0
"""The step at which nothing is left."""

OVERDUE = 0.8
"""Whoever renews at some part of a life has passed it over when a fifth of that part is gone, too: programs look once or twice
a day only, and may be switched off for a day."""

HABIT = 3
"""After so many renewals in a row it is known when a source renews."""

SHORTEST_LOOK = 600.0
"""Seconds between two looks at least, however short a life is."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """The `step` that was passed, as the part of its life that was left then; ``None`` where there is time enough. `next` is
    when the next one is passed, and `rest` what is left."""

    step: float | None
    next: datetime | None
    rest: timedelta


def first_word(seen: Sequence[float], usual: float | None = None) -> float:
    """The part of a life at which the first word is said: a fifth, or later where it is known that this is no reason to worry.

    `seen` are the parts that were left when the source renewed such a certificate the last few times, and `usual` is when its
    program is known to renew. Three renewals in a row are a habit, and the earliest of them counts: who once renewed in time
    was late for a reason at other times. Fewer may be a failure that somebody mended, so they move the first word to a tenth
    at most. With less than a twentieth left a word is said in any case.
    """
    if len(seen) >= HABIT:
        part, latest = max(seen[-HABIT:]), TWENTIETH
    elif usual is not None:
        part, latest = usual, TWENTIETH
    elif seen:
        part, latest = max(seen), TENTH
    else:
        return FIFTH
    return min(FIFTH, max(part * OVERDUE, latest))


def usual_part(leaf: Leaf, schedule: Schedule) -> float | None:
    """The part of its life that a program with this schedule leaves; ``None`` where none is known for such a life."""
    life = leaf.not_after - leaf.not_before
    rounded = timedelta(hours=round(life / timedelta(hours=1)))  # an authority issues for 90 days and a second less
    left = next((left for shortest, left in schedule if rounded >= shortest), None)
    return None if left is None or life <= timedelta(0) else left / _counted(leaf)


def judge(leaf: Leaf, moment: Moment, first: float = FIFTH) -> Nearness:
    """How near its end a leaf is, where the first word is said at the part `first` of its life. Only what has surely passed
    counts: a clock that is wrong must not tell of an end."""
    steps = (first, *(part for part in (TENTH, TWENTIETH, ENDED) if part < first))
    passed = [part for part in steps if moment.is_after(when(leaf, part))]
    coming = steps[len(passed) :]
    step = passed[-1] if passed else None
    return Nearness(step, when(leaf, coming[0]) if coming else None, leaf.not_after - moment.earliest)


def when(leaf: Leaf, part: float) -> datetime:
    """When this part of its life is left."""
    return leaf.not_after - _counted(leaf) * part


def _counted(leaf: Leaf) -> timedelta:
    return min(leaf.not_after - leaf.not_before, LONGEST_LIFE)


def longest_pause(leaf: Leaf) -> float:
    """Seconds that may pass between two looks at whoever has it, though no event tells of anything."""
    return max((leaf.not_after - leaf.not_before).total_seconds() * TWENTIETH, SHORTEST_LOOK)


def part_left(leaf: Leaf, at: datetime) -> float:
    """The part of its life that is left then; nothing once it has ended."""
    life = _counted(leaf)
    return min(max((leaf.not_after - at) / life, 0.0), 1.0) if life > timedelta(0) else 0.0


def say(near: Nearness, leaf: Leaf) -> str:
    """In words: it expires in 20 hours (2026-11-29 06:00 UTC)."""
    end = f"{leaf.not_after:%Y-%m-%d %H:%M} UTC"
    return f"expired on {end}" if near.step == ENDED else f"expires in {say_rest(near.rest)} ({end})"


def say_rest(rest: timedelta) -> str:
    """How much time is left, in the largest unit of which there are two."""
    minutes = int(rest.total_seconds() // 60)
    for unit, length in (("days", 1440), ("hours", 60), ("minutes", 1)):
        if minutes >= 2 * length:
            return f"{minutes // length} {unit}"
    return "less than two minutes"
