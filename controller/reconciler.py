"""Bring one target from where it is to where it should be: observe, decide, act, and say how it ended.

What is to be done is decided in `controller.policies`; the act is `controller.delivery`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

import structlog

from controller import policies
from controller.attempts import Attempts
from controller.clocks import Clocks
from controller.delivery import SILENT_LIMIT, Delivery, describe_failure
from controller.domain.container import State
from controller.domain.errors import (
    CheckFailed,
    Error,
    ExecTimeout,
    FilesUnreadable,
    ReloadFailed,
    RollbackFailed,
    TargetGone,
    TargetNotRunning,
    TransientError,
    VerifyFailed,
    WriteRefused,
)
from controller.domain.finding import Finding, Reason
from controller.domain.moment import Moment, read_clocks
from controller.domain.observed import Observed, Served
from controller.domain.snapshot import Snapshot
from controller.domain.target import InvalidTarget, Place, ProbePort, Reload, Target, TargetKey
from controller.locks import Area, Locks, areas_of, meet
from controller.policies import Decision, Facts
from controller.ports import Probe, Sink, Targets
from controller.proof import HURRIED, Prover
from controller.report import Reporter
from controller.selection import Selection, count_held
from controller.store import Store
from controller.together import both
from controller.wishes import Wishes

log = structlog.get_logger()

STARTING_PAUSE = 0.5
"""Seconds between two looks at a container whose ports are not open yet."""

HURRY = 1.0
"""Seconds for the handshakes before a write."""

SILENT_PAUSE = 5.0
"""Seconds between two looks at a port that does not answer."""

FAILED_PAUSE = 20.0
"""Seconds between two looks at a target where something failed: it may heal by itself. Nothing is done to it meanwhile."""

MANY = 100
"""Certificates for the names of one target from which on the choice is made beside the loop: some 20,000 of them, as one store
may hold, are worth more than a second of thinking. Real ones hold a handful."""

UNREADABLE_PAUSE = 60.0
"""Seconds between two looks at a container whose files cannot be read: no event tells when somebody mends that."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds: see the settings of the same names."""

    settle: float
    verify_timeout: float
    start_grace: float
    resync: float
    longest: float = 3600.0
    """What one pass may take; see `longest_pass`."""


def longest_pass(exec_timeout: float, engine_timeout: float, verify_timeout: float) -> float:
    """Seconds that no pass takes whose single steps keep to their own limits: it has far fewer than ten of each."""
    return 10 * (exec_timeout + engine_timeout + verify_timeout)


class Result(StrEnum):
    """How a reconcile ended; the ``outcome`` label of the metrics."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"
    GONE = "gone"
    BLOCKED = "blocked"
    """Not looked at: another target is worked on that shares files with it. It is called when it can be; see `Locks.call`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`again` is the delay in seconds after which the target wants another look before the resync."""

    result: Result
    again: float | None = None


@dataclass(frozen=True, slots=True)
class _Input:
    """What makes an attempt another one: the certificates and where they go, how they are loaded, the container's start.

    Of a certificate its leaf's fingerprint and a digest of the whole: this is remembered for days, and shall hold no key.
    """

    chosen: tuple[tuple[Place, str, str], ...]
    reload: tuple[Reload, ...]
    started_at: datetime | None

    @property
    def leaves(self) -> tuple[str, ...]:
        return tuple(fingerprint for _, fingerprint, _ in self.chosen)


@dataclass(slots=True)
class _Memory:
    """What is remembered of a target from one look to the next. Losing it costs at most one reload or one wait."""

    silent_since: float | None = None
    written: _Input | None = None
    """The input of a write, until the target was seen without anything to write."""
    reloaded: _Input | None = None
    """The input of a reload without a write, until the target was ready."""
    in_use: _Input | None = None
    """The input that the services loaded last."""
    proven: frozenset[ProbePort] = frozenset()
    """The ports that were proven when it was last ready, and since which start of the container."""
    proven_since: datetime | None = None
    started: tuple[datetime, float] | None = None
    """A start of the container by the engine's clock, and by ours that cannot jump."""
    differs: tuple[_Input, float] | None = None
    """What another who writes the files has not brought yet, and since when."""
    leads_to: frozenset[PurePosixPath] = frozenset()
    """Where the symbolic links among its paths led at the last look."""
    beside: tuple[PurePosixPath, ...] = ()
    """Files that its container was found to use at the last look: read at once at the next."""
    areas: frozenset[Area] = frozenset()
    """What it may share with others, links included."""


