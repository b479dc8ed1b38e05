"""How near its end a certificate is, by its own life."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import expiry
from controller.domain.certificate import Leaf
from controller.domain.moment import Moment
from controller.expiry import (
    FIFTH,
    TENTH,
    TWENTIETH,
    first_word,
    judge,
    longest_pause,
    part_left,
    say,
    say_rest,
    usual_part,
    when,
)
from sources.traefik_file import SCHEDULE
from tests.unit.made import certificate

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def leaf(life: timedelta = 90 * DAY) -> Leaf:
    return replace(certificate().leaf, not_before=BEGIN, not_after=BEGIN + life)


def at(life: timedelta, part: float, later: float = 0.0) -> Moment:
    """When this part of the life is left, and some seconds later."""
    return Moment.at(when(leaf(life), part) + timedelta(seconds=later))


LIVES = [90 * DAY, 64 * DAY, 45 * DAY, 160 * DAY / 24, 12 * timedelta(hours=1)]


@pytest.mark.parametrize("life", LIVES, ids=str)
@pytest.mark.parametrize(
    ("part", "before"), [(FIFTH, None), (TENTH, FIFTH), (TWENTIETH, TENTH), (0.0, TWENTIETH)], ids=["a", "b", "c", "end"]
)
def test_each_step_is_passed_at_its_part_of_the_life_and_not_a_second_sooner(life, part, before):
    assert judge(leaf(life), at(life, part, -1)).step == before
    assert judge(leaf(life), at(life, part)).step == part


@pytest.mark.parametrize("life", LIVES, ids=str)
def test_the_next_moment_is_when_the_next_step_is_passed(life):
    moment, steps = Moment.at(BEGIN), []
    while (near := judge(leaf(life), moment)).next:
        moment = Moment.at(near.next)
        steps.append(judge(leaf(life), moment).step)
    assert steps == [FIFTH, TENTH, TWENTIETH, 0.0]


@pytest.mark.parametrize(
    ("first", "steps"),
    [(0.15, [0.15, TENTH, TWENTIETH, 0.0]), (TENTH, [TENTH, TWENTIETH, 0.0]), (TWENTIETH, [TWENTIETH, 0.0])],
)
def test_where_the_first_word_comes_later_those_that_it_would_follow_are_left_out(first, steps):
    passed = [judge(leaf(), at(90 * DAY, part / 1000), first).step for part in range(1000, -1, -1)]
    assert list(dict.fromkeys(passed)) == [None, *steps]


@pytest.mark.parametrize(("years", "days"), [(1, 73), (2, 80), (10, 80)])
def test_of_a_life_of_many_years_nothing_is_said_years_before_its_end(years, days):
    long = leaf(years * 365 * DAY)
    assert long.not_after - when(long, FIFTH) == days * DAY
    assert judge(long, Moment.at(long.not_after - (days + 1) * DAY)).step is None


def test_of_two_clocks_the_one_counts_that_says_nothing_of_an_end():
    end = leaf().not_after
    doubted = Moment(end - 60 * DAY, end + DAY, "the clock says two things")
    assert judge(leaf(), doubted) == judge(leaf(), Moment.at(end - 60 * DAY))
    assert judge(leaf(), doubted).step is None


class TestTheFirstWord:
    @pytest.mark.parametrize("seen", [(), (1 / 3,), (1 / 3, 0.02), (0.02, 1 / 3), (1 / 3, 0.02, 0.02), (0.5, 0.5, 0.5)])
    def test_comes_at_a_fifth_where_nothing_is_known_or_the_source_was_seen_to_renew_in_time(self, seen):
        assert first_word(seen) == FIFTH

    def test_comes_later_where_the_source_was_seen_to_renew_later(self):
        assert first_word((0.15,)) == pytest.approx(0.12)
        assert first_word((0.15, 0.14, 0.13)) == pytest.approx(0.12)

    @pytest.mark.parametrize("seen", [(0.02,), (0.0,), (0.02, 0.03)])
    def test_one_late_renewal_may_be_a_failure_that_was_mended_so_a_tenth_stays(self, seen):
        assert first_word(seen) == TENTH

    def test_what_was_late_three_times_is_always_so_but_a_twentieth_stays(self):
        assert first_word((0.08, 0.07, 0.08)) == pytest.approx(0.064)
        assert first_word((0.02, 0.02, 0.02)) == TWENTIETH

    def test_the_last_three_count(self):
        assert first_word((1 / 3, 0.08, 0.08, 0.08)) == pytest.approx(0.064)

    def test_when_a_program_is_known_to_renew_counts_until_it_was_seen(self):
        assert first_word((), 1 / 3) == FIFTH
        assert first_word((), 10 / 64) == pytest.approx(0.125)
        assert first_word((0.02,), 10 / 64) == pytest.approx(0.125)
        assert first_word((1 / 3, 1 / 3, 1 / 3), 10 / 64) == FIFTH

    @given(st.lists(st.floats(0, 1), max_size=6), st.none() | st.floats(0, 1))
    def test_is_never_before_a_fifth_nor_after_a_twentieth_nor_where_it_renewed_in_its_habit(self, seen, usual):
        first = first_word(seen, usual)
        assert TWENTIETH <= first <= FIFTH
        if len(seen) >= expiry.HABIT and max(seen[-expiry.HABIT :]) > TWENTIETH:
            assert first < max(seen[-expiry.HABIT :])

    @given(st.lists(st.floats(0, 1), max_size=2), st.floats(0, 1))
    def test_one_more_renewal_in_time_never_moves_it_later(self, seen, later):
        assert first_word([*seen, 1 / 3]) >= first_word([*seen, min(later, 1 / 3)])


class TestTheScheduleOfTraefik:
    @pytest.mark.parametrize(
        ("life", "left"),
        [(365, 120), (366, 120), (364, 30), (90, 30), (89, 10), (64, 10), (45, 10), (29, 2), (6, 2), (5, 0.25)],
    )
    def test_tells_what_is_left(self, life, left):
        assert usual_part(leaf(life * DAY), SCHEDULE) == pytest.approx(left / life)

    def test_of_ten_years_it_is_early(self):
        assert usual_part(leaf(3650 * DAY), SCHEDULE) == pytest.approx(0.3)

    def test_a_second_less_than_90_days_are_90(self):
        assert usual_part(leaf(90 * DAY - timedelta(seconds=1)), SCHEDULE) == pytest.approx(1 / 3)

    def test_where_none_is_known_there_is_none(self):
        assert usual_part(leaf(), ()) is None
        assert usual_part(leaf(-DAY), SCHEDULE) is None
        assert usual_part(leaf(timedelta(0)), SCHEDULE) is None


def test_what_is_left_is_between_nothing_and_all():
    life = leaf()
    moments = [BEGIN - DAY, BEGIN, BEGIN + 45 * DAY, BEGIN + 90 * DAY, BEGIN + 91 * DAY]
    assert [part_left(life, moment) for moment in moments] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert part_left(leaf(timedelta(0)), BEGIN) == 0.0


def test_looks_are_a_twentieth_of_a_life_apart_at_most_and_ten_minutes_at_least():
    assert longest_pause(leaf(160 * DAY / 24)) == 8 * 3600
    assert longest_pause(leaf(timedelta(minutes=5))) == 600


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (18 * DAY, "18 days"),
        (2 * DAY, "2 days"),
        (2 * DAY - timedelta(seconds=1), "47 hours"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(seconds=119), "less than two minutes"),
        (-DAY, "less than two minutes"),
    ],
)
def test_what_is_left_is_told_in_a_unit_of_which_there_are_two(rest, told):
    assert say_rest(rest) == told


def test_an_end_is_told_with_its_date():
    end = leaf().not_after
    assert say(judge(leaf(), Moment.at(end - 9 * DAY)), leaf()) == "expires in 9 days (2026-05-30 00:00 UTC)"
    assert say(judge(leaf(), Moment.at(end)), leaf()) == "expired on 2026-05-30 00:00 UTC"
