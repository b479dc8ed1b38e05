"""The status page shows what is known and no key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from controller.domain.certificate import Certificate
from controller.domain.condition import Condition
from controller.domain.finding import Reason
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import TargetKey
from controller.store import Store, TargetStatus
from controller.web.status import describe_store
from sources.traefik_file import SCHEDULE
from tests.unit.made import certificate
from tests.unit.web.conftest import SINCE


def test_an_empty_store_is_shown_as_empty():
    assert describe_store(Store(), now=0.0) == {
        "ready": True,
        "engine": {"up": False, "message": "not asked yet"},
        "sources": [],
        "left": [],
        "targets": [],
    }


def test_a_source_is_shown_with_its_age_certificates_and_problems(store, pair):
    unread, source = describe_store(store, now=1090.04)["sources"]
    leaf = pair.certificate.leaf
    assert source == {
        "name": "traefik",
        "up": True,
        "reason": None,
        "message": "",
        "age_seconds": 90.0,
        "entries": 1,
        "problems": [{"label": "le/old.example.com", "reason": "KeyMismatch", "message": "the key is another's"}],
        "certificates": [
            {
                "label": "le/mail.example.com",
                "names": ["mail.example.com", "imap.example.com"],
                "key_type": "ecdsa",
                "key_bits": 256,
                "not_before": leaf.not_before.isoformat(),
                "not_after": leaf.not_after.isoformat(),
                "fingerprint": leaf.fingerprint,
                "issuer": "certferry test CA",
                "trust": "root_unknown",
                "why": pair.certificate.why,
                "warnings": [],
                "expires": "",
            }
        ],
        "found": None,
    }
    assert (unread["name"], unread["up"], unread["age_seconds"], unread["message"]) == ("nginx", False, None, "not read yet")


class TestHowNearTheirEndCertificatesAre:
    def marks(self, store: Store, *held: Certificate, after: timedelta, **options: Any) -> list[str]:
        """Of what a source holds, so long after the first of them began."""
        store.snapshots["traefik"] = Snapshot("traefik", tuple(Entry(str(n), one) for n, one in enumerate(held)), **options)
        _, source = describe_store(store, now=(held[0].leaf.not_before + after).timestamp())["sources"]
        return [described["expires"] for described in source["certificates"]]

    @pytest.mark.parametrize(
        ("days", "mark"),
        [(71, ""), (73, "expires in 17 days"), (89.5, "expires in 12 hours"), (90, "expired"), (400, "expired")],
    )
    def test_is_said_from_a_fifth_on(self, store, days, mark):
        assert self.marks(store, certificate(days=90), after=timedelta(days=days)) == [mark]

    def test_is_said_by_their_own_life(self, store):
        assert self.marks(store, certificate(days=6), after=timedelta(days=4)) == [""]
        assert self.marks(store, certificate(days=6), after=timedelta(days=5)) == ["expires in 24 hours"]

    def test_is_said_later_where_the_program_renews_later(self, store):
        held, after = certificate(days=64), timedelta(days=55)
        assert self.marks(store, held, after=after, schedule=SCHEDULE) == [""]
        assert self.marks(store, held, after=after) == ["expires in 9 days"]

    def test_of_what_was_renewed_nothing_is_said_before_it_has_expired(self, store):
        old, new = certificate(days=90, hours_old=24 * 60), certificate(days=90)
        assert self.marks(store, old, new, after=timedelta(days=80)) == ["", ""]
        assert self.marks(store, old, new, after=timedelta(days=91)) == ["expired", ""]
        assert self.marks(store, old, certificate("other.example.com"), after=timedelta(days=80))[0] == "expires in 10 days"

    def test_a_clock_that_cannot_be_right_tells_of_no_end(self, store):
        held = certificate(days=90)
        assert self.marks(store, held, after=timedelta(days=-20_000)) == [""]


def test_what_discovery_found_and_left_is_shown(store):
    store.found["traefik"] = "Traefik, by its arguments; /acme.json in the container edge"
    store.left = {"proxy": "nothing is mounted", "cache": "its label asks for that"}
    described = describe_store(store, now=0.0)
    assert [source["found"] for source in described["sources"]] == [None, store.found["traefik"]]
    assert described["left"] == [
        {"container": "cache", "reason": "its label asks for that"},
        {"container": "proxy", "reason": "nothing is mounted"},
    ]


def test_a_target_is_shown_with_what_it_should_have_has_and_serves(store, pair):
    (target,) = describe_store(store, now=0.0)["targets"]
    fingerprint, end = pair.certificate.fingerprint, pair.certificate.leaf.not_after.isoformat()
    assert [(c["source"], c["fingerprint"]) for c in target.pop("chosen")] == [("traefik", fingerprint)]
    assert [c["fingerprint"] for c in target.pop("installed")] == [fingerprint]
    assert target == {
        "name": "mail",
        "endpoint": "local",
        "container": "0123456789ab",
        "profile": "docker-mailserver",
        "domains": ["mail.example.com"],
        "condition": {
            "ready": False,
            "reason": "ServedDiffers",
            "message": "port 25 does not answer",
            "since": "2026-01-02T03:04:05+00:00",
        },
        "served": [
            {"port": 993, "protocol": "imaps", "fingerprint": fingerprint, "not_after": end, "way": "network", "error": ""},
            {"port": 25, "protocol": "smtp", "fingerprint": None, "not_after": None, "way": "exec", "error": "no answer"},
        ],
        "last_success": "2026-01-02T03:04:05+00:00",
        "notes": ["copies do not survive"],
        "endings": [],
        "paused": "",
    }


def test_a_target_whose_labels_cannot_be_used_is_shown_all_the_same(store):
    condition = Condition(ready=False, reason=Reason.INVALID_LABELS, message="certferry.mode='rw'", since=SINCE)
    store.targets[TargetKey("local", "ffff")] = TargetStatus("a-first", condition)
    first, _ = describe_store(store, now=0.0)["targets"]
    assert (first["name"], first["profile"], first["domains"], first["last_success"]) == ("a-first", None, [], None)


def test_the_page_is_json_and_holds_no_key(store, pair):
    text = json.dumps(describe_store(store, now=0.0))
    assert "PRIVATE KEY" not in text
    assert pair.key.decode().splitlines()[1] not in text
