"""What key-value stores cost: from a put to the certificate in use, beside a bare client of the same store; and being idle."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from statistics import median, quantiles

import requests
import structlog.testing

from controller.following import Follower, Pace, changed_names
from controller.store import Store
from sources.registry import create
from sources.surroundings import Surroundings
from tests.bench.load import processor_seconds
from tests.bench.measure import Measure, laboratory, notes
from tests.certs import Pair, traefik_v1_account
from tests.engine.stores import KEY, KINDS, OBJECT, Net, Server, ZooKeeper, as_stored, to_base64
from tests.lab import Lab

PUTS = 40
SPACING = 0.4
"""Seconds between two puts; the pause that a watch makes after each change is over by then."""
SOURCES = 50
IDLE_SECONDS = 60.0
PACE = Pace(retry_min=1.0, retry_max=300.0, resync=3600.0)


def latency(_rounds: int) -> list[Measure]:
    """From a put to the moment at which a bare client, and certferry's follower, have it."""
    measures = []
    for kind in KINDS:
        notes.print(f"keyed: {PUTS} puts into {kind}")
        with laboratory() as lab, quiet():
            server = KINDS[kind](Net(lab))
            server.wait_up()
            bare, ours = asyncio.run(_race(lab, server))
        overhead = median(ours) - median(bare)
        measures += [
            Measure(f"{kind}: put → certificate chosen, median", median(ours) * 1000, "ms", note=_p95(ours)),
            Measure(f"{kind}: put → a bare client has it, median", median(bare) * 1000, "ms", note=_p95(bare)),
            Measure(f"{kind}: overhead", overhead * 1000, "ms", limit=20, note="difference of the medians"),
        ]
    return measures


@contextmanager
def quiet() -> Iterator[None]:
    """certferry's parts say nothing in this process."""
    with structlog.testing.capture_logs():
        yield


def _p95(seconds: list[float]) -> str:
    return f"95 of 100 within {quantiles(seconds, n=20)[-1] * 1000:.0f} ms; of {len(seconds)}"


class Seen:
    """When something was there for the first time, by a clock that all threads share."""

    def __init__(self) -> None:
        self.moment = 0.0
        self._there = threading.Event()

    def note(self) -> None:
        if not self._there.is_set():
            self.moment = time.monotonic()
            self._there.set()

    def wait(self) -> float:
        assert self._there.wait(10), "a put was not seen within 10 s"
        return self.moment

    def forget(self) -> None:
        self._there.clear()


async def _race(lab: Lab, server: Server) -> tuple[list[float], list[float]]:
    bare, ours = Seen(), Seen()
    server.put(_account(server, lab.issue()))
    found: tuple[list[float], list[float]] = ([], [])
    with _bare_client(server, bare.note):
        await _put_again_and_again(lab, server, (bare, ours), found)
    return found


@contextmanager
def _bare_client(server: Server, note: Callable[[], None]) -> Iterator[None]:
    """It watches in a thread, until its server is taken away; what it says of that is of no interest."""
    over = threading.Event()

    def watch() -> None:
        try:
            BARE[server.kind](server, note)
        except Exception:
            if not over.is_set():
                raise

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


async def _put_again_and_again(
    lab: Lab, server: Server, both: tuple[Seen, Seen], found: tuple[list[float], list[float]]
) -> None:
    async with _followed(server.url, both[1].note):
        for _ in range(PUTS):
            await asyncio.sleep(SPACING)
            value = _account(server, lab.issue())
            for seen in both:
                seen.forget()
            begin = time.monotonic()
            await asyncio.to_thread(server.put, value)
            for seen, seconds in zip(both, found, strict=True):
                seconds.append(await asyncio.to_thread(seen.wait) - begin)


def _account(server: Server, pair: Pair) -> bytes:
    return as_stored(server.kind, traefik_v1_account(pair))


@asynccontextmanager
async def _followed(url: str, note: Callable[[], None], name: str = "it") -> AsyncIterator[None]:
    """A source under certferry's follower, `note` is called when there is work for targets; stands when it was read once."""
    source = create(url, Surroundings(), name=name)
    follower = Follower(source, Store(), lambda *both: note() if changed_names(*both) else None, pace=PACE, jitter=lambda: 1.0)
    task = asyncio.create_task(follower.follow())
    async with asyncio.timeout(60):
        await follower.tried.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=60)


def _watch_consul(server: Server, note: Callable[[], None]) -> None:
    index = "0"
    with requests.Session() as session:
        for _ in range(PUTS + 1):
            url = f"http://{server.address}:8500/v1/kv/{OBJECT}?raw&wait=60s&index={index}"
            answer = session.get(url, timeout=90)
            index = answer.headers["X-Consul-Index"]
            note()


