"""An act that somebody asks for by hand: now, through every wait, step by step, and never beside another one."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from controller import steps
from controller.domain.errors import DeliveryRefused, Error, TransientError
from controller.domain.target import InvalidTarget, Target, TargetKey
from controller.ending import pass_on_cancellation
from controller.ports import Targets
from controller.reconciler import Outcome, Reconciler, Result
from controller.store import Store
from controller.workqueue import WorkQueue

Say = Callable[[str], None]
Claim = Callable[[TargetKey], AbstractAsyncContextManager[None]]
"""Has a key for itself while the context lasts."""

ATTEMPTS = 5
"""How often a failure that passes is tried again."""
BLOCKED_PAUSE = 0.25
"""Seconds between two tries while a container with the same files is worked on."""
BLOCKED = "a container with the same files is being worked on"
BEGIN_LIMIT = 20.0
"""Seconds that a controller which has just started may take to list the containers and read the sources."""
LOOK_AFTER = 5.0
"""Seconds after which the controller looks at the target as usual."""
SERVICE = "com.docker.compose.service"
"""The label by which docker compose says what its file calls a container."""
_OVER = (Result.FAILED, Result.REFUSED, Result.GONE, Result.PAUSED)


async def at_once() -> None:
    """There is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended, and the last word on the target."""

    ready: bool
    message: str


class Deliveries:
    """`limit` is in seconds for one delivery, its waits for slow services among them; `retry` the wait after a failure.

    `begun` ends when everything was read that is needed to choose.
    """

    def __init__(  # noqa: PLR0913
        self,
        targets: Targets,
        reconciler: Reconciler,
        store: Store,
        *,
        claim: Claim,
        limit: float,
        retry: float,
        begun: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        self._targets, self._reconciler, self._store, self._claim = targets, reconciler, store, claim
        self._limit, self._retry, self._begun = limit, retry, begun

    async def deliver(self, wanted: str, say: Say) -> Ended:
        """Bring a container, by what `choose` knows it by, to where it should be; `say` gets each step.

        Raises:
            DeliveryRefused: there is no such target, or it is paused.
            TransientError: Docker does not answer.
        """
        await self._wait_to_begin()
        key = await self._find(wanted)
        with self._reconciler.hurried(key), steps.told_to(lambda event, fields: _say(say, event, fields)):
            return await self._until_over(key, say)

    async def _wait_to_begin(self) -> None:
        """Before the sources were read nothing fits, and that would be no true word."""
        limit = asyncio.timeout(BEGIN_LIMIT)
        try:
            async with limit:
                await self._begun()
        except TimeoutError as error:
            if not limit.expired():
                raise
            why = self._store.engine_message or "its sources are being read"
            raise TransientError(f"the controller has just started and cannot work yet: {why}") from error

    async def _find(self, wanted: str) -> TargetKey:
        """The key of the target that is meant, which may be acted on."""
        found = {key: await self._look_up(key) for key in await self._targets.keys()}
        names = {key: _name_of(key, one) for key, one in found.items() if one is not None}
        services = {key: _service_of(one) for key, one in found.items() if one is not None}
        try:
            key = choose(wanted, names, services)
        except DeliveryRefused:
            for one in found.values():  # it may be the one that cannot be looked at
                if isinstance(one, Error):
                    raise one from None
            raise
        target = found[key]
        if isinstance(target, Error):
            raise target
        if isinstance(target, InvalidTarget):
            raise DeliveryRefused(f"{names[key]}: {'; '.join(target.problems)}")
        if target and target.paused_by:
            raise DeliveryRefused(f"{names[key]} is paused ({target.paused_by}), so nothing is done; end that first")
        return key

    async def _look_up(self, key: TargetKey) -> Target | InvalidTarget | Error | None:
        """The target, or why it cannot be looked at: that concerns no other one."""
        try:
            return await self._targets.resolve(key)
        except Error as error:
            pass_on_cancellation()
            return error

    async def _until_over(self, key: TargetKey, say: Say) -> Ended:
        loop, failures, blocked = asyncio.get_running_loop(), 0, False
        deadline = loop.time() + self._limit
        while True:
            try:
                async with self._claim(key):
                    outcome = await self._reconciler.reconcile(key)
            except TransientError as error:
                pass_on_cancellation()
                failures += 1
                say(f"failed for now: {error}")
                outcome = Outcome(Result.FAILED if failures == ATTEMPTS else Result.WAITING, self._retry * failures)
            except Error as error:
                say(f"failed: {error}")
                outcome = Outcome(Result.FAILED)
            if outcome.result is not Result.BLOCKED:
                blocked, ended = False, self._judge(key)
            else:  # what is known of it is from before
                if not blocked:
                    say(f"waiting: {BLOCKED}")
                blocked, ended = True, Ended(False, f"nothing was done: {BLOCKED}")
                outcome = replace(outcome, again=BLOCKED_PAUSE)
            pause = outcome.again
            if ended.ready or outcome.result in _OVER or pause is None or loop.time() + pause > deadline:
                return ended
            await asyncio.sleep(pause)

    def _judge(self, key: TargetKey) -> Ended:
        status = self._store.targets.get(key)
        if status is None:
            return Ended(False, "the container is gone")
        condition = status.condition
        return Ended(condition.ready, condition.message if condition.ready else f"{condition.reason}: {condition.message}")


def _name_of(key: TargetKey, target: Target | InvalidTarget | Error) -> str:
    return key.container_id[:12] if isinstance(target, Error) else target.container.name


def _service_of(target: Target | InvalidTarget | Error) -> str:
    return "" if isinstance(target, Error) else target.container.labels.get(SERVICE, "")


def choose(wanted: str, names: Mapping[TargetKey, str], services: Mapping[TargetKey, str]) -> TargetKey:
    """The target of that name, else the one of that service in a compose file, else the one whose id begins so.

    Raises:
        DeliveryRefused: there is none, or more than one.
    """
    named = [key for key, name in names.items() if name == wanted]
    composed = [key for key, service in services.items() if service == wanted]
    found = named or composed or [key for key in names if key.container_id.startswith(wanted)]
    if len(found) == 1 and wanted:
        return found[0]
    known = ", ".join(sorted(names.values())) or "none"
    what = f"{len(found)} targets are meant by" if found else "no container that asks for a certificate is called"
    raise DeliveryRefused(f"{what} {wanted!r}; there is {known}")


def claimed_from(queue: WorkQueue[TargetKey]) -> Claim:
    """Work on a key as a worker of the queue does, whatever is planned for it; afterwards it is looked at as usual."""

    @asynccontextmanager
    async def claim(key: TargetKey) -> AsyncIterator[None]:
        await queue.claim(key)
        try:
            queue.forget(key)
            yield
        finally:
            queue.add(key, LOOK_AFTER)
            queue.done(key)

    return claim


@asynccontextmanager
async def alone(key: TargetKey) -> AsyncIterator[None]:
    """Where there is no queue: no two processes of this machine act on one container by hand.

    Raises:
        DeliveryRefused: another one does.
    """
    with _claimed(key.container_id) as held:
        if not held:
            raise DeliveryRefused("another `certferry deliver` works on it")
        yield


@contextmanager
def announced(whose: str) -> Iterator[bool]:
    """Let others on this machine know that a controller runs for these containers; false where another one does."""
    with _claimed(_run(whose)) as held:
        yield held


def alone_beside(whose: str) -> Claim:
    """As `alone`, where no controller runs on this machine, either, that says so by `announced`; it may not be asked."""

    @asynccontextmanager
    async def claim(key: TargetKey) -> AsyncIterator[None]:
        with _claimed(_run(whose)) as free:
            if not free:
                raise DeliveryRefused(
                    "certferry runs on this machine and cannot be asked: its CERTFERRY_HTTP is off, or another one than here"
                )
        async with alone(key):
            yield

    return claim


def _run(whose: str) -> str:
    return f"run {hashlib.sha256(whose.encode()).hexdigest()}"


@contextmanager
def _claimed(name: str) -> Iterator[bool]:
    """Have a name to ourselves on this machine; false where another process has it.

    It is that of a socket without a file, which goes with the process (unix(7), abstract).
    """
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(f"\0certferry/{name}")
        except OSError:
            yield False
        else:
            yield True


def _say(say: Say, event: str, fields: dict[str, object]) -> None:
    for line in steps.describe(event, fields):
        say(line)
