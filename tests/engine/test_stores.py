"""Traefik v1's account in real key-value stores: read, watched, lost and found again."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from controller.following import Pace
from controller.ports import Source
from sources import registry
from sources.surroundings import Surroundings
from sources.traefik_kv import consul, etcd, etcd_v2
from tests.certs import Pair, traefik_v1_account
from tests.engine.stores import KEY, KINDS, Net, Server, as_stored
from tests.lab import Lab
from tests.unit.sources.recorded import DATA
from tests.unit.sources.toy import HASTE, Followed, followed

log = logging.getLogger(__name__)

AS_SHIPPED = Pace(retry_min=1.0, retry_max=300.0, resync=600.0)
OUTAGE = 20.0
RECORDED = {"consul": "consul", "etcd": "etcd3", "etcd2": "etcd3", "zookeeper": "zookeeper"}
"""Which program's values each kind gets: Traefik's own for API v2 are the mangled ones."""
CERTIFICATES_CHANGE = {3, 4, 5}
"""Of the recorded stages those with the first certificate, the second, and their renewal; in the others is no news."""

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def net(lab: Lab) -> Net:
    return Net(lab)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that says nothing is asked every second whether it is well."""
    monkeypatch.setattr(consul, "WAIT", 1)
    monkeypatch.setattr(etcd, "HEARTBEAT", 1.0)
    monkeypatch.setattr(etcd_v2, "WAIT", 1.0)


def start(kind: str, net: Net) -> Server:
    server = KINDS[kind](net)
    server.wait_up()
    return server


def source_of(server: Server, options: str = "") -> Source:
    return registry.create(f"{server.url}?timeout=2s{options}", Surroundings(), name=server.kind)


@asynccontextmanager
async def following(server: Server, *, pace: Pace = HASTE, options: str = "") -> AsyncIterator[Followed]:
    async with followed(source_of(server, options), pace) as it:
        yield it


async def do(action: Callable[..., object], *arguments: object) -> None:
    """Something that blocks, beside the loop."""
    await asyncio.to_thread(action, *arguments)


def account(server: Server, *pairs: Pair) -> bytes:
    return as_stored(server.kind, traefik_v1_account(*pairs))


async def told(it: Followed, *words: str) -> None:
    """Wait until it says what is wrong."""
    await it.until(lambda: all(word in it.message for word in words))


@every_kind
async def test_the_recorded_values_are_read_one_by_one_and_only_certificates_count(net: Net, kind: str) -> None:
    server = start(kind, net)
    stages = sorted((DATA / f"traefik-v1-{RECORDED[kind]}").iterdir())
    milliseconds = []
    async with following(server) as it:
        await told(it, "has no key")
        for position, stage in enumerate(stages):
            before = it.changes
            await do(server.put, b"4b3c-the-transaction", f"{KEY}/lock")  # a save takes the lock first
            begun = time.monotonic()
            await do(server.put, as_stored(kind, stage.read_bytes()))
            if position in CERTIFICATES_CHANGE:
                await it.until(lambda before=before: it.changes > before)  # type: ignore[misc]
                milliseconds.append(round((time.monotonic() - begun) * 1000))
            await it.until(lambda: not it.message)
            await asyncio.sleep(0.3)
            assert it.changes == before + (position in CERTIFICATES_CHANGE)
            assert it.told == ""
        names = {name for entry in it.snapshot.entries for name in entry.certificate.leaf.names}
        assert "mail.example.test" in names
        assert len(it.leaves) == 2
    log.info("%s: milliseconds from the put to the snapshot: %s", kind, milliseconds)


@every_kind
async def test_challenges_that_rewrite_the_value_and_a_new_order_change_nothing(net: Net, lab: Lab, kind: str) -> None:
    server, pairs = start(kind, net), [lab.issue("a.example.test"), lab.issue("b.example.test")]
    await do(server.put, account(server, *pairs))
    async with following(server) as it:
        await it.holds(*pairs)
        for turn in (pairs, pairs[::-1], pairs):
            await do(server.put, account(server, *turn))
            await asyncio.sleep(0.3)
        new = lab.issue("c.example.test")
        await do(server.put, account(server, new))
        await it.holds(new)
        assert it.changes == 2


async def test_what_was_read_is_kept_while_the_servers_are_away_and_they_are_met_again_at_once(net: Net, lab: Lab) -> None:
    servers = [start(kind, net) for kind in KINDS]
    old, new = lab.issue(), lab.issue()
    for server in servers:
        server.put(account(server, old))
    async with AsyncExitStack() as stack:
        its = [await stack.enter_async_context(following(server, pace=AS_SHIPPED)) for server in servers]
        for it in its:
            await it.holds(old)
        await asyncio.gather(*(do(server.stop) for server in servers))
        await asyncio.sleep(OUTAGE)
        for it in its:
            assert it.leaves == {old.certificate.fingerprint}
            assert it.message
        await asyncio.gather(*(do(server.container.start) for server in servers))
        delays = await asyncio.gather(*(_met_again(*both, new) for both in zip(servers, its, strict=True)))
    log.info("seconds from a bare client's first answer to ours: %s", dict(zip(KINDS, delays, strict=True)))
    assert max(delays) < 20, "two seconds on a quiet machine; half a minute when the pauses grew meanwhile"


