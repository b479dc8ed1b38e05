"""What certferry starts in a container ends when certferry does, or by its own limit: processes are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from docker.models.containers import Container

from controller.domain.certificate import KeyType
from controller.domain.errors import ExecTimeout, FilesUnreadable, StillRunning
from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.target import Reload
from controller.engine_exec import LEFT
from controller.probe.failure import HandshakeError
from controller.probe.inside import Question, handshake_inside
from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf
from sinks.act import Swap, Use, script
from sinks.script import FileWrite, Staged, staged
from tests.engine.delivery import Delivery, connected, litter
from tests.engine.killed_in_swap import PAUSE, REACHED, steps
from tests.engine.test_engine_exec import archive_of
from tests.lab import Lab, Mail, wait_until

HANGS = b"#!/bin/sh\nsleep 600\n"
IGNORES = b"#!/bin/sh\ntrap '' TERM HUP INT\nwhile :; do sleep 1; done\n"
FLOODS = b"#!/bin/sh\nexec yes\n"
BUSY = b"#!/bin/sh\nwhile :; do :; done\n"
TRIES = 4
ENDS = 60.0
"""Seconds for what has to end at once or after a second; only against hanging."""


def processes(container: Container) -> list[str]:
    """All processes in a container, dead ones that nobody has reaped among them."""
    found = container.top(ps_args="-eo pid,stat,args")["Processes"] or []
    return sorted(" ".join(process[1:]) for process in found)


def wait_alone(container: Container, *, seconds: float = ENDS) -> None:
    """Wait until nothing runs but the container's own process."""
    wait_until(lambda: len(processes(container)) == 1, seconds=seconds, what=f"alone: {processes(container)}")


def replace(container: Container, program: str, text: bytes) -> None:
    """Put a program before the image's own."""
    assert container.put_archive("/", archive_of({f"usr/local/bin/{program}": text}))
    container.exec_run(["chmod", "755", f"/usr/local/bin/{program}"])


@pytest.fixture
def container(lab: Lab) -> Container:
    return lab.container()


async def test_a_file_of_a_terabyte_is_said_to_be_too_large_and_leaves_nothing_behind(container: Container) -> None:
    container.exec_run(["sh", "-c", "mkdir /tls; truncate -s 1T /tls/key.pem"])
    async with connected() as engine:
        delivery = Delivery(engine, container)
        for _ in range(TRIES):
            with pytest.raises(FilesUnreadable, match=r"/tls/key.pem is larger than 1 MiB"):
                await delivery.observe()
    wait_alone(container)


async def test_a_file_of_300_MB_is_said_to_be_too_large_where_nothing_runs_too(lab: Lab) -> None:
    container = lab.container()
    container.exec_run(["sh", "-c", "mkdir /tls; truncate -s 300M /tls/cert.pem"])
    container.kill()
    container.wait()
    async with connected() as engine:
        with pytest.raises(FilesUnreadable, match=r"/tls/cert.pem is larger than 1 MiB"):
            await Delivery(engine, container).observe()


@pytest.mark.parametrize("text", [HANGS, BUSY, IGNORES], ids=["hangs", "is busy", "ignores signals"])
async def test_a_look_that_takes_too_long_leaves_nothing_behind(container: Container, text: bytes) -> None:
    container.exec_run(["sh", "-c", "mkdir /tls; echo x >/tls/key.pem"])
    replace(container, "stat", text)
    async with connected(exec_timeout=1) as engine:
        for _ in range(TRIES):
            with pytest.raises(ExecTimeout, match="did not end within 1 s"):
                await Delivery(engine, container).observe()
        wait_alone(container)


async def test_a_program_that_prints_without_end_is_told_and_leaves_nothing_behind(container: Container) -> None:
    container.exec_run(["sh", "-c", "mkdir /tls; echo x >/tls/key.pem"])
    replace(container, "stat", b"#!/bin/sh\nyes >&2\n")
    async with connected() as engine:
        with pytest.raises(FilesUnreadable, match="prints far more than it was asked for"):
            await Delivery(engine, container).observe()
    wait_alone(container)


@pytest.mark.parametrize("code", [0, 1])
async def test_a_shell_that_prints_something_else_is_told(container: Container, code: int) -> None:
    replace(container, "sh", f"#!/bin/bash\necho I am no shell; exit {code}\n".encode())
    async with connected() as engine:
        with pytest.raises(FilesUnreadable, match=f"the shell of {container.name} answers with something else"):
            await Delivery(engine, container).observe()


async def test_of_a_shell_that_hangs_no_more_than_some_are_left(container: Container) -> None:
    replace(container, "sh", b"#!/bin/bash\nexec sleep 600\n")
    async with connected(exec_timeout=1) as engine:
        for number in range(LEFT + 2):
            with pytest.raises(ExecTimeout) as caught:
                await Delivery(engine, container).observe()
            assert isinstance(caught.value, StillRunning) is (number >= LEFT)
    assert len(processes(container)) == 1 + LEFT


@pytest.mark.parametrize("text", [HANGS, BUSY, IGNORES], ids=["hangs", "is busy", "ignores signals"])
async def test_an_openssl_that_takes_too_long_leaves_nothing_behind(container: Container, text: bytes) -> None:
    replace(container, "openssl", text)
    question = Question(STANDARD_PORTS[0], "mail.example.test", 1.0, KeyType.ECDSA)
    async with connected() as engine:
        for _ in range(TRIES):
            with pytest.raises(HandshakeError, match="no TLS within 1 s"):
                await handshake_inside(engine.execute, str(container.id), question)
    wait_alone(container)


