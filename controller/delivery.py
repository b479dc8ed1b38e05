"""The act on one target: write, check, reload, verify; and where that fails, put everything back.

The only place that orders these steps. What is to be done is in the `Decision`; what speaks against a pair, in
`controller.rollback`; how it is done, in the sink. The previous pair waits in the target, so whoever comes next can go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from controller import policies, rollback
from controller.domain.container import State
from controller.domain.errors import (
    CheckFailed,
    EngineUnavailable,
    Error,
    ExecTimeout,
    Overwritten,
    ReloadFailed,
    RollbackFailed,
    TargetNotRunning,
    VerifyFailed,
    WriteFailed,
    WriteRefused,
)
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Acted, Expected, Failure, Receipt, Served
from controller.domain.target import Place, Reload, Target
from controller.installed import pair_in
from controller.noticing import is_done, seconds_to_wait
from controller.policies import Decision, Facts
from controller.ports import Sink
from controller.proof import HURRIED, REMEMBERED, Prover, Verified, questions
from controller.reasons import RolledBack, describe
from controller.report import Reporter
from controller.steps import StepLog

log = StepLog()

NOTE_PAUSES = (0.1, 1.0)
"""Seconds between two looks at what a container's detector took note of: at first, and at last."""

BUSY = 40.0
"""Seconds more for a detector that is at a change when its time is over, on a very busy machine; never more than it had."""

SILENT_MOMENTS = (20.0, 40.0, 65.0)
"""Seconds after a reload at which a port that does not answer is asked again. Postfix keeps a service that failed silent for
60 s (``service_throttle_time``, postconf(5)); a reload does not end that (measured) and costs sessions."""

