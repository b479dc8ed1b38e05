"""What goes wrong on the way to a store, told apart; with Consul as the one who asks."""

from __future__ import annotations

import gzip
import socket
from contextlib import suppress

import pytest
from aiohttp import web

from controller.domain.errors import SourceUnavailable
from sources.traefik_kv import http
from tests.unit.probe_server import tls_context
from tests.unit.sources.traefik_kv.fakes import OBJECT, client_of, saying, serving, soon

GOOD = {"X-Consul-Index": "7"}


async def good(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"value", headers=GOOD)


async def in_trouble(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="No cluster leader")


@pytest.mark.parametrize(
    ("chunks", "hang", "words"),
    [
        ((), False, "broke off the connection"),
        ((), True, "does not answer within 0.3 s"),
        ((b"SSH-2.0-OpenSSH\r\n",), False, "answers, but not as Consul does"),
        ((b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 99\r\n\r\nhalf",), False, "broke off the connection"),
        ((b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 99\r\n\r\nhalf",), True, "does not answer within"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml",), False, "not as Consul does (HTTP 200)"),
        ((b"HTTP/1.1 200 OK\r\nX-Consul-Index: \xc2\xb2\r\nContent-Length: 4\r\n\r\nhtml",), False, "not as Consul does"),
        (
            (b"HTTP/1.1 200 OK\r\nX-Consul-Index: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",),
            False,
            "not as Consul does",
        ),
    ],
)
async def test_a_server_that_is_no_consul_or_not_well_is_told_by_what_it_does(chunks, hang, words):
    async with saying(*chunks, hang=hang) as server:
        with pytest.raises(SourceUnavailable) as caught:
            await soon(client_of("consul", server, options="timeout=300ms" if hang else "timeout=30s").get(OBJECT))
        assert words in str(caught.value)
        assert server in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 5\r\n\r\nvalue",
        b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 5\r\nConnection: close\r\n\r\nvalue",
        b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 99\r\n\r\nhalf",
        b"",
    ],
    ids=["whole", "the last one", "half", "none"],
)
async def test_a_tls_connection_is_over_when_it_is_left_though_the_server_does_not_say_goodbye(monkeypatch, answer):
    made: list[socket.socket] = []

    def make(address):
        made.append(socket.socket(*address[:3]))
        return made[-1]

    monkeypatch.setattr(http, "_socket", make)
    options = "tls-insecure-skip-verify=on&timeout=500ms"
    async with saying(answer, hang=True, tls=tls_context()) as server:
        with suppress(SourceUnavailable):
            await soon(client_of("consul", server, options=options).get(OBJECT))
        assert [found.fileno() for found in made] == [-1]


async def test_a_server_that_is_silent_in_the_tls_handshake_is_told_with_the_limit_that_was_kept(monkeypatch):
    monkeypatch.setattr(http, "CONNECT", 0.2)
    async with saying(hang=True) as server:
        with pytest.raises(SourceUnavailable, match=r"does not answer within 0\.2 s"):
            await soon(client_of("consul", server, options="tls=on&timeout=30s").get(OBJECT))


async def test_an_answer_without_end_is_cut_off():
    endless = (b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\n\r\n", *([b"x" * 65536] * 200))
    async with saying(*endless) as server:
        with pytest.raises(SourceUnavailable, match="larger than 1 MiB"):
            await soon(client_of("consul", server, options="timeout=30s&max-size=1MiB").get(OBJECT))


async def test_the_next_server_is_asked_when_one_is_away_or_in_trouble_and_the_good_one_first_from_then_on():
    asked: list[str] = []

    async def troubled(request: web.Request) -> web.StreamResponse:
        asked.append("troubled")
        return await in_trouble(request)

    async with serving(troubled) as one, serving(good) as two:
        client = client_of("consul", "127.0.0.1:1", one, two)
        assert await soon(client.get(OBJECT)) == b"value"
        assert await soon(client.get(OBJECT)) == b"value"
    assert asked == ["troubled"]


async def test_a_store_of_which_every_server_is_in_trouble_is_not_ready():
    async with serving(in_trouble) as one:
        with pytest.raises(SourceUnavailable, match=r"is not ready \(No cluster leader\)"):
            await soon(client_of("consul", one).get(OBJECT))


async def test_a_redirect_is_not_followed_so_that_no_token_goes_elsewhere():
    seen = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers)
        return await good(request)

    async with serving(elsewhere) as other:

        async def redirect(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"http://{other}/", **GOOD})

        async with serving(redirect) as server:
            with pytest.raises(SourceUnavailable, match="HTTP 302"):
                await soon(client_of("consul", server, options="token=secret").get(OBJECT))
    assert seen == []


async def test_nothing_is_unpacked_on_the_way():
    packed = gzip.compress(b"value")

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=packed, headers={**GOOD, "Content-Encoding": "gzip"})

    async with serving(handler) as server:
        assert await soon(client_of("consul", server).get(OBJECT)) == packed


async def test_a_server_that_is_asked_for_tls_and_knows_none_is_named():
    async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        with pytest.raises(SourceUnavailable, match="does it speak TLS at all"):
            await soon(client_of("consul", server, options="timeout=30s&tls=on").get(OBJECT))


async def test_an_index_of_consul_that_goes_backwards_is_a_hint_and_counted_from_there():
    indexes = iter([9, 9, 9, 3, 3, 5])
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("index", ""))
        return web.Response(headers={"X-Consul-Index": str(next(indexes))})

    async with serving(handler) as server, client_of("consul", server).changes((OBJECT,)) as hints:
        for _ in range(2):  # nothing new; then another store with 3, which then has 5
            await soon(anext(hints))
    assert asked == ["", "", "9", "", "", "3"]