async def test_an_openssl_ends_when_nobody_waits_for_it_any_more(container: Container) -> None:
    replace(container, "openssl", HANGS)
    question = Question(STANDARD_PORTS[0], "mail.example.test", 500.0, KeyType.ECDSA)
    async with connected() as engine:
        asked = asyncio.create_task(handshake_inside(engine.execute, str(container.id), question))
        await asyncio.to_thread(wait_until, lambda: any("openssl" in line for line in processes(container)))
        asked.cancel()
        await asyncio.wait({asked})
    wait_alone(container)


@pytest.mark.parametrize(
    "text", ["exec sleep 600", "trap '' TERM; while :; do sleep 1; done"], ids=["hangs", "ignores signals"]
)
async def test_a_reload_command_that_takes_too_long_is_told_and_leaves_nothing_behind(container: Container, text: str) -> None:
    async with connected(exec_timeout=1) as engine:
        delivery = Delivery(engine, container, check=("sh", "-c", text))
        step = Reload("exec", ("sh", "-c", text))
        for acted in (await delivery.act({}), await delivery.act({}, check=False, steps=[step])):
            assert [str(failure.error) for failure in acted.failures] == ["`sh` did not end within 1 s"]
    wait_alone(container)


@pytest.mark.parametrize("fails", [0, 3])
async def test_commands_that_end_leave_nothing_behind_and_their_outcome_is_theirs(container: Container, fails: int) -> None:
    async with connected() as engine:
        delivery = Delivery(engine, container)
        for _ in range(TRIES):
            step = Reload("exec", ("sh", "-c", f"echo 'it said so' >&2; exit {fails}"))
            acted = await delivery.act({}, steps=[step])
            told = [str(failure.error).rpartition(": ")[2] for failure in acted.failures]
            assert told == ([f"exit code {fails}, it said so"] if fails else [])
    wait_alone(container)


QUICK = {"settle": "200ms", "verify_timeout": "20s", "resync": "1d"}
LABELS = {
    "profile": "generic",
    "cert_path": "/certs/cert.pem",
    "key_path": "/private/key.pem",
    "probe": "off",
    "reload": "sh -c 'echo once >>/reloads'",
}


def test_what_looks_at_files_ends_when_certferry_is_killed(lab: Lab) -> None:
    mail = Mail(lab.container(labels=LABELS))
    mail.container.exec_run(["sh", "-c", "mkdir /private; echo x >/private/key.pem"])
    replace(mail.container, "stat", HANGS)
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK)
    wait_until(lambda: any("/usr/local/bin/stat" in line for line in processes(mail.container)))
    certferry.kill()
    wait_alone(mail.container)


def test_a_reload_goes_on_to_its_end_when_certferry_is_killed(lab: Lab) -> None:
    mail = Mail(lab.container(labels=LABELS | {"reload": "sh -c 'until [ -e /go ]; do sleep 0.2; done; echo once >>/reloads'"}))
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK)
    wait_until(lambda: any("until" in line for line in processes(mail.container)))
    certferry.kill()
    mail.run("touch", "/go")
    wait_until(lambda: mail.container.exec_run(["cat", "/reloads"]).exit_code == 0)
    wait_alone(mail.container)


def test_a_reload_that_hangs_ends_by_its_own_limit_when_certferry_is_killed(lab: Lab) -> None:
    mail = Mail(lab.container(labels=LABELS | {"reload": "sh -c 'sleep 600'"}))
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK, exec_timeout="8s")
    wait_until(lambda: any("sleep 600" in line for line in processes(mail.container)))
    certferry.kill()
    assert len(processes(mail.container)) > 1
    wait_alone(mail.container)


PAIR = [FileWrite(PurePosixPath(path), b"x") for path in ("/private/key.pem", "/certs/cert.pem")]
KEPT = [FileWrite(PurePosixPath(folder, ".certferry/previous"), b"x") for folder in ("/private", "/certs")]
STAGED = tuple(staged(write, PurePosixPath(".certferry/0")) for write in PAIR)
SWAP = Swap(moves=STAGED, keeps=tuple(Staged(write, write.path) for write in KEPT))
LINES = len(steps(script(SWAP, Use(), boundary="-", seconds=1)))


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Mail]]:
    """A container that has a pair, in two folders, and no certferry."""
    lab = Lab(tmp_path_factory.mktemp("swap"))
    try:
        mail = Mail(lab.container(labels=LABELS))
        lab.acme.write(lab.issue())
        certferry = lab.controller(**QUICK)
        certferry.wait_ready(mail.name)
        certferry.kill()
        yield lab, mail
    finally:
        lab.close()


@pytest.mark.parametrize("line", range(LINES + 1))
def test_killed_at_any_line_of_the_swap_it_leaves_one_whole_pair(renewed: tuple[Lab, Mail], line: int) -> None:
    lab, mail = renewed
    pair = lab.issue()
    lab.acme.write(pair)
    mail.run("rm", "-rf", REACHED, "/private/.certferry", "/certs/.certferry")  # so that each has the same lines
    certferry = lab.controller(argv=("-m", "tests.engine.killed_in_swap", str(line), "run"), **QUICK)
    wait_until(lambda: mail.container.exec_run(["test", "-e", REACHED]).exit_code == 0)
    certferry.kill()

    wait_alone(mail.container, seconds=ENDS + PAUSE)
    certificate, key = (mail.run("cat", path).encode() for path in ("/certs/cert.pem", "/private/key.pem"))
    assert key_fits(parse_leaf(certificate), key)
    assert parse_leaf(certificate).fingerprint == pair.certificate.fingerprint, "a swap that was begun goes on to its end"


def test_after_all_these_deaths_the_next_certferry_ends_ready(renewed: tuple[Lab, Mail]) -> None:
    lab, mail = renewed
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name)
    certferry.kill()
    assert litter(mail.container) == []
