"""What lies in the container, looked at from inside every few milliseconds."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tests.campaign.fleet import Box
from tests.campaign.journal import Span, length
from tests.campaign.store import Issued, Store

# Nothing but what the shell does itself: a process for each look would cost more than certferry.
LOOK = """
exec {never}<> <(:)
while [[ -e /proc/self ]]; do
    mapfile -t k <"$1"; mapfile -t c <"$2"
    seen="${k[2]:--}"$'\\t'"${c[$3]:--}"
    if [[ $seen != "$before" ]]; then printf '%s\\t%s\\n' "$EPOCHREALTIME" "$seen"; before=$seen; fi
    read -r -t 0.01 -u $never
done 2>/dev/null
"""
KEY_LINES = 5
"""What a P-256 key takes in PEM, and the certificate begins after it where both are in one file."""
AGAIN = 0.2
"""Seconds after which a reader that ended with its container is tried again."""


@dataclass(frozen=True)
class Sight:
    """What lay there for a while; ``None`` is a file that is not there, or no pair of the store's."""

    span: Span
    container: str
    key: Issued | None
    certificate: Issued | None

    @property
    def mismatched(self) -> bool:
        return self.key != self.certificate


Seen = tuple[float, str, str, str]
"""From when on, in which container, and a line of the key and of the certificate."""


class Reader:
    """Reads the pair of one box until it is left."""

    def __init__(self, box: Box, store: Store) -> None:
        self._box, self._store = box, store
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._last: Seen | None = None
        self.sights: list[Sight] = []
        self.mismatches = 0
        self.longest_mismatch = 0.0

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._process:
            self._process.kill()
        self._thread.join(10)

    def take_sights(self) -> list[Sight]:
        """What was seen and is not there any more, each told once, and what lies there now."""
        over, self.sights = self.sights, []
        last = self._last
        return over + ([self._sight(last, time.time())] if last else [])

    def _run(self) -> None:
        kind = self._box.kind
        line = 1 + (KEY_LINES if kind.key == kind.certificate else 0)
        while not self._stop.is_set():
            container = str(self._box.container.id)
            argv = ["docker", "exec", container, "bash", "-c", LOOK, "reader", kind.key, kind.certificate, str(line)]
            with suppress(OSError):
                self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                with self._process as process:
                    self._follow(process, container)
            self._note(None)
            self._stop.wait(AGAIN)

    def _follow(self, process: subprocess.Popen[str], container: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if seen := read_line(line, container):
                self._note(seen)

    def _note(self, seen: Seen | None) -> None:
        last, self._last = self._last, seen
        if last is None:
            return
        sight = self._sight(last, seen[0] if seen else time.time())
        self.sights.append(sight)
        if sight.mismatched:
            self.mismatches += 1
            self.longest_mismatch = max(self.longest_mismatch, length(sight.span))

    def _sight(self, seen: Seen, until: float) -> Sight:
        begin, container, key, certificate = seen
        return Sight((begin, until), container, self._store.by_line.get(key), self._store.by_line.get(certificate))


def read_line(line: str, container: str) -> Seen | None:
    """What a line tells; nothing where it is Docker that speaks, of a container that ends or begins."""
    moment, *seen = line.rstrip("\n").split("\t")
    try:
        return float(moment), container, seen[0], seen[1]
    except (ValueError, IndexError):
        return None