class Reconciler:
    """Reconciles one key at a time per target; `now` is the wall clock, `clock` the monotonic one.

    `clocks` say how far the wall clock is to be believed, and count the time of a suspended machine too.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        targets: Targets,
        sink: Sink,
        probe: Probe,
        store: Store,
        timing: Timing,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        wishes: Wishes | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self._targets, self._sink, self._store, self._timing = targets, sink, store, timing
        self._now, self._clock = now, clock
        self._clocks = clocks or Clocks(now, clock)
        self._doubted = False
        self._wishes = wishes or Wishes()
        self._prover = Prover(probe, clock)
        self._report = Reporter(store, now)
        self._delivery = Delivery(sink, self._prover, self._report, verify_timeout=timing.verify_timeout)
        self._attempts = Attempts(timing.resync)
        self._memory: defaultdict[TargetKey, _Memory] = defaultdict(_Memory)
        self._writers: dict[Area, TargetKey] = {}
        """Which target was written to last, by what it shares with others that are known."""
        self.locks = Locks()

    async def reconcile(self, key: TargetKey) -> Outcome:
        """Look at a target anew and do what is needed.

        Raises:
            TransientError: worth another try soon; or something hangs whose own limit does not hold.
        """
        limit = asyncio.timeout(self._timing.longest)
        try:
            async with limit:
                return await self._reconcile(key)
        except TimeoutError as error:
            if not limit.expired():
                raise
            text = f"the work on it did not end within {self._timing.longest:g} s; it begins anew"
            self._report.failed(key, Finding(Reason.UNREACHABLE, text))
            raise TransientError(text) from error

    async def _reconcile(self, key: TargetKey) -> Outcome:
        blocked = False
        try:
            target = await self._targets.resolve(key)
            if not isinstance(target, Target):
                return self._refuse(key, target) if target else self._forget(key)
            if target.places:  # else they are found in the container
                self._wishes.note(target)
            if blocked := not self.locks.enter(key, self._note_areas(target)):
                self._report.blocked(target)
                return Outcome(Result.BLOCKED)
            facts = await self._gather(target)
            if isinstance(facts, InvalidTarget):
                return replace(self._refuse(key, facts), again=UNREADABLE_PAUSE)  # its own settings may change
            self._wishes.note(facts.target)
            return Outcome(Result.WAITING, 0.0) if self._leads_elsewhere(facts) else await self._bring(facts)
        except TargetGone:
            return self._forget(key)
        except FilesUnreadable as error:
            self._report.failed(key, describe_failure(error))
            return Outcome(Result.REFUSED, UNREADABLE_PAUSE)
        except Error as error:
            self._report.failed(key, Finding(Reason.UNREACHABLE, str(error)))
            raise
        except Exception as error:  # what was known before says nothing of now
            text = f"a fault in certferry ({type(error).__name__}), see its log; it is tried again"
            self._report.failed(key, Finding(Reason.UNREACHABLE, text))
            raise
        finally:
            if not blocked:
                self.locks.leave(key)

    async def plan(self, key: TargetKey) -> tuple[Facts, Decision] | InvalidTarget | None:
        """What `reconcile` would find and decide now, without doing it."""
        target = await self._targets.resolve(key)
        if not isinstance(target, Target):
            return target
        facts = await self._gather(target)
        if isinstance(facts, InvalidTarget):
            return facts
        decision = policies.decide(facts)
        if decision.refused:
            decision = replace(decision, refused=self._or_source_trouble(decision.refused, target))
        return facts, decision

    def _note_areas(self, target: Target) -> frozenset[Area]:
        """What must not be written to by two workers at once."""
        memory = self._memory[target.key]
        places = (*target.places, *target.internal)
        memory.areas = areas_of(target.container, (*(path for place in places for path in place.paths), *memory.leads_to))
        return memory.areas

    def _refuse(self, key: TargetKey, target: InvalidTarget) -> Outcome:
        self._wishes.forget(key)
        self._report.invalid(key, target)
        return Outcome(Result.REFUSED)

    def _forget(self, key: TargetKey) -> Outcome:
        self._attempts.forget(key)
        if (gone := self._memory.pop(key, None)) and gone.areas:
            known = frozenset[Area]().union(*(memory.areas for memory in self._memory.values()))
            self._writers = {area: writer for area, writer in self._writers.items() if meet((area,), known)}
        self._wishes.forget(key)
        self._report.gone(key)
        return Outcome(Result.GONE)

    async def _look(self, target: Target) -> tuple[Target, Observed] | InvalidTarget:
        """What is in the container, and the target as that corrects it: it may name files that were not thought of before."""
        memory, paths = self._memory[target.key], frozenset(target.paths)
        looked_at = replace(target, beside=(*target.beside, *memory.beside))
        observed = await self._sink.observe(looked_at)
        adapted = self._targets.adapt(target, observed)
        if isinstance(adapted, Target) and not observed.files.keys() >= frozenset(adapted.paths):
            observed = await self._sink.observe(adapted)
            adapted = self._targets.adapt(target, observed)
        if isinstance(adapted, InvalidTarget):
            return adapted
        memory.beside = tuple(path for path in adapted.paths if path not in paths)
        return adapted, observed

    async def _gather(self, target: Target) -> Facts | InvalidTarget:
        known = self._proven_ports(target)  # asked while the files are read: it saves the time of a round of handshakes
        looked, early = await both(self._look(target), self._prover.ask(target, sorted(known), seconds=HURRY))
        if isinstance(looked, InvalidTarget):
            return looked
        target, observed = looked
        snapshots = self._store.snapshots_in_order
        moment = self._what_time_it_is(snapshots)
        facts = Facts(
            target, Selection(), observed, (), self._now(), self._timing.start_grace, age=self._age(target), moment=moment
        )
        beside = count_held(target, snapshots.values()) > MANY
        facts = await asyncio.to_thread(policies.choose, facts, snapshots) if beside else policies.choose(facts, snapshots)
        facts = replace(facts, differs_for=self._differs_for(facts))
        ports = policies.wanted_ports(target, observed.listening) if target.container.state == "running" else ()
        # A port that hangs must not hold up a new certificate: it is asked at length when it counts, after the reload.
        limit = HURRY if policies.decide(facts).write else None
        answers = {served.port: served for served in early if limit or served.way != HURRIED}
        rest = await self._prover.ask(target, [port for port in ports if port not in answers], seconds=limit)
        answers |= {served.port: served for served in rest}
        return replace(facts, served=tuple(answers[port] for port in ports))

    def _differs_for(self, facts: Facts) -> float:
        """Seconds since another who writes the files was first seen not to have brought what is chosen now."""
        memory, chosen = self._memory[facts.target.key], _input(facts)
        if not facts.target.written_by or not policies.differs(facts):
            memory.differs = None
            return 0.0
        if memory.differs is None or memory.differs[0] != chosen:
            memory.differs = chosen, self._clock()
        return self._clock() - memory.differs[1]

    def _what_time_it_is(self, snapshots: Mapping[str, Snapshot]) -> Moment:
        """As far as that is known; a doubt is logged once, and again when it is over."""
        self._clocks.prove(policies.proven_by(snapshots.values()))
        moment = read_clocks(self._now(), self._clocks.others(), proven=self._clocks.proven)
        if bool(moment.doubt) is not self._doubted:
            self._doubted = bool(moment.doubt)
            if moment.doubt:
                log.warning("clock.doubted", message=moment.doubt)
            else:
                log.info("clock.believed", message=f"the clock says {self._now():%Y-%m-%d %H:%M} UTC")
        return moment

    def _age(self, target: Target) -> float | None:
        """Seconds since the container was started: by the engine's clock at first, then by one that cannot jump."""
        started = target.container.started_at
        if started is None:
            return None
        memory, elapsed = self._memory[target.key], self._clocks.elapsed()
        if memory.started is None or memory.started[0] != started:
            memory.started = started, elapsed - max(target.container.age or 0.0, 0.0)
        return elapsed - memory.started[1]

    async def _bring(self, facts: Facts) -> Outcome:
        target, decision = facts.target, policies.decide(facts)
        if decision.refused:
            self._report.not_ready(facts, self._or_source_trouble(decision.refused, target))
            return Outcome(Result.REFUSED, self._until_change(facts))
        if not decision.write:
            self._memory[target.key].written = None
            decision = self._notice_other_writer(facts, decision)
        if not decision.write and not decision.reload:
            return await self._rest(facts, decision)
        if put_off := self._put_off(facts, decision):
            return put_off
        for finding in decision.findings:
            log.info("target.differs", target=target.name, reason=finding.reason, message=finding.message)
        try:
            return await self._act(facts, decision)
        except TargetNotRunning as error:
            self._report.not_ready(facts, Finding(decision.findings[0].reason, str(error)))
            return Outcome(Result.WAITING)
        except (WriteRefused, CheckFailed, ReloadFailed, VerifyFailed, RollbackFailed, ExecTimeout) as error:
            finding = describe_failure(error)
            self._attempts.failed(target.key, _input(facts), finding, self._clocks.elapsed())
            self._report.not_ready(facts, finding)
            return Outcome(Result.FAILED, FAILED_PAUSE)

    def _leads_elsewhere(self, facts: Facts) -> bool:
        """Whether symbolic links lead to what is shared with yet others: that must be held, too, so it is looked at anew."""
        memory = self._memory[facts.target.key]
        held, memory.leads_to = memory.areas, frozenset(facts.observed.resolved.values())
        return not self._note_areas(facts.target) <= held

    def _notice_other_writer(self, facts: Facts, decision: Decision) -> Decision:
        """Files on a shared volume, replaced for another target, have to be loaded here too, unless a port shows they are."""
        if decision.reload or decision.wait or facts.target.container.state is not State.RUNNING or self._is_in_use(facts):
            return decision
        changed = Finding(Reason.RELOAD_PENDING, "the files were replaced since the last reload, and no port shows them in use")
        return replace(decision, findings=(changed,), reload=True, confirm=True)

    def _is_in_use(self, facts: Facts) -> bool:
        """Whether the services loaded what is installed, as far as that can be known."""
        before, wanted = self._memory[facts.target.key].in_use, _input(facts)
        shown = any(served.leaf for served in facts.served)
        if before is None:
            return shown or not any(
                writer != facts.target.key and meet((area,), self._memory[facts.target.key].areas)
                for area, writer in self._writers.items()
            )
        if before == wanted or before.started_at != wanted.started_at:
            return True
        return shown and before.leaves != wanted.leaves  # a port shows the leaf, and nothing of the chain behind it

    def _put_off(self, facts: Facts, decision: Decision) -> Outcome | None:
        """Why nothing is to be done yet: the same failed a short while ago, or a silent port may come back by itself."""
        key = facts.target.key
        if failure := self._attempts.standing(key, _input(facts), self._clocks.elapsed()):
            self._report.not_ready(facts, failure)
            return Outcome(Result.REFUSED, FAILED_PAUSE)
        if decision.silent and self._may_revive(key):
            self._report.not_ready(facts, decision.findings[0])
            return Outcome(Result.WAITING, SILENT_PAUSE)
        return None

    def _may_revive(self, key: TargetKey) -> bool:
        """Whether a silent port is given more time before a reload is tried."""
        memory = self._memory[key]
        memory.silent_since = self._clock() if memory.silent_since is None else memory.silent_since
        return self._clock() - memory.silent_since < SILENT_LIMIT

    async def _rest(self, facts: Facts, decision: Decision) -> Outcome:
        """Nothing to write or reload: ready, or waiting for the daemons to come up."""
        if decision.wait:
            self._report.not_ready(facts, decision.findings[0])
            return Outcome(Result.WAITING, decision.pause or STARTING_PAUSE)
        if facts.observed.litter:
            await self._sink.settle(facts.target, facts.observed)
        if facts.target.container.state is State.RESTARTING:
            text = "; ".join(
                ("installed, but the container restarts again and again: its own log says why", *facts.target.notes)
            )
            self._report.not_ready(facts, Finding(Reason.RELOAD_PENDING, text))
            return Outcome(Result.WAITING)
        if closed := self._closed(facts):
            text = f"nothing listens any more on {', '.join(map(str, closed))}"
            self._report.not_ready(facts, Finding(Reason.SERVED_DIFFERS, text))
            return Outcome(Result.WAITING, SILENT_PAUSE)
        if unknown := [served.error for served in facts.served if served.unknown]:
            self._report.not_ready(facts, Finding(Reason.VERIFY_FAILED, unknown[0]))
            return Outcome(Result.UNCHANGED)
        self._attempts.forget(facts.target.key)
        memory = self._memory[facts.target.key]
        memory.silent_since = memory.reloaded = None
        if facts.target.container.state is State.RUNNING:
            memory.in_use = _input(facts)
            memory.proven = frozenset(served.port for served in facts.served if served.leaf)
            memory.proven_since = facts.target.container.started_at
        self._report.ready(facts)
        return Outcome(Result.UNCHANGED, _sooner(self._until_started(facts), self._until_change(facts)))

    def _proven_ports(self, target: Target) -> frozenset[ProbePort]:
        """Ports that were proven since the container started."""
        memory = self._memory[target.key]
        if memory.proven_since != target.container.started_at or target.container.state is not State.RUNNING:
            return frozenset()
        return memory.proven & set(target.probe)

    def _closed(self, facts: Facts) -> list[ProbePort]:
        """Ports that were proven and are closed now: a daemon has ended."""
        open_now = {served.port for served in facts.served if not served.refused}
        return sorted(self._proven_ports(facts.target) - open_now)

    def _until_started(self, facts: Facts) -> float | None:
        """Daemons start one after the other: look again after twice the time, until the start must be over."""
        if not facts.target.probe or facts.age is None or facts.target.container.state is not State.RUNNING:
            return None
        rest = self._timing.start_grace - facts.age
        return min(rest, max(facts.age, STARTING_PAUSE)) if rest > 0 else None

    def _until_change(self, facts: Facts) -> float | None:
        """Seconds until the choice may be another one, if before the resync: the chosen ends, or what was too early begins."""
        moments = [c.certificate.leaf.not_after for _, c in facts.selection.chosen]
        moments += [c.certificate.leaf.not_before for c in facts.selection.candidates if c.reason is Reason.NOT_YET_VALID]
        rests = [(moment - facts.now).total_seconds() + 1 for moment in moments if moment > facts.now]
        return min((rest for rest in rests if rest < self._timing.resync), default=None)

    async def _act(self, facts: Facts, decision: Decision) -> Outcome:
        self._check_repetition(facts, decision)
        served = await self._delivery.deliver(facts, decision)
        if decision.write:
            self._writers |= dict.fromkeys(self._memory[facts.target.key].areas, facts.target.key)
        if decision.write and not decision.wait:  # while a container starts, its own set-up may overwrite what was written
            self._memory[facts.target.key].written = _input(facts)
        if decision.reload:
            self._memory[facts.target.key].in_use = _input(facts)
        if decision.confirm or facts.observed.pending or facts.observed.litter:
            await self._sink.settle(facts.target, facts.observed)
        if not decision.write:
            self._memory[facts.target.key].reloaded = _input(facts)
        return self._acted(facts, decision, served)

    def _check_repetition(self, facts: Facts, decision: Decision) -> None:
        """Whatever undoes a write or a reload at once would cost a reload at every look."""
        memory, given = self._memory[facts.target.key], _input(facts)
        if not decision.write:
            before, memory.reloaded = memory.reloaded, None
            if before == given:
                raise VerifyFailed(f"{decision.findings[0].message}, again, right after a reload that had put it right")
            return
        written, memory.written = memory.written, None
        if written == given:
            raise WriteRefused(
                f"{decision.findings[0].message}, again, right after it was put right:"
                " does something else write there, or does the mount not keep owner and mode?"
            )

    def _acted(self, facts: Facts, decision: Decision, served: tuple[Served, ...]) -> Outcome:
        proven = any(answer.leaf for answer in served)
        if decision.wait:
            waiting = Finding(Reason.RELOAD_PENDING, "installed; waiting for the ports to open after the start")
            self._report.not_ready(facts, waiting, served)
            return Outcome(Result.CHANGED, STARTING_PAUSE)
        if decision.reload and proven and self._timing.settle:
            text = f"served by every port that answers; confirming after {self._timing.settle:g} s"
            self._report.not_ready(facts, Finding(Reason.RELOAD_PENDING, text), served)
            return Outcome(Result.CHANGED, self._timing.settle)
        return Outcome(Result.CHANGED, 0.0)

    def _or_source_trouble(self, finding: Finding, target: Target) -> Finding:
        """Where nothing fits because a source cannot be read, that is the reason to show."""
        if finding.reason is not Reason.NO_MATCHING_CERTIFICATE:
            return finding
        for name in target.sources or self._store.sources:
            status = self._store.sources.get(name)
            if status and status.reason and name not in self._store.snapshots:
                return Finding(status.reason, f"source {name}: {status.message}")
        return finding


def _input(facts: Facts) -> _Input:
    chosen = tuple((place, c.certificate.fingerprint, c.certificate.digest) for place, c in facts.selection.chosen)
    return _Input(chosen, facts.target.reload, facts.target.container.started_at)


def _sooner(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
