"""A short piece of `tests.soak`: what was remembered of containers and certificates that are gone is gone, too."""

from __future__ import annotations

from tests.soak.life import STEADY, growth, live


def test_sixty_renewals_and_containers_that_come_and_go_leave_nothing_behind():
    measures = live(60, every=10)
    assert all(measure.entries == measures[0].entries for measure in measures)
    assert measures[0].entries["memory"] == measures[0].entries["targets"] == STEADY
    for of_none in ("attempts", "locks held", "locks waiting", "queue again", "queue failures"):
        assert measures[0].entries[of_none] == 0, of_none
    assert growth(measures) < 120  # less than two KiB for each; one certificate has more
