"""What fuzzing found once, and what was made to be slow: every parser ends as it may, in time linear in the input's size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.costly import COSTLY, Costly
from tests.fuzz.target import CORPUS, Target, attempt
from tests.fuzz.targets import TARGETS
from tests.unit.costs import costs_at_most

LINEAR = 1.5
"""The power of the size that the cost may grow with: one is linear, two is quadratic."""
NOISE = 0.1
"""Seconds of processor time below which a ratio says nothing."""


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_parser_ends_as_it_should_with_every_input_of_its_corpus(target: Target):
    inputs = [*target.seeds(), *(path.read_bytes() for path in target.corpus)]
    assert inputs, "a target without anything to begin with"
    for data in inputs:
        attempt(target, data)
        attempt(target, data[: len(data) // 2])


@pytest.mark.parametrize("costly", COSTLY, ids=str)
def test_time_grows_no_faster_than_the_input(costly: Costly):
    target = TARGETS[costly.target]
    part, whole = costly.make(costly.size // 4), costly.make(costly.size)
    times = len(whole) / len(part)
    assert times > 2
    cheap = costs_at_most(times**LINEAR, lambda: attempt(target, part), lambda: attempt(target, whole), noise=NOISE)
    assert cheap, f"{costly}: more than {times**LINEAR:.1f} times what an input costs that is {times:.1f} times smaller"


def test_every_kept_input_belongs_to_a_target():
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= TARGETS.keys()
    assert all(path.stat().st_size < 64 * 2**10 for path in Path(CORPUS).rglob("*")), "make it by code, in tests.fuzz.costly"
