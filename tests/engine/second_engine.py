"""A second Docker Engine on this machine, in a network namespace of its own: to certferry it is as remote as another machine's.

Its bridge has addresses that something else has here. It needs root, as the tests of unprivileged users do.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.lab import GENEROUS, wait_until

SUBNET, GATEWAY, ADDRESS = "198.18.77.0/24", "198.18.77.1", "198.18.77.2"
"""Of the range for benchmarks (RFC 2544), which nobody uses; the first container gets the address."""


@contextmanager
def second_engine(folder: Path, *images: str) -> Iterator[docker.DockerClient]:
    """The engine with some images of this machine's; all it made goes with it."""
    with _namespace() as process, _daemon(folder, process) as client:
        saved = subprocess.run(["docker", "save", *images], stdout=subprocess.PIPE, check=True, timeout=GENEROUS).stdout
        client.images.load(saved)
        yield client


def socket_of(folder: Path) -> str:
    """Where it listens."""
    return f"unix://{folder}/docker.sock"


@contextmanager
def _namespace() -> Iterator[int]:
    """A process that holds a network namespace with nothing but a loopback."""
    script = "ip link set lo up; echo; exec sleep infinity"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline(), "no network namespace; these tests need root"
            yield holder.pid
        finally:
            holder.kill()


@contextmanager
def _daemon(folder: Path, namespace: int) -> Iterator[docker.DockerClient]:
    """As dockerd is started beside another one: everything it keeps is at a place of its own."""
    (folder / "daemon.json").write_text("{}")
    here = docker.from_env()
    driver = here.info()["Driver"]
    here.close()
    options = {
        "config-file": folder / "daemon.json",
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "docker.pid",
        "host": socket_of(folder),
        "storage-driver": driver,
        "bip": f"{GATEWAY}/24",
    }
    argv = ["nsenter", f"--net=/proc/{namespace}/ns/net", "dockerd", *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as daemon:
        try:
            wait_until(lambda: daemon.poll() is not None or _listens(folder / "docker.sock"), what="the second engine listens")
            assert daemon.poll() is None, (folder / "log").read_text()
            client = docker.DockerClient(socket_of(folder), timeout=120)
            yield client
            for container in client.containers.list(all=True):
                container.remove(force=True, v=True)
            client.close()
        finally:
            daemon.terminate()
            daemon.wait(GENEROUS)
            subprocess.run(["umount", folder / "exec/netns/default"], check=False, timeout=GENEROUS)  # dockerd leaves it
            shutil.rmtree(folder, ignore_errors=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0
