"""What runs inside the containers of a laboratory, from Docker's own events."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.lab import LABEL, Lab

ROLES = {"mv -f": "swap", "readlink -f": "observe", "mkdir ": "stage", "rm -rf": "clean", "reload": "reload"}
"""What tells certferry's commands apart, the first that is in the text."""


@dataclass
class Exec:
    """One command; times are seconds of the wall clock, `end` is 0 while it runs."""

    container: str
    command: str
    create: float
    begin: float = 0.0
    end: float = 0.0

    @property
    def role(self) -> str:
        return next((role for mark, role in ROLES.items() if mark in self.command), "other")


class Execs:
    """Listens until it is left."""

    def __init__(self, lab: Lab) -> None:
        self._stream: Any = lab.docker.api.events(decode=True, filters={"type": "container", "label": f"{LABEL}={lab.id}"})
        self._found: dict[str, Exec] = {}
        self._left = False
        self._thread = threading.Thread(target=self._listen_until_left, daemon=True)

    def __enter__(self) -> Execs:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left = True
        self._stream.close()
        self._thread.join(timeout=5)

    def since(self, moment: float) -> list[Exec]:
        """Those that ended, in the order of their making; the last events may need a moment to come in."""
        time.sleep(0.2)
        return sorted((x for x in list(self._found.values()) if x.create >= moment and x.end), key=lambda x: x.create)

    def _listen_until_left(self) -> None:
        try:
            self._listen()
        except Exception:  # a stream that is closed from another thread ends in many ways
            if not self._left:
                raise

    def _listen(self) -> None:
        for event in self._stream:
            action, _, command = event["Action"].partition(": ")
            identity, moment = event["Actor"]["Attributes"].get("execID"), event["timeNano"] / 1e9
            if action == "exec_create":
                self._found[identity] = Exec(event["Actor"]["Attributes"]["name"], command, moment)
            elif action == "exec_start" and identity in self._found:
                self._found[identity].begin = moment
            elif action == "exec_die" and identity in self._found:
                self._found[identity].end = moment


def most_at_a_time(execs: list[Exec]) -> int:
    """How many ran at the busiest moment."""
    edges = sorted([(x.begin, 1) for x in execs] + [(x.end, -1) for x in execs])
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most
