"""What must be true once the faults have ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import docker

from tests.campaign.ferry import Cost, moment_of
from tests.campaign.fleet import Box
from tests.campaign.journal import clock
from tests.campaign.judge import Judge, slowness
from tests.campaign.watch import Clients

PAUSE = 0.25
STANDS = ("--- task", "  File", "  waits")
"""Lines of the stacks that are shown."""
RESTING = 10.0
"""Seconds in which certferry is once found to hold no more than before."""
CONFIRMED = 20.0
"""Seconds after it is served until certferry has confirmed it and cleaned up."""


@dataclass
class Count:
    """What one box was reloaded for, and how often, since a moment."""

    box: Box
    since: float
    before: tuple[int, int, int]

    @classmethod
    def begin(cls, box: Box) -> Count:
        return cls(box, time.time(), box.reloads())


class Calm:
    """Waits until every box serves the newest, then looks at everything that was left."""

    def __init__(self, judge: Judge, clients: dict[str, Clients]) -> None:
        self._judge, self._scene, self._clients = judge, judge.scene, clients
        self.healed: list[float] = []
        """Seconds from the end of the faults, box after box and round after round."""
        self._ended = 0
        self.broken: list[Box] = []
        """Those that did not heal in time."""

    def judge(self, since: float, counts: Iterable[Count]) -> None:
        """Wait for all boxes side by side; then each is looked at. `since` is when the faults had ended."""
        with ThreadPoolExecutor(len(self._scene.boxes)) as pool:
            list(pool.map(lambda box: self._heal(box, since), self._scene.boxes))
        self.end(counts)

    def end(self, counts: Iterable[Count]) -> None:
        """Look at what the round cost."""
        for count in counts:
            self._reloads(count)
        self._process()

    def _heal(self, box: Box, since: float) -> None:
        limits, newest = self._judge.limits, self._scene.store.newest[box.kind.host]
        while wrong := self._wrong(box, newest.fingerprint):
            if time.time() - since > limits.silent * min(slowness(), 2.0):
                self.broken.append(box)
                served = {port: self._number(leaf) for port, leaf in self._clients[box.name].now.items()}
                text = (
                    f"pair {newest.number} is not served everywhere after {time.time() - since:.0f} s ({wrong}), but {served}"
                )
                stacks = "\n".join(line for line in self._scene.ferry.stacks() if line.startswith(STANDS))
                self._judge.fail("not healed", box, f"{text}; {self._state(box)}{stacks}", since)
                return
            time.sleep(PAUSE)
        self._healed(box, since, time.time() - since)
        self._wait_clean(box)

    def _healed(self, box: Box, since: float, seconds: float) -> None:
        self.healed.append(seconds)
        limits = self._judge.limits
        silent = any(line.get("event") == "ports.silent" for line in self._recent(box, since))
        if seconds > limits.healed * slowness() and not silent:
            self._judge.fail("healed late", box, f"{seconds:.1f} s after the faults had ended at {clock(since)}", since)

    def _wait_clean(self, box: Box) -> None:
        until = time.time() + CONFIRMED
        while trouble := self._trouble(box):
            if time.time() > until + CONFIRMED * (min(slowness(), 3.0) - 1.0):
                what, text = trouble
                self._judge.fail(what, box, text)
                return
            time.sleep(PAUSE)

    def _trouble(self, box: Box) -> tuple[str, str] | None:
        newest = self._scene.store.newest[box.kind.host]
        condition = self._scene.ferry.now.condition(box.mail.name)
        if not condition.get("ready") or newest.pair.certificate.leaf.short not in condition["message"]:
            return "served, but not ready", str(condition)
        if mode := box.key_mode() & 0o007:
            return "a key is not kept from others", f"{box.kind.key} has mode {mode:o} for them"
        return ("litter", litter) if (litter := box.litter()) else None

    def _reloads(self, count: Count) -> None:
        """At most one for each renewal and fault, and for each act that certferry began; a detector may meet one swap twice."""
        box, now = count.box, count.box.reloads()
        changes = self._scene.store.changes(box.kind.host, count.since)
        faults = len(self._scene.journal.touching(box.name, count.since))
        most = changes * (2 if box.kind.detector else 1) + faults
        dovecot, postfix, detected = (after - before for after, before in zip(now, count.before, strict=True))
        if max(dovecot, postfix) > most:
            text = f"Dovecot {dovecot}, Postfix {postfix} (detected {detected}) for {changes} renewals and {faults} faults"
            self._judge.fail("too many reloads", box, text)
        acts = sum(line.get("event") == "target.differs" for line in self._recent(box, count.since))
        if max(dovecot, postfix) > acts + detected:
            text = (
                f"Dovecot {dovecot}, Postfix {postfix} for {acts} acts of certferry's and {detected} changes that were detected"
            )
            self._judge.fail("reloads without an act", box, text)

    def _process(self) -> None:
        """Each life, in calm, is about as large as the first one was before the first fault; most do not live for long."""
        ferry, limits = self._scene.ferry, self._judge.limits
        first, until = ferry.costs[0][0], time.monotonic() + RESTING
        while self._grown(first, ferry.measure()):
            if time.monotonic() > until:
                self._judge.fail("certferry grows", None, f"{first} became {ferry.costs[-1][-1]}")
                break
            time.sleep(PAUSE)
        for seconds in ferry.ends[self._ended :]:
            if seconds > limits.ended + slowness() - 1.0:
                self._judge.fail("SIGTERM took too long", None, f"{seconds:.1f} s")
        for text in ferry.unasked:
            self._judge.fail("certferry ended by itself", None, text)
        self._ended = len(ferry.ends)
        ferry.unasked.clear()

    def _grown(self, first: Cost, now: Cost) -> bool:
        """Whether it holds more than it did before the first fault; what it is just at comes to an end."""
        limits = self._judge.limits
        return (
            now.mebibytes - first.mebibytes > limits.mebibytes
            or now.descriptors - first.descriptors > limits.descriptors
            or now.threads - first.threads > limits.threads
        )

    def _wrong(self, box: Box, fingerprint: str) -> str:
        others = [port for port, leaf in self._clients[box.name].now.items() if leaf != fingerprint]
        return f"port {others[0]} handed out something else last" if others else box.wrong(fingerprint)

    def _number(self, leaf: str) -> int | None:
        known = self._scene.store.by_fingerprint.get(leaf)
        return known.number if known else None

    def _state(self, box: Box) -> str:
        with suppress(docker.errors.APIError):
            box.container.reload()
            tail = bytes(box.container.logs(tail=3)).decode(errors="replace")
            condition = self._scene.ferry.now.condition(box.mail.name)
            return f"certferry: {condition}; the container is {box.container.status}, its log ends: {tail}"
        return "the container cannot be looked at"

    def _recent(self, box: Box, since: float) -> list[dict[str, object]]:
        lines = self._scene.ferry.lines()
        return [line for line in lines if line.get("target") == box.mail.name and moment_of(line) >= since]
