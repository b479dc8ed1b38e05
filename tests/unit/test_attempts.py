"""How often the same change may be tried again where it failed."""

from __future__ import annotations

import pytest

from controller.attempts import Attempts
from controller.domain.finding import Finding, Reason
from controller.domain.target import TargetKey
from tests.unit.made import KEY

FIRST = 600.0
FAILURE = Finding(Reason.RELOAD_FAILED, "exit code 1")
SECOND = 1.0
NOW = 5000.0


@pytest.fixture
def attempts() -> Attempts:
    return Attempts(FIRST)


def test_what_never_failed_need_not_wait(attempts):
    assert not attempts.standing(KEY, "input", NOW)


def test_after_a_failure_the_same_waits_for_the_first_interval(attempts):
    attempts.failed(KEY, "input", FAILURE, NOW)
    assert attempts.standing(KEY, "input", NOW + FIRST - SECOND) == FAILURE
    assert not attempts.standing(KEY, "input", NOW + FIRST)


def test_another_input_is_tried_at_once(attempts):
    attempts.failed(KEY, "input", FAILURE, NOW)
    assert not attempts.standing(KEY, "another", NOW)


def test_another_target_is_not_concerned(attempts):
    attempts.failed(KEY, "input", FAILURE, NOW)
    assert not attempts.standing(TargetKey("local", "b" * 64), "input", NOW)


def test_each_failure_of_the_same_doubles_the_wait_up_to_a_day(attempts):
    waits = []
    for _ in range(10):
        attempts.failed(KEY, "input", FAILURE, NOW)
        waits.append(next(m for m in range(1, 10**4) if not attempts.standing(KEY, "input", NOW + 60 * m)))
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]


def test_a_failure_of_another_input_starts_anew(attempts):
    for _ in range(5):
        attempts.failed(KEY, "input", FAILURE, NOW)
    attempts.failed(KEY, "another", FAILURE, NOW)
    assert not attempts.standing(KEY, "another", NOW + FIRST)
    assert not attempts.standing(KEY, "input", NOW)


def test_success_is_the_end_of_waiting(attempts):
    attempts.failed(KEY, "input", FAILURE, NOW)
    attempts.forget(KEY)
    assert not attempts.standing(KEY, "input", NOW)


def test_a_year_of_failures_with_the_longest_interval_is_no_overflow():
    attempts = Attempts(365 * 86400.0)
    for _ in range(100):
        attempts.failed(KEY, "input", FAILURE, NOW)
    assert attempts.standing(KEY, "input", NOW + 23 * 3600)
    assert not attempts.standing(KEY, "input", NOW + 86400)
