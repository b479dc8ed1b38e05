"""Health and readiness tell what is missing."""

from __future__ import annotations

from controller.domain.finding import Reason
from controller.domain.snapshot import SourceStatus
from controller.store import Store
from controller.web.health import Vitals, judge_health, judge_readiness

WELL = Vitals(dead_tasks=lambda: (), first_pass_done=lambda: True)


def test_healthy_while_no_eternal_task_has_ended():
    assert judge_health(WELL).ok


def test_an_ended_task_is_named():
    vitals = Vitals(dead_tasks=lambda: {"watch traefik", "listen to events"}, first_pass_done=lambda: True)
    assert judge_health(vitals).body == {
        "ok": False,
        "missing": [
            "the task listen to events has ended; restart certferry",
            "the task watch traefik has ended; restart certferry",
        ],
    }


def test_not_ready_before_everything_was_seen_once(store):
    store.engine_up, store.engine_message = False, "connection refused"
    vitals = Vitals(dead_tasks=lambda: ("events",), first_pass_done=lambda: False)
    assert judge_readiness(store, vitals).missing == (
        "the task events has ended; restart certferry",
        "the Docker Engine: connection refused",
        "source nginx: not read yet",
        "the first pass over the containers is not complete",
    )


def test_a_source_that_was_tried_in_vain_does_not_hold_up_readiness():
    failed = SourceStatus(reason=Reason.SOURCE_UNAVAILABLE, message="no such file")
    assert judge_readiness(Store(sources={"traefik": failed}, engine_up=True), WELL).ok