SILENT_LIMIT = SILENT_MOMENTS[-1]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the ports hand out; why the target is not ready although the new pair stays: services that do not run are `stopped`,
    and a reload that `failed`, or left what is served `incomplete`, is not to be repeated at once."""

    served: tuple[Served, ...]
    finding: Finding | None = None
    stopped: tuple[str, ...] = ()
    failed: bool = False
    incomplete: bool = False


@dataclass
class _Done:
    """What would have to be undone, by which steps the services were made to use the files, and what did not work of those."""

    reload: tuple[Reload, ...]
    written: Mapping[PurePosixPath, bytes] = field(repr=False)
    receipts: list[Receipt] = field(default_factory=list)
    failures: tuple[Failure, ...] = ()
    finding: Finding | None = None
    """Why the target is not ready although nothing speaks against the new pair."""
    incomplete: bool = False
    """That is because intermediates are missing at a port."""


class _Failed(Exception):
    """Something speaks against the new pair; `served` are the last answers of the ports, as far as they were asked."""

    def __init__(self, error: Error, served: tuple[Served, ...] = ()) -> None:
        super().__init__(str(error))
        self.error, self.served = error, served


class Delivery:
    """Acts through a `Sink` and verifies through a `Prover`; `verify_timeout` is in seconds, `clock` gives seconds.

    `unchanged` tells whether a target's container still runs, and was not restarted meanwhile; `look` gives a target as its
    container answers now.
    """

    def __init__(  # noqa: PLR0913
        self,
        sink: Sink,
        prover: Prover,
        report: Reporter,
        *,
        verify_timeout: float,
        clock: Callable[[], float],
        unchanged: Callable[[Target], Awaitable[bool]],
        look: Callable[[Target], Awaitable[Target]],
    ) -> None:
        self._sink, self._prover, self._report = sink, prover, report
        self._verify_timeout, self._clock, self._unchanged, self._look = verify_timeout, clock, unchanged, look

    async def deliver(self, facts: Facts, decision: Decision) -> Delivered:
        """Do what was decided.

        Raises:
            WriteRefused, WriteFailed: nothing was replaced.
            Overwritten: it was, and then again by somebody else.
            CheckFailed, ReloadFailed, VerifyFailed: it failed, and the files are as the message says.
            RolledBack: it failed, and the previous files are back and in use.
            RollbackFailed: it failed, and so did the way back.
        """
        if decision.reload:
            facts = await self._ask_patiently(facts)
        if decision.write:
            facts = rollback.from_what_worked(facts)
        done = _Done(facts.target.reload, decision.write)
        try:
            await self._act(facts, decision, done)
            if not decision.reload:
                return Delivered(facts.served)
            return self._delivered(done, await self._make_used(facts, done))
        except _Failed as failed:
            raise await self._give_up(facts, done, failed) from failed.error

    async def _ask_patiently(self, facts: Facts) -> Facts:
        """Which ports were silent before the reload must be sure: those asked in a hurry are asked again at length."""
        hurried = [served.ask for served in facts.served if served.way == HURRIED]
        answers = {served.ask: served for served in await self._prover.ask(facts.target, hurried)}
        return replace(facts, served=tuple(answers.get(served.ask, served) for served in facts.served))

    async def _act(self, facts: Facts, decision: Decision, done: _Done) -> None:
        """Put the files in place and have them checked; where the container needs it, reload in the same breath."""
        target, open_before = facts.target, facts.observed.previous
        before = {path: facts.observed.files.get(path) for path in decision.write} | open_before
        steps = target.reload if decision.reload and not _by_itself(target) else ()
        put_back = not target.check or rollback.check_puts_back(facts, before)
        try:
            acted = await self._sink.act(target, facts.observed, decision.write, steps=steps, put_back=put_back)
        except ExecTimeout as error:
            raise EngineUnavailable(f"the files were not put in place: {error}") from error  # tried again soon
        if acted.receipt:
            done.receipts.append(acted.receipt)
            self._tell_installed(facts, decision)
        elif decision.write and acted.failures:
            back = "the previous files are back" if any(before.values()) else "the new files are removed again"
            raise _Failed(_with(acted.failures[0].error, back))
        elif open_before and not decision.write:
            done.receipts.append(Receipt(target, open_before, facts.observed.resolved))
        if _checked(target, acted):
            log.info("target.checked", target=target.name, by=str(Reload("exec", target.check)))
        self._judge(facts, done, acted, steps)

    def _judge(self, facts: Facts, done: _Done, acted: Acted, steps: Sequence[Reload]) -> None:
        done.failures += acted.failures
        if error := rollback.against(facts, acted.failures):
            raise _Failed(error)
        if steps and not acted.failures:
            log.info("target.reloaded", target=facts.target.name, by="; ".join(map(str, steps)))

    def _tell_installed(self, facts: Facts, decision: Decision) -> None:
        for place, candidate in facts.selection.chosen:
            if decision.write.keys() & set(place.paths):
                leaf = candidate.certificate.leaf
                log.info(
                    "target.installed",
                    target=facts.target.name,
                    source=candidate.source,
                    fingerprint=leaf.short,
                    not_after=leaf.not_after.isoformat(),
                )

    async def _make_used(self, facts: Facts, done: _Done) -> tuple[Served, ...]:
        """Verify that the services use the files; where the container should see to that itself and does not, make them."""
        target = facts.target
        if _by_itself(target):
            if (served := await self._noticed(facts, done)) is not None:
                return served
            contents = _internal_contents(facts, done.written) if target.internal else {}
            done.reload = target.internal_reload
            acted = await self._act_inside(facts, contents, done.reload)
            done.receipts += [acted.receipt] if acted.receipt else []
            self._judge(facts, done, acted, done.reload)
        return await self._verify(facts, done, self._verify_timeout)

    async def _act_inside(self, facts: Facts, contents: Mapping[PurePosixPath, bytes], steps: Sequence[Reload]) -> Acted:
        """Write the copies that the container should have made itself; the originals are replaced already."""
        try:
            return await self._sink.act(facts.target, facts.observed, contents, steps=steps, check=False)
        except (WriteRefused, WriteFailed) as error:
            raise _Failed(error) from error

    async def _noticed(self, facts: Facts, done: _Done) -> tuple[Served, ...] | None:
        """What is served once the container took up the files by itself; ``None`` when it did not, and can be made to."""
        target = facts.target
        patience = seconds_to_wait(facts, done.written)
        if not patience and target.internal_reload:
            return None
        reloaded = is_done(facts, done.written)
        if not reloaded:
            text = f"waiting {patience:g} s at most for the container's own change detector to reload"
            self._report.not_ready(facts, Finding(Reason.RELOAD_PENDING, text))
        if target.detector and not reloaded and not await self._took_note(target, patience):
            log.warning("reload.not_noticed", target=target.name, seconds=patience)
            return None
        try:
            served = await self._verify(facts, done, self._verify_timeout if target.detector and not reloaded else patience)
        except _Failed:
            if not target.internal_reload:
                raise
        else:
            if not (done.incomplete and target.internal_reload):
                return served
            done.finding, done.incomplete = None, False
        log.warning("reload.not_noticed", target=target.name, seconds=patience)
        return None

    async def _took_note(self, target: Target, patience: float) -> bool:
        """Whether the detector dealt with the files in time. Its records are asked: a port would log each question."""
        end, pause = self._clock() + patience, NOTE_PAUSES[0]
        last = end
        while self._clock() + pause <= last:
            await asyncio.sleep(pause)
            detector = (await self._look(target)).detector
            if detector is None or not detector.patience:
                return False
            if detector.watched <= detector.seen:
                return True
            last = end + min(patience, BUSY) if detector.busy else end
            pause = min(pause * 1.5, NOTE_PAUSES[1])
        return False

    async def _verify(self, facts: Facts, done: _Done, seconds: float) -> tuple[Served, ...]:
        """A port that handed out nothing before is no reason to take a new pair back; the next look deals with it."""
        ports = dict.fromkeys(s.port for s in facts.served if facts.target.probe_required or not (s.refused or s.plain))
        answered = {served.port for served in facts.served if served.leaf}
        dead = [port for port in ports if port not in answered] if done.receipts else ()
        asked = questions(ports, policies.key_types(facts), policies.expected(facts), dead=dead)
        began = self._clock()
        verified = await self._prover.verify(facts.target, asked, seconds=seconds)
        if verified.quiet:
            verified = await self._wait_for_silent(facts, done, verified, began)
        if _was_silent_before(facts, verified):
            done.finding = Finding(Reason.SERVED_DIFFERS, verified.problems)
        elif verified.wrong:
            await self._check_unchanged(facts.target)
            await self._check_not_replaced(facts, done)
            late = next((failure.error for failure in done.failures if failure.overdue), None)
            wrong = VerifyFailed(f"after {self._clock() - began:.0f} s: {verified.problems}")
            raise _Failed(late or wrong, verified.served)
        elif verified.incomplete:
            done.finding, done.incomplete = Finding(Reason.SERVED_DIFFERS, verified.problems), True
        if served := dict.fromkeys(str(answer.port) for answer in verified.served if answer.leaf):
            log.info("target.served", target=facts.target.name, ports=", ".join(served))
        return verified.served

    async def _wait_for_silent(self, facts: Facts, done: _Done, verified: Verified, began: float) -> Verified:
        """Where nothing but silence is wrong: services that were started anew, or do not run, are not the pair's fault."""
        await self._note_stopped(facts, done)
        if not rollback.stopped_services(done.failures):
            log.warning("ports.silent", target=facts.target.name, message=verified.problems, seconds=SILENT_LIMIT)
            self._report.not_ready(facts, Finding(Reason.SERVED_DIFFERS, f"{verified.problems}; {WAITING_FOR_POSTFIX}"))
            verified = await self._ask_silent_again(facts.target, verified, began)
            if verified.quiet:
                await self._note_stopped(facts, done)
        if verified.quiet and rollback.stopped_services(done.failures):
            return Verified(tuple((question, served, "") for question, served, _ in verified.answers))
        return verified

    async def _ask_silent_again(self, target: Target, verified: Verified, began: float) -> Verified:
        """At the moments after the reload, which began then (monotonic seconds), at which a silent service may answer."""
        passed = self._clock() - began
        return await self._prover.verify_again(target, verified, [moment - passed for moment in SILENT_MOMENTS])

    async def _note_stopped(self, facts: Facts, done: _Done) -> None:
        await self._check_unchanged(facts.target)
        for name in await self._sink.stopped(facts.target, done.reload):
            if name not in rollback.stopped_services(done.failures):
                done.failures += (Failure(ReloadFailed(f"{name} does not run"), None, name, stopped=True),)

    async def _check_unchanged(self, target: Target) -> None:
        if not await self._unchanged(target):
            raise TargetNotRunning(f"{target.name} was stopped or restarted meanwhile; it is looked at anew")

    async def _check_not_replaced(self, facts: Facts, done: _Done) -> None:
        """Ports that hand out what somebody else wrote say nothing against our pair, and theirs is not ours to take back."""
        found = await self._sink.observe(facts.target)
        for path in (path for place in facts.target.places for path in place.paths):
            before, now = facts.observed.files.get(path), found.files.get(path)
            if (now and now.content) != done.written.get(path, before and before.content):
                raise Overwritten(f"somebody else replaced {path} in {facts.target.name} meanwhile")

    def _delivered(self, done: _Done, served: tuple[Served, ...]) -> Delivered:
        stopped = rollback.stopped_services(done.failures)
        if stopped:
            return Delivered(served, not_running(stopped), stopped)
        if done.failures:
            return Delivered(served, describe(done.failures[0].error), failed=True)
        return Delivered(served, done.finding, incomplete=done.incomplete)

    async def _give_up(self, facts: Facts, done: _Done, failed: _Failed) -> Error:
        """Put the previous files back and into use, where they are worth it; returns the error to report."""
        cause, target = failed.error, facts.target
        if not done.receipts:
            return cause
        previous = {path: file for receipt in done.receipts for path, file in receipt.previous.items()}
        refused = isinstance(cause, CheckFailed)
        why = rollback.why_not_put_back(facts, previous, now_without=rollback.without_answer(failed.served))
        if why and not (refused and rollback.check_puts_back(facts, previous)):
            return _with(cause, f"the new certificate stays: {why}")
        log.warning("target.rolling_back", target=target.name, reason=describe(cause).reason, message=str(cause))
        told = "and putting the previous files back failed"
        try:
            failures = await self._restore(done)
            told = "the previous files are back, but not in use"
            await self._use_previous(facts, done.reload, failures)
        except (ExecTimeout, WriteFailed, RollbackFailed, _Failed) as error:
            return RollbackFailed(f"{cause}; {told}: {error}")
        if not any(previous.values()):
            return _with(cause, "the new files are removed again")
        return RolledBack(f"{cause}; the previous files are back and in use")

    async def _restore(self, done: _Done) -> tuple[Failure, ...]:
        """All at once as far as the services see it: the reload comes with the last of them."""
        failures: tuple[Failure, ...] = ()
        steps = [()] * (len(done.receipts) - 1) + [tuple(step for step in done.reload if step.kind != "self")]
        for receipt, its_steps in zip(reversed(done.receipts), steps, strict=True):
            failures = await self._sink.restore(receipt, its_steps)
        return failures

    async def _use_previous(self, facts: Facts, steps: Sequence[Reload], failures: Sequence[Failure]) -> None:
        """What the services serve counts, where that can be seen."""
        before = [Expected(s.leaf) for s in facts.served if s.leaf]
        answering = dict.fromkeys(s.port for s in facts.served if s.leaf)
        ended = [replace(failure, overdue=False) for failure in failures]  # where no port answers, nothing else will tell
        if not answering and (error := rollback.against(facts, ended)):
            raise _Failed(error)
        patience = max((step.patience for step in steps), default=0.0) or self._verify_timeout
        began = self._clock()
        verified = await self._prover.verify(facts.target, questions(answering, (None,), before), seconds=patience)
        if verified.quiet:
            verified = await self._ask_silent_again(facts.target, verified, began)
        if verified.wrong:
            raise _Failed(VerifyFailed(f"after {self._clock() - began:.0f} s: {verified.problems}"))