async def _met_again(server: Server, it: Followed, new: Pair) -> float:
    """Seconds from the moment at which it can be read again."""
    await do(server.wait_up)
    begun = time.monotonic()
    await it.until(lambda: not it.message)
    delay = round(time.monotonic() - begun, 2)
    await do(server.put, account(server, new))
    await it.holds(new)
    return delay


@every_kind
async def test_a_source_that_is_down_at_the_start_is_taken_up_by_itself(net: Net, lab: Lab, kind: str) -> None:
    server, pair = KINDS[kind](net, started=False), lab.issue()
    async with following(server) as it:
        await told(it, server.address, "start it")
        await do(server.container.start)
        await do(server.wait_up)
        await told(it, "has no key")
        await do(server.put, account(server, pair))
        await it.holds(pair)


@every_kind
async def test_a_deleted_key_and_an_empty_server_in_its_place_take_nothing_away(net: Net, lab: Lab, kind: str) -> None:
    server, old, new = start(kind, net), lab.issue(), lab.issue()
    await do(server.put, account(server, old))
    async with following(server) as it:
        await it.holds(old)
        await do(server.delete)
        await told(it, "was deleted")
        await do(server.put, account(server, old))
        await it.holds(old)
        await do(server.replace)
        await do(server.wait_up)
        await told(it, "was deleted")
        assert it.leaves == {old.certificate.fingerprint}
        await do(server.put, account(server, new))
        await it.holds(new)


@every_kind
@pytest.mark.usefixtures("impatient")
async def test_a_network_that_is_cut_without_a_word_is_noticed(net: Net, lab: Lab, kind: str) -> None:
    server, old, new = start(kind, net), lab.issue(), lab.issue()
    await do(server.put, account(server, old))
    async with following(server) as it:
        await it.holds(old)
        await do(server.container.pause)
        await it.until(lambda: "does not answer" in it.message or "broke off" in it.message)
        assert it.leaves == {old.certificate.fingerprint}
        await do(server.container.unpause)
        await it.holds(old)
        await do(server.put, account(server, new))
        await it.holds(new)


@every_kind
async def test_a_value_that_is_garbage_is_told_from_a_store_that_is_away(net: Net, lab: Lab, kind: str) -> None:
    server, old, new = start(kind, net), lab.issue(), lab.issue()
    await do(server.put, account(server, old))
    async with following(server) as it:
        await it.holds(old)
        await do(server.put, b"{]")
        await told(it, "is not JSON")
        assert it.leaves == {old.certificate.fingerprint}
        await do(server.put, account(server, new))
        await it.holds(new)


async def test_what_api_v2_made_of_gzip_is_named_with_its_remedy(net: Net) -> None:
    import json

    server = start("etcd2", net)
    node = json.loads((DATA / "traefik-v1-etcd2/keys-recursive.json").read_text())["node"]
    value = next(value for key, value in _nodes(node) if key == "/traefik/acme/account/object")
    await do(server.put, value.encode())
    async with following(server) as it:
        await told(it, "mangled", "useAPIV3 = true")


def _nodes(node: dict) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    return (
        [(node["key"], node["value"])]
        if "value" in node
        else [pair for child in node.get("nodes", []) for pair in _nodes(child)]
    )


async def test_a_gzip_bomb_is_refused_at_a_limit_that_is_named(net: Net) -> None:
    server = start("consul", net)
    await do(server.put, gzip.compress(bytes(70 * 1024 * 1024)))
    async with following(server) as it:
        await told(it, "more than 16 MiB", "max-size")


@pytest.mark.parametrize("key", ["/traefik/acme/account", "traefik/acme/account"])
async def test_etcd_is_asked_for_the_key_with_and_without_its_slash(net: Net, lab: Lab, key: str) -> None:
    server, old, new = start("etcd", net), lab.issue(), lab.issue()
    async with following(server) as it:
        await told(it, "has no key")
        for pair in (old, new):
            await do(server.put, account(server, pair), f"{key}/object")
            await it.holds(pair)


@every_kind
async def test_tls_asked_of_a_server_without_it_is_named(net: Net, kind: str) -> None:
    async with following(start(kind, net), options="&tls=on") as it:
        await told(it, "TLS", "does it speak TLS")
