"""What one etcd alone, in good health, does not show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from controller.domain.errors import SourceUnavailable
from sources.traefik_kv import etcd, etcd_v2
from sources.traefik_kv.etcd_messages import messages, to_base64
from tests.unit.sources.traefik_kv.fakes import OBJECT, client_of, serving, soon

HEADER = {"header": {"revision": "5"}}
CREATED = {"result": {**HEADER, "created": True}}
EVENT = {"result": {**HEADER, "events": [{"kv": {"key": to_base64(OBJECT)}}]}}
COMPACTED = {"result": {"canceled": True, "compact_revision": "100"}}


def fake(*words: dict[str, Any] | str, revisions: Callable[[], int] = lambda: 5, stay: bool = False) -> Any:
    """An etcd whose watch says some words, and ends or stays."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/watch"):
            return web.json_response({"header": {"revision": str(revisions())}})
        response = web.StreamResponse()
        await response.prepare(request)
        for word in words:
            await response.write((word if isinstance(word, str) else json.dumps(word) + "\n").encode())
            await asyncio.sleep(0.02)
        if stay:
            await asyncio.sleep(60)
        return response

    return handler


async def hints_of(*words: dict[str, Any] | str, keys: int = 1, **options: Any) -> int:
    """How many hints come until there are no more."""
    async with serving(fake(*words, **options)) as server, client_of("etcd", server).changes((OBJECT, "b")[:keys]) as hints:
        return len([hint async for hint in hints])


async def test_history_that_was_compacted_away_ends_the_hints():
    assert await soon(hints_of(CREATED, EVENT, COMPACTED)) == 1


async def test_messages_may_come_in_pieces_or_several_at_once():
    text = json.dumps(EVENT)
    assert await soon(hints_of(CREATED, text[:9], f"{text[9:]}\n{text}\n", COMPACTED)) == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((CREATED,), "ended the watch; is it well?"),
        ((CREATED, {"result": {"canceled": True, "cancel_reason": "no leader"}}), r"ended the watch \(no leader\)"),
        ((CREATED, {"error": {"message": "lost"}}), r"ended the watch \(lost\)"),
        ((CREATED, "<html>\n"), "answers, but not as etcd does"),
        ((CREATED, "[" * 200_000 + "\n"), "answers, but not as etcd does"),
    ],
)
async def test_a_watch_that_ends_says_why(words, complaint):
    with pytest.raises(SourceUnavailable, match=complaint):
        await soon(hints_of(*words))


async def test_a_server_in_place_of_another_is_found_out_by_its_revision(monkeypatch):
    monkeypatch.setattr(etcd, "HEARTBEAT", 0.05)
    revisions = iter([5, 5, 5, 2])
    with pytest.raises(SourceUnavailable, match="its revision went back"):
        await soon(hints_of(CREATED, revisions=lambda: next(revisions), stay=True))


async def test_a_message_without_end_is_refused():
    class Endless:
        async def readany(self) -> bytes:
            await asyncio.sleep(0)
            return b"x" * 1000

    async def idle() -> None:
        raise AssertionError("it is never silent")

    with pytest.raises(ValueError, match="without end"):
        await soon(anext(messages(Endless(), limit=10_000, every=60.0, idle=idle)))


@pytest.mark.parametrize(
    "body", ["<html>", "[]", '{"kvs": 3}', '{"kvs": [3]}', '{"kvs": [{"value": "?"}]}', '{"kvs": {}, "a": 1']
)
async def test_what_is_no_etcd_is_no_value(body):
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with serving(handler) as server:
        with pytest.raises(SourceUnavailable, match="not as etcd's API v3 does"):
            await soon(client_of("etcd", server).get(OBJECT))


@pytest.mark.parametrize("api", ["/v3", "/v3beta", "/v3alpha"])
async def test_the_gateway_is_found_where_each_version_has_it_and_remembered(api):
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if not request.path.startswith(f"{api}/"):
            return web.Response(status=404, text="404 page not found")
        return web.json_response({"kvs": [{"value": to_base64("it")}]})

    async with serving(handler) as server:
        client = client_of("etcd", server)
        for _ in range(2):
            assert await soon(client.get(OBJECT)) == b"it"
    assert asked.count(f"{api}/kv/range") == 2
    assert asked[-1] == f"{api}/kv/range"


