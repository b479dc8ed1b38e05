"""The eternal tasks: follow Docker, follow the sources, work on what is due; and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from controller.clocks import Clocks, Watch
from controller.discovery import Discovery
from controller.domain.errors import ConfigError, Error, TransientError
from controller.domain.finding import Reason
from controller.domain.snapshot import Snapshot
from controller.domain.target import TargetKey
from controller.ending import pass_on_cancellation
from controller.engine import Engine
from controller.faults import Faults, panics_as_errors
from controller.followers import Followers
from controller.following import Pace, changed_names
from controller.ports import Source
from controller.proxies import Proxies
from controller.reconciler import Outcome, Reconciler, Result
from controller.settings import Settings
from controller.store import Store
from controller.tasks import EternalTasks
from controller.workqueue import WorkQueue
from controller.x509.hostnames import covers

log = structlog.get_logger()

LAST_LIMIT = 0.75
"""Seconds that all tasks may take to end when the time for running work is over."""

WITHOUT_SOURCE = frozenset(
    {Reason.NO_MATCHING_CERTIFICATE, Reason.OTHER_SOURCE, Reason.SOURCE_UNAVAILABLE, Reason.SOURCE_MALFORMED}
)
"""Reasons that may be others once it is known which proxies there are."""

CLOCK_PAUSE = 10.0
"""Seconds between two looks at the clocks."""


class Observer(Protocol):
    """Counts what happens; `controller.web.metrics` does it for Prometheus."""

    def observe_reconcile(self, outcome: str, seconds: float) -> None: ...

    def observe_retry(self) -> None: ...


class Supervisor:
    """Runs the controller until told to stop."""

    def __init__(  # noqa: PLR0913
        self,
        *,
        engine: Engine,
        discovery: Discovery,
        reconciler: Reconciler,
        sources: Sequence[Source],
        store: Store,
        queue: WorkQueue[TargetKey],
        settings: Settings,
        jitter: Callable[[], float],
        observer: Observer,
        proxies: Proxies | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._engine, self._discovery, self._reconciler, self._store = engine, discovery, reconciler, store
        self._queue, self._settings, self._jitter, self._observer = queue, settings, jitter, observer
        reconciler.locks.call = queue.add
        self._watch = watch or Watch(Clocks())
        self.followers = Followers(
            sources,
            store,
            proxies=proxies,
            on_change=self._on_change,
            on_arrival=self._on_arrival,
            pace=Pace(settings.retry_min, settings.retry_max, settings.resync),
            jitter=jitter,
        )
        self._unseen: set[TargetKey] | None = None
        self._listed = asyncio.Event()
        self._stopping = False
        self._faults = Faults()
        self._tasks: EternalTasks | None = None

    @property
    def dead_tasks(self) -> tuple[str, ...]:
        """Eternal tasks that ended although nobody told them to, and are not begun anew yet."""
        return () if self._stopping or self._tasks is None else self._tasks.dead

    @property
    def first_pass_done(self) -> bool:
        """Whether every container found at the start has been worked on once."""
        return self._unseen is not None and not self._unseen

    async def begun(self) -> None:
        """Wait until work may begin: the containers were listed, and the sources read, or long enough waited for."""
        await self._listed.wait()
        await self.followers.wait_tried()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then let running work end within the time for it, and go on without what does not.

        Raises:
            ConfigError: nothing can go on before the operator has acted.
        """
        self._tasks = tasks = EternalTasks()
        workers = [f"worker-{number}" for number in range(self._settings.workers)]
        try:
            tasks.start("docker", self._follow_engine)
            tasks.start("resync", self._resync)
            tasks.start("clock", self._watch_clocks)
            self.followers.start(tasks)
            for worker in workers:
                tasks.start(worker, self._work)
            await tasks.until(stop)
            log.info("controller.stopping")
            self._stopping = True
            tasks.cancel(but=workers)
            await self._drain()
        finally:
            self._stopping = True
            await tasks.end(limit=LAST_LIMIT)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._settings.drain):
                while not self._queue.idle:  # noqa: ASYNC110 -- a few looks in a process' last seconds
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("controller.cut_short", message=f"work was still running after {self._settings.drain:g} s")

    async def _follow_engine(self) -> None:
        """Subscribe, list, follow; when the stream ends, begin anew: what was missed in between is in the list."""
        delay = self._settings.retry_min
        while True:
            pass_on_cancellation()
            try:
                since = await self._engine.now()
                async with self._engine.events(since) as events:
                    for key in await self._list() | self._store.targets.keys():
                        self._queue.add(key)
                    delay = self._settings.retry_min
                    async for event in events:
                        self._queue.add(self._discovery.key(event.container_id))
                        self.followers.look_at(event.container_id, event.action)
            except ConfigError:
                raise
            except Exception as error:  # whatever an engine, or a proxy before it, answers: it is asked again
                pass_on_cancellation()
                message = str(error)
                if not isinstance(error, TransientError):
                    message = f"what Docker answers cannot be understood ({type(error).__name__}: {error}); it is asked again"
                    self._faults.tell("engine.crashed", error, about="docker", message=message)
                if self._store.engine_up or self._store.engine_message != message:
                    log.warning("engine.unavailable", message=message, next_in=round(delay, 1))
                self._store.engine_up, self._store.engine_message = False, message
            await asyncio.sleep(delay * self._jitter())
            delay = min(delay * 2, 30.0)

    async def _list(self) -> set[TargetKey]:
        keys = set(await self._discovery.keys())
        if not self._store.engine_up:
            log.info("engine.connected", host=self._engine.host, containers=len(keys))
        self._store.engine_up, self._store.engine_message = True, ""
        if self._unseen is None:
            self._unseen = set(keys)
        self._listed.set()
        self.followers.look_at_all()
        return keys

    async def _resync(self) -> None:
        """Find what no event told of; those already known have a resync of their own."""
        while True:
            pass_on_cancellation()
            await asyncio.sleep(self._settings.resync * self._jitter())
            try:
                for key in await self._list() ^ self._store.targets.keys():
                    self._queue.add(key)
            except ConfigError:
                raise
            except Exception as error:  # as above
                pass_on_cancellation()
                if isinstance(error, TransientError):
                    log.debug("resync.failed", message=str(error))
                else:
                    self._faults.tell("resync.crashed", error, about="resync", message=str(error))

    async def _watch_clocks(self) -> None:
        """After the machine was suspended, or its clock set, everything may be due, whatever was planned."""
        while True:
            await asyncio.sleep(CLOCK_PAUSE)
            leap = self._watch.look()
            if leap.slept:
                log.info("clock.slept", message=f"the machine was suspended for {leap.slept:.0f} s")
            if leap.jumped:
                log.warning(
                    "clock.jumped",
                    message=f"the clock was set {'on' if leap.jumped > 0 else 'back'}",
                    seconds=round(leap.jumped),
                )
            if leap.slept or leap.jumped:
                for key in self._store.targets:
                    self._queue.add(key, self._settings.batch_window)
                self.followers.wake()

    def _on_change(self, before: Snapshot, after: Snapshot) -> None:
        """Have every target looked at that a changed certificate could be for, or whose trouble a changed problem could be."""
        try:
            self._add_concerned(before, after)
        except Exception as error:  # whatever stands in a certificate: better one look too many than none
            self._faults.tell("change.crashed", error, about="change", secret=True, source=after.source)
            for key in self._store.targets:
                self._queue.add(key, self._settings.batch_window)

    def _add_concerned(self, before: Snapshot, after: Snapshot) -> None:
        names = changed_names(before, after)
        troubles = before.problems != after.problems
        for key in self._queue.working - self._store.targets.keys():  # its first look may have chosen already
            self._queue.add(key, self._settings.batch_window)
        for key, status in self._store.targets.items():
            concerned = status.target is None or any(covers(names, domain) for domain in status.target.domains)
            if concerned or (troubles and not status.condition.ready):
                self._queue.add(key, self._settings.batch_window)

    def _on_arrival(self) -> None:
        """Have the targets looked at whose labels may have named an unknown source, and those that nothing was found for."""
        for key, status in self._store.targets.items():
            if status.target is None or status.condition.reason in WITHOUT_SOURCE:
                self._queue.add(key, self._settings.batch_window)

    async def _work(self) -> None:
        await self.begun()
        while True:
            pass_on_cancellation()
            key = await self._queue.get()
            seen, over = False, False
            try:
                seen = self._stopping or await self._work_on(key)
                over = True
            except Exception as error:  # a fault around the work on a target, whose own failures ended before
                pass_on_cancellation()
                self._faults.tell("worker.crashed", error, about=str(key), target=self._name(key), message=str(error))
                seen = True
            finally:
                if not over:  # also where the worker was cancelled: another one takes it up
                    self._queue.retry(key)
                self._queue.done(key)
                if self._unseen and seen:
                    self._unseen.discard(key)

    async def _work_on(self, key: TargetKey) -> bool:
        """Whether it was looked at; false when it must wait for another target, and comes back by itself."""
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(reconcile=f"{time.time_ns() // 1000:x}"):
            try:
                with panics_as_errors():
                    outcome = await self._reconciler.reconcile(key)
            except TransientError as error:
                pass_on_cancellation()
                outcome = self._retry(key, error)
            except Error as error:
                pass_on_cancellation()
                log.error("reconcile.failed", target=self._name(key), message=str(error))  # noqa: TRY400 -- said in one line on purpose
                outcome = Outcome(Result.FAILED)
            except Exception as error:
                pass_on_cancellation()
                name = self._name(key)
                self._faults.tell("reconcile.crashed", error, about=str(key), target=name, message=str(error))
                outcome = self._retry(key, error)
            else:
                if outcome.result is Result.BLOCKED:
                    log.debug("reconcile.blocked", target=self._name(key))
                    self._queue.add(key, self._settings.resync * self._jitter())  # should nobody call it
                    return False
                self._queue.forget(key)
                self._faults.over(str(key))
            self._plan_next(key, outcome)
        self._observer.observe_reconcile(outcome.result, time.monotonic() - started)
        return True

    def _retry(self, key: TargetKey, error: Exception) -> Outcome:
        delay = self._queue.retry(key)
        self._observer.observe_retry()
        log.warning(
            "reconcile.will_retry",
            target=self._name(key),
            message=str(error),
            attempt=self._queue.attempt(key),
            next_in=round(delay, 1),
        )
        return Outcome(Result.FAILED)

    def _name(self, key: TargetKey) -> str:
        known = self._store.targets.get(key)
        return known.name if known else str(key)

    def _plan_next(self, key: TargetKey, outcome: Outcome) -> None:
        if outcome.result is Result.GONE:
            self._queue.discard(key)
            return
        if outcome.again is not None:
            self._queue.add(key, outcome.again)
        self._queue.add(key, self._settings.resync * self._jitter())
