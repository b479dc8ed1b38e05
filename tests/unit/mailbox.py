"""A mail container in memory, for the reconciler: files, services that use them when told to, and faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePosixPath

from controller.domain.certificate import Certificate, KeyType, Leaf
from controller.domain.errors import CertificateError, CheckFailed, Error, ExecTimeout, ReloadFailed
from controller.domain.observed import Acted, Failure, InstalledFile, Observed, Receipt, Served
from controller.domain.snapshot import Snapshot, SourceStatus
from controller.domain.target import InvalidTarget, ProbePort, Reload, Target, TargetKey
from controller.reconciler import Outcome, Reconciler, Result, Timing
from controller.store import Store, TargetStatus
from controller.x509.leaves import parse_leaf
from tests.unit.made import CERT, KEY, NOW, authority, blocks_of, nothing, snapshot, target
from tests.unit.virtual_time import clock

TIMING = Timing(settle=3.0, verify_timeout=15.0, start_grace=60.0, resync=600.0)


@dataclass
class Mailbox:
    """Implements sink, probe and targets; `log` are the things that were done to it, in order."""

    target: Target | InvalidTarget | None = field(default_factory=target)
    files: dict[PurePosixPath, InstalledFile | None] = field(default_factory=dict)
    in_use: Leaf | None = None
    """What the ports hand out."""
    behind: bytes = field(default_factory=lambda: authority().intermediate_pem)
    """The intermediates that they send after it."""
    loses_chain: bool = False
    """The services load the leaf alone, whatever stands in the file."""
    reads: PurePosixPath = CERT
    """The file that the services read at a reload."""
    notices_after: float | None = None
    """Seconds after which a change of the files is noticed without being told."""
    listening: frozenset[int] | None = frozenset({25, 993})
    kept: dict[PurePosixPath, InstalledFile | None] = field(default_factory=dict)
    """What is kept to be put back."""
    keeps: bool = True
    """Whether there is a place to keep it."""
    litter: bool = False
    not_running: tuple[str, ...] = ()
    """Services that do not run."""
    answers: dict[int, Served] = field(default_factory=dict)
    """What single ports answer whatever is in use."""
    faults: dict[str, list[Error | None]] = field(default_factory=dict)
    """By the name of a step: what it raises at its first time, its second, and so on; ``None`` lets it pass."""
    engine_age: Callable[[], float | None] | None = None
    """How long ago the container was started, by the engine's clock; by that of the test where not said."""
    replaced_by: list[dict[PurePosixPath, InstalledFile | None]] = field(default_factory=list)
    """Files that somebody else puts there, and has used, right after each change."""
    asked: list[ProbePort] = field(default_factory=list)
    """The ports that were asked, in order."""
    log: list[str] = field(default_factory=list)
    _changed_at: float | None = None

    @classmethod
    def holding(cls, held: Certificate, *, wanted: Target | None = None, **options: object) -> Mailbox:
        """One in which a certificate is installed and in use."""
        wanted = wanted or target()
        files: dict[PurePosixPath, InstalledFile | None] = {}
        for place in (*wanted.places, *wanted.internal):
            files |= {p: InstalledFile(p, c, 5, 6, 0o640) for p, c in place.contents(held).items()}
        return replace(cls(target=wanted, files=files, in_use=held.leaf), **options)  # type: ignore[arg-type]

    def _step(self, name: str) -> None:
        self.log += [name] if name else []
        if (waiting := self.faults.get(name)) and (fault := waiting.pop(0)):
            raise fault

    # targets

    async def keys(self) -> Collection[TargetKey]:
        return [KEY]

    def adapt(self, target: Target, _observed: Observed) -> Target | InvalidTarget:
        return target

    async def resolve(self, _key: TargetKey) -> Target | InvalidTarget | None:
        if waiting := self.faults.get("resolve"):
            fault = waiting.pop(0)
            if fault:
                raise fault
        if isinstance(self.target, Target) and (started := self.target.container.started_at):
            age = self.engine_age() if self.engine_age else (NOW - started).total_seconds() + clock()
            return replace(self.target, container=replace(self.target.container, age=age))
        return self.target

    # sink

    async def observe(self, wanted: Target) -> Observed:
        if (waiting := self.faults.get("observe")) and (fault := waiting.pop(0)):
            raise fault
        return Observed(
            {**nothing(*wanted.places, *wanted.internal), **self.files},
            listening=self.listening,
            kept=dict(self.kept),
            litter=self.litter,
        )

    async def act(
        self,
        wanted: Target,
        observed: Observed,
        contents: Mapping[PurePosixPath, bytes],
        *,
        steps: Sequence[Reload] = (),
        check: bool = True,
        put_back: bool = True,
    ) -> Acted:
        receipt = None
        if contents:
            self._step("apply" if set(contents) & {p for place in wanted.places for p in place.paths} else "apply inside")
            receipt = Receipt(wanted, {path: self.files.get(path) for path in contents} | observed.previous)
            self.kept = receipt.previous | observed.kept if self.keeps else {}
            self.files |= {path: InstalledFile(path, content, 5, 6, 0o640) for path, content in contents.items()}
            self._changed_at = clock()
        try:
            if check:
                self._step("check")
        except CheckFailed as error:
            if receipt and put_back:
                self.log.append("put back")
                self.files, self.kept, receipt = self.files | receipt.previous, {}, None
            return Acted(receipt, (Failure(error),))
        failures = self._reload(steps)
        if contents and self.replaced_by:
            self.files |= self.replaced_by.pop(0)
            self._use_files()
        return Acted(receipt, failures)

    def _reload(self, steps: Sequence[Reload]) -> tuple[Failure, ...]:
        failures = []
        for step in steps:
            service = {"postfix": "Postfix", "doveadm": "Dovecot"}.get(step.argv[0], "") if step.argv else ""
            try:
                self._step(step.command)
                if step.kind != "self":
                    self._use_files()
            except ReloadFailed as error:
                failures.append(Failure(error, step, service, stopped=service in self.not_running))
            except ExecTimeout as error:
                failures.append(Failure(ReloadFailed(str(error)), step, overdue=True))
        return tuple(failures)

    def check_mounts(self, _target: Target, _observed: Observed, paths: Iterable[PurePosixPath]) -> None:
        if any(paths) and (waiting := self.faults.get("mounts")) and (fault := waiting[0]):
            raise fault

    async def stopped(self, _target: Target, _steps: Sequence[Reload]) -> tuple[str, ...]:
        return self.not_running

    async def settle(self, _target: Target, _observed: Observed, *, confirmed: bool = True) -> None:
        self._step("clear" if self.litter else "")
        self.litter = False
        if confirmed:
            self.kept = {}

    async def restore(self, receipt: Receipt, steps: Sequence[Reload] = ()) -> tuple[Failure, ...]:
        self._step("rollback")
        self.files |= receipt.previous
        self.kept = {}
        self._changed_at = clock()
        return self._reload(steps)

    def _use_files(self) -> None:
        file = self.files.get(self.reads)
        try:
            self.in_use = parse_leaf(file.content) if file else None
            self.behind = b"" if self.loses_chain or not file else b"".join(blocks_of(file.content)[1:])
        except CertificateError:
            self.in_use = None

    # probe

    async def served(self, _target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        self.asked.append(port)
        if (waiting := self.faults.get("probe")) and (fault := waiting.pop(0)):
            raise fault
        if self.notices_after is not None and self._changed_at is not None and clock() >= self._changed_at + self.notices_after:
            self._use_files()
        if port.port in self.answers:
            return self.answers[port.port]
        if self.in_use is None:
            return Served(port, None, "network", "no certificate", refused=True)
        return Served(port, self.in_use, "network", chain_pem=authority().root_pem + self.behind)  # instead of the leaf's PEM


@dataclass
class World:
    """A reconciler between a source and a mailbox."""

    box: Mailbox
    timing: Timing = TIMING
    store: Store = field(default_factory=Store)
    key: TargetKey = KEY
    due: float = 0.0

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(
            targets=self.box,
            sink=self.box,
            probe=self.box,
            store=self.store,
            timing=self.timing,
            now=lambda: NOW + timedelta(seconds=clock()),
            clock=clock,
        )

    def offer(self, *held: Certificate, source: str = "traefik") -> None:
        """Have a source hold these certificates."""
        self.store.snapshots[source] = snapshot(*held, source=source)
        self.store.sources[source] = SourceStatus(up=True, message="")

    def offer_snapshot(self, held: Snapshot) -> None:
        self.store.snapshots[held.source] = held

    async def look(self) -> Outcome:
        """One reconcile, when it is due after the last one that changed something."""
        await asyncio.sleep(self.due)
        self.due = 0.0
        outcome = await self.reconciler.reconcile(self.key)
        self.due = outcome.again or 0.0 if outcome.result is Result.CHANGED else 0.0
        return outcome

    @property
    def status(self) -> TargetStatus:
        return self.store.targets[self.key]

    @property
    def reason(self) -> str:
        """Why the target is not ready; empty when it is."""
        condition = self.status.condition
        return "" if condition.ready else str(condition.reason)

    def done(self) -> list[str]:
        """What was done to the mailbox since the last time."""
        steps, self.box.log[:] = list(self.box.log), []
        return steps