def _watch_etcd(server: Server, note: Callable[[], None]) -> None:
    create_request = json.dumps({"create_request": {"key": to_base64(OBJECT)}})
    with requests.post(f"http://{server.address}:2379/v3/watch", data=create_request, stream=True, timeout=90) as answer:
        for line in _lines(answer):
            for event in json.loads(line)["result"].get("events", []):
                base64.b64decode(event["kv"]["value"])
                note()


def _lines(answer: requests.Response) -> Iterator[bytes]:
    """Each as soon as it is there; `iter_lines` of requests waits for more."""
    line = b""
    for byte in answer.raw.stream(1 << 16):
        *whole, line = (line + byte).split(b"\n")
        yield from whole


def _watch_etcd_v2(server: Server, note: Callable[[], None]) -> None:
    with requests.Session() as session:
        url = f"http://{server.address}:2379/v2/keys/{OBJECT}"
        index = int(session.get(url, timeout=90).headers["X-Etcd-Index"])
        for _ in range(PUTS + 1):
            index = int(session.get(f"{url}?wait=true&waitIndex={index + 1}", timeout=90).json()["node"]["modifiedIndex"])
            note()


def _watch_zookeeper(server: Server, note: Callable[[], None]) -> None:
    assert isinstance(server, ZooKeeper)
    with server.client() as client:
        client.DataWatch(f"/{OBJECT}")(lambda *_: note())
        time.sleep(PUTS * (SPACING + 1))


BARE: dict[str, Callable[[Server, Callable[[], None]], None]] = {
    "consul": _watch_consul,
    "etcd": _watch_etcd,
    "etcd2": _watch_etcd_v2,
    "zookeeper": _watch_zookeeper,
}


def idle(_rounds: int) -> list[Measure]:
    """A certferry that watches one store of each kind, none of which changes."""
    with laboratory() as lab:
        net = Net(lab)
        servers = {kind: KINDS[kind](net) for kind in KINDS}
        for server in servers.values():
            server.wait_up()
            server.put(_account(server, lab.issue()))
        certferry = lab.controller(sources=" ".join(server.url for server in servers.values()))
        for kind in servers:
            certferry.wait_for("source.loaded", source=kind)
        time.sleep(5)
        notes.print(f"keyed: watching {len(servers)} idle stores for {IDLE_SECONDS:g} s")
        traffic, busy = {kind: _traffic(server) for kind, server in servers.items()}, processor_seconds(certferry)
        time.sleep(IDLE_SECONDS)
        busy = processor_seconds(certferry) - busy
        bytes_each = {kind: _traffic(server) - traffic[kind] for kind, server in servers.items()}
    share = busy / IDLE_SECONDS / len(servers) * 100
    return [
        Measure("processor time for each idle store", share, "% of a core", note=f"of {len(servers)}, all of certferry in it"),
        *(Measure(f"{kind}: idle traffic, both ways", each / 1000, "kB a minute") for kind, each in bytes_each.items()),
    ]


def _traffic(server: Server) -> int:
    networks = server.container.stats(stream=False)["networks"].values()
    return sum(int(network["rx_bytes"]) + int(network["tx_bytes"]) for network in networks)


def many(_rounds: int) -> list[Measure]:
    """Many sources, spread over all kinds of stores, every one of which changes at once."""
    with laboratory() as lab:
        net = Net(lab)
        servers = [KINDS[kind](net) for kind in KINDS]
        for server in servers:
            server.wait_up()
        notes.print(f"keyed: {SOURCES} sources at once")
        with quiet():
            seconds = asyncio.run(_all_at_once(lab, servers))
    return [Measure(f"{SOURCES} sources at once: the last put → all certificates chosen", seconds * 1000, "ms")]


async def _all_at_once(lab: Lab, servers: list[Server]) -> float:
    places = [(servers[number % len(servers)], f"{KEY}-{number}") for number in range(SOURCES)]
    seen = [Seen() for _ in places]
    for server, key in places:
        server.put(_account(server, lab.issue()), f"{key}/object")
    async with AsyncExitStack() as stack:
        for number, ((server, key), one) in enumerate(zip(places, seen, strict=True)):
            await stack.enter_async_context(_followed(server.url.replace(KEY, key), one.note, f"source-{number}"))
        await asyncio.sleep(1)
        for one in seen:
            one.forget()
        values = [_account(server, lab.issue()) for server, _ in places]
        await asyncio.gather(
            *(
                asyncio.to_thread(server.put, value, f"{key}/object")
                for (server, key), value in zip(places, values, strict=True)
            )
        )
        begin = time.monotonic()
        return max([await asyncio.to_thread(one.wait) for one in seen]) - begin
