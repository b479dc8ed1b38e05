"""What goes wrong with mail containers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

import docker

from tests.campaign.api_proxy import Rule
from tests.campaign.fleet import Box
from tests.campaign.scene import Apply, Fault, Scene

GRIP = 3.0
"""Seconds for which a shell of certferry's is waited for."""
LOOK = 0.05
STARTED = 1.0
"""Seconds after which a command that was begun runs."""


@contextmanager
def _paused(scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    """Docker 20.10 hangs for ever on a container that is paused while a command is being started in it."""
    with scene.proxy.rule(Rule(r"^POST .*/exec/\w+/start", holds=True)):
        time.sleep(STARTED)
        box.container.pause()
    try:
        yield
    finally:
        box.container.unpause()


@contextmanager
def _killed(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    box.container.kill()
    try:
        yield
    finally:
        box.container.start()


@contextmanager
def _stopped(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    box.container.stop(timeout=2)
    try:
        yield
    finally:
        box.container.start()


@contextmanager
def _restarted(_scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    box.container.restart(timeout=dice.choice((0, 2)))
    yield


@contextmanager
def _recreated(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    box.recreate()
    yield


@contextmanager
def _off_the_network(scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    bridge = scene.lab.docker.networks.get("bridge")
    bridge.disconnect(box.container)
    try:
        yield
    finally:
        bridge.connect(box.container)


@contextmanager
def _tmpfs_full(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    full = f"{box.kind.tmpfs}/full"
    box.container.exec_run(["sh", "-c", f"dd if=/dev/zero of={full} bs=512 2>/dev/null"])
    try:
        yield
    finally:
        box.mail.run("rm", "-f", full)


@contextmanager
def _no_inode(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    mount = box.kind.tmpfs
    box.container.exec_run(["sh", "-c", f"i=0; while : >{mount}/inode$i; do i=$((i+1)); [ $i -lt 5000 ] || break; done"])
    try:
        yield
    finally:
        box.mail.run("sh", "-c", f"rm -f {mount}/inode*")


def _service_stopped(service: str) -> Apply:
    @contextmanager
    def apply(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
        box.container.exec_run(["supervisorctl", "stop", service])  # it may be starting, and not be asked yet
        try:
            yield
        finally:
            box.container.exec_run(["supervisorctl", "start", service])

    return apply


def _service_killed(pid_file: str) -> Apply:
    """supervisord starts it again."""

    @contextmanager
    def apply(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
        box.container.exec_run(["sh", "-c", f"kill -KILL $(cat {pid_file})"])
        yield

    return apply


def _service_frozen(pid_file: str) -> Apply:
    @contextmanager
    def apply(_scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
        pid = bytes(box.container.exec_run(["cat", pid_file]).output).decode().strip()
        box.container.exec_run(["sh", "-c", f"kill -STOP {pid}"])
        try:
            yield
        finally:
            box.container.exec_run(["sh", "-c", f"kill -CONT {pid}"])

    return apply


@contextmanager
def _shell_frozen(scene: Scene, box: Box, _dice: Random) -> Iterator[None]:
    """A shell of certferry's stops in the middle of its work; a renewal sees to it that there is one."""
    scene.store.renew([box.kind.host])
    pids = _shells_of(box)
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


@contextmanager
def _shell_killed(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    """As the kernel does where memory is short; with those that it started, or alone."""
    scene.store.renew([box.kind.host])
    pids = sorted(_shells_of(box))
    _signal(pids if dice.random() < 0.5 else pids[:1], signal.SIGKILL)
    yield


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _shells_of(box: Box) -> list[int]:
    """Their numbers on this machine; none where none came in time."""
    until = time.monotonic() + GRIP
    while time.monotonic() < until:
        with suppress(docker.errors.APIError):
            if pids := box.shells():
                return pids
        time.sleep(LOOK)
    return []


DOVECOT, POSTFIX = "/run/dovecot/master.pid", "/var/spool/postfix/pid/master.pid"
BOX_FAULTS = (
    Fault("container paused", "box", _paused),
    Fault("container killed", "box", _killed, (0.0, 3.0)),
    Fault("container stopped", "box", _stopped, (0.0, 3.0)),
    Fault("container restarted", "box", _restarted, (0.0, 0.0)),
    Fault("container recreated", "box", _recreated, (0.0, 0.0)),
    Fault("container off its network", "box", _off_the_network),
    Fault("tmpfs full", "box", _tmpfs_full, (2.0, 8.0), only="tmpfs"),
    Fault("tmpfs without a free inode", "box", _no_inode, (2.0, 8.0), only="tmpfs"),
    Fault("Dovecot stopped", "box", _service_stopped("dovecot"), (1.0, 8.0)),
    Fault("Postfix stopped", "box", _service_stopped("postfix"), (1.0, 8.0)),
    Fault("Dovecot killed", "box", _service_killed(DOVECOT), (0.0, 0.0)),
    Fault("Postfix killed", "box", _service_killed(POSTFIX), (0.0, 0.0)),
    Fault("Dovecot frozen", "box", _service_frozen(DOVECOT)),
    Fault("Postfix frozen", "box", _service_frozen(POSTFIX)),
    Fault("certferry's shell frozen", "box", _shell_frozen, (0.5, 8.0)),
    Fault("certferry's shell killed", "box", _shell_killed, (0.0, 0.0)),
)
