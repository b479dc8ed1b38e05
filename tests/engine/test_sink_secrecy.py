"""Promise 8: while a key is carried it shows nowhere, and afterwards it is in its file alone; with every usual shell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from docker.models.containers import Container

from controller.domain.errors import Error
from controller.engine import Engine
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, files_of, litter
from tests.lab import NOSHELL_IMAGE, Lab

TOOLS = ("sh", "cat", "mv", "rm", "rmdir", "mkdir", "chown", "chmod", "stat", "readlink")
SPY = "while [ ! -e /spy/stop ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/spy/log 2>/dev/null; done"


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    authority = Authority()
    return authority.issue("mail.example.test", kind="rsa"), authority.issue("mail.example.test")


def dash(_lab: Lab, container: Container) -> None:
    assert container.exec_run(["readlink", "/bin/sh"]).output == b"dash\n"


def bash(_lab: Lab, container: Container) -> None:
    container.exec_run(["ln", "-sf", "bash", "/bin/sh"])


def busybox(lab: Lab, container: Container) -> None:
    """The program of the image without a shell is BusyBox under another name."""
    chunks, _ = lab.docker.containers.create(NOSHELL_IMAGE, labels=lab.labels()).get_archive("/sleep")
    container.put_archive("/usr/local/bin", b"".join(chunks))
    for tool in TOOLS:
        container.exec_run(["ln", "-s", "sleep", f"/usr/local/bin/{tool}"])
    shown = container.exec_run(["sh", "-c", "stat --help 2>&1; readlink /proc/$$/exe"]).output
    assert shown.startswith(b"BusyBox"), shown
    assert shown.endswith(b"/usr/local/bin/sleep\n"), shown


def secret_lines(pair: Pair) -> list[bytes]:
    return [line for line in pair.key.splitlines() if not line.startswith(b"-----")]


def on_disk(container: Container, text: bytes, since: float) -> list[str]:
    """Every file that has a text, of those changed since a moment, on all mounts."""
    files = f"find / -path /proc -prune -o -path /sys -prune -o -type f -newerct @{since - 1:.0f} -print0"
    output = container.exec_run(["bash", "-c", f'{files} | xargs -0 grep -lF -e "$0"', text.decode()], user="0").output
    return sorted(str(output.decode()).split())


@pytest.mark.parametrize("shell", [dash, bash, busybox])
async def test_a_key_is_seen_in_no_argument_environment_exec_event_log_or_other_file(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], shell: Callable[[Lab, Container], None]
) -> None:
    key = lab.folder / "key.pem"
    key.write_bytes(b"old\n")
    key.chmod(0o600)
    container = lab.container(tmpfs={"/spy": "", "/tmp": ""}, volumes={str(key): {"bind": "/tls/single/key.pem"}})
    shell(lab, container)
    container.exec_run(["/bin/dash", "-c", SPY], detach=True)
    started = time.time()
    deliveries = [Delivery(engine, container, folder) for folder in ("/tls/pair", "/tls/single")]

    receipts = []
    for delivery in deliveries:
        receipts += [(await delivery.bring(pair)) for pair in pairs]
        assert delivery.look() == files_of(pairs[1])

    container.exec_run(["touch", "/spy/stop"])
    events = lab.docker.events(since=started, until=time.time(), decode=True, filters={"container": container.id})
    told = json.dumps([*events]).encode()
    spied = container.exec_run(["cat", "/spy/log"], user="0").output
    logged = bytes(container.logs())
    assert b"exec_create: sh -c" in told
    assert b"IFS= read -r content" in spied, "the spy must have seen our scripts at least"
    for secret in (line for pair in pairs for line in secret_lines(pair)):
        assert secret not in told
        assert secret not in spied
        assert secret not in logged
    assert on_disk(container, secret_lines(pairs[0])[0], started) == []
    assert on_disk(container, secret_lines(pairs[1])[0], started) == ["/tls/pair/key.pem", "/tls/single/key.pem"]

    await deliveries[0].sink.restore(receipts[0])
    await deliveries[1].sink.restore(receipts[2])
    assert on_disk(container, secret_lines(pairs[1])[0], started) == []
    assert (deliveries[0].look(), key.read_bytes()) == ((None, None), b"old\n")
    assert litter(container, "/", "/tls") == []


async def test_the_stage_is_closed_to_others(engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]) -> None:
    """Looked at in the middle of a delivery: between the staging and the swap."""
    from sinks import script
    from sinks.script import FileWrite

    delivery = Delivery(engine, idle, folder)
    contents = delivery.place.contents(pairs[0].certificate)
    writes = [FileWrite(path, content, 0o600 if path == delivery.place.key else 0o644) for path, content in contents.items()]
    staged = [script.staged(write, PurePosixPath(".certferry/0")) for write in writes]
    text = f"{script.read_contents(writes)}\n{script.stage(staged)}"
    result = await engine.execute(str(idle.id), ("sh", "-c", text), stdin=script.stdin_of(writes), user="0")

    assert (result.exit_code, result.stdout) == (0, b"".join(contents.values()))
    modes = idle.exec_run(
        ["sh", "-c", f"stat -c '%a %n' {folder} {folder}/.certferry {folder}/.certferry/0 {folder}/.certferry/0/*"]
    ).output
    assert modes.decode().splitlines() == [
        f"755 {folder}",
        f"700 {folder}/.certferry",
        f"700 {folder}/.certferry/0",
        f"644 {folder}/.certferry/0/cert.pem",
        f"600 {folder}/.certferry/0/key.pem",
    ]
    assert idle.exec_run(["cat", f"{folder}/.certferry/0/cert.pem"], user="101").exit_code == 1


@pytest.mark.parametrize("step", ["observe", "stage", "swap"])
async def test_a_script_that_is_cut_off_does_not_end_up_in_the_message(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], step: str
) -> None:
    """As when the container stops just then: what was printed so far may be half a key."""
    key = lab.folder / "key.pem"
    key.write_bytes(pairs[0].key)
    container = lab.container(volumes={str(key): {"bind": "/tls/key.pem"}} if step == "swap" else None)
    delivery = Delivery(engine, container)
    if step != "swap":
        await delivery.bring(pairs[0])
    target, observed = await delivery.target(), await delivery.observe()
    condition = {"observe": "/tls/key.pem", "stage": "*/.certferry/*", "swap": "/tls/key.pem"}[step]
    cut = (
        f'#!/bin/dash\nf=${{1#if=}}\ncase $f in {condition}) head -n 9 "$f"; kill -9 -1;; esac\nexec /usr/bin/${{0##*/}} "$@"\n'
    )
    for name in ("cat", "dd"):
        at = f"/usr/local/bin/{name}"
        container.exec_run(["dash", "-c", f'printf %s "$0" >{at}; chmod +x {at}', cut])

    with pytest.raises(Error, match="cut off|could not be") as failure:
        if step == "observe":
            await delivery.observe()
        else:
            await delivery.sink.act(target, observed, delivery.place.contents(pairs[1].certificate))
    assert "exit code 137" in str(failure.value)
    lines = {line.decode() for pair in pairs for line in pair.key.splitlines()}
    assert [line for line in lines if line in str(failure.value)] == []


async def test_nothing_that_holds_a_key_shows_it(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]
) -> None:
    delivery = Delivery(engine, idle, folder)
    receipts = [await delivery.bring(pair) for pair in pairs]

    shown = repr((receipts, await delivery.observe()))
    assert folder in shown
    assert "PRIVATE KEY" not in shown
    assert not any(line.decode() in shown for pair in pairs for line in secret_lines(pair))