def login(tokens: list[str], valid: set[str]) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/authenticate"):
            return web.json_response({"token": tokens.pop(0)})
        if request.headers["Authorization"] not in valid:
            return web.json_response({"error": "etcdserver: invalid auth token", "code": 16}, status=401)
        return web.json_response({"kvs": [{"value": to_base64("it")}]})

    return handler


async def test_a_token_that_ended_is_renewed():
    async with serving(login(["old", "new"], {"new"})) as server:
        assert await soon(client_of("etcd", server, options="user=bob&password=pw").get(OBJECT)) == b"it"


async def test_who_is_refused_with_a_fresh_token_is_not_asked_for_another_without_end():
    async with serving(login(["old", "new", "newest"], set())) as server:
        with pytest.raises(SourceUnavailable, match="refuses the password of bob"):
            await soon(client_of("etcd", server, options="user=bob&password=pw").get(OBJECT))


async def test_a_store_without_users_is_read_all_the_same():
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/authenticate"):
            return web.json_response({"error": "etcdserver: authentication is not enabled", "code": 9}, status=412)
        return web.json_response({"kvs": [{"value": to_base64("it")}]})

    async with serving(handler) as server:
        assert await soon(client_of("etcd", server, options="user=bob&password=pw").get(OBJECT)) == b"it"


class TestApiV2:
    @pytest.mark.parametrize(
        ("body", "status", "complaint"),
        [
            ("404 page not found", 404, "does not speak API v2"),
            ("<html>", 200, "not as etcd's API v2 does"),
            ('{"errorCode": 300, "message": "Raft Internal Error"}', 500, r"is not ready \(Raft Internal Error\)"),
            ('{"errorCode": [100]}', 200, "is not ready"),
        ],
    )
    async def test_what_is_no_etcd_of_that_kind_is_named(self, body, status, complaint):
        async def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(text=body, status=status, headers={"X-Etcd-Index": "5"})

        async with serving(handler) as server:
            with pytest.raises(SourceUnavailable, match=complaint):
                await soon(client_of("etcd2", server).get(OBJECT))

    async def test_text_that_is_no_unicode_is_no_crash(self):
        async def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(text='{"node": {"value": "\\ud800"}}', headers={"X-Etcd-Index": "5"})

        async with serving(handler) as server:
            assert await soon(client_of("etcd2", server).get(OBJECT)) == b"?"

    async def test_a_server_that_counts_anew_ends_the_hints(self):
        indexes = iter(["9", "3"])

        async def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(text='{"node": {}}', headers={"X-Etcd-Index": next(indexes)})

        async with serving(handler) as server, client_of("etcd2", server).changes((OBJECT,)) as hints:
            assert [hint async for hint in hints] == []

    async def test_an_idle_watch_goes_on_from_what_the_store_has_come_to(self, monkeypatch):
        monkeypatch.setattr(etcd_v2, "WAIT", 0.05)
        waited: list[str] = []

        async def handler(request: web.Request) -> web.StreamResponse:
            if "wait" not in request.query:
                return web.Response(text='{"node": {}}', headers={"X-Etcd-Index": "5"})
            waited.append(request.query["waitIndex"])
            if len(waited) == 3:  # this answer comes at once, and shall not be missed
                monkeypatch.setattr(etcd_v2, "WAIT", 30.0)
                return web.Response(text='{"node": {"modifiedIndex": 99}}', headers={"X-Etcd-Index": "98"})
            response = web.StreamResponse(headers={"X-Etcd-Index": str(40 * len(waited))})
            await response.prepare(request)
            await asyncio.sleep(1)
            return response

        async with serving(handler) as server, client_of("etcd2", server).changes((OBJECT,)) as hints:
            monkeypatch.setattr(etcd_v2.EtcdV2, "_read", _as_of_99)
            await soon(anext(hints))
        assert waited == ["6", "41", "81"]


async def _as_of_99(_self: etcd_v2.EtcdV2, _key: str) -> tuple[dict[str, Any], int]:
    return {}, 99
