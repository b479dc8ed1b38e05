"""The composition root: the only place that knows every part, and puts them together."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from controller import clocks
from controller.adoption import Configured
from controller.clocks import Clocks
from controller.deliver import Claim, Deliveries, announced, at_once, claimed_from
from controller.delivery import SILENT_LIMIT
from controller.discovery import Discovery
from controller.domain.errors import ConfigError, Error, SettingsError, TargetGone, TransientError
from controller.domain.target import InvalidTarget, Target, TargetKey
from controller.ending import end, finish, pass_on_cancellation
from controller.engine import Engine
from controller.faults import Faults
from controller.followers import Followers
from controller.label_values import AUTO, parse_domains
from controller.machine import own_container_id
from controller.policies import Decision, Facts
from controller.ports import Source
from controller.probe import ContainerProbe, Reach
from controller.proxies import FilesOfProxies, Proxies
from controller.reconciler import Reconciler, Result, Timing, longest_pass
from controller.running import GOODBYE, told_to_end
from controller.settings import Settings, variable
from controller.store import Store
from controller.supervisor import Supervisor
from controller.together import together
from controller.web.health import Vitals
from controller.web.metrics import Metrics
from controller.web.server import serve
from controller.wishes import Wishes
from controller.workqueue import WorkQueue
from sinks.container import ContainerSink
from sinks.profiles import DEFAULT, OLDER, PROFILES
from sources import registry
from sources.recognise import recognise
from sources.self_signed import SelfSigned
from sources.self_signed_files import write_files
from sources.surroundings import Surroundings
from sources.url import parse_url

log = structlog.get_logger()

ENDPOINT = "local"
ONCE_ATTEMPTS = 5

BLOCKED_LIMIT = 600.0
"""Seconds that ``certferry once`` waits for each other target with the same files; they take a fraction of that."""

SLOW = 5.0
"""Seconds after which it is told that Docker has not answered yet."""

DISCONNECT = 0.25
"""Seconds for the end of the connection to Docker."""


def jitter() -> float:
    """A factor from 0.9 to 1.1, so that periodic work spreads out."""
    return random.uniform(0.9, 1.1)  # noqa: S311 -- nothing secret about it


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A target that could not be looked at, and why."""

    name: str
    message: str


Plan = tuple[Facts, Decision] | InvalidTarget | Unplanned


@dataclass(frozen=True, slots=True)
class App:
    """All parts, connected."""

    settings: Settings
    engine: Engine
    store: Store
    sources: tuple[Source, ...]
    proxies: Proxies | None
    """``None`` where proxies are not to be looked for."""
    discovery: Discovery
    wishes: Wishes
    reconciler: Reconciler


def now() -> datetime:
    return clocks.now()


def source_urls(settings: Settings) -> tuple[str, ...]:
    """The configured sources, else those of the conventional mount points.

    Raises:
        SettingsError: there is none, and none will be found.
    """
    urls = settings.sources or registry.conventional()
    if not urls and settings.discover == "off":
        places = ", ".join(dict.fromkeys(str(path) for path, _ in registry.CONVENTIONAL))
        raise SettingsError(
            f"no source of certificates: mount the proxy's store at one of {places},"
            " or set CERTFERRY_SOURCES, e.g. traefik:///traefik/acme.json"
        )
    return urls


def configured(url: str, name: str) -> Configured:
    """What the source of a URL reads."""
    parsed = parse_url(url)
    return Configured(name, PurePosixPath(parsed.path), parsed.host)


