"""Keys stay secret (design, promise 8): whatever is printed, logged or shown, no line of a key is in it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import traceback
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import structlog

import controller.domain
from controller import logs, policies, views
from controller.domain.execution import ExecResult
from controller.domain.observed import InstalledFile, Observed, Receipt
from controller.domain.snapshot import Entry, Snapshot, SourceStatus
from controller.domain.target import Place, Slot
from controller.selection import Candidate, Selection
from controller.store import Store
from controller.web.metrics import Metrics
from controller.web.status import describe_store
from sinks.script import FileWrite
from sources.pairs import RawPair
from tests.unit.made import COMBINED, NEW, OLD, PLACE, PRIVATE, certificate, facts, installed, pair, snapshot, target

WORDS = [line.decode() for line in pair().key.splitlines()[1:-1]]
"""The lines of a key that is in everything below."""


def leaks(text: str) -> list[str]:
    """The parts of the key that stand in a text; a cut line is told by its beginning."""
    return [word for word in WORDS if word[:24] in text]


def test_the_test_itself_would_notice():
    assert leaks(repr(pair().key))
    assert leaks(pair().key.decode())


HOLDERS: list[Any] = [
    certificate(),
    Entry("le/mail", certificate()),
    snapshot(certificate()),
    Candidate("traefik", "le/mail", certificate()),
    Selection(((PLACE, Candidate("traefik", "le/mail", certificate())),)),
    InstalledFile(PRIVATE, pair().key, 0, 0, 0o600),
    Observed(dict(installed(PLACE, certificate()))),
    Receipt(target(), installed(PLACE, certificate())),
    ExecResult(0, pair().key, pair().key),
    facts(certificate(), installed(PLACE, certificate(**OLD))),
    policies.decide(facts(certificate(), installed(PLACE, certificate(**OLD)))),
    FileWrite(PRIVATE, pair().key),
    RawPair("le/mail", pair().chain, pair().key),
    Store(snapshots={"traefik": snapshot(certificate())}),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_key_hides_it(holder):
    assert leaks(repr(holder)) == []
    assert leaks(str(holder)) == []
    assert leaks(f"{[holder]} { ({'it': holder}) }") == []


def domain_types() -> Iterator[type]:
    for module in pkgutil.iter_modules(controller.domain.__path__, "controller.domain."):
        for thing in vars(importlib.import_module(module.name)).values():
            if dataclasses.is_dataclass(thing) and isinstance(thing, type) and thing.__module__ == module.name:
                yield thing


@pytest.mark.parametrize("kind", list(domain_types()), ids=lambda kind: kind.__name__)
def test_no_field_of_bytes_in_the_domain_is_shown(kind):
    """A new type that holds bytes must say so here, where certificates alone are public."""
    public = {("Certificate", "leaf_pem"), ("Certificate", "chain_pem"), ("Served", "chain_pem")}
    shown = {(kind.__name__, f.name) for f in dataclasses.fields(kind) if "bytes" in str(f.type) and f.repr}
    assert shown <= public


def test_a_certificate_stays_secret_after_its_files_were_put_together():
    held = pair().certificate
    assert held.combined_pem
    assert leaks(repr(held)) == []


@pytest.mark.parametrize("place", [PLACE, Place(Slot(), combined=COMBINED)], ids=["apart", "combined"])
def test_a_plan_shows_no_key(place):
    wanted = target(places=(place,))
    now = facts(certificate(**NEW), installed(place, certificate(**OLD)), on=wanted)
    described = views.describe_plan((now, policies.decide(now)))
    assert described["write"]
    assert leaks(json.dumps(described)) == []


def test_the_status_page_and_the_measures_show_no_key():
    store = Store({"traefik": snapshot(certificate())}, {"traefik": SourceStatus(up=True, message="")})
    assert describe_store(store, now=0)["sources"][0]["certificates"]
    assert leaks(json.dumps(describe_store(store, now=0))) == []
    assert leaks(Metrics(store).render().decode()) == []


def crash(content: bytes) -> None:
    """Fails with the key, and its single lines, in local variables."""
    lines = content.splitlines()
    files = {PurePosixPath("/k"): content}
    raise KeyError(str(len(lines) + len(files)))


@pytest.fixture
def _own_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("form", ["json", "console"])
def test_the_traceback_of_a_crash_shows_no_key(form, capsys):
    logs.configure("debug", form)
    try:
        crash(pair().key)
    except KeyError as error:
        structlog.get_logger().exception("reconcile.crashed", message=str(error))
    written = capsys.readouterr().err
    assert "in crash" in written or '"crash"' in written
    assert leaks(written) == []


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("form", ["json", "console"])
def test_what_is_logged_of_a_snapshot_shows_no_key(form, capsys):
    logs.configure("debug", form)
    structlog.get_logger().info("something.happened", snapshot=Snapshot("traefik", (Entry("le", certificate()),)))
    assert leaks(capsys.readouterr().err) == []


def test_an_error_on_the_way_shows_no_key():
    try:
        crash(pair().key)
    except KeyError:
        assert leaks(traceback.format_exc()) == []
