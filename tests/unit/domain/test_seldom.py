"""What is seldom met: states and lists that no engine of today has, and refusals of what is beyond every measure."""

from __future__ import annotations

import json

import pytest

from controller.domain.container import State
from controller.domain.errors import LabelError
from controller.domain.execution import ExecResult, without_arguments
from controller.domain.guarded import OVERDUE, is_overdue
from controller.domain.mail_ports import MOST_PROBLEMS, ProbeListError, parse_probe_list
from controller.domain.printable import printable_json, printable_lines
from controller.label_values import check_length
from controller.labels import MOST_UNKNOWN, parse_labels


def test_a_state_that_docker_may_have_one_day_counts_as_not_running() -> None:
    assert State("hibernated") is State.EXITED


def test_what_a_command_repeats_of_its_arguments_is_not_told() -> None:
    result = ExecResult(1, b"", b"login of carol failed: wrong password tops3cret\n")
    assert result.tail_of(("login", "carol", "--password=tops3cret")) == "login of … failed: wrong password …"
    assert without_arguments("no output", ()) == "no output"
    assert ExecResult(1, b"", b"").tail_of(("true",)) == "no output"


@pytest.mark.parametrize("code", [124, 137])
def test_a_command_whose_time_was_up_is_told_from_one_that_ended_so_by_itself(code: int) -> None:
    assert is_overdue(ExecResult(code, b"", f"{OVERDUE} 5 s\n".encode()))
    assert not is_overdue(ExecResult(code, b"", b"killed\n"))
    assert not is_overdue(ExecResult(1, b"", OVERDUE.encode()))


def test_a_list_with_a_thousand_mistakes_is_not_answered_with_as_many_sentences() -> None:
    with pytest.raises(ProbeListError) as caught:
        parse_probe_list(",".join(["70000/nothing"] * 1000))
    assert len(caught.value.problems) == MOST_PROBLEMS + 1
    assert caught.value.problems[-1] == "and more of that kind"


def test_line_ends_stay_where_lines_are_meant_and_nothing_else_steers_the_terminal() -> None:
    assert printable_lines("one\ntwo\x1b[2J") == "one\ntwo\\x1b[2J"
    shown = printable_json('{\n"a": "\x85"}')
    assert (shown.isprintable(), json.loads(shown)) == (False, {"a": "\x85"})


def test_a_label_longer_than_any_real_one_is_refused_with_its_length() -> None:
    assert check_length("x" * 10, 10) == "x" * 10
    with pytest.raises(ValueError, match="11 characters long; expected at most 10"):
        check_length("x" * 11, 10)


def test_of_thousands_of_unknown_labels_some_are_named_and_the_rest_counted() -> None:
    labels = {f"certferry.zzz{number}": "1" for number in range(MOST_UNKNOWN + 1234)}
    with pytest.raises(LabelError) as caught:
        parse_labels({"certferry.domain": "mail.example.test", **labels}, prefix="certferry.", profiles=(), sources=())
    assert len(caught.value.problems) == MOST_UNKNOWN + 1
    assert caught.value.problems[-1].startswith("1,234 more labels")
