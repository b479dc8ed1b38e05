"""What `plan` says beside what would be done."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from controller import policies
from controller.domain.container import Mount
from controller.domain.observed import InstalledFile
from controller.remarks import remarks
from controller.views import describe_plan
from tests.unit.made import CERT, NEW, PLACE, PRIVATE, certificate, container, facts, installed, nothing, target

new = certificate(**NEW)


def with_mode(mode: int) -> dict[PurePosixPath, InstalledFile | None]:
    return installed(PLACE, new) | {PRIVATE: InstalledFile(PRIVATE, new.key_pem, 0, 0, mode)}


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_that_everybody_can_read_is_told_until_the_next_renewal(mode, told):
    said = remarks(facts(new, with_mode(mode)))
    expected = f"{PRIVATE} can be read by everybody (mode {mode:04o}); the next renewal corrects that"
    assert said == ((expected,) if told else ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"written_by": "docker-mailserver"}, "docker-mailserver writes it so"),
        (
            {"container": container(mounts=(Mount("bind", "/srv/tls", PRIVATE.parent, False),))},
            "it lies on a read-only mount, so correct that where it is written",
        ),
        ({"container": container(mounts=(Mount("bind", "/srv/tls", PRIVATE.parent, True),))}, "the next renewal corrects that"),
    ],
    ids=["another writer", "read-only", "writable"],
)
def test_of_a_key_that_certferry_will_not_write_no_renewal_is_promised(changes, told):
    (said,) = remarks(facts(new, with_mode(0o644), on=target(**changes)))
    assert said == f"{PRIVATE} can be read by everybody (mode 0644); {told}"


def test_of_a_key_that_is_not_there_nothing_is_told():
    assert remarks(facts(new, nothing(PLACE))) == ()


@pytest.mark.parametrize("read_only", [True, False])
def test_files_of_which_nothing_can_be_kept_are_told(read_only):
    mounts = tuple(Mount("bind", f"/srv/{path.name}", path, True) for path in (CERT, PRIVATE))
    there = facts(new, with_mode(0o600), on=target(container=container(mounts=mounts, read_only_root=read_only)))
    said = describe_plan((there, policies.decide(there)))["notes"]
    assert said == (
        [
            "a change that a crash cuts off cannot be rolled back: nothing can be kept beside /tls/key.pem, /tls/cert.pem;"
            " mount their folder instead"
        ]
        if read_only
        else []
    )
