"""Many mail containers in memory, each a `Mailbox`, behind one reconciler and, where wanted, a supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import PurePosixPath

from controller.clocks import Watch
from controller.domain.certificate import KeyType
from controller.domain.container import Mount
from controller.domain.errors import Error
from controller.domain.observed import Acted, Failure, Observed, Receipt, Served
from controller.domain.snapshot import SourceStatus
from controller.domain.target import InvalidTarget, Place, ProbePort, Reload, Slot, Target, TargetKey
from controller.engine import Event
from controller.reconciler import Reconciler
from controller.settings import Settings
from controller.store import Store
from controller.supervisor import Supervisor
from controller.workqueue import WorkQueue
from tests.unit.made import NEW, NOW, certificate, container, snapshot, target
from tests.unit.mailbox import TIMING, Mailbox
from tests.unit.virtual_time import clock


def key(name: str) -> TargetKey:
    return TargetKey("local", name)


def on(name: str, *host_paths: str, **changes: object) -> Target:
    """A target whose files lie in folders of the host, one after the other."""
    mounts = tuple(Mount("bind", path, PurePosixPath(f"/v{i}"), True, path) for i, path in enumerate(host_paths))
    folders = [mount.destination for mount in mounts] or [PurePosixPath("/tls")]
    place = Place(Slot(), folders[0] / "cert.pem", folders[-1] / "key.pem")
    there = container(id=name, name=name, mounts=mounts)
    return target(key=key(name), container=there, places=(place,), **{"probe": (), **changes})


class Fleet:
    """Implements targets, sink, probe, and of the engine what a supervisor needs; every target has a mailbox of its own."""

    host = "unix:///docker.sock"

    def __init__(self, *targets: Target) -> None:
        self.boxes: dict[TargetKey, Mailbox] = {}
        self.faults: dict[TargetKey, dict[str, list[Error | None]]] = {}
        """As in `Mailbox`, for the next container with that key."""
        self.seconds: dict[TargetKey, float] = {}
        """How long each takes to be written to."""
        self.busy: set[str] = set()
        self.met: list[frozenset[str]] = []
        """Who was written to together, whenever one more began."""
        self.done: dict[str, float] = {}
        """When each was written to for the first time."""
        self.looks: list[str] = []
        self.lists = 0
        self.store = Store()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.reconciler = Reconciler(
            targets=self,
            sink=self,
            probe=self,
            store=self.store,
            timing=TIMING,
            now=lambda: NOW + timedelta(seconds=clock()),
            clock=clock,
        )
        for each in targets:
            self.start(each)
        self.offer()

    def start(self, wanted: Target) -> None:
        reads = next(path for path in wanted.places[0].paths if path.stem == "cert")
        self.boxes[wanted.key] = Mailbox(target=wanted, reads=reads, faults=self.faults.pop(wanted.key, {}))
        self._events.put_nowait(Event("start", wanted.key.container_id))

    def stop(self, gone: TargetKey) -> None:
        del self.boxes[gone]
        self._events.put_nowait(Event("destroy", gone.container_id))

    def offer(self, **options: float) -> None:
        """Have the source hold a certificate."""
        self.store.snapshots["traefik"] = snapshot(certificate(**(options or NEW)))
        self.store.sources["traefik"] = SourceStatus(up=True, message="")

    # targets

    async def keys(self) -> Collection[TargetKey]:
        self.lists += 1
        return list(self.boxes)

    def key(self, container_id: str) -> TargetKey:
        return key(container_id)

    def adapt(self, target: Target, _observed: Observed) -> Target | InvalidTarget:
        return target

    async def resolve(self, wanted: TargetKey) -> Target | InvalidTarget | None:
        self.looks.append(wanted.container_id)
        await asyncio.sleep(0.001)
        box = self.boxes.get(wanted)
        return await box.resolve(wanted) if box else None

    # the engine

    async def now(self) -> str:
        return "0.0"

    @asynccontextmanager
    async def events(self, since: str) -> AsyncIterator[AsyncIterator[Event]]:
        yield self._iterate()

    async def _iterate(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    # sink and probe

    async def observe(self, wanted: Target) -> Observed:
        return await self.boxes[wanted.key].observe(wanted)

    async def act(
        self,
        target: Target,
        observed: Observed,
        contents: Mapping[PurePosixPath, bytes],
        *,
        steps: Sequence[Reload] = (),
        check: bool = True,
        put_back: bool = True,
    ) -> Acted:
        box = self.boxes[target.key]
        if not contents:
            return await box.act(target, observed, contents, steps=steps, check=check, put_back=put_back)
        self.busy.add(target.name)
        self.met.append(frozenset(self.busy))
        try:
            await asyncio.sleep(self.seconds.get(target.key, 0.0))
            self.done.setdefault(target.name, round(clock(), 1))
            return await box.act(target, observed, contents, steps=steps, check=check, put_back=put_back)
        finally:
            self.busy.discard(target.name)

    async def settle(self, wanted: Target, observed: Observed, *, confirmed: bool = True) -> None:
        await self.boxes[wanted.key].settle(wanted, observed, confirmed=confirmed)

    def check_mounts(self, wanted: Target, observed: Observed, paths: Iterable[PurePosixPath]) -> None:
        self.boxes[wanted.key].check_mounts(wanted, observed, paths)

    async def stopped(self, wanted: Target, steps: Sequence[Reload]) -> tuple[str, ...]:
        return await self.boxes[wanted.key].stopped(wanted, steps)

    async def restore(self, receipt: Receipt, steps: Sequence[Reload] = ()) -> tuple[Failure, ...]:
        return await self.boxes[receipt.target.key].restore(receipt, steps)

    async def served(self, wanted: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        return await self.boxes[wanted.key].served(wanted, port, key_type=key_type)


class _Silent:
    def observe_reconcile(self, outcome: str, seconds: float) -> None: ...

    def observe_retry(self) -> None: ...


def supervisor(fleet: Fleet, settings: Settings, *, watch: Watch | None = None) -> Supervisor:
    """The eternal tasks over a fleet; its queue is `supervisor._queue`."""
    return Supervisor(
        engine=fleet,  # type: ignore[arg-type]
        discovery=fleet,  # type: ignore[arg-type]
        reconciler=fleet.reconciler,
        sources=(),
        store=fleet.store,
        queue=WorkQueue(retry_min=1.0, retry_max=300.0, clock=clock, jitter=lambda: 1.0),
        settings=settings,
        jitter=lambda: 1.0,
        observer=_Silent(),
        watch=watch,
    )


@asynccontextmanager
async def supervised(fleet: Fleet, *, workers: int = 2, **options: float) -> AsyncIterator[Supervisor]:
    """A supervisor at work; it is told to stop at the end, and must."""
    made = supervisor(fleet, replace_settings(workers=workers, **options))
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        async with asyncio.timeout(600):
            await task


def replace_settings(**options: float) -> Settings:
    return Settings().model_copy(update={"resync": 600.0, "batch_window": 0.25, "drain": 5.0, **options})


def renewed(fleet: Fleet, name: str) -> bool:
    """Whether a container has the certificate of the source installed and in use."""
    held = fleet.store.snapshots["traefik"].entries[0].certificate
    return fleet.boxes[key(name)].in_use == held.leaf
