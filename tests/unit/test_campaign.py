"""The campaign's own reckoning: the seed decides what happens, and what a fault excuses."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from tests.campaign.api_proxy import Rule
from tests.campaign.fleet import KINDS
from tests.campaign.journal import Incident, Journal
from tests.campaign.judge import Judge, Limits
from tests.campaign.plan import FAULTS, steps
from tests.campaign.reader import Sight
from tests.campaign.store import Issued
from tests.certs import Pair

BOXES: Any = [SimpleNamespace(name=kind.name) for kind in KINDS]


def test_a_seed_decides_every_step() -> None:
    first, again, other = ([str(step) for step in islice(steps(seed, BOXES), 200)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_kind_comes_before_any_comes_again() -> None:
    kinds = [step.fault.kind for step in islice(steps(3, BOXES), len(FAULTS))]
    assert sorted(kinds) == sorted(fault.kind for fault in FAULTS)
    assert len(set(kinds)) == len(kinds) >= 20


def test_what_can_happen_to_one_box_only_happens_to_that() -> None:
    met = {(step.fault.kind, step.box.name) for step in islice(steps(4, BOXES), 300)}
    assert {name for kind, name in met if "tmpfs" in kind} == {"tmpfs"}


@pytest.mark.parametrize(
    ("incidents", "calm"),
    [
        ([], 10.0),
        ([("direct", 102, 103)], 7.0),  # itself, and 2 s after it
        ([("volume", 102, 103)], 10.0),
        ([("", 102, 103)], 8.0),  # itself, and 1 s after it
        ([("direct", 90, 99)], 9.0),  # what comes after it reaches in
        ([("direct", 102, 104), ("", 103, 105)], 6.0),  # what overlaps counts once
        ([("direct", 90, 120)], 0.0),
    ],
)
def test_what_was_in_the_way_does_not_count(incidents: list[tuple[str, float, float]], calm: float) -> None:
    journal = Journal()
    journal.incidents = [Incident("", "", box, begin, end) for box, begin, end in incidents]
    assert journal.calm((100.0, 110.0), "direct", after_own=2.0, after_others=1.0) == pytest.approx(calm)


def test_a_rule_meets_every_nth_call_of_its_kind_until_it_is_over() -> None:
    rule = Rule("^POST .*/exec", fails=True, every=2)
    calls = ["POST /containers/x/exec", "GET /events"] * 4
    assert [rule.meets(call) for call in calls] == [False, False, True, False] * 2
    rule.over.set()
    assert not any(rule.meets(call) for call in calls)


def judged(*sights: Sight, incidents: list[Incident] | None = None) -> list[str]:
    """What the judge complains of when a reader saw these things one after the other."""
    journal = Journal()
    journal.incidents = incidents or []
    scene: Any = SimpleNamespace(journal=journal, ferry=SimpleNamespace(said_of=lambda *_args, **_named: []))
    box: Any = SimpleNamespace(
        name="direct", kind=KINDS[0], container=SimpleNamespace(id="c1"), mail=SimpleNamespace(name="mail")
    )
    judge = Judge(scene, Limits(mismatch=1.0, start=2.0), lambda _text: None)
    judge.sights(box, SimpleNamespace(take_sights=lambda: list(sights)))  # type: ignore[arg-type]
    return list(judge.failures)


def sight(begin: float, end: float, key: int | None, certificate: int | None, container: str = "c1") -> Sight:
    first, second = (None if number is None else PAIRS[number] for number in (key, certificate))
    return Sight((begin, end), container, first, second)


PAIRS = [Issued("direct.example.test", number, 0.0, Pair(b"", b"")) for number in range(3)]
APART, BACK = "key and certificate did not belong together", "a right pair was taken back"


def test_a_pair_that_does_not_belong_together_may_only_pass_by() -> None:
    assert judged(sight(100, 101, 0, 0), sight(101, 101.05, 1, 0), sight(101.05, 110, 1, 1)) == []
    assert judged(sight(100, 101, 0, 0), sight(101, 110, 1, 0)) == [APART]
    assert judged(sight(101, 110, 1, None)) == [APART]
    assert judged(sight(101, 110, 1, 0), incidents=[Incident("", "", "direct", 101, 108)]) == []


def test_an_older_pair_is_a_failure_unless_the_container_is_another() -> None:
    assert judged(sight(100, 101, 0, 0), sight(101, 102, 2, 2)) == []
    assert judged(sight(100, 101, 2, 2), sight(101, 101.05, 1, 2), sight(102, 103, 1, 1)) == [BACK]
    assert judged(sight(100, 101, 2, 2), sight(101, 102, 0, 0, "c2")) == []
