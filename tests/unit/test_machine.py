"""What the kernel says: whose container this process is in, and which containers are of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import machine
from controller.domain.container import Container, State
from controller.machine import is_linked_to, is_own_address, own_container_id, runs_here, shares_our_network
from controller.rtnetlink import leads_into

ID = "a" * 64
FILES = f"/var/lib/docker/containers/{ID}"


def container(pid: int, identity: str = ID) -> Container:
    return Container(identity, "mail", "image", State.RUNNING, pid=pid)


class TestOurOwnContainer:
    @pytest.mark.parametrize(
        "line",
        [
            "749 731 254:1 /docker/containers/{id}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw",
            "749 731 254:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw - ext4 /dev/vda1 rw",
            "749 731 254:1 /lib/docker/containers/{id}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw",
        ],
    )
    def test_is_known_by_the_files_that_docker_mounts(self, tmp_path, line):
        file = tmp_path / "mountinfo"
        file.write_text(f"1 2 0:1 / /proc rw - proc proc rw\n{line.format(id=ID)}\n")
        assert own_container_id(file) == ID

    @pytest.mark.parametrize("text", ["", "1 2 0:1 / /proc rw - proc proc rw\n", f"/containers/{ID[:12]}/hostname"])
    def test_is_none_outside_of_docker(self, tmp_path, text):
        file = tmp_path / "mountinfo"
        file.write_text(text)
        assert own_container_id(file) is None

    def test_is_none_on_the_host_while_docker_copies_into_another_one(self, tmp_path):
        file = tmp_path / "mountinfo"
        file.write_text(f"912 29 254:0 {FILES}/hostname /var/lib/docker/overlay2/b/merged/etc/hostname rw - ext4 /dev/vda rw\n")
        assert own_container_id(file) is None

    def test_is_none_where_there_is_no_such_file(self, tmp_path):
        assert own_container_id(tmp_path / "mountinfo") is None


class TestRunningHere:
    @pytest.fixture
    def proc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Process 7, of whom nothing is known yet."""
        monkeypatch.setattr(machine, "PROC", tmp_path)
        (tmp_path / "7").mkdir()
        return tmp_path / "7"

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("cgroup", f"12:pids:/docker/{ID}\n0::/system.slice/containerd.service\n"),
            ("cgroup", f"0::/system.slice/docker-{ID}.scope\n"),
            ("mountinfo", f"749 731 254:1 {FILES}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n"),
        ],
    )
    def test_is_known_by_what_bears_the_containers_id(self, proc, file, text):
        (proc / file).write_text(text)
        assert runs_here(container(7))
        assert not runs_here(container(7, "b" * 64))

    def test_another_machines_process_of_the_same_number_is_another_one(self, proc):
        (proc / "cgroup").write_text("0::/user.slice\n")
        assert not runs_here(container(7))

    @pytest.mark.parametrize("pid", [0, 8])
    def test_no_process_runs_nowhere(self, proc, pid):
        (proc.parent / "0").mkdir()
        (proc.parent / "0" / "cgroup").write_text(ID)
        assert not runs_here(container(pid))


class TestNetwork:
    def test_our_own_is_shared_by_our_own_processes_that_are_the_containers(self, monkeypatch):
        monkeypatch.setattr(machine, "runs_here", lambda _: True)
        assert shares_our_network(container(os.getpid()))
        monkeypatch.setattr(machine, "runs_here", lambda _: False)
        assert not shares_our_network(container(os.getpid()))

    @pytest.fixture
    def elsewhere(self) -> Iterator[int]:
        """A process with a network namespace of its own, made without privileges where that is allowed."""
        with subprocess.Popen(
            ["unshare", "--user", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            if not process.stdout.readline():
                pytest.skip(process.stderr.read().decode())
            yield process.pid
            process.kill()

    def test_no_link_leads_into_one_that_nobody_connected(self, elsewhere, monkeypatch):
        monkeypatch.setattr(machine, "runs_here", lambda _: True)
        assert not is_linked_to(container(elsewhere))
        assert not shares_our_network(container(elsewhere))

    def test_no_link_leads_into_that_of_a_process_that_is_gone(self):
        assert not leads_into(2**22)

    def test_a_kernel_that_is_not_asked_says_no(self, monkeypatch):
        def refuse(*_: object) -> None:
            raise PermissionError(1, "no such family for you")

        monkeypatch.setattr("controller.rtnetlink.socket.socket", refuse)
        assert not leads_into(os.getpid())


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("192.0.2.77", False),
        ("0.0.0.0", False),
        ("", False),
        ("mail.example.com", False),
        ("fe80::1", False),
    ],
)
def test_an_address_is_ours_when_packets_to_it_would_come_from_it(address, ours):
    assert is_own_address(address) is ours
