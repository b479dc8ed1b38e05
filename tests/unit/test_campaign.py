"""The campaign's own reckoning: the seed decides what happens, and what a fault excuses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

from tests.campaign.api_proxy import Rule
from tests.campaign.calm import Calm, Count
from tests.campaign.ferry import Cost
from tests.campaign.fleet import KINDS, Box, Kind
from tests.campaign.journal import Incident, Journal
from tests.campaign.judge import Judge, Limits
from tests.campaign.plan import FAULTS, steps
from tests.campaign.reader import Sight, read_line
from tests.campaign.store import Issued, Store
from tests.campaign.watch import Outage
from tests.certs import Authority, Pair, acme_json
from tests.unit.tls_thread import tls_server

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


def a_judge(incidents: list[Incident] | None = None, **of_ferry: Any) -> Judge:
    """Of a scene with a certferry of which no more is known than what is given."""
    journal = Journal()
    journal.incidents = incidents or []
    ferry = SimpleNamespace(said_of=lambda *_args, **_named: [], **of_ferry)
    scene: Any = SimpleNamespace(journal=journal, ferry=ferry, boxes=[])
    return Judge(scene, Limits(mismatch=1.0, start=2.0), lambda _text: None)


def judged(*sights: Sight, incidents: list[Incident] | None = None, kind: Kind = KINDS[0]) -> list[str]:
    """What the judge complains of when a reader saw these things one after the other."""
    judge = a_judge(incidents)
    box: Any = SimpleNamespace(name="direct", kind=kind, container=SimpleNamespace(id="c1"), mail=SimpleNamespace(name="mail"))
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


def test_what_a_container_made_itself_at_its_start_ends_what_was_there_before() -> None:
    back = sight(100, 101, 2, 2), sight(101, 102, None, None), sight(102, 103, 0, 0)
    assert [kind.name for kind in KINDS if not judged(*back, kind=kind)] == ["direct", "tmpfs"]


def complained(**line: str) -> list[str]:
    """What the judge complains of in one line of certferry's log."""
    judge = a_judge(take_lines=lambda: [{"event": "text", **line}])
    judge.log({})
    return list(judge.failures)


def test_the_log_tells_of_roll_backs_and_of_what_nobody_foresaw() -> None:
    assert complained(event="target.rolling_back") == ["rolled back"]
    assert complained(event="target.not_ready", reason="CheckFailed") == ["rolled back"]
    assert complained(event="target.not_ready", reason="WriteFailed") == []
    for text in ("Traceback (most recent call last):", "asyncio: Task was destroyed but it is pending!", "Unclosed connection"):
        assert complained(text=text) == ["an error that nobody foresaw"]
    assert complained(event="reconcile.crashed") == ["an error that nobody foresaw"]
    assert complained(text="  waits for <Future pending>") == []


@pytest.mark.parametrize(
    ("cost", "holds"),
    [((70.0, 23, 9), True), ((90.0, 23, 9), False), ((70.0, 40, 9), False), ((70.0, 23, 20), False)],
)
def test_every_life_is_measured_against_the_first(
    monkeypatch: pytest.MonkeyPatch, cost: tuple[float, int, int], *, holds: bool
) -> None:
    monkeypatch.setattr("tests.campaign.calm.RESTING", 0.0)
    now = Cost(1.0, *cost)
    judge = a_judge(costs=[[Cost(0.0, 65.0, 20, 6)], [now]], ends=[], unasked=[], measure=lambda: now)
    Calm(judge, {}).end([])
    assert (judge.failures == {}) is holds


@pytest.mark.parametrize(("reloads", "holds"), [(2, True), (3, False)])
def test_no_reload_comes_from_nowhere(reloads: int, *, holds: bool) -> None:
    name = "mail"
    lines = [{"event": "target.differs", "target": name}] * 2 + [{"event": "target.differs", "target": "other"}]
    judge = a_judge(
        lines=lambda: lines, costs=[[Cost(0.0, 65.0, 20, 6)]], ends=[], unasked=[], measure=lambda: Cost(0, 65, 20, 6)
    )
    judge.scene.store = SimpleNamespace(changes=lambda *_: 10)  # type: ignore[assignment]
    box: Any = SimpleNamespace(
        name="direct",
        kind=KINDS[0],
        container=SimpleNamespace(id="c1"),
        mail=SimpleNamespace(name=name),
        reloads=lambda: (1, 1 + reloads, 0),
    )
    Calm(judge, {}).end([Count(box, 0.0, (1, 1, 0))])
    assert (judge.failures == {}) is holds


def test_what_docker_says_in_the_place_of_a_container_is_no_sight() -> None:
    assert read_line("12.5\tKEY\tCERTIFICATE\n", "c1") == (12.5, "c1", "KEY", "CERTIFICATE")
    assert read_line("12.5\t-----END PRIVATE KEY-----\t-\n", "c1") == (12.5, "c1", "-----END PRIVATE KEY-----", "-")
    for line in ("OCI runtime exec failed: exec failed: unable to start container process\n", "12.5\tKEY", "\n", ""):
        assert read_line(line, "c1") is None


@pytest.mark.parametrize(
    ("errors", "silent"),
    [
        ({"TimeoutError: timed out": 3, "ConnectionRefusedError: [Errno 111] Connection refused": 2}, True),
        ({"ConnectionRefusedError: [Errno 111] Connection refused": 9, "SSLError: wrong version": 1}, False),
        ({"SMTPResponseException: (454, b'4.7.0 TLS not available')": 1}, False),
    ],
)
def test_a_service_that_does_not_answer_is_given_the_time_that_the_machine_takes(
    errors: dict[str, int], *, silent: bool
) -> None:
    assert Outage("direct", 587, (0.0, 1.0), errors).silent is silent


def test_a_leaf_is_not_served_rightly_without_its_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    pair, other = authority.issue("direct.example.test"), authority.issue("direct.example.test")
    alone = Pair(pair.chain.removesuffix(authority.intermediate_pem), pair.key)
    box: Any = SimpleNamespace(lab=SimpleNamespace(authority=authority), look_up_address=lambda: "127.0.0.1")

    def wrong(served: Pair) -> str:
        with tls_server(served) as port:
            monkeypatch.setattr("tests.campaign.fleet.MAIL_PORTS", {port: "imaps"})
            return Box.wrong(box, pair.certificate.fingerprint)

    assert wrong(pair) == ""
    assert "unable to get local issuer certificate" in wrong(alone)
    assert "another leaf" in wrong(other)


def test_a_store_can_be_what_a_backup_held_and_be_renamed_into_place(tmp_path: Path) -> None:
    file, authority = tmp_path / "acme.json", Authority()
    lab: Any = SimpleNamespace(issue=authority.issue, acme=SimpleNamespace(path=file, write_raw=file.write_bytes))
    store = Store(lab, ["a.test"], dice=ANY)
    inode = file.stat().st_ino
    store.renew(["a.test"])
    newest = acme_json(store.newest["a.test"].pair)
    assert (file.read_bytes(), file.stat().st_ino) == (newest, inode)
    with store.spoiled(store.backup):
        assert file.read_bytes() == acme_json(store.first["a.test"].pair)
    with store.renaming():
        store.renew(["a.test"])
    assert file.stat().st_ino != inode
    assert file.read_bytes() == acme_json(store.newest["a.test"].pair)
