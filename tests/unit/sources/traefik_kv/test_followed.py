"""Stores that hang half: followed as the controller does it, over real connections."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web

from controller import following
from controller.following import UNWATCHED, Follower, Pace
from controller.store import Store
from sources import registry
from sources.surroundings import Surroundings
from tests.certs import traefik_v1_account
from tests.unit.made import authority
from tests.unit.sources.traefik_kv.fakes import serving


class BufferingGateway:
    """etcd behind a proxy that passes an answer on once it is complete, which that of a watch never is."""

    def __init__(self, *, headers: bool) -> None:
        self._headers = headers
        self.value = traefik_v1_account(authority().issue("a.example.test"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/watch"):
            response = web.StreamResponse()
            if self._headers:
                await response.prepare(request)
            await asyncio.sleep(60)
            return response
        pairs = [] if (await request.json()).get("count_only") else [{"value": base64.b64encode(self.value).decode()}]
        return web.json_response({"header": {"revision": "5"}, "kvs": pairs})


@pytest.mark.parametrize(
    ("headers", "limit", "watch_limit", "message"),
    [
        (True, "60s", 0.3, UNWATCHED),
        (False, "60s", 0.3, UNWATCHED),
        (False, "100ms", 3.0, f"{UNWATCHED}: etcd at SERVER does not answer within 0.1 s; is it well?"),
    ],
    ids=["the head of its answer comes", "nothing comes", "nothing comes, and the store's own limit is shorter"],
)
async def test_a_store_behind_a_gateway_that_buffers_is_read_again_and_again(monkeypatch, headers, limit, watch_limit, message):
    monkeypatch.setattr(following, "WATCH_LIMIT", watch_limit)
    gateway = BufferingGateway(headers=headers)
    store, changes = Store(), list[Any]()
    async with serving(gateway.answer) as server:
        source = registry.create(f"etcd://{server}/traefik/acme/account?timeout={limit}&name=etcd", Surroundings())
        pace = Pace(retry_min=0.1, retry_max=0.1, resync=600.0)
        follower = Follower(source, store, lambda *both: changes.append(both), pace=pace, jitter=lambda: 1.0)
        task = asyncio.create_task(follower.follow())
        for certificates in (1, 2):
            async with asyncio.timeout(60):
                while len(changes) < certificates:  # noqa: ASYNC110 -- what is waited for happens in the product
                    await asyncio.sleep(0.02)
            assert (store.sources["etcd"].up, store.sources["etcd"].message) == (True, message.replace("SERVER", server))
            gateway.value = traefik_v1_account(authority().issue("b.example.test"))
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        assert task.cancelled()
    assert [entry.certificate.leaf.names for entry in store.snapshots["etcd"].entries] == [("b.example.test",)]
