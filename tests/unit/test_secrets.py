"""Keys stay secret (design, promise 8): whatever is printed, logged or shown, no line of a key is in it."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import structlog

from controller import cli, logs, policies, views
from controller.domain.container import Container, State
from controller.domain.errors import SettingsError
from controller.domain.execution import ExecResult
from controller.domain.observed import InstalledFile, Observed, Receipt
from controller.domain.snapshot import Entry, Snapshot, SourceStatus
from controller.domain.target import Place, Reload, Slot
from controller.older_tool_stores import _Option
from controller.selection import Candidate, Selection
from controller.settings import Settings, _Layer, load_settings
from controller.store import Store
from controller.web.metrics import Metrics
from controller.web.status import describe_store
from sinks.script import FileWrite
from sources.archive import Node
from sources.pairs import RawPair
from sources.traefik_kv.http import Answer
from sources.traefik_kv.network import Endpoint
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
    Node(is_folder=False, size=1, modified=0, data=pair().key),
    Answer(Endpoint("consul", 8500), 200, {"X-Key": WORDS[0]}, pair().key),
    _Layer({"sources": WORDS}, str),
    _Option("KV_PASSWORD", "password", WORDS[0], secret=True),
    Container("c" * 64, "mail", "image", State.RUNNING, environment={"LDAP_PASSWORD": WORDS[0]}, command=(WORDS[0],)),
    Reload("exec", ("reload", f"--password={WORDS[0]}")),
    Settings(sources=f"consul://consul:8500/traefik?token={WORDS[0]}"),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_key_hides_it(holder):
    assert leaks(repr(holder)) == []
    if not isinstance(holder, Reload):  # the command as the operator wrote it, for `plan`
        assert leaks(str(holder)) == []
    assert leaks(f"{[holder]} { ({'it': holder}) }") == []


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
    handlers = logging.getLogger().handlers[:]
    logging.getLogger().handlers.clear()
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


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


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CERTFERRY_SOURCES", f"traefik://user:{WORDS[0]}@host/ with blanks"),
        ("CERTFERRY_SOURCES", f"traefik://user:with/slash@and:{WORDS[0]}@host/ with blanks"),
        ("CERTFERRY_WORKERS", WORDS[0]),
        ("CERTFERRY_SOURCES", f"consul:8500?token={WORDS[0]}"),
    ],
    ids=["password in a URL", "password like a path", "number", "token in a URL"],
)
def test_a_setting_that_is_refused_leaves_no_copy_of_it_in_the_traceback(variable, value):
    """The message names the value where it is no secret; the errors behind it must not quote it once more."""
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value})
    behind = [error for error in (caught.value.__cause__, caught.value.__context__) if error is not None]
    assert [leaks(str(error)) for error in behind] == [[] for _ in behind]
    if "token" in value or "@" in value:
        assert leaks("".join(traceback.format_exception(caught.value))) == []


STEERING = "\x1b[2J\x1b]0;title\x07\u009b31m\u202egnp.exe\r\n\x00"
"""Clears the screen, sets the title, colours by the one-byte form of an escape, turns the direction of reading."""


def steers(text: str) -> list[str]:
    """The characters of a text that a terminal obeys."""
    return [character for character in text if not character.isprintable() and character != "\n"]


def test_the_test_for_terminals_would_notice():
    assert len(steers(STEERING)) == len(STEERING) - len("[2J]0;title31mgnp.exe\n")


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_that_is_logged_steers_a_terminal(form, capsys):
    logs.configure("debug", form)
    log = structlog.get_logger()
    log.info(STEERING, plain=STEERING.replace(" ", ""), spaced=f"a b {STEERING}", several=[STEERING])
    logging.getLogger("asyncio").warning(STEERING)
    try:
        raise ValueError(STEERING)
    except ValueError:
        log.exception("reconcile.crashed", message=STEERING)
    written = capsys.readouterr().err
    assert "title" in written
    assert steers(written) == []


@pytest.mark.usefixtures("_own_logging")
def test_a_line_of_json_still_says_what_it_was_given(capsys):
    logs.configure("debug", "json")
    structlog.get_logger().info("a", message=STEERING + "ä\U000e0001")
    assert json.loads(capsys.readouterr().err)["message"] == STEERING + "ä\U000e0001"


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_a_command_shows_steers_a_terminal(as_json, capsys):
    row = {"host": STEERING, "port": "25/smtp", "fingerprint": None, "error": STEERING, "problems": [STEERING]}
    cli._show([row], views.probes, as_json=as_json)
    shown = capsys.readouterr().out
    assert "title" in shown
    assert steers(shown) == []
    if as_json:
        assert json.loads(shown) == [row]


def test_no_complaint_steers_a_terminal(capsys):
    cli._complain(ExceptionGroup("several", [SettingsError(STEERING), ExceptionGroup("more", [SettingsError("\udcff")])]))
    assert steers(capsys.readouterr().err) == []
