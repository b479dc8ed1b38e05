"""etcd's API v3, through the JSON gateway that each server has on its client port: nothing but HTTP.

Keys and values are base64 in it, 64-bit numbers are text (etcd's documentation, "Why gRPC gateway").
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from controller.domain.errors import SourceUnavailable
from controller.ports import Source
from sources.foreign_base64 import decode_base64
from sources.surroundings import Surroundings
from sources.traefik_kv.account import DEFAULT_KEY, object_key, spellings
from sources.traefik_kv.etcd_messages import Fields, fields, messages, read_error, read_fields_apart, said, to_base64
from sources.traefik_kv.http import Answer, HttpStore, NoServer, read_count
from sources.traefik_kv.keyed import KeyRefused, account_source
from sources.traefik_kv.network import Endpoint, NetworkOptions, check_options, read_endpoints
from sources.url import SourceUrl

PORT = 2379
HEARTBEAT = 15.0
"""Seconds without a word from a watch after which its server is asked whether it is well: a cut network says nothing."""
_APIS = ("/v3", "/v3beta", "/v3alpha")
"""Where the gateway is: since 3.4, in 3.3, and in 3.2."""
_NEEDS_LEADER = {"Grpc-Metadata-hasleader": "true"}
"""A watch ends when its server loses the cluster, instead of staying silent."""


class _Moment(NamedTuple):
    """The revision of the store at one moment, the server that told it, and a key that may be read there."""

    revision: int
    endpoint: Endpoint
    key: str


class Etcd:
    """Implements `sources.traefik_kv.keyed.Client`."""

    def __init__(self, http: HttpStore, options: NetworkOptions) -> None:
        self._http, self._options = http, options
        self.where, self.thread = http.where, http.thread
        self._api = _APIS[0]
        self._token = ""

    async def get(self, key: str) -> bytes | None:
        answer, endpoint = await self._range(key)
        try:
            pairs = answer.get("kvs", [])
            value = pairs[0].get("value", "") if pairs else None
            return None if value is None else await asyncio.to_thread(decode_base64, value.encode("ascii"))
        except (AttributeError, LookupError, TypeError, ValueError):
            raise _strange(endpoint) from None

    @asynccontextmanager
    async def changes(self, keys: tuple[str, ...]) -> AsyncIterator[AsyncIterator[None]]:
        begin = await self._now(keys)
        creates = [{"key": to_base64(key), "start_revision": str(begin.revision + 1)} for key in keys]
        async with self._http.stream(
            "POST",
            f"{self._api}/watch",
            endpoint=begin.endpoint,
            data="".join(json.dumps({"create_request": create}) for create in creates),
            headers=_NEEDS_LEADER | self._authorization(),
        ) as response:
            if response.status != 200:
                raise self._complaint(Answer(begin.endpoint, response.status, response.headers, b""), begin.key)
            results = self._results(
                messages(response.content, limit=self._http.largest, every=HEARTBEAT, idle=lambda: self._ping(begin)),
                begin.endpoint,
            )
            for _ in keys:  # each is answered once it is watched, or that it may not be read: then it is no key of ours
                await anext(results)
            yield _follow(results, begin.endpoint)

    async def _now(self, keys: Sequence[str], endpoint: Endpoint | None = None) -> _Moment:
        refused: KeyRefused | None = None
        for key in keys:
            try:
                answer, server = await self._range(key, endpoint=endpoint, count_only=True)
            except KeyRefused as error:
                refused = refused or error
                continue
            revision = read_count(said(fields(answer.get("header")).get("revision")))
            if revision is None:
                raise _strange(server)
            return _Moment(revision, server, key)
        raise refused or ValueError("no keys")

    async def _ping(self, begin: _Moment) -> None:
        """A read that needs the whole cluster, so that a server cut off from the others is found out as well; and one in place
        of another, which counts anew, and would let us wait in vain.
        """
        now = await self._now((begin.key,), begin.endpoint)
        if now.revision < begin.revision:
            raise NoServer(f"etcd at {begin.endpoint} is not the one it was: its revision went back")

    async def _results(self, words: AsyncIterator[Fields], endpoint: Endpoint) -> AsyncIterator[Fields]:
        with self._http.explaining(endpoint):
            async for word in words:
                if "error" in word:
                    raise NoServer(f"etcd at {endpoint} ended the watch ({said(fields(word['error']).get('message'))})")
                yield fields(word.get("result"))
        raise NoServer(f"etcd at {endpoint} ended the watch; is it well?")

    async def _range(self, key: str, *, endpoint: Endpoint | None = None, count_only: bool = False) -> tuple[Fields, Endpoint]:
        """One key, and the server that answered. A token that ended is renewed once."""
        message: Fields = {"key": to_base64(key), "count_only": count_only}
        await self._sign_in()
        answer = await self._post("/kv/range", message, endpoint)
        if answer.status == 401 and self._options.user:
            self._token = ""
            await self._sign_in()
            answer = await self._post("/kv/range", message, endpoint)
        return await self._read(answer, key), answer.endpoint

    async def _sign_in(self) -> None:
        """Get a token, where there is a user and none is at hand. A store without authentication wants none."""
        if self._token or not self._options.user:
            return
        password = await self._http.secret(self._options.password, self._options.password_file)
        answer = await self._post("/auth/authenticate", {"name": self._options.user, "password": password})
        if b"authentication is not enabled" not in answer.body:
            token = (await self._read(answer, "")).get("token")
            self._token = token if isinstance(token, str) else ""

    async def _post(self, path: str, message: Fields, endpoint: Endpoint | None = None) -> Answer:
        """Ask, under the newest of the addresses that the gateway had over the years."""
        answer = await self._ask(self._api, path, message, endpoint)
        for api in _APIS:
            if answer.status != 404:
                break
            answer = await self._ask(api, path, message, endpoint)
            self._api = api
        return answer

    async def _ask(self, api: str, path: str, message: Fields, endpoint: Endpoint | None) -> Answer:
        return await self._http.ask("POST", api + path, endpoint=endpoint, json=message, headers=self._authorization())

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    async def _read(self, answer: Answer, key: str) -> Fields:
        found = await read_fields_apart(answer.body) if answer.status == 200 else None
        if found is None:
            raise self._complaint(answer, key)
        return found

    def _complaint(self, answer: Answer, key: str) -> SourceUnavailable:
        """What a bad answer means, and the remedy."""
        where, user = f"etcd at {answer.endpoint}", self._options.user
        message = said(read_error(answer.body).get("error"))
        if "authentication failed" in message or "invalid auth token" in message:
            return SourceUnavailable(f"{where} refuses the password of {user}; correct user and password-file")
        if "user name is empty" in message:
            return SourceUnavailable(f"{where} wants a user; add user=… and password-file=…")
        if "permission denied" in message:
            return KeyRefused(f"{where}: permission denied, {user} may not read {key}; grant its role that key")
        if message:
            return NoServer(f"{where} is not ready ({message.removeprefix('etcdserver: ')}); it is asked again")
        if b"HTTP request to an HTTPS server" in answer.body:
            return SourceUnavailable(f"{where} speaks TLS; add tls=on or tls-ca")
        return _strange(answer.endpoint)


async def _follow(results: AsyncIterator[Fields], endpoint: Endpoint) -> AsyncIterator[None]:
    """Ends when history was compacted away: then all is to be loaded again, and watched from there."""
    async for result in results:
        if result.get("compact_revision", "0") != "0":
            return
        if result.get("canceled"):
            raise NoServer(f"etcd at {endpoint} ended the watch ({said(result.get('cancel_reason')) or 'no reason given'})")
        if result.get("events"):
            yield


def _strange(endpoint: Endpoint) -> SourceUnavailable:
    return SourceUnavailable(
        f"{endpoint} answers, but not as etcd's API v3 does; correct host and port, or write etcd2:// for v2"
    )


def make(name: str, url: SourceUrl, _surroundings: Surroundings) -> Source:
    """The source of an ``etcd://`` URL.

    Raises:
        SettingsError: it names no server, or has an unknown or contradictory option.
    """
    options = url.read_options(NetworkOptions)
    check_options(url, options)
    key = object_key(url.path.removeprefix("/") or DEFAULT_KEY)
    client = Etcd(HttpStore("etcd", read_endpoints(url, port=PORT), options), options)
    return account_source(name, client, spellings(key), options)
