"""The act on one target: write, check, reload, prove; and where that fails, put everything back.

The only place that orders these steps. What is to be done is in the `Decision`; how, in the sink.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import structlog

from controller import policies
from controller.domain.errors import (
    CheckFailed,
    EngineUnavailable,
    Error,
    ExecCut,
    ExecTimeout,
    FilesUnreadable,
    ReloadFailed,
    RollbackFailed,
    TargetGone,
    TargetNotRunning,
    VerifyFailed,
    WriteRefused,
)
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Receipt, Served
from controller.domain.target import Place, Reload, Target
from controller.noticing import seconds_to_wait
from controller.policies import Decision, Facts
from controller.ports import Sink
from controller.proof import HURRIED, PortsSilent, Prover, Question, questions
from controller.report import Reporter

log = structlog.get_logger()

SILENT_LIMIT = 65.0
"""Seconds that a port which does not answer is given before a reload is tried for it. Postfix throttles a service that failed
for 60 s (``service_throttle_time``, postconf(5)); a reload does not end that (measured) and costs sessions."""

_FAILURES: tuple[tuple[type[Error], Reason], ...] = (
    (FilesUnreadable, Reason.FILES_UNREADABLE),
    (WriteRefused, Reason.WRITE_REFUSED),
    (CheckFailed, Reason.CHECK_FAILED),
    (ReloadFailed, Reason.RELOAD_FAILED),
    (VerifyFailed, Reason.VERIFY_FAILED),
    (ExecTimeout, Reason.RELOAD_FAILED),
)


class RolledBack(VerifyFailed):
    """The new pair did not work; the previous one is back."""


def describe_failure(error: Error) -> Finding:
    """An error of the act as the finding to report."""
    if isinstance(error, RolledBack):
        return Finding(Reason.ROLLED_BACK, str(error))
    reason = next((reason for kind, reason in _FAILURES if isinstance(error, kind)), Reason.VERIFY_FAILED)
    return Finding(reason, str(error))


@dataclass
class _Done:
    """What would have to be undone, and the steps by which the services were made to use the files."""

    reload: tuple[Reload, ...]
    receipts: list[Receipt] = field(default_factory=list)


class Delivery:
    """Acts through a `Sink` and proves through a `Prover`; `verify_timeout` is in seconds."""

    def __init__(self, sink: Sink, prover: Prover, report: Reporter, *, verify_timeout: float) -> None:
        self._sink, self._prover, self._report = sink, prover, report
        self._verify_timeout = verify_timeout

    async def deliver(self, facts: Facts, decision: Decision) -> tuple[Served, ...]:
        """Do what was decided; returns what the ports hand out afterwards.

        Raises:
            WriteRefused, CheckFailed, ReloadFailed, VerifyFailed, ExecTimeout: it failed before anything was replaced.
            RolledBack: it failed afterwards, and the previous files are back and in use.
            RollbackFailed: it failed afterwards, and so did the way back.
        """
        done = _Done(facts.target.reload)
        try:
            if decision.write:
                done.receipts.append(await self._install(facts, decision))
            if decision.write or decision.reload:
                await self._sink.check(facts.target)
            if not decision.reload:
                return facts.served
            return await self._reload(await self._ask_patiently(facts), done, decision.write)
        except (WriteRefused, CheckFailed, ReloadFailed, VerifyFailed, ExecTimeout) as error:
            if not done.receipts:
                raise
            raise await self._roll_back(facts, done, error) from error

    async def _install(self, facts: Facts, decision: Decision) -> Receipt:
        try:
            receipt = await self._sink.apply(facts.target, facts.observed, decision.write, confirm=decision.confirm)
        except ExecTimeout as error:
            raise EngineUnavailable(f"the files were not put in place: {error}") from error  # tried again soon
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
        return receipt

    async def _ask_patiently(self, facts: Facts) -> Facts:
        """Which ports were silent before the reload must be sure: those asked in a hurry are asked again at length."""
        hurried = [served.port for served in facts.served if served.way == HURRIED]
        answers = {served.port: served for served in await self._prover.ask(facts.target, hurried)}
        return replace(facts, served=tuple(answers.get(served.port, served) for served in facts.served))

    async def _reload(self, facts: Facts, done: _Done, written: Collection[PurePosixPath]) -> tuple[Served, ...]:
        """Make the services use the files, and prove it."""
        target = facts.target
        if any(step.kind == "self" for step in target.reload):
            if (served := await self._noticed(facts, done, written)) is not None:
                return served
            if target.internal:
                contents = _internal_contents(facts)
                done.receipts.append(await self._sink.apply(target, facts.observed, contents, confirm=False))
            done.reload = target.internal_reload
        await self._run_reload(target, done.reload)
        return await self._prove(facts, done, self._verify_timeout)

    async def _noticed(self, facts: Facts, done: _Done, written: Collection[PurePosixPath]) -> tuple[Served, ...] | None:
        """The proof that the container took up the files by itself; ``None`` when it did not, and can be made to."""
        target = facts.target
        patience = seconds_to_wait(facts, written)
        if not patience and target.internal_reload:
            return None
        try:
            return await self._prove(facts, done, patience)
        except VerifyFailed:
            if not target.internal_reload:
                raise
        log.warning("reload.not_noticed", target=target.name, seconds=patience)
        return None

    async def _run_reload(self, target: Target, steps: Sequence[Reload]) -> None:
        await self._sink.reload(target, steps)
        if steps:
            log.info("target.reloaded", target=target.name, by="; ".join(map(str, steps)))

    async def _prove(self, facts: Facts, done: _Done, seconds: float) -> tuple[Served, ...]:
        """A port that handed out nothing before is no reason to take a new pair back; the next look deals with it."""
        ports = [served.port for served in facts.served if facts.target.probe_required or not (served.refused or served.plain)]
        chosen = [c.certificate.leaf for _, c in facts.selection.chosen]
        dead = [served.port for served in facts.served if served.leaf is None] if done.receipts else ()
        asked = questions(ports, chosen, policies.expected_leaves(facts), dead=dead)
        served = await self._until_proven(facts, asked, seconds)
        if proven := dict.fromkeys(str(answer.port) for answer in served if answer.leaf):
            log.info("target.served", target=facts.target.name, ports=", ".join(proven))
        return served

    async def _roll_back(self, facts: Facts, done: _Done, cause: Error) -> Error:
        """Put the previous files back and into use; returns the error to report."""
        target = facts.target
        log.warning("target.rolling_back", target=target.name, reason=describe_failure(cause).reason, message=str(cause))
        failed = "and putting the previous files back failed"
        try:
            for receipt in reversed(done.receipts):
                await self._sink.rollback(receipt)
            failed = "the previous files are back, but not in use"
            await self._use_previous(facts, done.reload)
        except Error as error:
            if isinstance(error, EngineUnavailable | ExecCut | TargetGone | TargetNotRunning):
                raise
            return RollbackFailed(f"{cause}; {failed}: {error}")
        return RolledBack(f"{cause}; the previous files are back and in use")

    async def _use_previous(self, facts: Facts, steps: Sequence[Reload]) -> None:
        """Have the services use the files that were put back. What they serve counts, where it can be seen."""
        before = {s.leaf.fingerprint: s.leaf for s in facts.served if s.leaf}
        answering = [s.port for s in facts.served if s.leaf]
        try:
            await self._sink.reload(facts.target, steps)
        except (ReloadFailed, ExecTimeout):
            if not answering:
                raise
        patience = max((step.patience for step in steps), default=0.0) or self._verify_timeout
        await self._until_proven(facts, questions(answering, [], before), patience)

    async def _until_proven(self, facts: Facts, asked: Sequence[Question], seconds: float) -> tuple[Served, ...]:
        """Where nothing but silence is wrong, allow for the time after which Postfix starts a service again that failed."""
        try:
            return await self._prover.prove(facts.target, asked, seconds=seconds)
        except PortsSilent as error:
            log.warning("ports.silent", target=facts.target.name, message=str(error), seconds=SILENT_LIMIT)
            self._report.not_ready(facts, describe_failure(error))
            return await self._prover.prove(facts.target, asked, seconds=SILENT_LIMIT)


def _internal_contents(facts: Facts) -> dict[PurePosixPath, bytes]:
    inside: dict[Place, Place] = dict(zip(facts.target.places, facts.target.internal, strict=False))
    contents: dict[PurePosixPath, bytes] = {}
    for place, candidate in facts.selection.chosen:
        if place in inside:
            contents |= inside[place].contents(candidate.certificate)
    for place in policies.unfilled(facts):
        contents |= dict.fromkeys(inside[place].paths, b"")
    return contents
