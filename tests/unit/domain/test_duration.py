"""Durations as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("30s", 30.0),
        ("0s", 0.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        (" 30s ", 30.0),
    ],
)
def test_a_number_with_a_unit_is_so_many_seconds(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "30 s", "-5s", "5S", "1e3s", "½h", "30sec", "1h30", "nan", "infs", "٣s", "9999999999s"]
)
def test_anything_else_is_refused_with_an_example_of_how_to_write_it(text):
    with pytest.raises(ValueError, match="is not a duration; write a number with its unit, such as 100ms, 30s"):
        parse_duration(text)


@given(st.text(max_size=40))
def test_no_text_gives_more_than_a_finite_number_or_a_value_error(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0
