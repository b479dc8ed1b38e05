"""How a file can be written, decided from what Docker tells of the container: the table of the design, §6."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import cast

import pytest

from controller.domain.container import Mount, State
from controller.domain.errors import TargetNotRunning, WriteRefused
from controller.domain.observed import Observed
from controller.ports import ContainerAccess
from sinks.container import ContainerSink
from sinks.placement import Method, can_execute, choose
from tests.unit.made import container, target

PATH = PurePosixPath("/tls/key.pem")
VOLUME = Mount("volume", "tls", PurePosixPath("/tls"), True)
BIND = Mount("bind", "/srv/tls", PurePosixPath("/tls"), True)
ONE_FILE = Mount("bind", "/srv/key.pem", PATH, True)
TMPFS = Mount("tmpfs", "", PurePosixPath("/tls"), True)
READ_ONLY = Mount("bind", "/srv/tls", PurePosixPath("/tls"), False)
RUNS, RESTARTS, ENDED, CREATED, PAUSED = State.RUNNING, State.RESTARTING, State.EXITED, State.CREATED, State.PAUSED


def method(*mounts: Mount, state: State = RUNS, shell: bool = True, read_only_root: bool = False) -> Method:
    return choose(container(mounts=mounts, state=state, read_only_root=read_only_root), PATH, shell=shell)


@pytest.mark.parametrize(
    ("mounts", "with_shell", "without_shell"),
    [
        ((), Method.SWAP, Method.ARCHIVE),
        ((VOLUME,), Method.SWAP, Method.ARCHIVE),
        ((BIND,), Method.SWAP, Method.ARCHIVE),
        ((READ_ONLY, ONE_FILE), Method.IN_PLACE, None),
        ((TMPFS,), Method.SWAP, None),
        ((ONE_FILE,), Method.IN_PLACE, None),
    ],
    ids=["root", "volume", "directory", "a file in a read-only directory", "tmpfs", "a file"],
)
def test_a_running_container(mounts, with_shell, without_shell):
    assert method(*mounts) is with_shell
    if without_shell:
        assert method(*mounts, shell=False) is without_shell
    else:
        with pytest.raises(WriteRefused, match="no shell with cat, mv, stat … to write it with; mount a directory at /tls"):
            method(*mounts, shell=False)


@pytest.mark.parametrize("state", [CREATED, ENDED, RESTARTS])
@pytest.mark.parametrize("mounts", [(), (VOLUME,), (BIND,)])
def test_one_that_does_not_run_takes_archives(state, mounts):
    assert method(*mounts, state=state, shell=False) is Method.ARCHIVE


@pytest.mark.parametrize("state", [CREATED, ENDED, RESTARTS])
@pytest.mark.parametrize(("mount", "what"), [(TMPFS, "a tmpfs"), (ONE_FILE, "a file mounted by itself")])
def test_one_that_does_not_run_is_waited_for_where_an_archive_would_have_no_effect(state, mount, what):
    with pytest.raises(TargetNotRunning, match=f"is on {what}, which can be written only while the container runs"):
        method(mount, state=state, shell=False)


@pytest.mark.parametrize("mounts", [(), (VOLUME,), (READ_ONLY,), (TMPFS,)])
def test_a_paused_one_is_left_alone(mounts):
    with pytest.raises(TargetNotRunning, match="waiting for unpause"):
        method(*mounts, state=PAUSED)


@pytest.mark.parametrize("state", [RUNS, ENDED])
@pytest.mark.parametrize("shell", [True, False])
def test_a_read_only_mount_is_refused_and_named(state, shell):
    with pytest.raises(WriteRefused, match=r"is on the read-only mount /tls; mount it writable \(without `:ro`\)"):
        method(READ_ONLY, state=state, shell=shell)


def test_a_read_only_root_is_refused_with_the_remedy():
    with pytest.raises(WriteRefused, match="read-only root file system; mount a volume at /tls"):
        method(read_only_root=True)


def test_a_volume_in_a_read_only_root_will_do():
    assert method(VOLUME, read_only_root=True) is Method.SWAP


@pytest.mark.parametrize("state", State)
def test_only_a_running_container_executes(state):
    assert can_execute(container(state=state)) == (state is RUNS)


class TestCheckedBeforehand:
    """What ``certferry plan`` asks, through the sink."""

    def check(self, *mounts: Mount, state: State = RUNS, resolved: PurePosixPath | None = None) -> None:
        wanted = target(container=container(mounts=mounts, state=state))
        observed = Observed({PATH: None}, resolved={PATH: resolved} if resolved else {})
        ContainerSink(cast("ContainerAccess", None)).check_mounts(wanted, observed, [PATH])

    @pytest.mark.parametrize("mount", [VOLUME, BIND, ONE_FILE, TMPFS])
    @pytest.mark.parametrize("state", [RUNS, CREATED, PAUSED])
    def test_what_can_be_written_at_some_time_is_no_problem(self, mount, state):
        self.check(mount, state=state)

    def test_a_read_only_mount_is_told_also_behind_a_link(self):
        with pytest.raises(WriteRefused, match="read-only mount /tls; mount it writable"):
            self.check(READ_ONLY)
        with pytest.raises(WriteRefused, match="/tls/key.pem is on the read-only mount"):
            self.check(READ_ONLY, resolved=PATH)
        self.check(READ_ONLY, resolved=PurePosixPath("/elsewhere/key.pem"))
