"""Conditions: what the store knows of a target, and what is logged when that changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from controller.domain.condition import Condition
from controller.domain.container import State
from controller.domain.finding import Finding, Reason
from controller.domain.target import InvalidTarget
from controller.policies import Facts
from controller.report import PASSING, Reporter
from controller.store import Store
from tests.unit.made import CLOSED, KEY, NEW, NOW, OLD, PLACE, certificate, container, facts, installed, serves, target

new, old = certificate(**NEW), certificate(**OLD)
GOOD = facts(new, installed(PLACE, new), serves(new))
UNTIL = f"{new.leaf.short} until {new.leaf.not_after:%Y-%m-%d}"


class Desk:
    """A reporter with a clock that can be set."""

    def __init__(self) -> None:
        self.store = Store()
        self.now = NOW
        self.reporter = Reporter(self.store, self._read)

    def _read(self) -> datetime:
        return self.now

    @property
    def condition(self) -> Condition:
        return self.store.targets[KEY].condition


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_ready_target_tells_what_is_served_where(desk):
    desk.reporter.ready(GOOD)
    assert desk.condition == Condition(True, None, f"{UNTIL}, served on 993/imaps", NOW)
    status = desk.store.targets[KEY]
    assert (status.name, status.target, status.installed) == ("mail", GOOD.target, (new.leaf,))
    assert (status.chosen, status.served, status.last_success) == ((("traefik", new.leaf),), GOOD.served, NOW)


@pytest.mark.parametrize(
    ("situation", "ending"),
    [
        (facts(new, installed(PLACE, new), on=target(probe=())), "installed; probing is switched off"),
        (facts(new, installed(PLACE, new), serves(None, **CLOSED)), "installed; none of its ports listens"),
        (
            facts(new, installed(PLACE, new), on=target(container=container(state=State.EXITED))),
            "installed; the container is exited",
        ),
    ],
    ids=["not probed", "nothing listens", "not running"],
)
def test_a_ready_target_without_proof_tells_why_there_is_none(desk, situation, ending):
    desk.reporter.ready(situation)
    assert desk.condition.message == f"{UNTIL} {ending}"


def test_a_target_that_is_not_ready_tells_the_reason_and_what_is_there(desk):
    now = facts(new, installed(PLACE, old), serves(old))
    desk.reporter.not_ready(now, Finding(Reason.CHECK_FAILED, "exit code 1"))
    assert desk.condition == Condition(False, Reason.CHECK_FAILED, "exit code 1", NOW)
    status = desk.store.targets[KEY]
    assert (status.chosen, status.installed, status.served) == ((("traefik", new.leaf),), (old.leaf,), now.served)
    assert status.last_success is None


def test_what_was_seen_later_counts_more(desk):
    later = (serves(new),)
    desk.reporter.not_ready(facts(new, installed(PLACE, old), serves(old)), Finding(Reason.RELOAD_PENDING, ""), later)
    assert desk.store.targets[KEY].served == later


def test_a_condition_is_as_old_as_its_reason(desk):
    desk.reporter.not_ready(GOOD, Finding(Reason.EXPIRED, "on Monday"))
    desk.now = NOW + timedelta(hours=1)
    desk.reporter.not_ready(GOOD, Finding(Reason.EXPIRED, "on Tuesday"))
    assert desk.condition == Condition(False, Reason.EXPIRED, "on Tuesday", NOW)
    desk.reporter.not_ready(GOOD, Finding(Reason.WEAK_KEY, ""))
    assert desk.condition.since == desk.now


def test_the_last_success_is_kept_through_failures(desk):
    desk.reporter.ready(GOOD)
    desk.now = NOW + timedelta(hours=1)
    desk.reporter.not_ready(GOOD, Finding(Reason.EXPIRED, ""))
    assert desk.store.targets[KEY].last_success == NOW


def test_a_target_that_cannot_be_looked_at_keeps_what_was_known_of_it(desk):
    desk.reporter.ready(GOOD)
    before = desk.store.targets[KEY]
    desk.reporter.failed(KEY, Finding(Reason.UNREACHABLE, "Docker does not answer"))
    status = desk.store.targets[KEY]
    assert status.condition == Condition(False, Reason.UNREACHABLE, "Docker does not answer", NOW)
    known = (before.name, before.target, before.installed, before.served, before.chosen, before.last_success)
    assert (status.name, status.target, status.installed, status.served, status.chosen, status.last_success) == known


def test_a_target_that_was_never_looked_at_is_called_by_its_key(desk):
    desk.reporter.failed(KEY, Finding(Reason.UNREACHABLE, ""))
    assert (desk.store.targets[KEY].name, desk.store.targets[KEY].target) == (str(KEY), None)


def test_wrong_labels_are_all_told(desk):
    desk.reporter.invalid(KEY, InvalidTarget(container(), ("one", "two")))
    assert (desk.condition.reason, desk.condition.message) == (Reason.INVALID_LABELS, "one; two")
    assert desk.store.targets[KEY].name == "mail"


def test_one_that_left_is_forgotten_and_told_once(desk):
    desk.reporter.ready(GOOD)
    with capture_logs() as lines:
        desk.reporter.gone(KEY)
        desk.reporter.gone(KEY)
    assert (desk.store.targets, [line["event"] for line in lines]) == ({}, ["target.left"])


def told(desk: Desk, *reports: Finding | None, situation: Facts = GOOD) -> list[tuple[str, str]]:
    with capture_logs() as lines:
        for report in reports:
            if report is None:
                desk.reporter.ready(situation)
            else:
                desk.reporter.not_ready(situation, report)
    return [(line["log_level"], line["event"]) for line in lines]


def test_a_change_is_logged_once_and_a_standing_condition_not_again(desk):
    expired = Finding(Reason.EXPIRED, "")
    assert told(desk, None, None, expired, expired, None) == [
        ("info", "target.ready"),
        ("error", "target.not_ready"),
        ("info", "target.ready"),
    ]


@pytest.mark.parametrize("reason", sorted(PASSING))
def test_what_is_just_being_mended_is_no_error(desk, reason):
    assert told(desk, Finding(reason, "")) == [("info", "target.changing")]


@pytest.mark.parametrize("reason", sorted(set(Reason) - PASSING))
def test_everything_else_is_one(desk, reason):
    assert told(desk, Finding(reason, "")) == [("error", "target.not_ready")]


class TestTheStore:
    def test_without_targets_all_are_ready(self):
        assert Store().all_ready

    def test_one_that_is_not_ready_is_enough(self, desk):
        desk.reporter.ready(GOOD)
        assert desk.store.all_ready
        desk.reporter.failed(KEY, Finding(Reason.UNREACHABLE, ""))
        assert not desk.store.all_ready
