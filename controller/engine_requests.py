"""HTTP with one Docker endpoint: the one module that knows aiodocker, and how little of it is used.

aiodocker connects (Unix socket, TCP, TLS, ssh) and speaks the two-way connection of an exec. Its own requests read whole
answers, however large, and parse them in the loop; here every answer has a limit. `tests/unit/test_engine_requests.py` says
what breaks when aiodocker changes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiodocker
import aiohttp
from aiodocker.execs import Exec
from aiodocker.stream import Stream
from yarl import URL

from controller.clocks import elapsed

MIB = 2**20

LARGEST_ANSWER = MIB
"""Bytes of one answer in JSON. What Docker says of a container or an image has some ten KiB; so much is parsed within 0.1 s,
whatever stands in it, and that is how long a thread that parses keeps the others waiting."""

SMALL = 16 * 2**10
"""Bytes that are parsed at once; more is parsed in a thread."""

CLOSING = 2.0
"""Seconds that closing may take: what hangs then ends with the process."""

_COMPLAINT = 64 * 2**10
"""Bytes of an error's body that are read."""

_UNREACHABLE = 900
"""aiodocker's status when there was no connection, hence no status."""

_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,200}>")


class Refused(Exception):
    """The engine answered a request with an HTTP status of 400 or above."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.message = status, _message(body)
        super().__init__(f"{status} {self.message}")


class Garbled(Exception):
    """The engine answered with something that is not what its API promises; says what."""


class NotDocker(Garbled):
    """What answers is no Docker Engine at all."""


class Requests:
    """Connected by the first request. No method has a limit of time: who calls has one.

    Every method raises `Refused`, `Garbled`, `aiohttp.ClientError` or `OSError` when it fails.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.dated: tuple[datetime, float] | None = None
        """What the engine's clock said with its last answer (RFC 9110, Date), and when that was in seconds of `elapsed`."""
        self._client: aiodocker.Docker | None = None

    async def close(self) -> None:
        """Close all connections, within `CLOSING` seconds."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CLOSING):
                    await client.close()

    @property
    def _docker(self) -> aiodocker.Docker:
        if self._client is None:
            self._client = aiodocker.Docker(url=self.host)
            # The engine compresses archives when it may, and then says so of error bodies too, which are not compressed.
            self._client.session.headers["Accept-Encoding"] = "identity"
        return self._client

    async def version(self) -> str:
        """The API version of the engine, such as ``1.41``; all requests are made in it."""
        try:
            answer = await self.json("GET", "version", versioned=False)
            found = str(answer["ApiVersion"])
        except (Garbled, KeyError, TypeError) as error:
            raise NotDocker from error
        except Refused as refused:
            if refused.status == 404:  # every Docker has this page
                raise NotDocker from refused
            raise
        if not re.fullmatch(r"\d{1,4}(\.\d{1,4})+", found):
            raise NotDocker
        self._docker.api_version = f"v{found}"
        return found

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        versioned: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask; what is not read of the answer when the context is left is thrown away with its connection."""
        if versioned and self._docker.api_version == "auto":
            await self.version()
        docker = self._docker
        url = URL(f"{docker.docker_host}/{docker.api_version}/{path}" if versioned else f"{docker.docker_host}/{path}")
        response = await docker.session.request(method, url, params=params, data=data, headers=headers)
        self._hear(response)
        try:
            if response.status >= 400:
                raise Refused(response.status, await read_at_most(response.content, _COMPLAINT))
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    def _hear(self, response: aiohttp.ClientResponse) -> None:
        with suppress(KeyError, ValueError):
            self.dated = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC), elapsed()

    async def read(self, method: str, path: str, *, limit: int = LARGEST_ANSWER, **options: Any) -> bytes:
        """A whole answer of at most `limit` bytes."""
        async with self.open(method, path, **options) as response:
            data = await read_at_most(response.content, limit + 1)
        if len(data) > limit:
            raise Garbled(f"its answer is larger than {limit / MIB:g} MiB")
        return data

    async def json(self, method: str, path: str, *, body: object = None, **options: Any) -> Any:
        """A whole answer as what its JSON says; `body` is sent as JSON."""
        if body is not None:
            options |= {"data": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}
        return await parse(await self.read(method, path, **options))

    @asynccontextmanager
    async def attach(self, exec_id: str) -> AsyncIterator[Stream]:
        """Start an exec and hold both ends of it. Its input ends when the context is left."""
        try:
            async with Exec(self._docker, exec_id, tty=False).start(detach=False) as stream:
                yield stream
        except aiodocker.DockerError as error:
            if error.status == _UNREACHABLE and isinstance(error.__context__, OSError | aiohttp.ClientError):
                raise error.__context__ from None
            raise Refused(error.status, error.message.encode()) from error
        except (
            AssertionError,
            IndexError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # of aiodocker, where Docker said what it must not
            raise Garbled("it ended the connection of a command early") from error


async def parse(data: bytes) -> Any:
    """What JSON says. Raises `Garbled`."""
    try:
        return json.loads(data) if len(data) <= SMALL else await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError) as error:
        raise Garbled("its answer is no JSON") from error


async def read_at_most(content: aiohttp.StreamReader, size: int) -> bytes:
    """The next bytes, until `size` of them or the end."""
    data = bytearray()
    while len(data) < size and (part := await content.read(size - len(data))):
        data += part
    return bytes(data)


def _message(body: bytes) -> str:
    """What the engine says in the body of an error, in one line."""
    try:
        found = json.loads(body)["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        found = _TAG.sub(" ", body.decode(errors="replace"))  # of proxies, which answer with a page
    return " ".join(str(found)[:2000].split())[:500]
