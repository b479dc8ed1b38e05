"""Consul's key-value store, over its HTTP API: blocking queries on the one key.

Facts: Consul's documentation of blocking queries and of the KV store, and its rules for clients: an index that goes backwards
means to start over, one that stays the same means nothing, and there is a pause between two queries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from controller.domain.errors import SettingsError, SourceUnavailable
from controller.ports import Source
from sources.surroundings import Surroundings
from sources.traefik_kv.account import DEFAULT_KEY, object_key
from sources.traefik_kv.http import Answer, HttpStore, NoServer, pause, read_count
from sources.traefik_kv.keyed import KeyRefused, account_source
from sources.traefik_kv.network import NetworkOptions, check_options, read_endpoints
from sources.url import SourceUrl

PORT = 8500
WAIT = 30
"""Seconds that a query is held open; Consul adds up to a sixteenth, so that not all clients come at once."""


class ConsulOptions(NetworkOptions):
    """Query options; user and password are for a proxy before Consul, which itself knows tokens only."""

    token: SecretStr = SecretStr("")
    token_file: Path | None = None
    """Read at each use, so that it may change."""


class Consul:
    """Implements `sources.traefik_kv.keyed.Client`."""

    def __init__(self, http: HttpStore, options: ConsulOptions) -> None:
        self._http, self._options = http, options
        self.where, self.thread = http.where, http.thread

    async def get(self, key: str) -> bytes | None:
        answer, _ = await self._query(key)
        return answer.body if answer.status == 200 else None

    @asynccontextmanager
    async def changes(self, keys: tuple[str, ...]) -> AsyncIterator[AsyncIterator[None]]:
        (key,) = keys
        _, index = await self._query(key)
        yield self._follow(key, index)

    async def _follow(self, key: str, index: int) -> AsyncIterator[None]:
        """Before each long query a short one: a store that was replaced counts anew, and would hold the long one in vain."""
        while True:
            await pause()
            _, latest = await self._query(key)
            if latest == index:
                _, latest = await self._query(key, index)
            if latest != index:  # be it that it went backwards: then all starts over from there
                index = latest
                yield

    async def _query(self, key: str, index: int = 0) -> tuple[Answer, int]:
        """The value, and the index to wait for the next one from; with an `index`, only once there is another one or `WAIT`
        is over.
        """
        params = {"raw": "", **({"index": str(index), "wait": f"{WAIT}s"} if index else {})}
        answer = await self._http.ask(
            "GET",
            f"/v1/kv/{quote(key)}",
            params=params,
            headers=await self._headers(),
            wait=WAIT * 17 / 16 if index else 0.0,
        )
        return answer, self._check(answer, key)

    async def _headers(self) -> dict[str, str]:
        token = await self._http.secret(self._options.token, self._options.token_file)
        return ({"X-Consul-Token": token} if token else {}) | await self._http.basic_authorization()

    def _check(self, answer: Answer, key: str) -> int:
        """The index of a good answer."""
        text = answer.body[:200].decode(errors="replace").strip()
        where = f"Consul at {answer.endpoint}"
        index = read_count(answer.headers.get("X-Consul-Index", ""))
        if answer.status in {200, 404} and index is not None:
            return max(index, 1)
        if answer.status == 401:
            raise SourceUnavailable(
                f"{where} refuses the user {self._options.user or '(none)'}; correct user and password-file"
            )
        if answer.status == 403 and "not found" in text:
            raise SourceUnavailable(f"{where} does not know the token; correct token-file")
        if answer.status == 403:
            known = self._options.token_file or self._options.token.get_secret_value()
            who = f"the token may not read {key}" if known else f"without a token nobody may read {key}"
            raise KeyRefused(f'{where}: permission denied, {who}; its policy needs key "{key}" {{ policy = "read" }}')
        if answer.status >= 500:
            raise NoServer(f"{where} is not ready ({text or answer.status}); it is asked again")
        if "HTTP request to an HTTPS server" in text:
            raise SourceUnavailable(f"{where} speaks TLS; add tls=on or tls-ca")
        raise SourceUnavailable(f"{where} answers, but not as Consul does (HTTP {answer.status}); correct host and port")


def make(name: str, url: SourceUrl, _surroundings: Surroundings) -> Source:
    """The source of a ``consul://`` URL.

    Raises:
        SettingsError: it names no server, or has an unknown or contradictory option.
    """
    options = url.read_options(ConsulOptions)
    check_options(url, options)
    if options.token_file and options.token.get_secret_value():
        raise SettingsError(f"{url}: give token or token-file, not both")
    key = object_key(url.path.strip("/") or DEFAULT_KEY)
    client = Consul(HttpStore("Consul", read_endpoints(url, port=PORT), options), options)
    return account_source(name, client, (key,), options)
