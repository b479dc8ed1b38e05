"""A store with one of everything, for the pages to show."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.domain.condition import Condition
from controller.domain.container import Container, State
from controller.domain.finding import Reason
from controller.domain.observed import Served
from controller.domain.snapshot import Entry, Problem, Snapshot, SourceStatus
from controller.domain.target import ProbePort, Target, TargetKey
from controller.store import Store, TargetStatus
from tests.certs import Authority, Pair

SINCE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = TargetKey("local", "0123456789abcdef")


@pytest.fixture(scope="session")
def pair() -> Pair:
    return Authority().issue("mail.example.com", "imap.example.com")


@pytest.fixture
def store(pair) -> Store:
    """One source with a certificate and a broken entry, one not read yet, one target that serves on one port of two."""
    certificate, leaf = pair.certificate, pair.certificate.leaf
    container = Container(KEY.container_id, "mail", "mailserver", State.RUNNING)
    target = Target(KEY, container, "docker-mailserver", ("mail.example.com",), (), notes=("copies do not survive",))
    status = TargetStatus(
        "mail",
        Condition(ready=False, reason=Reason.SERVED_DIFFERS, message="port 25 does not answer", since=SINCE),
        target,
        chosen=(("traefik", leaf),),
        installed=(leaf,),
        served=(Served(ProbePort(993, "imaps"), leaf, "network"), Served(ProbePort(25, "smtp"), None, "exec", "no answer")),
        last_success=SINCE,
    )
    problem = Problem("le/old.example.com", Reason.KEY_MISMATCH, "the key is another's")
    return Store(
        snapshots={"traefik": Snapshot("traefik", (Entry("le/mail.example.com", certificate),), (problem,))},
        sources={"traefik": SourceStatus(up=True, message="", loaded_at=1000.0), "nginx": SourceStatus()},
        targets={KEY: status},
        engine_up=True,
        engine_message="",
    )
