"""How long until a new certificate is served: certferry, the bare minimum, and the way of the older tools, side by side.

Each is measured twice: left alone, the handshakes beginning when the reload has been asked for; and with a client at the door
every 20 ms all the time, which shows what clients come to feel. (A reload of Postfix makes some TLS handshakes wait for one
second, in (a) and (b) alike, the more often the busier the machine.)
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from controller.settings import describe_default
from tests.bench.execs import Exec, Execs
from tests.bench.measure import Measure, laboratory, notes
from tests.bench.sampler import Sampler
from tests.certs import Pair
from tests.lab import Controller, Lab, Mail

STEADY, RESTART_STEADY, LIMIT = 1.0, 12.0, 180.0
"""Seconds for which a port must serve the new leaf without fail before it counts. After a restart Postfix needs a longer look:
its submission services die some seconds later when they found Dovecot away, and then stay away for a minute."""
FEW = 3
"""Rounds, at most, where one may take more than a minute."""
# The order is that of the scripts in use.
RESTART = "supervisorctl restart postfix; supervisorctl restart dovecot"
STEPS = ("notice", "observe", "probe before", "stage", "swap", "reload", "prove")


@dataclass
class Series:
    """The rounds of one way, in seconds."""

    until_served: list[float] = field(default_factory=list)
    away: list[float] = field(default_factory=list)
    failed: int = 0
    handshakes: int = 0
    slowest: float = 0.0

    def add(self, seconds: float, sampler: Sampler) -> None:
        self.until_served.append(seconds)
        self.away.append(sampler.down)
        self.failed += sampler.failed
        self.handshakes += sampler.count
        self.slowest = max(self.slowest, sampler.slowest)

    @property
    def ms(self) -> float:
        return median(self.until_served) * 1000

    @property
    def spread(self) -> str:
        shortest, longest = min(self.until_served) * 1000, max(self.until_served) * 1000
        return f"{shortest:,.0f} to {longest:,.0f} ms in {len(self.until_served)} rounds"

    @property
    def felt(self) -> str:
        told = f"{self.failed} of {self.handshakes} handshakes failed, the slowest took {self.slowest * 1000:,.0f} ms"
        return f"{self.spread}; {told}"


class Bench:
    """One mail container, on which all ways take turns. Each returns the moment at which it began."""

    def __init__(self, lab: Lab, execs: Execs) -> None:
        self.lab, self._execs = lab, execs
        self.mail: Mail = lab.mail()
        self.mail.wait_up()
        self._certferry: Controller | None = None
        self.steps: dict[str, list[float]] = defaultdict(list)

    def start(self, window: str) -> None:
        """Start certferry, in place of the one that runs."""
        if self._certferry:
            self._certferry.stop()
        self.lab.acme.write(self.lab.issue())
        self._certferry = self.lab.controller(batch_window=window)
        self._certferry.wait_ready(self.mail.name)

    def by_certferry(self, pair: Pair) -> float:
        assert self._certferry
        seen = len(self._certferry.log)
        self.lab.acme.write(pair)
        begin = time.time()
        self._certferry.wait_for("target.reloaded", after=seen)
        return begin

    def by_hand(self, pair: Pair) -> float:
        begin = time.time()
        self.mail.container.put_archive("/tls", _archive(pair))
        self.mail.run("sh", "-c", "doveadm reload && postfix reload")
        return begin

    def by_restart(self, pair: Pair) -> float:
        files = {"cert.pem": pair.chain, "key.pem": pair.key}
        for name, content in files.items():
            (self.lab.folder / name).write_bytes(content)
        begin = time.time()
        for name in files:
            place = f"{self.mail.name}:/tls/{name}"
            subprocess.run(["docker", "cp", self.lab.folder / name, place], check=True, capture_output=True, timeout=LIMIT)
        subprocess.run(["docker", "exec", self.mail.name, "sh", "-c", RESTART], check=True, capture_output=True, timeout=LIMIT)
        return begin

    def measure(self, series: Series, way: Callable[[Pair], float], *, clients: bool) -> None:
        """One round of a way; `clients`: with handshakes from the beginning."""
        pair = self.lab.issue()
        steady = RESTART_STEADY if way == self.by_restart else STEADY
        sampler = Sampler(self.mail)
        begin = 0.0 if clients else way(pair)
        with sampler:
            begin = begin or way(pair)
            series.add(sampler.served(pair, steady=steady, limit=LIMIT) - begin, sampler)
        if way == self.by_certferry:
            self._settle(pair, begin, keep=not clients)

    def _settle(self, pair: Pair, begin: float, *, keep: bool) -> None:
        assert self._certferry
        self._certferry.wait_ready(self.mail.name, pair)
        if keep:
            for name, seconds in _steps(begin, self._certferry.log, self._execs.since(begin)).items():
                self.steps[name].append(seconds)


def run(rounds: int) -> list[Measure]:
    """All ways on one container."""
    few = min(rounds, FEW)
    with laboratory() as lab, Execs(lab) as execs:
        bench = Bench(lab, execs)
        ours, bare, older, ours_met, bare_met, older_met, default = (Series() for _ in range(7))
        bench.start("0s")
        for number in range(rounds):
            notes.print(f"latency: round {number + 1} of {rounds}, left alone")
            bench.measure(ours, bench.by_certferry, clients=False)
            bench.measure(bare, bench.by_hand, clients=False)
            if number < few:
                bench.measure(older, bench.by_restart, clients=False)
        steps = " · ".join(f"{name} {median(bench.steps[name]) * 1000:.0f}" for name in STEPS)
        for number in range(few):
            notes.print(f"latency: round {number + 1} of {few}, with a client every 20 ms; restarts take a minute")
            bench.measure(ours_met, bench.by_certferry, clients=True)
            bench.measure(bare_met, bench.by_hand, clients=True)
            bench.measure(older_met, bench.by_restart, clients=True)
        bench.start(describe_default("batch_window"))
        for number in range(rounds):
            notes.print(f"latency: round {number + 1} of {rounds}, certferry with its default batch window")
            bench.measure(default, bench.by_certferry, clients=False)
    met = "until served without fail"
    return [
        Measure("(a) certferry, window 0: acme.json rewritten → served on 465 and 993", ours.ms, "ms", note=ours.spread),
        Measure("(a) certferry, default window", default.ms, "ms", note=default.spread),
        Measure("(b) bare minimum: archive put, both reloads in one exec", bare.ms, "ms", note=bare.spread),
        Measure("(c) older way: docker cp twice, restart of both", older.ms, "ms", note=older.spread),
        Measure("a/b, window 0", ours.ms / bare.ms, limit=2, note=f"medians of (a) in ms: {steps}"),
        Measure("a/b, default window", default.ms / bare.ms),
        Measure("c/a, window 0", older.ms / ours.ms, limit=20, at_least=True),
        Measure("c/a, default window", older.ms / default.ms, limit=20, at_least=True),
        Measure("with clients: (a), window 0", ours_met.ms, "ms", note=ours_met.felt),
        Measure("with clients: (b)", bare_met.ms, "ms", note=bare_met.felt),
        Measure("with clients: (c)", older_met.ms, "ms", note=older_met.felt),
        Measure("with clients: c/a", older_met.ms / ours_met.ms, limit=20, at_least=True, note=met),
        Measure("with clients: handshakes that failed in (a)", ours_met.failed, limit=0),
        Measure("with clients: a port of (c) was away for", median(older_met.away), "s", note="median"),
    ]


def _archive(pair: Pair) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("cert.pem", pair.chain), ("key.pem", pair.key)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _steps(begin: float, log: list[dict[str, Any]], execs: list[Exec]) -> dict[str, float]:
    """How certferry's time divides: between the ends of its commands, and the lines of its log; by the first of each."""
    lines = [(line["event"], datetime.fromisoformat(line["timestamp"]).timestamp()) for line in log if "timestamp" in line]
    said = {event: moment for event, moment in reversed(lines) if moment >= begin}
    ran = {x.role: x for x in reversed(execs)}
    moments = [
        begin,
        ran["observe"].create,
        ran["observe"].end,
        said["target.differs"],
        ran["stage"].end,
        said["target.installed"],
        said["target.reloaded"],
        said["target.served"],
    ]
    return dict(zip(STEPS, (later - earlier for earlier, later in pairwise(moments)), strict=True))
