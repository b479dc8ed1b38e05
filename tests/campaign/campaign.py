"""One campaign: rounds of faults, each followed by a calm in which everything is looked at."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from random import Random

import docker
from requests.exceptions import RequestException

from tests.campaign.api_proxy import ApiProxy
from tests.campaign.calm import Calm, Count
from tests.campaign.ferry import Ferry
from tests.campaign.fleet import KINDS, start_all, wait_up
from tests.campaign.journal import Journal, clock
from tests.campaign.judge import Judge, Limits
from tests.campaign.plan import FAULTS, Step, steps
from tests.campaign.reader import Reader
from tests.campaign.scene import Scene
from tests.campaign.store import Store
from tests.campaign.watch import Clients
from tests.lab import GENEROUS, Lab

ROUND = 25.0
"""Seconds of faults before each calm."""
AT_ONCE = 2
"""Faults that may last at a time."""
LONGEST = 60.0
"""Seconds that a fault and its undoing may take."""


@dataclass(frozen=True)
class Verdict:
    """How it ended: how often each assertion did not hold, and the figures in one line."""

    failures: dict[str, int]
    figures: str


class Campaign:
    """Plays on a laboratory; `tell` is given every failure as it is found."""

    def __init__(self, lab: Lab, seed: int, limits: Limits, tell: Callable[[str], None]) -> None:
        self._lab, self._seed, self._tell = lab, seed, tell
        store = Store(lab, [kind.host for kind in KINDS], Random(f"renewals {seed}"))
        boxes = start_all(lab, store)
        proxy = ApiProxy(lab.folder / "docker.sock")
        wait_up(boxes, 2 * GENEROUS)
        self._scene = Scene(lab, store, proxy, Ferry(lab, proxy.url), boxes, Journal())
        self._judge = Judge(self._scene, limits, tell)
        self._steps = steps(seed, boxes)
        self._kinds: Counter[str] = Counter()
        self._rounds = self._never = self._refused = 0

    def play(self, seconds: float) -> Verdict:
        """Rounds until so many seconds are over; the last one comes to its end."""
        scene, begin = self._scene, time.time()
        for box in scene.boxes:
            box.look_up_address()
            scene.ferry.now.wait_ready(box.mail.name, scene.store.newest[box.kind.host].pair)
        with self._failing_threads_told(), ExitStack() as stack:
            clients = {box.name: stack.enter_context(Clients(box, scene.store)) for box in scene.boxes}
            readers = {box.name: stack.enter_context(Reader(box, scene.store)) for box in scene.boxes}
            calm = Calm(self._judge, clients)
            while not self._rounds or time.time() - begin < seconds:
                self._round(calm, clients, readers, min(ROUND, seconds / 2))
        scene.ferry.now.stop()
        scene.proxy.close()
        return Verdict(dict(self._judge.failures), self._figures(time.time() - begin, calm, clients, readers))

    @contextmanager
    def _failing_threads_told(self) -> Iterator[None]:
        """Who watches no more finds nothing any more."""

        def tell(args: threading.ExceptHookArgs) -> None:
            told = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
            self._judge.fail("the campaign itself failed", None, "".join(told))

        before, threading.excepthook = threading.excepthook, tell
        try:
            yield
        finally:
            threading.excepthook = before

    def _round(self, calm: Calm, clients: dict[str, Clients], readers: dict[str, Reader], seconds: float) -> None:
        self._rounds += 1
        counts = [Count.begin(box) for box in self._scene.boxes]
        self._scene.ferry.measure()
        with self._scene.store.renewing():
            self._faults(time.monotonic() + seconds)
        since = self._settle()
        calm.judge(since, counts)
        for box in self._scene.boxes:
            self._judge.outages(box, clients[box.name])
            self._judge.sights(box, readers[box.name])
        self._judge.log({box.mail.name: box for box in self._scene.boxes})
        self._put_right(calm, clients)

    def _put_right(self, calm: Calm, clients: dict[str, Clients]) -> None:
        """What did not heal is made anew, as an operator would: one failure shall not hide the next."""
        for box in calm.broken:
            box.recreate()
            self._scene.store.renew([box.kind.host])
            with suppress(AssertionError):
                box.mail.wait_up(seconds=GENEROUS)
            clients[box.name].forget()
        self._never += len(calm.broken)
        calm.broken.clear()

    def _faults(self, until: float) -> None:
        """Begin faults one after the other, each when what it concerns is free, and wait until all have ended."""
        running: dict[str, threading.Thread] = {}
        while time.monotonic() < until:
            step = next(self._steps)
            time.sleep(step.pause)
            while step.concerns in running or len(running) >= AT_ONCE:
                time.sleep(0.05)
                running = {concerned: thread for concerned, thread in running.items() if thread.is_alive()}
            running[step.concerns] = thread = threading.Thread(target=self._step, args=(step,), daemon=True)
            self._kinds[step.fault.kind] += 1
            thread.start()
        for thread in running.values():
            thread.join(LONGEST)

    def _step(self, step: Step) -> None:
        dice = Random(step.seed)
        try:
            with (
                self._scene.journal.incident(str(step), step.fault.kind, step.own),
                step.fault.apply(self._scene, step.box, dice),
            ):
                time.sleep(step.seconds)
        except (docker.errors.APIError, RequestException) as error:  # it would not, or not now; `_settle` puts it right
            self._refused += 1
            self._tell(f"{clock(time.time())} {step}: the engine says {error}")
        except Exception:
            self._judge.fail("the campaign itself failed", step.box, f"{step}: {traceback.format_exc()}")

    def _settle(self) -> float:
        """Everything runs again; the moment from which nothing is in the way any more."""
        self._scene.ferry.revive()
        for box in self._scene.boxes:
            with suppress(docker.errors.APIError, RequestException):
                box.container.reload()
                if box.container.attrs["RestartCount"]:
                    self._judge.fail("the container ended by itself", box, f"{box.container.attrs['RestartCount']} times")
                    box.container.restart(timeout=2)
                elif box.container.status == "paused":
                    box.container.unpause()
                elif box.container.status != "running":
                    box.container.start()
        return time.time()

    def _changes(self) -> int:
        return len(self._scene.store.renewals) - len(self._scene.boxes)

    def _figures(self, seconds: float, calm: Calm, clients: dict[str, Clients], readers: dict[str, Reader]) -> str:
        healed, ferry = sorted(calm.healed), self._scene.ferry
        costs = [cost for life in ferry.costs for cost in life]
        late = sum(one > self._judge.limits.healed for one in healed)
        parts = (
            f"seed {self._seed}, {seconds:.0f} s, {self._rounds} rounds",
            f"{sum(self._kinds.values())} faults ({self._refused} not to be had) of {len(self._kinds)} of {len(FAULTS)} kinds",
            f"{len(self._scene.store.renewals)} renewals, {len(ferry.lives)} lives of certferry"
            f" (ended {max(ferry.ends, default=0.0):.1f} s after SIGTERM at the latest)",
            f"{sum(max(box.reloads()[:2]) for box in self._scene.boxes)} reloads for {self._changes()} changes of a box",
            f"{sum(one.handshakes for one in clients.values())} handshakes"
            f" ({sum(one.failures for one in clients.values())} failed, most by faults;"
            f" longest without a fault {self._judge.longest_outage:.1f} s)",
            f"{sum(one.mismatches for one in readers.values())} mismatches seen inside"
            f" (longest {1000 * max(one.longest_mismatch for one in readers.values()):.0f} ms, faults included)",
            f"healed after {healed[len(healed) // 2] if healed else 0:.1f} s (median),"
            f" {healed[-1] if healed else 0:.1f} s (longest), {late} late, {self._never} never",
            f"at most {max(cost.mebibytes for cost in costs):.0f} MiB, {max(cost.descriptors for cost in costs)} descriptors,"
            f" {max(cost.threads for cost in costs)} threads",
            f"load {os.getloadavg()[0]:.1f}",
            f"{sum(self._judge.failures.values())} failures {self._judge.failures or ''}",
        )
        return "; ".join(parts).strip()
