"""Handshakes every 20 ms, with the standard library: when a port begins to serve a leaf, and whether one ever failed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType

from tests.certs import Pair
from tests.lab import MAIL_PORTS, Mail, served_leaf

PORTS = (465, 993)
INTERVAL = 0.02
AT_ONCE = 5
"""Handshakes that may be under way on one port, so that one that hangs does not hold up the others."""
PATIENCE = 2.0
"""Seconds after which a handshake has failed."""


@dataclass(frozen=True)
class Sample:
    """One handshake; times are seconds of the wall clock, as in Docker's events and certferry's log."""

    begin: float
    end: float
    leaf: str
    """The fingerprint; empty when the handshake failed."""


class Sampler:
    """Samples ports of a container until it is left."""

    def __init__(self, mail: Mail, ports: tuple[int, ...] = PORTS) -> None:
        self._address = mail.address
        self._found: dict[int, list[Sample]] = {port: [] for port in ports}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(port, turn), daemon=True) for port in ports for turn in range(AT_ONCE)
        ]

    def __enter__(self) -> Sampler:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10 * PATIENCE)

    def served(self, pair: Pair, *, steady: float, limit: float) -> float:
        """The moment from which all ports served a pair without fail, `steady` seconds long; waits for it."""
        deadline = time.time() + limit
        while True:
            moments = [_begin_of_tail(samples, pair.certificate.fingerprint) for samples in self._samples]
            if all(moment and time.time() - moment >= steady for moment in moments):
                return max(moment or 0 for moment in moments)
            if time.time() > deadline:
                raise AssertionError(f"after {limit:g} s not all ports serve the new leaf")
            time.sleep(INTERVAL)

    @property
    def failed(self) -> int:
        """How many handshakes were refused, cut or not answered."""
        return sum(not sample.leaf for samples in self._samples for sample in samples)

    @property
    def count(self) -> int:
        return sum(map(len, self._samples))

    @property
    def down(self) -> float:
        """For how many seconds no handshake succeeded on the port that was away longest."""
        return max(_down(samples) for samples in self._samples)

    @property
    def slowest(self) -> float:
        return max(sample.end - sample.begin for samples in self._samples for sample in samples)

    @property
    def _samples(self) -> list[list[Sample]]:
        return [sorted(samples, key=lambda sample: sample.begin) for samples in self._found.values()]

    def _run(self, port: int, turn: int) -> None:
        begin = time.time() + turn * INTERVAL
        while not self._stop.wait(max(0.0, begin - time.time())):
            begin = time.time()
            try:
                leaf = served_leaf(self._address, port, MAIL_PORTS[port], PATIENCE)
            except Exception:  # whatever way a handshake fails in: smtplib and imaplib have many
                leaf = ""
            self._found[port].append(Sample(begin, time.time(), leaf))
            begin += AT_ONCE * INTERVAL


def _begin_of_tail(samples: list[Sample], leaf: str) -> float | None:
    """When the first of the last samples that all show a leaf was there."""
    tail = list(takewhile(lambda sample: sample.leaf == leaf, reversed(samples)))
    return min((sample.end for sample in tail), default=None)


def _down(samples: list[Sample]) -> float:
    """The time from the first handshake of a failing row to the end of the next one that succeeds, all rows together."""
    total, since = 0.0, 0.0
    for sample in samples:
        if not sample.leaf:
            since = since or sample.begin
        elif since:
            total, since = total + sample.end - since, 0.0
    return total
