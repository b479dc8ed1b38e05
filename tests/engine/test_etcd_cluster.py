"""What one etcd alone cannot show: three servers that lose one, and history that was compacted away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import pytest
import requests

from sources import registry
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from sources.traefik_kv import etcd
from sources.traefik_kv.etcd import Etcd as Client
from sources.traefik_kv.etcd_v2 import EtcdV2 as ClientV2
from sources.traefik_kv.keyed import KeyValueStorage
from sources.traefik_kv.network import Endpoint
from tests.certs import traefik_v1_account
from tests.engine.stores import KEY, OBJECT, Etcd, EtcdV2, Net, as_stored
from tests.engine.test_stores import account, do, following, start
from tests.lab import Lab, wait_until
from tests.unit.sources.toy import followed

log = logging.getLogger(__name__)


@pytest.fixture
def net(lab: Lab) -> Net:
    return Net(lab)


class Member(Etcd):
    """One of several. As shipped they lose their leader after a second, which is short for three of them on a busy machine."""

    def command(self) -> str:
        return (
            f"{super().command()} --heartbeat-interval=300 --election-timeout=3000 --name={self.address}"
            f" --initial-advertise-peer-urls=http://{self.address}:2380 --listen-peer-urls=http://{self.address}:2380"
        )

    def is_leader(self) -> bool:
        status = self.call("/maintenance/status")
        return str(status.get("leader")) == str(status["header"]["member_id"])


def cluster(net: Net) -> list[Member]:
    addresses = [net.address() for _ in range(3)]
    peers = ",".join(f"{address}=http://{address}:2380" for address in addresses)
    members = [Member(net, arguments=f"--initial-cluster={peers}", address=address) for address in addresses]
    for member in members:
        member.wait_up()
    return members


def url_of(members: Sequence[Member]) -> str:
    return f"etcd://{','.join(f'{member.address}:2379' for member in members)}/{KEY}?timeout=5s"


def the_leader(members: Sequence[Member]) -> Member:
    def find() -> Member | None:
        for member in members:
            try:
                if member.is_leader():
                    return member
            except requests.RequestException:
                continue
        return None

    found = wait_until(find, what="there is a leader")
    assert found
    return found


async def test_a_cluster_that_loses_its_leader_goes_on_with_the_others(net: Net, lab: Lab) -> None:
    members = await asyncio.to_thread(cluster, net)
    leader = await asyncio.to_thread(the_leader, members)
    others = [member for member in members if member is not leader]
    old, new, newer = lab.issue(), lab.issue(), lab.issue()
    await do(leader.put, traefik_v1_account(old))
    async with followed(registry.create(url_of([leader, *others]), Surroundings(), name="etcd")) as it:
        await it.holds(old)
        await do(leader.stop)
        begun = time.monotonic()
        await do(the_leader, others)
        elected = time.monotonic() - begun
        await do(others[0].put, traefik_v1_account(new))
        await it.holds(new)
        log.info("a new leader after %.1f s, its first value seen after %.1f s", elected, time.monotonic() - begun)
        await do(leader.container.start)
        await do(leader.wait_up)
        await do(leader.put, traefik_v1_account(newer))
        await it.holds(newer)


async def test_a_server_cut_off_from_the_others_is_left_for_them(net: Net, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still accepts connections, and would stay silent for ever."""
    monkeypatch.setattr(etcd, "HEARTBEAT", 1.0)
    members = await asyncio.to_thread(cluster, net)
    alone = await asyncio.to_thread(the_leader, members)
    others = [member for member in members if member is not alone]
    old, new = lab.issue(), lab.issue()
    await do(alone.put, traefik_v1_account(old))
    async with followed(registry.create(url_of([alone, *others]), Surroundings(), name="etcd")) as it:
        await it.holds(old)
        for other in others:
            await do(other.container.pause)
        await it.until(lambda: it.message)
        assert it.leaves == {old.certificate.fingerprint}
        for other in others:
            await do(other.container.unpause)
        await do(the_leader, members)
        await do(others[0].put, traefik_v1_account(new))
        await it.holds(new)


async def test_history_that_was_compacted_away_is_loaded_anew(net: Net, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    server, old, new = start("etcd", net), lab.issue(), lab.issue()
    assert isinstance(server, Etcd)
    await do(server.put, account(server, old))
    for number in range(5):
        await do(server.put, b"%d" % number, "another")
    revision = int((await asyncio.to_thread(server.call, "/kv/range", key="AA=="))["header"]["revision"])
    await asyncio.to_thread(server.call, "/kv/compaction", revision=str(revision))
    asked = []

    async def now(self: Client, keys: Sequence[str], endpoint: Endpoint | None = None) -> etcd._Moment:
        asked.append(1)
        moment = await real(self, keys, endpoint)
        return moment._replace(revision=1) if len(asked) == 1 else moment

    real = Client._now
    monkeypatch.setattr(Client, "_now", now)
    async with following(server) as it:
        await it.holds(old)
        await it.until(lambda: len(asked) >= 2)
        await do(server.put, account(server, new))
        await it.holds(new)


async def test_events_that_api_v2_has_forgotten_end_the_watch_so_that_all_is_loaded_anew(net: Net) -> None:
    server = start("etcd2", net)
    assert isinstance(server, EtcdV2)
    await do(server.put, b"x")
    with requests.Session() as session:
        for _ in range(1100):  # it remembers a thousand
            await asyncio.to_thread(
                session.put, f"http://{server.address}:12379/v2/keys/another", data={"value": "x"}, timeout=30
            )
    source = registry.create(server.url, Surroundings())
    assert isinstance(source, StoredSource)
    assert isinstance(source.storage, KeyValueStorage)
    client = source.storage.client
    assert isinstance(client, ClientV2)
    assert [hint async for hint in client._follow(OBJECT, 1)] == []


async def test_an_idle_watch_of_api_v2_keeps_up_with_the_store(net: Net, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.traefik_kv.etcd_v2.WAIT", 0.5)
    server, old, new = start("etcd2", net), lab.issue(), lab.issue()
    await do(server.put, as_stored("etcd2", traefik_v1_account(old)))
    async with following(server) as it:
        await it.holds(old)
        with requests.Session() as session:
            for _ in range(1100):
                url = f"http://{server.address}:12379/v2/keys/another"
                await asyncio.to_thread(session.put, url, data={"value": "x"}, timeout=30)
        await do(server.put, as_stored("etcd2", traefik_v1_account(new)))
        await it.holds(new)
        assert it.message == ""