WAITING_FOR_POSTFIX = (
    "Postfix keeps a service that failed silent for 60 s; it is asked again 20, 40 and 65 s after the reload, and then decided"
)


def not_running(services: Sequence[str], since: str = "") -> Finding:
    """What is said of services that do not run."""
    names = " and ".join(services)
    text = f"{names} {'do' if len(services) > 1 else 'does'} not run{since}; the certificate is installed, for the next start"
    return Finding(Reason.NOT_RUNNING, text)


def _was_silent_before(facts: Facts, verified: Verified) -> bool:
    """Whether nothing is wrong but ports that do not answer, and of which nobody knows whether they did just before the act."""
    remembered = {served.port for served in facts.served if served.way == REMEMBERED}
    return bool(verified.wrong) and all(served.silent and served.port in remembered for served in verified.wrong)


def _with(error: Error, more: str) -> Error:
    return type(error)(f"{error}; {more}")


def _checked(target: Target, acted: Acted) -> bool:
    """Whether the container's own check was run, and passed."""
    refused = any(isinstance(failure.error, CheckFailed) for failure in acted.failures)
    return bool(target.check) and target.container.state is State.RUNNING and not refused


def _by_itself(target: Target) -> bool:
    return any(step.kind == "self" for step in target.reload)


def _internal_contents(facts: Facts, written: Mapping[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """The copies of what stands in the places after the act: of what was not written, the chain may be another good one."""
    inside: dict[Place, Place] = dict(zip(facts.target.places, facts.target.internal, strict=False))
    contents: dict[PurePosixPath, bytes] = {}
    for place, candidate in facts.selection.chosen:
        if place in inside:
            certificate = candidate.certificate
            if not written.keys() & set(place.paths):
                certificate = replace(certificate, chain_pem=pair_in(place, facts.observed).chain_pem)
            contents |= inside[place].contents(certificate)
    for place in inside.keys() & set(policies.unfilled(facts)):
        contents |= dict.fromkeys(inside[place].paths, b"")
    return contents
