"""The tests' own laboratory: what a run that was killed has left is removed, and not in the way of the next run."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests.lab import GENEROUS, LABEL, PLAIN_IMAGE, PROCESS, Lab, remove_leftovers
from tests.sdk import connect

WORKERS = 4


def ended_process() -> str:
    """The id of a process that does not run any more."""
    with subprocess.Popen(["true"]) as process:
        process.wait(GENEROUS)
    return str(process.pid)


def leave_behind(lab: Lab, many: int) -> str:
    """Containers, a volume and a network as a killed run leaves them; the value of their label."""
    process = ended_process()
    labels = {PROCESS: process}
    for _ in range(many):
        lab.docker.containers.run(PLAIN_IMAGE, ["sleep", "600"], labels=labels, detach=True)
    lab.docker.volumes.create(f"certferry-test-left-{process}", labels=labels)
    lab.docker.networks.create(f"certferry-test-left-{process}", labels=labels)
    return f"{PROCESS}={process}"


def left(lab: Lab, label: str) -> list[object]:
    """What of it is still there."""
    ours = {"label": label}
    return [
        *lab.docker.containers.list(all=True, filters=ours, ignore_removed=True),
        *lab.docker.volumes.list(filters=ours),
        *lab.docker.networks.list(filters=ours),
    ]


def test_workers_that_begin_together_remove_what_a_killed_run_left(lab: Lab) -> None:
    label = leave_behind(lab, 3)
    clients = [connect(timeout=60) for _ in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(remove_leftovers, clients))
    for client in clients:
        client.close()
    assert left(lab, label) == []


def test_a_container_that_somebody_else_is_removing_is_seen_to_go(lab: Lab) -> None:
    labs = [Lab(lab.folder) for _ in range(WORKERS)]
    for other in labs:
        other.id = lab.id
    for _ in range(3):
        lab.container()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(Lab.close, labs))
    assert left(lab, f"{LABEL}={lab.id}") == []