def build(settings: Settings, *, looking: bool = False) -> App:
    """Put the parts together; nothing is connected yet. `looking` writes nothing, not even certferry's own state.

    Raises:
        SettingsError: as `source_urls`, or one is wrongly configured.
    """
    urls = source_urls(settings)
    store = Store()
    engine = Engine(settings.docker_host, timeout=settings.engine_timeout, exec_timeout=settings.exec_timeout)
    wishes = Wishes()
    looking = looking or settings.observe == "on"
    surroundings = Surroundings(containers=engine, wishes=wishes, looking=looking)
    sources = registry.create_all(urls, surroundings)
    store.origins.order = tuple(source.name for source in sources) if settings.sources else ()
    discovery = Discovery(
        engine,
        endpoint=ENDPOINT,
        prefix=settings.label_prefix,
        profiles=PROFILES,
        default=DEFAULT,
        older=OLDER,
        sources=store.sources.keys(),
        observing=f"{variable('observe')}=on" if settings.observe == "on" else "",
        unused=lambda: store.unused,
    )
    proxies = Proxies(
        engine,
        store,
        recognise=recognise,
        create=lambda url, name: registry.create(url, found, name=name),
        configured=[configured(url, source.name) for url, source in zip(urls, sources, strict=True)],
        prefix=settings.label_prefix,
        own_id=own_container_id(Path("/proc/self/mountinfo")),
    )
    found = Surroundings(containers=FilesOfProxies(engine, proxies.id_of), wishes=wishes, looking=looking)
    probe = ContainerProbe(execute=engine.execute, reach=Reach(lambda: engine.own), timeout=settings.probe_timeout)
    reconciler = Reconciler(
        targets=discovery,
        sink=ContainerSink(engine),
        probe=probe,
        store=store,
        wishes=wishes,
        timing=Timing(
            settings.settle,
            settings.verify_timeout,
            settings.start_grace,
            settings.resync,
            longest_pass(settings.exec_timeout, settings.engine_timeout, settings.verify_timeout),
        ),
        now=now,
        clock=time.monotonic,
        clocks=Clocks(now, engine=engine.clock),
    )
    return App(settings, engine, store, sources, proxies if settings.discover == "on" else None, discovery, wishes, reconciler)


def _supervise(app: App, metrics: Metrics | None = None, queue: WorkQueue[TargetKey] | None = None) -> Supervisor:
    return Supervisor(
        engine=app.engine,
        discovery=app.discovery,
        reconciler=app.reconciler,
        sources=app.sources,
        proxies=app.proxies,
        store=app.store,
        queue=queue or _queue(app.settings),
        settings=app.settings,
        jitter=jitter,
        observer=metrics or Metrics(app.store),
    )


def _queue(settings: Settings) -> WorkQueue[TargetKey]:
    return WorkQueue(retry_min=settings.retry_min, retry_max=settings.retry_max, clock=time.monotonic, jitter=jitter)


async def run(settings: Settings) -> None:
    """``certferry run``: until SIGTERM or SIGINT.

    Raises:
        SettingsError: the operator must change something first.
    """
    app = build(settings)
    queue = _queue(settings)
    metrics = Metrics(app.store, queue_depth=lambda: queue.depth)
    supervisor = _supervise(app, metrics, queue)
    by_hand = deliveries(app, claimed_from(queue), begun=supervisor.begun)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    vitals = Vitals(dead_tasks=lambda: supervisor.dead_tasks, first_pass_done=lambda: supervisor.first_pass_done)

    def end_it(_number: int) -> None:
        loop.call_soon_threadsafe(stop.set)

    with announced(settings.containers), told_to_end(end_it, limit=settings.drain + GOODBYE):
        async with serve(settings.http, app.store, metrics=metrics, vitals=vitals, deliver=by_hand.deliver) as address:
            log.info("controller.started", http=str(address or "off"), sources=", ".join(source.name for source in app.sources))
            try:
                await _connect(app, stop)
                if not stop.is_set():
                    await supervisor.run(stop)
            finally:
                await _disconnect(app)
        log.info("controller.stopped")


async def _disconnect(app: App) -> None:
    await finish(app.engine.close(), what="closing the connection to Docker", limit=DISCONNECT)


async def _connect(app: App, stop: asyncio.Event) -> None:
    """Wait for an engine that does not answer yet; one that never will is a matter of settings."""
    delay, faults = 1.0, Faults()
    while not stop.is_set():
        try:
            with _told_if_slow(app, log.warning):
                if await _until(stop, app.engine.connect()):
                    return
        except ConfigError:
            raise
        except Exception as error:  # whatever answers there, or before it
            pass_on_cancellation()
            message = str(error)
            if not isinstance(error, TransientError):
                message = f"what Docker answers cannot be understood ({type(error).__name__}: {error}); it is asked again"
                faults.tell("engine.crashed", error, about="connect", message=message)
            app.store.engine_message = message
            log.warning("engine.unavailable", message=message, next_in=delay)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()
        delay = min(delay * 2, 30.0)


