"""The status page shows what is known and no key."""

from __future__ import annotations

import json

from controller.domain.condition import Condition
from controller.domain.finding import Reason
from controller.domain.target import TargetKey
from controller.store import Store, TargetStatus
from controller.web.status import describe_store
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
                "trust": "private",
                "why": pair.certificate.why,
                "warnings": [],
            }
        ],
        "found": None,
    }
    assert (unread["name"], unread["up"], unread["age_seconds"], unread["message"]) == ("nginx", False, None, "not read yet")


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
