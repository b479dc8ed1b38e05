"""certferry as a process that is stopped, killed and started again, and what each of its lives costs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.campaign.journal import clock
from tests.campaign.telling import END
from tests.lab import Controller, Lab

SETTINGS = {"settle": "1s", "resync": "1d", "log_level": "info"}
"""No resync heals anything here: what is not noticed stays."""
PASS = 300.0
"""Seconds that one pass over all containers may take; only against hanging. A busy machine needs two minutes."""
TOLD = ("event", "reason", "fingerprint", "by", "ports", "next_in", "message", "text")
"""What of a log line is shown."""


@dataclass(frozen=True)
class Cost:
    """What a process holds."""

    at: float
    mebibytes: float
    descriptors: int
    threads: int


class Ferry:
    """One certferry at a time."""

    def __init__(self, lab: Lab, docker_host: str) -> None:
        self._lab, self._settings = lab, SETTINGS | {"docker_host": docker_host}
        self.lives: list[Controller] = []
        self.beside: list[Controller] = []
        """Those that did one pass beside it."""
        self.ends: list[float] = []
        """Seconds from SIGTERM to the end."""
        self.costs: list[list[Cost]] = []
        """Of each life."""
        self.unasked: list[str] = []
        """Ends that nobody asked for."""
        self._taken: dict[int, int] = {}
        """Lines of the log that were taken, by the process."""
        self._lock = threading.RLock()
        self.start()

    @property
    def now(self) -> Controller:
        return self.lives[-1]

    def start(self) -> None:
        self.lives.append(self._begin("run"))
        self.costs.append([])

    def _begin(self, command: str) -> Controller:
        return self._lab.controller(argv=("-m", "tests.campaign.telling", command), **self._settings)

    def once(self) -> None:
        """Another one does a pass over all containers, beside the one that runs."""
        other = self._begin("once")
        self.beside.append(other)
        other.process.wait(timeout=PASS)
        if (code := other.wait_end()) not in (0, 1):
            self.unasked.append(f"certferry once ended with {code}: {other.log[-3:]}")

    def terminate(self) -> None:
        """SIGTERM, and the next life."""
        with self._lock:
            begin, started = time.monotonic(), bool(self.now.events("controller.started"))
            code = self.now.stop()
            self.ends.append(time.monotonic() - begin)
            if code not in (0, 1) and (started or code != -signal.SIGTERM):  # 1: work was cut short; Python's own, at first
                self.unasked.append(f"exit code {code} after SIGTERM")
            self.start()

    def kill(self) -> None:
        """SIGKILL, and the next life."""
        with self._lock:
            self.now.kill()
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP; SIGCONT afterwards."""
        with self._lock:
            process = self.now.process
            os.kill(process.pid, signal.SIGSTOP)
            try:
                yield
            finally:
                os.kill(process.pid, signal.SIGCONT)

    def revive(self) -> None:
        """Start it again where it ended though nobody told it to."""
        with self._lock:
            if (code := self.now.process.poll()) is not None:
                self.unasked.append(f"exit code {code}, and nobody had told it to end: {self.now.log[-3:]}")
                self.start()

    def measure(self) -> Cost:
        """What the present life holds now; it is noted."""
        proc = Path(f"/proc/{self.now.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        mebibytes = int(status["VmRSS"].split()[0]) / 1024
        descriptors = sum(1 for _ in (proc / "fd").iterdir())
        cost = Cost(time.time(), mebibytes, descriptors, int(status["Threads"]))
        self.costs[-1].append(cost)
        return cost

    def stacks(self) -> list[str]:
        """Where all its tasks stand."""
        seen = len(self.now.log)
        self.now.process.send_signal(signal.SIGUSR1)
        with suppress(AssertionError):
            self.now.wait_for("text", text=END, after=seen, seconds=5.0)
        return [str(line["text"]) for line in self.now.log[seen:] if line.get("event") == "text"]

    def lines(self) -> Iterator[dict[str, Any]]:
        """The log of all lives, and of those beside them."""
        for life in [*self.lives, *self.beside]:
            yield from list(life.log)

    def take_lines(self) -> Iterator[dict[str, Any]]:
        """What was logged, each line once."""
        for life in [*self.lives, *self.beside]:
            lines = life.log[self._taken.get(id(life), 0) :]
            self._taken[id(life)] = self._taken.get(id(life), 0) + len(lines)
            yield from lines

    def said_of(self, name: str, since: float, *, container: str = "") -> list[str]:
        """What was logged of one target, or of none at all, since a moment. Until it is known it goes by its container's id."""
        lines = [line for line in self.lines() if line["event"] != "text" and moment_of(line) >= since]
        lines = [line for line in lines if line.get("target", name) == name or str(line["target"]).endswith(f"/{container}")]
        lines.sort(key=moment_of)
        return [f"{clock(moment_of(line))} {' '.join(str(line[key]) for key in TOLD if key in line)}" for line in lines]


def moment_of(line: dict[str, Any]) -> float:
    """When a line was logged; what is no log line counts as now."""
    stamp = line.get("timestamp")
    return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else time.time()
