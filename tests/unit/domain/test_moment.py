"""What to believe when clocks disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.moment import EARLIEST, TOLERANCE, Moment, Reading, read_clocks

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BOOTED = datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC)
DAY = timedelta(days=1)


def test_where_nothing_speaks_against_the_clock_it_is_believed():
    assert read_clocks(NOW) == Moment.at(NOW)
    assert read_clocks(NOW, [Reading("that of Docker", NOW + TOLERANCE / 2)], proven=NOW - DAY) == Moment.at(NOW)


def test_of_1970_nothing_is_believed_but_that_it_is_later():
    moment = read_clocks(BOOTED)
    assert (moment.is_after(EARLIEST - DAY), moment.is_after(NOW), moment.is_before(NOW)) == (True, False, False)
    assert moment.doubt.startswith("the clock says 1970-01-01 00:00 UTC, but it is at least 2025-01-01 00:00 UTC; ")


def test_a_certificate_that_was_issued_later_shows_that_the_clock_is_behind():
    moment = read_clocks(NOW - 100 * DAY, proven=NOW)
    assert (moment.is_after(NOW - DAY), moment.is_after(NOW + DAY), moment.is_before(NOW + DAY)) == (True, False, False)
    assert "the clock says 2026-08-19 12:00 UTC, but it is at least 2026-11-27 12:00 UTC" in moment.doubt


def test_behind_by_less_than_the_tolerance_it_is_put_right_without_a_word():
    assert read_clocks(NOW - TOLERANCE / 2, proven=NOW) == Moment.at(NOW)


@pytest.mark.parametrize("other", [NOW + 4000 * DAY, NOW - 100 * DAY])
def test_of_two_that_differ_neither_is_believed_alone(other):
    moment = read_clocks(NOW, [Reading("that of Docker", other)])
    early, late = sorted((NOW, other))
    assert (moment.earliest, moment.latest) == (early, late)
    assert f"the clock says 2026-11-27 12:00 UTC, that of Docker {other:%Y-%m-%d %H:%M} UTC; " in moment.doubt


def test_one_that_cannot_be_right_does_not_count_against_the_clock():
    assert read_clocks(NOW, [Reading("that of Docker", BOOTED)]) == Moment.at(NOW)


def test_another_one_counts_where_the_clock_cannot_be_right():
    moment = read_clocks(BOOTED, [Reading("that of Docker", NOW)])
    assert (moment.earliest, moment.latest) == (NOW, NOW)
    assert "1970" in moment.doubt


MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))


@given(
    true=st.datetimes(datetime(2025, 6, 1), datetime(2090, 1, 1), timezones=st.just(UTC)), others=st.lists(MOMENTS), lie=MOMENTS
)
def test_as_long_as_one_clock_is_right_nothing_good_is_taken_for_expired_or_too_early(true, others, lie):
    readings = [Reading("another", at) for at in (*others, true)]
    proven = min(true, lie)
    for moment in (read_clocks(lie, readings, proven=proven), read_clocks(true, readings[:-1], proven=proven)):
        assert not moment.is_after(true + TOLERANCE + timedelta(seconds=1))
        assert not moment.is_before(true - TOLERANCE)
