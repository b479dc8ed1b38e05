"""Bring one target from where it is to where it should be: observe, decide, act, and say how it ended.

What is read: `controller.gathering`. What is to be done: `controller.policies`. How it is done: `controller.delivery`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from controller import pausing, policies
from controller.attempts import LONGEST, Attempts
from controller.choosing import tell_unused
from controller.clocks import Clocks
from controller.delivery import SILENT_LIMIT, SILENT_MOMENTS, Delivered, Delivery, not_running
from controller.domain.container import State
from controller.domain.errors import (
    CheckFailed,
    Error,
    ExecCut,
    FilesUnreadable,
    Overwritten,
    PermanentError,
    ReloadFailed,
    RollbackFailed,
    TargetGone,
    TargetNotRunning,
    TransientError,
    VerifyFailed,
    WriteFailed,
    WriteRefused,
)
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Served
from controller.domain.target import InvalidTarget, ProbePort, Target, TargetKey
from controller.endings import endings, next_word
from controller.expiry import longest_pause
from controller.gathering import Gatherer
from controller.installed import installed_leaf
from controller.locks import Area, Locks, areas_of, meet
from controller.memory import Memory, input_of
from controller.policies import Decision, Facts
from controller.ports import Probe, Sink, Targets
from controller.proof import Prover
from controller.reasons import describe
from controller.report import Reporter
from controller.resting import LONGEST_LOOK, SHORTEST_LOOK, Unready, unready
from controller.steps import StepLog
from controller.store import Store
from controller.wishes import Wishes

log = StepLog()

STARTING_PAUSE = 0.5
"""Seconds between two looks at a container whose ports are not open yet."""

FAILED_PAUSE = 20.0
"""Seconds between two looks at a target where something failed: it may heal by itself. Nothing is done to it meanwhile."""

CUTS = 2
"""How often in a row the commands of an act may be cut off in a container that runs on, before they are to blame for it."""

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
    return 10 * (exec_timeout + engine_timeout + verify_timeout) + 2 * SILENT_LIMIT


class Result(StrEnum):
    """How a reconcile ended; the ``outcome`` label of the metrics."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"
    GONE = "gone"
    PAUSED = "paused"
    """Looked at and reported; nothing else."""
    BLOCKED = "blocked"
    """Not looked at: another target is worked on that shares files with it. It is called when it can be; see `Locks.call`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`again` is the delay in seconds after which the target wants another look before the resync."""

    result: Result
    again: float | None = None


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
        self._wishes = wishes or Wishes()
        prover = Prover(probe, clock)
        self._report = Reporter(store, now)
        self._gatherer = Gatherer(targets, sink, prover, store, self._clocks, now, timing.start_grace)
        self._delivery = Delivery(
            sink,
            prover,
            self._report,
            verify_timeout=timing.verify_timeout,
            clock=clock,
            unchanged=self._is_unchanged,
            look=self._look_again,
        )
        self._attempts = Attempts(timing.resync)
        self._memory: defaultdict[TargetKey, Memory] = defaultdict(Memory)
        self._hurried: Counter[TargetKey] = Counter()
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
        blocked, target = False, None
        try:
            target = await self._targets.resolve(key)
            if not isinstance(target, Target):
                return self._refuse(key, target) if target else self._forget(key)
            if target.places:  # else they are found in the container
                self._wishes.note(target)
            if blocked := not self.locks.enter(key, self._note_areas(target)):
                self._report.blocked(target)
                return Outcome(Result.BLOCKED)
            facts = await self._gatherer.gather(target, self._memory[key])
            if isinstance(facts, InvalidTarget):
                return replace(self._refuse(key, facts), again=UNREADABLE_PAUSE)  # its own settings may change
            self._wishes.note(facts.target)
            work = self._watch if target.paused_by else self._bring
            return Outcome(Result.WAITING, 0.0) if self._leads_elsewhere(facts) else await work(facts)
        except TargetGone:
            return self._forget(key)
        except FilesUnreadable as error:
            self._report.failed(key, describe(error), target)
            return Outcome(Result.REFUSED, UNREADABLE_PAUSE)
        except Error as error:
            self._report.failed(key, describe(error), target)
            raise
        except Exception as error:  # what was known before says nothing of now
            text = f"a fault in certferry ({type(error).__name__}), see its log; it is tried again"
            self._report.failed(key, Finding(Reason.UNREACHABLE, text), target)
            raise
        finally:
            if not blocked:
                self.locks.leave(key)

    async def plan(self, key: TargetKey) -> tuple[Facts, Decision] | InvalidTarget | None:
        """What `reconcile` would find and decide now, without doing it."""
        target = await self._targets.resolve(key)
        if not isinstance(target, Target):
            return target
        facts = await self._gatherer.gather(target, Memory())
        if isinstance(facts, InvalidTarget):
            return facts
        decision = self._decide_without_acting(facts)
        if decision.refused:
            decision = replace(decision, refused=self._or_source_trouble(decision.refused, facts))
        return facts, decision

    def _decide_without_acting(self, facts: Facts) -> Decision:
        """As an act would begin; that the mounts do not allow to write is met by nobody else then."""
        decision = policies.decide(facts)
        try:
            self._sink.check_mounts(facts.target, facts.observed, decision.write)
        except WriteRefused as error:
            return replace(decision, refused=decision.refused or describe(error))
        return decision

    async def _is_unchanged(self, target: Target) -> bool:
        """Whether a container still runs that did so a moment ago, and was not restarted in between."""
        found = await self._targets.resolve(target.key)
        known = target.container
        return isinstance(found, Target) and (found.container.state, found.container.started_at) == (
            known.state,
            known.started_at,
        )

    async def _look_again(self, target: Target) -> Target:
        """A target as its container's answers correct it now."""
        looked = await self._gatherer.look(target, Memory())
        return target if isinstance(looked, InvalidTarget) else looked[0]

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

    @contextmanager
    def hurried(self, key: TargetKey) -> Iterator[None]:
        """Work on a target through every wait while the context lasts: failures, start and silent ports put nothing off."""
        self._attempts.forget(key)
        memory = self._memory[key]
        memory.written = memory.reloaded = None
        self._hurried[key] += 1  # two may be asked for at a time, one after the other
        try:
            yield
        finally:
            self._hurried -= Counter((key,))

    async def _bring(self, facts: Facts) -> Outcome:
        if facts.target.key in self._hurried:
            facts = replace(facts, start_grace=0.0)
        target, decision = facts.target, policies.decide(facts)
        if facts.observed.litter:
            await self._clear(facts, confirmed=False)
        if not decision.write and decision.pause is None:
            self._tell_endings(facts)
        if decision.refused:
            self._report.not_ready(facts, self._or_source_trouble(decision.refused, facts))
            return Outcome(Result.REFUSED, self._until_change(facts))
        if not decision.write:
            if decision.pause is None:  # else it is not over yet
                self._memory[target.key].written = None
            decision = self._notice_other_writer(facts, decision)
        if not decision.write and not decision.reload:
            return await self._rest(facts, decision)
        if put_off := self._put_off(facts, decision):
            return put_off
        for finding in decision.findings:
            log.info("target.differs", target=target.name, reason=finding.reason, message=finding.message)
        return await self._try(facts, decision)

    async def _try(self, facts: Facts, decision: Decision) -> Outcome:
        """Act, and report what comes of it."""
        try:
            return await self._act(facts, decision)
        except TargetNotRunning as error:
            self._report.not_ready(facts, Finding(decision.findings[0].reason, str(error)))
            return Outcome(Result.WAITING, FAILED_PAUSE)
        except WriteFailed as error:
            self._report.not_ready(facts, describe(error))
            raise
        except ExecCut as error:
            return await self._cut_off(facts, error)
        except (WriteRefused, CheckFailed, ReloadFailed, VerifyFailed, RollbackFailed) as error:
            finding = describe(error)
            self._note_failure(facts, finding)
            self._report.not_ready(facts, finding)
            return Outcome(Result.FAILED, FAILED_PAUSE)

    def _note_failure(self, facts: Facts, finding: Finding) -> None:
        """It is not tried again for a while; of a short life a day is too long a part for that."""
        longest = min((longest_pause(c.certificate.leaf) for _, c in facts.selection.chosen), default=LONGEST)
        self._attempts.failed(facts.target.key, input_of(facts), finding, self._clocks.elapsed(), longest)

    async def _cut_off(self, facts: Facts, error: ExecCut) -> Outcome:
        """Commands are cut off when their container stops, and then tried again. Where it goes on running, a command that ends
        its own shell looks the same, and would be run at each try."""
        target, given = facts.target, input_of(facts)
        if self._memory[target.key].count_cut(given) < CUTS or not await self._is_unchanged(target):
            raise error
        text = f"{error}, again and again, though the container runs on: does a command of its labels end its own shell?"
        finding = Finding(Reason.RELOAD_FAILED, text)
        self._note_failure(facts, finding)
        self._report.not_ready(facts, finding)
        return Outcome(Result.FAILED, FAILED_PAUSE)

    async def _watch(self, facts: Facts) -> Outcome:
        """Of a paused target the report is all that changes."""
        decision = self._decide_without_acting(facts)
        problem, message = pausing.judge(facts, decision)
        self._tell_endings(facts)
        self._report.paused(facts, problem, message)
        others = policies.OTHERS_LIMIT if decision.pause is not None else None  # once, since each look asks every port
        return Outcome(Result.PAUSED, _sooner(self._until_started(facts), self._until_change(facts), others))

    def _tell_endings(self, facts: Facts) -> None:
        """Once for each step of a certificate towards its end, and not while what replaces it is being brought."""
        self._report.endings(facts, self._memory[facts.target.key].not_told(endings(facts)))

    async def _clear(self, facts: Facts, *, confirmed: bool) -> None:
        """Clear away what is left over. What stays says nothing about the certificate, so it is only told."""
        try:
            await self._sink.settle(facts.target, facts.observed, confirmed=confirmed)
        except (PermanentError, WriteFailed) as error:
            log.warning("target.not_cleared", target=facts.target.name, message=str(error))

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
        return replace(decision, findings=(changed,), reload=True)

    def _is_in_use(self, facts: Facts) -> bool:
        """Whether the services loaded what is installed, as far as that can be known."""
        before, wanted = self._memory[facts.target.key].in_use, input_of(facts)
        shown = any(served.leaf for served in facts.served)
        if self._memory[facts.target.key].owed == wanted:
            return shown
        if before is None:
            return shown or not any(
                writer != facts.target.key and meet((area,), self._memory[facts.target.key].areas)
                for area, writer in self._writers.items()
            )
        return shown or before.pairs == wanted.pairs or before.started_at != wanted.started_at

    def _put_off(self, facts: Facts, decision: Decision) -> Outcome | None:
        """Why nothing is to be done yet: the same failed a short while ago, or a silent port may come back by itself."""
        key = facts.target.key
        if key in self._hurried:
            return None
        failure = self._attempts.standing(key, input_of(facts), self._clocks.elapsed())
        if failure and _holds_off(failure, decision):
            self._tell_endings(facts)
            self._report.not_ready(facts, failure)
            return Outcome(Result.REFUSED, FAILED_PAUSE)
        if decision.silent and (rest := self._until_revived(key)):
            text = f"{decision.findings[0].message}; Postfix keeps a service that failed silent for 60 s:"
            text = f"{text} it is asked again in {rest:.0f} s, and a reload is tried {SILENT_LIMIT:.0f} s after it fell silent"
            self._report.not_ready(facts, Finding(decision.findings[0].reason, text))
            self._memory[key].learn(facts.target, facts.served)
            self._memory[key].settled = frozenset(served.ask for served in facts.served if served.leaf)
            return Outcome(Result.WAITING, rest)
        return None

    def _until_revived(self, key: TargetKey) -> float:
        """Seconds until a silent port is asked again; 0 when it was given time enough, and a reload is due."""
        memory = self._memory[key]
        memory.silent_since = self._clock() if memory.silent_since is None else memory.silent_since
        passed = self._clock() - memory.silent_since
        return next((moment - passed for moment in SILENT_MOMENTS if moment - passed > 0.05), 0.0)

    async def _rest(self, facts: Facts, decision: Decision) -> Outcome:
        """Nothing to write or reload: ready, or waiting for something."""
        target, memory = facts.target, self._memory[facts.target.key]
        if decision.wait:
            self._report.not_ready(facts, decision.findings[0])
            pause = decision.pause or (STARTING_PAUSE if facts.observed.listening is not None else SHORTEST_LOOK)
            return Outcome(Result.WAITING, pause)
        if found := await self._with_stopped(facts, unready(facts, (ask.port for ask in memory.known(target)))):
            self._report.not_ready(facts, found.finding)
            longest = SHORTEST_LOOK if self._is_starting(facts) else LONGEST_LOOK
            again = memory.pause(SHORTEST_LOOK, longest) if found.again else None
            return Outcome(Result.WAITING if found.again else Result.UNCHANGED, again)
        if memory.confirm_at is not None and (rest := memory.confirm_at - self._clock()) > 0:
            return self._confirm_later(facts, facts.served, rest)
        self._attempts.forget(target.key)
        memory.silent_since = memory.confirm_at = memory.cut_off = memory.overwritten = None
        memory.reloaded = memory.reloaded if memory.partly else None
        memory.looks = 0
        if target.container.state is State.RUNNING:
            memory.in_use = input_of(facts)
            memory.learn(target, facts.served)
            if facts.observed.kept or facts.observed.damaged:
                await self._clear(facts, confirmed=True)
        self._report.ready(facts)
        return Outcome(Result.UNCHANGED, _sooner(self._until_started(facts), self._until_change(facts)))

    async def _with_stopped(self, facts: Facts, found: Unready | None) -> Unready | None:
        """A service that does not run goes before what else is wrong; one that did not is asked after until it does."""
        memory, target = self._memory[facts.target.key], facts.target
        if target.container.state is not State.RUNNING:
            memory.stopped = {}
            return found
        not_up = self._is_starting(facts) and {served.port for served in facts.served if served.leaf} != set(target.probe)
        if not (memory.stopped or not_up or (found and found.again)):
            return found
        stopped = await self._sink.stopped(target, (*target.reload, *target.internal_reload))
        memory.stopped = {name: memory.stopped.get(name, self._now()) for name in stopped}
        if not stopped:
            return found
        if self._is_starting(facts):
            text = f"waiting for {' and '.join(stopped)} to start"
            return Unready(Finding(Reason.RELOAD_PENDING, text), again=True)
        since = min(memory.stopped.values())
        return Unready(not_running(stopped, f", seen since {since:%Y-%m-%d %H:%M} UTC"), again=True)

    def _is_starting(self, facts: Facts) -> bool:
        """Whether its services may still be about to come up."""
        running = facts.target.container.state is State.RUNNING and bool(facts.target.probe)
        return running and facts.age is not None and facts.age < self._timing.start_grace

    def _until_started(self, facts: Facts) -> float | None:
        """Daemons start one after the other: look again, every few seconds at last, until the start must be over."""
        if facts.age is None or not self._is_starting(facts):
            return None
        self._memory[facts.target.key].settled = frozenset(served.ask for served in facts.served if served.leaf)
        return min(self._timing.start_grace - facts.age, max(facts.age, STARTING_PAUSE), SHORTEST_LOOK)

    def _until_change(self, facts: Facts) -> float | None:
        """Seconds until the choice may be another one, if before the resync: the chosen ends, or what was too early begins;
        or there will be something to say of its end, or too long a part of its life would pass."""
        moments = [c.certificate.leaf.not_after for _, c in facts.selection.chosen]
        moments += [c.certificate.leaf.not_before for c in facts.selection.candidates if c.reason is Reason.NOT_YET_VALID]
        moments += [moment for moment in (next_word(facts),) if moment]
        rests = [(moment - facts.now).total_seconds() + 1 for moment in moments if moment > facts.now]
        rests += [] if facts.selection.again is None else [facts.selection.again + 1]
        rests += [longest_pause(leaf) for place in facts.target.places if (leaf := installed_leaf(place, facts.observed))]
        return min((rest for rest in rests if rest < self._timing.resync), default=None)

    async def _act(self, facts: Facts, decision: Decision) -> Outcome:
        self._check_repetition(facts, decision)
        memory, given = self._memory[facts.target.key], input_of(facts)
        memory.confirm_at = None
        try:
            delivered = await self._delivery.deliver(facts, decision)
        except Overwritten as error:  # another certferry comes to an end; who goes on would cost a reload each time
            before, memory.overwritten = memory.overwritten, given
            if before != given:
                raise
            raise WriteRefused(f"{error}, again: what else writes there?") from error
        if decision.write:
            self._writers |= dict.fromkeys(memory.areas, facts.target.key)
        if decision.write and not decision.wait:  # while a container starts, its own set-up may overwrite what was written
            memory.written = given
        if decision.reload:
            memory.in_use, memory.owed = given, None
        if not (decision.write or delivered.failed or delivered.incomplete):
            memory.reloaded = given
        if delivered.finding:
            return self._installed_but_not_ready(facts, delivered)
        if decision.reload and not facts.target.probe:  # nothing will ever say more
            await self._clear(replace(facts, observed=await self._sink.observe(facts.target)), confirmed=True)
        return self._acted(facts, decision, delivered.served)

    def _installed_but_not_ready(self, facts: Facts, delivered: Delivered) -> Outcome:
        """The pair stays; something else is wrong."""
        finding, memory = delivered.finding, self._memory[facts.target.key]
        assert finding is not None  # noqa: S101 -- that is why it is called
        memory.stopped = {name: memory.stopped.get(name, self._now()) for name in delivered.stopped}
        parked = delivered.failed or delivered.incomplete
        if parked:
            self._note_failure(facts, finding)
        if delivered.failed:
            memory.in_use, memory.owed = None, input_of(facts)
        self._report.not_ready(facts, finding, delivered.served)
        return Outcome(Result.FAILED, FAILED_PAUSE if parked else SHORTEST_LOOK)

    def _check_repetition(self, facts: Facts, decision: Decision) -> None:
        """Whatever undoes a write or a reload at once would cost a reload at every look."""
        memory, given = self._memory[facts.target.key], input_of(facts)
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
        if decision.wait:
            waiting = Finding(Reason.RELOAD_PENDING, "installed; waiting for the ports to open after the start")
            self._report.not_ready(facts, waiting, served)
            return Outcome(Result.CHANGED, STARTING_PAUSE)
        if decision.reload and self._timing.settle and any(answer.leaf for answer in served):
            memory = self._memory[facts.target.key]
            memory.confirm_at = self._clock() + self._timing.settle
            memory.learn(facts.target, served)
            return self._confirm_later(facts, served, self._timing.settle)
        return Outcome(Result.CHANGED, 0.0)

    def _confirm_later(self, facts: Facts, served: tuple[Served, ...], rest: float) -> Outcome:
        """Submission can die some seconds after a reload, since it asks Dovecot who may log in: it is asked once more."""
        text = f"served by every port that answers; confirming after {self._timing.settle:g} s"
        self._report.not_ready(facts, Finding(Reason.RELOAD_PENDING, text), served)
        self._memory[facts.target.key].settled = frozenset(one.ask for one in served if one.leaf and not _logs_in(one.port))
        return Outcome(Result.CHANGED, rest)

    def _or_source_trouble(self, finding: Finding, facts: Facts) -> Finding:
        """Where nothing fits because a source cannot be read, that is the reason to show."""
        if finding.reason is not Reason.NO_MATCHING_CERTIFICATE:
            return finding
        for name in facts.target.sources or self._store.sources:
            status = self._store.sources.get(name)
            if status and status.reason and name not in self._store.snapshots:
                return Finding(status.reason, "; ".join((f"source {name}: {status.message}", *tell_unused(facts))))
        return finding


def _holds_off(failure: Finding, decision: Decision) -> bool:
    """Whether what failed a short while ago speaks against what is to be done now: after a write that was refused another may
    have written the files; and a chain that a port does not hand out says nothing of a write."""
    if decision.write:
        return failure.reason is not Reason.SERVED_DIFFERS
    return failure.reason is not Reason.WRITE_REFUSED


def _logs_in(port: ProbePort) -> bool:
    """Whether it is a port of Postfix at which people log in."""
    return port.protocol == "smtps" or (port.protocol == "smtp" and port.port != 25)


def _sooner(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
