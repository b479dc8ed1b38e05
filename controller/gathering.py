"""Reads all that a decision needs of one target: files, sockets, the choice of certificates, and what the ports hand out.

A port is asked once, and not at all where that is known: each handshake is some lines in the mail server's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from controller import choosing, policies
from controller.clocks import Clocks
from controller.domain.certificate import KeyType
from controller.domain.container import State
from controller.domain.moment import Moment, read_clocks
from controller.domain.observed import Ask, Observed, Served
from controller.domain.snapshot import Snapshot
from controller.domain.target import InvalidTarget, ProbePort, Target
from controller.installed import installed_fingerprints
from controller.memory import Memory, input_of
from controller.policies import Facts
from controller.ports import Sink, Targets
from controller.proof import REMEMBERED, Prover
from controller.renewers import find_renewers
from controller.selection import Selection, count_held
from controller.store import Store

log = structlog.get_logger()

HURRY = 1.0
"""Seconds for the handshakes before a write."""

MANY = 100
"""Certificates for the names of one target from which on the choice is made beside the loop: some 20,000 of them, as one store
may hold, are worth more than a second of thinking. Real ones hold a handful."""


@dataclass(slots=True)
class Gatherer:
    """`now` is the wall clock; `clocks` say how far it is to be believed. `start_grace` in seconds."""

    targets: Targets
    sink: Sink
    prover: Prover
    store: Store
    clocks: Clocks
    now: Callable[[], datetime]
    start_grace: float
    _doubted: bool = False

    async def gather(self, target: Target, memory: Memory) -> Facts | InvalidTarget:
        """All of it, read now; the target is as its container's answers correct it."""
        looked = await self.look(target, memory)
        if isinstance(looked, InvalidTarget):
            return looked
        target, observed = looked
        snapshots = self.store.snapshots_in_order
        moment, age = self._what_time_it_is(snapshots), self._age(target, memory)
        facts = Facts(
            target,
            Selection(),
            observed,
            (),
            self.now(),
            self.start_grace,
            age=age,
            moment=moment,
            known=self.store.known(installed_fingerprints(target, observed)),
            unused=self.store.unused,
        )
        beside = count_held(target, snapshots.values()) > MANY
        facts = await asyncio.to_thread(choosing.choose, facts, snapshots) if beside else choosing.choose(facts, snapshots)
        facts = replace(facts, renewers=find_renewers(facts, self.store))
        facts = replace(facts, loaded=memory.in_use == input_of(facts), differs_for=self._differs_for(facts, memory))
        return replace(facts, served=await self._served(facts, memory))

    async def look(self, target: Target, memory: Memory) -> tuple[Target, Observed] | InvalidTarget:
        """What is in the container, and the target as that corrects it: it may name files that were not thought of before."""
        paths = frozenset(target.paths)
        observed = await self.sink.observe(replace(target, beside=(*target.beside, *memory.beside)))
        adapted = self.targets.adapt(target, observed)
        if isinstance(adapted, Target) and not observed.files.keys() >= frozenset(adapted.paths):
            observed = await self.sink.observe(adapted)
            adapted = self.targets.adapt(target, observed)
        if isinstance(adapted, InvalidTarget):
            return adapted
        memory.beside = tuple(path for path in adapted.paths if path not in paths)
        return adapted, observed

    def _differs_for(self, facts: Facts, memory: Memory) -> float:
        """Seconds since the files were first seen to differ from what is chosen now."""
        if not policies.differs(facts):
            memory.differs = None
            return 0.0
        given, elapsed = input_of(facts), self.clocks.elapsed()
        if memory.differs is None or memory.differs[0] != given:
            memory.differs = given, elapsed
        return elapsed - memory.differs[1]

    async def _served(self, facts: Facts, memory: Memory) -> tuple[Served, ...]:
        """What the ports hand out. One that hangs must not hold up a new certificate: it is asked at length when it counts."""
        target, observed = facts.target, facts.observed
        if target.container.state is not State.RUNNING:
            return ()
        decision = policies.decide(facts)
        acting = bool(decision.write) or decision.pause is not None
        known = self._known(target, observed, memory, acting=acting)
        ports = policies.wanted_ports(target, observed.listening)
        kinds = (None,) if acting else policies.key_types(facts)  # before a write it is enough that something is handed out
        asks = [ask for port in ports for ask in ([a for a in known if acting and a.port == port] or _asks(port, kinds))]
        hurry = HURRY if decision.write else None
        asked = await self.prover.ask(target, [ask for ask in asks if ask not in known], seconds=hurry)
        answers = known | {served.ask: served for served in asked}
        return tuple(answers[ask] for ask in asks)

    def _known(self, target: Target, observed: Observed, memory: Memory, *, acting: bool) -> dict[Ask, Served]:
        """What needs no asking: before a write, certferry's or another's, ports that were right since the container's start and
        still listen; at a second look, those that were right at the first."""
        known, settled = memory.known(target), memory.settled
        memory.settled, memory.partly = frozenset(), bool(settled)
        if acting:
            listening = observed.listening or frozenset()
            return {ask: replace(was, way=REMEMBERED) for ask, was in known.items() if ask.port.port in listening}
        return {ask: served for ask, served in known.items() if ask in settled}

    def _what_time_it_is(self, snapshots: Mapping[str, Snapshot]) -> Moment:
        """As far as that is known; a doubt is logged once, and again when it is over."""
        self.clocks.prove(policies.proven_by(snapshots.values()))
        moment = read_clocks(self.now(), self.clocks.others(), proven=self.clocks.proven)
        if bool(moment.doubt) is not self._doubted:
            self._doubted = bool(moment.doubt)
            if moment.doubt:
                log.warning("clock.doubted", message=moment.doubt)
            else:
                log.info("clock.believed", message=f"the clock says {self.now():%Y-%m-%d %H:%M} UTC")
        return moment

    def _age(self, target: Target, memory: Memory) -> float | None:
        """Seconds since the container was started: by the engine's clock at first, then by one that cannot jump."""
        started = target.container.started_at
        if started is None:
            return None
        elapsed = self.clocks.elapsed()
        if memory.started is None or memory.started[0] != started:
            memory.started = started, elapsed - max(target.container.age or 0.0, 0.0)
        return elapsed - memory.started[1]


def _asks(port: ProbePort, kinds: Iterable[KeyType | None]) -> list[Ask]:
    return [Ask(port, kind) for kind in kinds]
