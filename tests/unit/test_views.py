"""What the commands show: plain data for programs, tables of it for people."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from controller import policies, views
from controller.domain.certificate import Trust
from controller.domain.condition import Condition
from controller.domain.finding import Reason
from controller.domain.observed import Served
from controller.domain.snapshot import SourceStatus
from controller.domain.target import InvalidTarget
from controller.policies import Facts
from controller.probe.container import handed_out
from controller.store import Store, TargetStatus
from controller.web.status import describe_store
from tests.unit.made import (
    CERT,
    CLOSED,
    DOMAIN,
    IMAPS,
    KEY,
    NEW,
    NOW,
    OLD,
    PLACE,
    PRIVATE,
    certificate,
    container,
    facts,
    installed,
    pair,
    serves,
    snapshot,
    target,
)

old, new = certificate(**OLD), certificate(**NEW)


def shown(renderable: Any) -> str:
    """What a person sees, in one line."""
    console = Console(file=io.StringIO(), width=300, markup=False)
    console.print(renderable)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def plan_of(situation: Facts) -> views.Json:
    described = views.describe_plan((situation, policies.decide(situation)))
    assert json.loads(json.dumps(described)) == described
    return described


class TestPlan:
    RENEWAL = facts(
        (new, certificate(trust=Trust.STAGING, **OLD)),
        installed(PLACE, old),
        serves(old),
        on=target(check=("doveconf", "-n"), notes=("a note",)),
    )

    def test_tells_everything_a_program_could_want(self):
        described = plan_of(self.RENEWAL)
        assert (described["target"], described["profile"], described["domains"]) == ("mail", "generic", [DOMAIN])
        assert (described["write"], described["run"]) == ([str(PRIVATE), str(CERT)], ["doveconf -n", "postfix reload"])
        assert (described["refused"], described["notes"][0]) == (None, "a note")
        assert [finding["reason"] for finding in described["findings"]] == ["LeafDiffers"]

    def test_tells_of_every_candidate_why_it_lost(self):
        first, second = plan_of(self.RENEWAL)["candidates"]
        assert (first["chosen"], first["lost"], first["trust"], first["fingerprint"]) == (True, "", "public", new.fingerprint)
        assert (second["chosen"], second["trust"]) == (False, "staging")
        assert second["lost"].startswith("fewer clients trust it than ")

    def test_is_readable(self):
        text = shown(views.plans([plan_of(self.RENEWAL)]))
        for part in (
            f"mail (generic: {DOMAIN})",
            "chosen",
            new.leaf.short,
            "LeafDiffers: ",
            "would write /tls/key.pem",
            "would run postfix reload",
            "note: a note",
        ):
            assert part in text

    def test_of_a_paused_target_says_that_nothing_is_done(self):
        situation = facts(new, installed(PLACE, old), serves(old), on=target(paused_by="certferry.pause=true"))
        assert shown(views.plans([plan_of(situation)])).endswith("paused (certferry.pause=true): certferry does none of it")

    def test_of_nothing_to_do_says_so(self):
        described = plan_of(facts(new, installed(PLACE, new), serves(new)))
        assert (described["write"], described["run"], described["findings"]) == ([], [], [])
        assert shown(views.plans([described])).endswith("nothing to do")

    def test_of_a_refusal_says_why_and_runs_nothing(self):
        described = plan_of(facts(certificate("other.example.com"), installed(PLACE, old), serves(old)))
        assert described["refused"]["reason"] == Reason.NO_MATCHING_CERTIFICATE
        assert (described["write"], described["run"], described["candidates"]) == ([], [], [])
        assert "would do nothing: NoMatchingCertificate: " in shown(views.plans([described]))

    def test_where_only_a_reload_is_due_runs_no_check(self):
        wanted = target(check=("doveconf", "-n"))
        described = plan_of(facts(new, installed(PLACE, new), serves(old), on=wanted))
        assert (described["write"], described["run"]) == ([], ["postfix reload"])

    def test_of_wrong_labels_names_them(self):
        described = views.describe_plan(InvalidTarget(container(), ("one", "two")))
        assert described["refused"] == {"reason": "InvalidLabels", "message": "one; two"}
        assert "mail would do nothing: InvalidLabels: one; two" in shown(views.plans([described]))

    def test_without_targets_says_how_to_make_one(self):
        assert "label your mail container with certferry.domain=mail.example.com" in shown(views.plans([]))


class TestProbe:
    def row(self, served: Served, *, min_days: int = 0, required: bool = True) -> views.Json:
        return views.describe_probe("mail", served, name=DOMAIN, min_days=min_days, required=required)

    def test_tells_what_a_port_hands_out(self):
        row = self.row(handed_out(IMAPS, pair(**NEW).chain, "network"))
        leaf = new.leaf
        assert (row["host"], row["port"], row["fingerprint"]) == ("mail", "993/imaps", leaf.fingerprint)
        assert (row["subject"], row["issuer"], row["names"]) == (DOMAIN, leaf.issuer, [DOMAIN])
        assert 89 < row["days_left"] <= 90
        assert json.loads(json.dumps(row)) == row

    @pytest.mark.parametrize(("days", "problems"), [(0, 0), (89, 0), (91, 1)])
    def test_one_that_ends_too_soon_is_a_problem(self, days, problems):
        row = self.row(handed_out(IMAPS, pair(**NEW).chain, "network"), min_days=days)
        assert len([text for text in row["problems"] if "fewer than" in text]) == problems

    def test_one_that_has_ended_is_told_once(self):
        row = self.row(handed_out(IMAPS, pair(days=1, hours_old=48).chain, "network"), min_days=30)
        assert len([text for text in row["problems"] if "end" in text]) == 1

    @pytest.mark.parametrize(("required", "problems"), [(True, ["nothing listens there"]), (False, [])])
    def test_a_closed_port_is_a_problem_where_it_was_asked_for(self, required, problems):
        row = self.row(serves(None, **CLOSED), required=required)
        assert (row["problems"], row["fingerprint"], row["days_left"]) == (problems, None, None)

    def test_is_readable(self):
        rows = [self.row(handed_out(IMAPS, pair(**NEW).chain, "network")), self.row(serves(None, **CLOSED), required=False)]
        text = shown(views.probes(rows))
        parts = (DOMAIN, "993/imaps", "its root certferry test CA root is not", "nothing listens there")
        assert all(part in text for part in parts)


class TestWhatDiscoveryFound:
    HOW = "Traefik, by its arguments; /acme.json in the container edge"

    def described(self) -> views.Json:
        store = Store(found={"edge": self.HOW}, left={"other": "its label asks for that"}, engine_up=True)
        store.sources = {"edge": SourceStatus(up=True, message="", loaded_at=0.0), "mine": SourceStatus()}
        store.snapshots["edge"] = snapshot(new, source="edge")
        return describe_store(store, now=0)

    @pytest.mark.parametrize("view", [views.sources_and_left, views.status])
    def test_is_shown_with_the_sources_and_what_was_left_below(self, view):
        text = shown(view(self.described()))
        assert text.count("found: ") == text.count(f"found: {self.HOW}") == 1
        assert text.index("mine") < text.index("left other: its label asks for that")
        assert "were not looked for" not in text

    def test_without_docker_says_that_nobody_looked(self):
        described = describe_store(Store(engine_message="no Docker socket"), now=0)
        assert shown(views.sources_and_left(described)) == (
            "no source is configured, and no proxy was found proxies were not looked for: no Docker socket"
        )


class TestWhatComesToItsEnd:
    def test_is_marked_in_the_table_of_a_source(self):
        late, ended = certificate(days=90, hours_old=24 * 80), certificate("old.example.com", days=90, hours_old=24 * 91)
        held = {"traefik": snapshot(late, ended, certificate("new.example.com"))}
        store = Store(sources={"traefik": SourceStatus(up=True)}, snapshots=held)
        text = shown(views.sources(describe_store(store, now=NOW.timestamp())["sources"]))
        assert f"{late.leaf.not_after:%Y-%m-%d}, expires in 10 days" in text
        assert f"{ended.leaf.not_after:%Y-%m-%d}, expired" in text
        assert text.count("expire") == 2

    @pytest.mark.parametrize("paused", ["", "certferry.pause=true"])
    def test_is_said_once_of_a_target_whether_it_is_paused_or_not(self, paused):
        message = "all is well; abc expires in 20 hours" if paused else "all is well"
        status = TargetStatus(
            "mail", Condition(True, None, message, NOW), target(paused_by=paused), endings=("abc expires in 20 hours",)
        )
        text = shown(views.targets(describe_store(Store(targets={KEY: status}), now=0)))
        assert text.count("abc expires in 20 hours") == 1


def test_a_store_without_targets_says_how_to_make_one() -> None:
    described = describe_store(Store(engine_message="not asked yet"), now=0)
    assert "engine not asked yet" in shown(views.status(described))
    assert "no container asks for a certificate" in shown(views.targets(described))


def test_the_time_is_now() -> None:
    assert views.unix_now() > 1_700_000_000
