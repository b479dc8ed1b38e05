"""etcd's API v2, which etcd 3.4 and 3.5 answer with ``--enable-v2`` only, and newer ones not at all.

Traefik 1.5 to 1.7 write gzip through it, which it does not survive (see `sources.traefik_kv.value`); what Traefik up to 1.4
wrote is base64 and readable. Facts: etcd's documentation of API v2, "Waiting for a change", "Watch from cleared event index".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import aiohttp

from controller.domain.errors import SourceUnavailable
from controller.ports import Source
from sources.surroundings import Surroundings
from sources.traefik_kv.account import DEFAULT_KEY, object_key
from sources.traefik_kv.etcd import PORT
from sources.traefik_kv.etcd_messages import Fields, fields, read_fields_apart, said
from sources.traefik_kv.http import Answer, HttpStore, NoServer, pause, read_count
from sources.traefik_kv.keyed import KeyRefused, account_source
from sources.traefik_kv.network import NetworkOptions, check_options, read_endpoints
from sources.url import SourceUrl

WAIT = 30.0
"""Seconds after which a long poll is asked for anew: a server would hold it for ever, and a cut network says nothing."""
_KEY_NOT_FOUND, _INDEX_CLEARED = 100, 401
"""Codes of errors: ``EcodeKeyNotFound`` and ``EcodeEventIndexCleared``."""


class EtcdV2:
    """Implements `sources.traefik_kv.keyed.Client`."""

    def __init__(self, http: HttpStore, options: NetworkOptions) -> None:
        self._http, self._options = http, options
        self.where, self.thread = http.where, http.thread

    async def get(self, key: str) -> bytes | None:
        node, _ = await self._read(key)
        value = fields(node.get("node")).get("value")
        return value.encode(errors="replace") if isinstance(value, str) else None

    @asynccontextmanager
    async def changes(self, keys: tuple[str, ...]) -> AsyncIterator[AsyncIterator[None]]:
        (key,) = keys
        _, index = await self._read(key)
        yield self._follow(key, index)

    async def _follow(self, key: str, index: int) -> AsyncIterator[None]:
        """Ends when the server does not know (any more) what came after `index`: then all is to be loaded anew, and watched
        from there.
        """
        while True:
            await pause()
            _, latest = await self._read(key)
            if latest < index:  # a store that was replaced counts anew, and would let us wait in vain
                return
            event, latest = await self._wait(key, index + 1)
            if event is None:
                index = latest  # nothing until then: a watch that lags behind the store's last 1000 events is refused
                continue
            if event.get("errorCode") == _INDEX_CLEARED:
                return
            index = read_count(said(fields(event.get("node")).get("modifiedIndex"))) or latest
            yield

    async def _wait(self, key: str, index: int) -> tuple[Fields | None, int]:
        """The first event from an index on, ``None`` while there is none; and the index of the store when it was asked.

        One server is as good as another.
        """
        problems = []
        for endpoint in self._http.servers():
            try:
                async with self._http.stream(
                    "GET",
                    _path(key),
                    endpoint=endpoint,
                    params={"wait": "true", "waitIndex": str(index)},
                    headers=await self._http.basic_authorization(),
                ) as response:
                    body = await self._body(response)
            except NoServer as error:
                problems.append(str(error))
                continue
            latest = read_count(response.headers.get("X-Etcd-Index", ""))
            if not body and latest is not None:
                return None, max(latest, index - 1)
            return await self._check(Answer(endpoint, response.status, response.headers, body), key)
        raise NoServer("; ".join(problems))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The event, once it happens; empty when that takes too long, or the server ends the wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                return await self._http.read(response)
        return b""

    async def _read(self, key: str) -> tuple[Fields, int]:
        """The node, and the index of the store at that moment."""
        answer = await self._http.ask(
            "GET", _path(key), params={"quorum": "true"}, headers=await self._http.basic_authorization()
        )
        return await self._check(answer, key)

    async def _check(self, answer: Answer, key: str) -> tuple[Fields, int]:
        where, user = f"etcd at {answer.endpoint}", self._options.user
        found = await read_fields_apart(answer.body) or {}
        index = read_count(answer.headers.get("X-Etcd-Index", ""))
        if index is not None and ("node" in found or found.get("errorCode") in (_KEY_NOT_FOUND, _INDEX_CLEARED)):
            return found, index
        if answer.status == 401:
            who = f"the password of {user} is wrong, or it may not read {key}" if user else f"only users may read {key}"
            raise KeyRefused(f"{where}: permission denied, {who}; correct user, password-file or its role")
        if "errorCode" in found:
            raise NoServer(f"{where} is not ready ({said(found.get('message'))}); it is asked again")
        if answer.status == 404:
            raise SourceUnavailable(f"{where} does not speak API v2; start it with --enable-v2, or write etcd:// for API v3")
        raise SourceUnavailable(f"{where} answers, but not as etcd's API v2 does; correct host and port")


def _path(key: str) -> str:
    return f"/v2/keys/{quote(key)}"


def make(name: str, url: SourceUrl, _surroundings: Surroundings) -> Source:
    """The source of an ``etcd2://`` URL.

    Raises:
        SettingsError: it names no server, or has an unknown or contradictory option.
    """
    options = url.read_options(NetworkOptions)
    check_options(url, options)
    key = object_key(url.path.strip("/") or DEFAULT_KEY)
    client = EtcdV2(HttpStore("etcd", read_endpoints(url, port=PORT), options), options)
    return account_source(name, client, (key,), options)