@contextmanager
def _told_if_slow(app: App, tell: Callable[..., None]) -> Iterator[None]:
    """Nobody shall sit before an empty screen for as long as Docker may take to answer."""
    host, limit = app.settings.docker_host, app.settings.engine_timeout
    message = f"Docker at {host} has not answered for {SLOW:g} s; it is given {limit:g} s"
    timer = asyncio.get_running_loop().call_later(SLOW, lambda: tell("engine.slow", message=message))
    try:
        yield
    finally:
        timer.cancel()


def _to_whoever_waits(event: str, *, message: str) -> None:
    """Programs that read what a command says wait as long as it takes."""
    if sys.stderr.isatty():
        log.error(event, message=message)  # the commands show nothing less


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work is done; false when `stop` came first."""
    working, stopping = asyncio.create_task(work, name="connecting"), asyncio.create_task(stop.wait(), name="stopping")
    tasks: set[asyncio.Task[Any]] = {working, stopping}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        await end(working, stopping, limit=DISCONNECT)


@asynccontextmanager
async def connected(settings: Settings, *, looking: bool = False) -> AsyncIterator[App]:
    """Everything connected, proxies looked for and every source read once, for the commands that do not stay.

    `looking` as in `build`.

    Raises:
        SettingsError, EngineUnavailable: it cannot be.
    """
    app = build(settings, looking=looking)
    try:
        with _told_if_slow(app, _to_whoever_waits):
            await app.engine.connect()
        app.store.engine_up, app.store.engine_message = True, ""
        followers = _supervise(app).followers
        await followers.read_once()
        await _make_stand_ins(app, followers)
        yield app
    finally:
        await _disconnect(app)


async def _make_stand_ins(app: App, followers: Followers) -> None:
    """What the self-signed source makes depends on the targets, and those are known last."""
    makers = {source.name for source in app.sources if isinstance(source, SelfSigned)}
    if not makers:
        return
    for key in await app.discovery.keys():
        with suppress(Exception):  # whoever works on the target says what is wrong
            if isinstance(target := await app.discovery.resolve(key), Target):
                app.wishes.note(target)
    for follower in followers:
        if follower.source_name in makers:
            await follower.load_once()


async def read_sources(settings: Settings) -> Store:
    """``certferry sources``: every source read once. Docker is asked for proxies only; what is configured does without it.

    Raises:
        SettingsError, EngineUnavailable: as `connected`, where no source is configured.
    """
    app = build(settings, looking=True)
    app.store.engine_message = "CERTFERRY_DISCOVER is off"
    try:
        await _look_and_read(app)
    finally:
        await _disconnect(app)
    return app.store


async def _look_and_read(app: App) -> None:
    """Without proxies where Docker cannot be asked for them, be it at once or after its first answer."""
    try:
        if app.proxies:
            with _told_if_slow(app, _to_whoever_waits):
                await app.engine.connect()
            app.store.engine_up, app.store.engine_message = True, ""
        await _supervise(app).followers.read_once()
    except Error as error:
        if not app.sources or not app.proxies:
            raise
        app.store.engine_up, app.store.engine_message = False, str(error)
        await _supervise(replace(app, proxies=None)).followers.read_once()


def one_host_name(name: str) -> str:
    """A host name, as certificates write it. Raises `ValueError` where it is none, or more than one."""
    names = parse_domains(name) if name.strip() else ()
    if len(names) != 1 or "*" in name or names == AUTO:
        raise ValueError(f"{name!r} is not one host name; write one such as mail.example.com")
    return names[0]


def write_self_signed(name: str, folder: Path, *, days: int, force: bool) -> tuple[Path, ...]:
    """``certferry self-signed``: files for a host name; see `sources.self_signed_files.write_files`.

    Raises:
        WriteRefused: they are there already, or cannot be written.
    """
    return write_files(name, folder, days=days, force=force, now=now())


async def plan(settings: Settings, trouble: Callable[[str], None] = lambda _line: None) -> list[Plan]:
    """``certferry plan``: what a pass would find and decide, for every target; one that cannot be looked at is said so.

    `trouble` gets a line for each source that could not be read: it may hold what no plan shows.

    Raises:
        SettingsError, EngineUnavailable: as `connected`.
    """
    async with connected(settings, looking=True) as app:
        for name, source in sorted(app.store.sources.items()):
            if not source.up:
                trouble(f"the source {name} could not be read: {source.reason}: {source.message}")
        found = await together(_plan(app, key) for key in await app.discovery.keys())
        return [one for one in found if one is not None]


async def _plan(app: App, key: TargetKey) -> Plan | None:
    try:
        return await app.reconciler.plan(key)
    except TargetGone:
        return None
    except Error as error:
        return Unplanned(str(key), str(error))
    except Exception as error:  # one target that breaks hides no other
        pass_on_cancellation()
        log.exception("plan.crashed", target=str(key), message=str(error))
        return Unplanned(str(key), f"a fault in certferry ({type(error).__name__}), see above")


def deliveries(app: App, claim: Claim, *, begun: Callable[[], Awaitable[None]] = at_once) -> Deliveries:
    """What acts on a container when somebody says so; `begun` as in `Deliveries`."""
    settings = app.settings
    limit = settings.start_grace + settings.verify_timeout + settings.settle + 2 * SILENT_LIMIT
    return Deliveries(app.discovery, app.reconciler, app.store, claim=claim, limit=limit, retry=settings.retry_min, begun=begun)


async def once(settings: Settings) -> Store:
    """``certferry once``: one pass over every target, each until it has settled."""
    async with connected(settings) as app:
        await settle(app, await app.discovery.keys())
        return app.store


async def settle(app: App, keys: Collection[TargetKey]) -> None:
    """Work on targets until none needs a further look soon."""
    gate = asyncio.Semaphore(app.settings.workers)
    turns = {key: asyncio.Event() for key in keys}
    app.reconciler.locks.call = lambda key: turns[key].set()
    await together(_settle(app, key, gate, turns[key]) for key in keys)


async def _settle(app: App, key: TargetKey, gate: asyncio.Semaphore, turn: asyncio.Event) -> None:
    """Work on one target until it needs no further look soon; a passing failure is tried a few times.

    While another one works on the same files, its place at the gate is free for others until it is its `turn`.
    """
    deadline = time.monotonic() + app.settings.start_grace + app.settings.verify_timeout
    failures = 0
    while True:
        pause: float | None = None
        turn.clear()
        try:
            async with gate:
                outcome = await app.reconciler.reconcile(key)
            if outcome.result is Result.BLOCKED:
                if (waited := await _wait_for(turn, BLOCKED_LIMIT * len(app.store.targets))) is None:
                    log.error(
                        "reconcile.failed", target=str(key), message="another container with the same files is never done"
                    )
                    return
                deadline += waited
                continue
            pause = None if outcome.result in (Result.FAILED, Result.REFUSED) else outcome.again
        except TransientError as error:
            failures += 1
            log.warning("reconcile.will_retry", target=str(key), message=str(error), attempt=failures)
            pause = app.settings.retry_min * failures if failures < ONCE_ATTEMPTS else None
        except Error as error:
            log.error("reconcile.failed", target=str(key), message=str(error))  # noqa: TRY400 -- said in one line on purpose
        except Exception as error:  # one target that breaks stops no other
            pass_on_cancellation()
            log.exception("reconcile.crashed", target=str(key), message=str(error))
        status = app.store.targets.get(key)
        done = status is not None and status.condition.ready
        if pause is None or done or time.monotonic() + pause > deadline:
            return
        await asyncio.sleep(pause)


async def _wait_for(turn: asyncio.Event, seconds: float) -> float | None:
    """How long it took; ``None`` when it took longer than `seconds`."""
    begin = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await turn.wait()
    except TimeoutError:
        return None
    return time.monotonic() - begin
