"""What the demonstration looks at: the ports from outside, and certferry's own log."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Any

from docker.models.containers import Container

from tests.lab import MAIL_PORTS, Lab, Mail, served_leaf, wait_until

PORTS = (25, 465, 587, 143, 993)
PAUSE = 0.05


class Watch:
    """Shakes hands with every port again and again, with Python's standard library, until it is left."""

    def __init__(self, mail: Mail) -> None:
        self._address = mail.address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(port,), daemon=True) for port in PORTS]
        self.seen: dict[tuple[int, str], float] = {}
        """When a port first served a leaf, by port and fingerprint; seconds of the wall clock."""
        self.now: dict[int, str] = {}
        self.handshakes = self.failed = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def all_serve(self, leaf: str) -> bool:
        return all(self.now.get(port) == leaf for port in PORTS)

    def _run(self, port: int) -> None:
        while not self._stop.wait(PAUSE):
            try:
                leaf = served_leaf(self._address, port, MAIL_PORTS[port])
            except Exception:  # whatever way a handshake fails in: smtplib and imaplib have many
                leaf = ""
            with self._lock:
                self.handshakes += 1
                self.failed += not leaf
                self.now[port] = leaf
                if leaf:
                    self.seen.setdefault((port, leaf), time.time())


def docker_socket() -> str | None:
    """The path of the engine's socket; ``None`` when it is elsewhere."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return host.removeprefix("unix://") if host.startswith("unix://") else None


class Ferry:
    """certferry in a container of its own image, as the README says it is run; its log lines as they come."""

    def __init__(self, lab: Lab, image: str, network: str) -> None:
        self.log: list[dict[str, Any]] = []
        self.container: Container = lab.docker.containers.run(
            image,
            detach=True,
            name=f"certferry-demo-{lab.id}",
            labels=lab.labels(),
            environment={"CERTFERRY_LABEL_PREFIX": lab.prefix},
            network=network,
            read_only=True,
            security_opt=["no-new-privileges"],
            volumes={
                str(docker_socket()): {"bind": "/var/run/docker.sock", "mode": "rw"},
                str(lab.folder): {"bind": "/traefik", "mode": "ro"},
            },
        )
        threading.Thread(target=self._read, daemon=True).start()

    def moment(self, event: str, since: float) -> float | None:
        """When an event was first logged after a moment; seconds of the wall clock."""
        moments = (_moment(line) for line in list(self.log) if line.get("event") == event)
        return next((moment for moment in moments if moment >= since), None)

    def wait_for(self, event: str, since: float, seconds: float = 30.0) -> float:
        wait_until(lambda: self.moment(event, since), seconds=seconds, what=f"certferry says {event}")
        return self.moment(event, since) or 0.0

    def _read(self) -> None:
        rest = b""
        for chunk in self.container.logs(stream=True, follow=True):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.log.append({"event": "text", "text": line.decode(errors="replace"), "timestamp": "1970-01-01"})


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()
