"""The whole way: a value changed in a store, and a real mail container serves it."""

from __future__ import annotations

import pytest

from tests.certs import traefik_v1_account
from tests.engine.producers import mail_for
from tests.engine.stores import KINDS, Net, as_stored
from tests.lab import Lab

PATIENCE = 60.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_changed_in_the_store_is_served_by_the_mail_container(lab: Lab, kind: str) -> None:
    domain = "mail.example.test"
    server = KINDS[kind](Net(lab))
    mail = mail_for(lab, domain)
    old, new = lab.issue(domain), lab.issue(domain)
    server.wait_up()
    server.put(as_stored(kind, traefik_v1_account(old)))
    certferry = lab.controller(sources=server.url, settle="500ms", resync="1d")
    certferry.wait_ready(mail.name, old, seconds=PATIENCE)
    assert mail.serves(old)

    server.put(b"the-transaction", "traefik/acme/account/lock")
    server.put(as_stored(kind, traefik_v1_account(new)))
    certferry.wait_ready(mail.name, new, seconds=PATIENCE)
    assert mail.serves(new)
    assert mail.reloads() == (2, 2)
    assert certferry.source(kind)["problems"] == []

    server.stop()
    assert server.address in certferry.wait_degraded("SourceUnavailable", source=kind, seconds=PATIENCE)
    assert mail.serves(new)
    assert mail.reloads() == (2, 2)


def test_the_older_tools_environment_for_a_store_works_unchanged(lab: Lab) -> None:
    server, mail, pair = KINDS["consul"](Net(lab)), mail_for(lab, "mail.example.test"), lab.issue()
    server.wait_up()
    server.put(traefik_v1_account(pair))
    theirs = {
        "CERTS_SOURCE": "consul",
        "KV_ENDPOINTS": f"{server.address}:8500",
        "KV_PREFIX": "traefik",
        "KV_SUFFIX": "/acme/account/object",
        "KL_TLS_ENABLED": "0",
        "DOMAINS": "mail.example.test",
        "PUSH_PERIOD": "15m",
    }
    certferry = lab.controller(sources="", discover="", others=theirs)
    certferry.wait_ready(mail.name, pair, seconds=PATIENCE)
    assert mail.serves(pair)
    assert f"consul://{server.address}:8500/traefik/acme/account" in certferry.text
