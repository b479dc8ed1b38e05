"""Log lines: JSON in a container, readable on a terminal, on standard error alone."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from controller import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def test_a_line_of_json_has_event_level_time_and_fields(capsys):
    logs.configure("info", "json")
    structlog.get_logger().warning("target.installed", target="mail", names=("ä",))
    printed = capsys.readouterr()
    line = json.loads(printed.err)
    assert (line["event"], line["level"], line["target"], line["names"]) == ("target.installed", "warning", "mail", ["ä"])
    assert line["timestamp"].endswith("Z")
    assert printed.out == ""


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_severe_lines_than_asked_for_are_left_out(capsys, level, seen):
    logs.configure(level, "json")
    log = structlog.get_logger()
    for say in (log.debug, log.info, log.warning, log.error):
        say("something.happened")
    assert len(capsys.readouterr().err.splitlines()) == seen


@pytest.mark.parametrize(("terminal", "console"), [(True, True), (False, False)])
def test_by_itself_it_is_readable_on_a_terminal_and_json_elsewhere(monkeypatch, capsys, terminal, console):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    logs.configure("info", "auto")
    structlog.get_logger().info("something.happened")
    assert capsys.readouterr().err.startswith("{") != console


def test_what_is_bound_to_the_work_is_in_every_line(capsys):
    logs.configure("info", "json")
    with structlog.contextvars.bound_contextvars(reconcile="5f"):
        structlog.get_logger().info("something.happened")
    assert json.loads(capsys.readouterr().err)["reconcile"] == "5f"


def test_a_traceback_is_part_of_the_line(capsys):
    logs.configure("info", "json")
    try:
        raise ValueError("a bug")
    except ValueError:
        structlog.get_logger().exception("it.crashed")
    line = json.loads(capsys.readouterr().err)
    assert (line["exception"][0]["exc_type"], line["exception"][0]["exc_value"]) == ("ValueError", "a bug")
