"""Ask a store over HTTP: several servers in order, TLS, time limits; and what went wrong, told apart.

The only place of these sources that knows aiohttp. What the answers mean is for each store's own file.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr
from yarl import URL

from controller.domain.errors import SourceUnavailable
from controller.ending import pass_on_cancellation
from controller.threads import OwnThread
from sources.files import MIB
from sources.traefik_kv.network import Endpoint, NetworkOptions, TlsMaterial, explain_os, explain_tls, read_secret

CONNECT = 2.0
"""Seconds for a connection to stand, TLS included: who comes back is not missed for longer, and no network is that slow."""
_AS_IT_IS = {"Accept-Encoding": "identity"}
"""Nothing is to be unpacked on the way, so that nothing can unpack to more than it seems."""
_TROUBLE = 500
"""From this status on a server says that it is not well itself."""


class NoServer(SourceUnavailable):
    """No server could be talked to; another one of the store might."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, and which server gave it."""

    endpoint: Endpoint
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def read_count(text: str) -> int | None:
    """A version or index as stores send it, which has 64 bits; ``None`` for everything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


async def pause() -> None:
    """A short time between two questions of a watch, for a server that answers without end; not the same for all who ask."""
    await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311 -- nothing secret about it


class HttpStore:
    """Servers of one store. `product` is its name for messages."""

    def __init__(self, product: str, endpoints: tuple[Endpoint, ...], options: NetworkOptions) -> None:
        self.product, self.endpoints, self.options = product, endpoints, options
        self.thread = OwnThread(f"source {self.where}")
        self._tls = TlsMaterial(options)
        self._latest: Endpoint | None = None

    @property
    def where(self) -> str:
        return f"{self.product} at {', '.join(map(str, self.endpoints))}"

    def servers(self) -> list[Endpoint]:
        """All servers in order; that which answered last comes first, so that one that is away is not waited for each time."""
        return sorted(self.endpoints, key=lambda server: server != self._latest)

    @property
    def largest(self) -> int:
        """Bytes that an answer may have: values come in base64, which is a third more than themselves, and some around."""
        return self.options.max_size * 3 // 2 + MIB

    @property
    def _connect_limit(self) -> float:
        return min(CONNECT, self.options.timeout)

    async def secret(self, value: SecretStr, file: Path | None) -> str:
        """As `read_secret`, in the source's thread: the file may lie on a mount that hangs."""
        return await self.thread.run(partial(read_secret, value, file), file) if file else value.get_secret_value()

    async def basic_authorization(self) -> dict[str, str]:
        """The header of a user and password (RFC 7617), if there is a user."""
        user = self.options.user
        if not user:
            return {}
        password = await self.secret(self.options.password, self.options.password_file)
        return {"Authorization": aiohttp.encode_basic_auth(user, password)}

    async def ask(
        self, method: str, path: str, *, endpoint: Endpoint | None = None, wait: float = 0.0, **request: Any
    ) -> Answer:
        """The answer of one server, or of the first that is not in trouble; it may take `wait` seconds longer than usual.

        Raises:
            NoServer: none could be talked to.
            SourceUnavailable: the answer is too large.
        """
        problems, troubled = [], None
        for server in (endpoint,) if endpoint else self.servers():
            try:
                async with self.stream(method, path, endpoint=server, wait=wait, **request) as response:
                    async with asyncio.timeout(self.options.timeout):
                        body = await self.read(response)
                    answer = Answer(server, response.status, response.headers, body)
            except NoServer as error:
                problems.append(str(error))
            else:
                if answer.status < _TROUBLE:
                    self._latest = server
                    return answer
                troubled = answer
        if troubled:
            return troubled
        raise NoServer("; ".join(problems))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, endpoint: Endpoint, wait: float = 0.0, **request: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of one server, whose body may come whenever it likes; `wait` is for what comes before that.

        Raises:
            NoServer: it cannot be reached, breaks off or hangs; in the body of the context as well.
        """
        options, secure = self.options, self.options.uses_tls
        url = URL(f"{'https' if secure else 'http'}://{endpoint}{path}", encoded=True)
        context = await self.thread.run(self._tls.context, self.where) if secure else True
        name = (options.tls_server_name or None) if secure else None
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_limit)
        with self.explaining(endpoint):
            async with (
                _hanging_up() as connector,
                aiohttp.ClientSession(connector=connector, timeout=limits, headers=_AS_IT_IS, auto_decompress=False) as session,
            ):
                async with asyncio.timeout(options.timeout + wait):
                    response = await session.request(
                        method, url, allow_redirects=False, ssl=context, server_hostname=name, **request
                    )
                async with response:
                    yield response

    @contextmanager
    def explaining(self, endpoint: Endpoint) -> Iterator[None]:
        """Whatever aiohttp raises in here becomes a `NoServer` that says what went wrong and what to do."""
        server = f"{self.product} at {endpoint}"
        try:
            yield
        except TimeoutError as error:
            pass_on_cancellation()
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            limit = self._connect_limit if connecting else self.options.timeout
            raise NoServer(f"{server} does not answer within {limit:g} s; is it well?") from error
        except (aiohttp.ClientError, ValueError) as error:
            pass_on_cancellation()
            raise NoServer(f"{server} {_explain(error, self.product)}") from error

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """All of a body.

        Raises:
            SourceUnavailable: it is too large.
        """
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.largest:
                limit = f"{self.options.max_size / MIB:g} MiB"
                raise SourceUnavailable(f"{self.where} holds a value larger than {limit}; correct the key, or raise max-size")
        return bytes(body)


class _Connector(aiohttp.TCPConnector):
    """Knows the connections it made, also those that it gave up itself."""

    def __init__(self) -> None:
        super().__init__(socket_factory=_socket)
        self.made: list[asyncio.Transport] = []

    async def _create_connection(self, *request: Any) -> Any:
        """Documented as what a connector of one's own overrides (aiohttp, Client Reference, ``BaseConnector``)."""
        protocol = await super()._create_connection(*request)
        if protocol.transport:
            self.made.append(protocol.transport)
        return protocol


@asynccontextmanager
async def _hanging_up() -> AsyncIterator[_Connector]:
    """A connector whose connections are over at the end. asyncio waits 30 s for the other end to close TLS as well, and aiohttp
    lets it, where an answer was not read to its end.
    """
    connector = _Connector()
    try:
        yield connector
    finally:
        for transport in connector.made:
            transport.abort()
        await asyncio.sleep(0)  # the transport gives its socket back in the next turn of the loop


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """One whose other end is asked every two seconds whether it is there (tcp(7)): a server that was replaced says nothing by
    itself, and a watch sends nothing.
    """
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _explain(error: Exception, product: str) -> str:
    """What went wrong, and the remedy; the more telling kinds of errors first, as they are kinds of one another."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            text = f"is not trusted ({_verdict(error.certificate_error)}); name its authority by tls-ca"
        case aiohttp.ClientConnectorSSLError():
            text = f"does not agree on TLS ({_verdict(error)}); does it speak TLS at all?"
        case aiohttp.ClientConnectorDNSError():
            text = "cannot be found: its name has no address (yet); start it, or correct the name"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionResetError):
            text = "breaks off the TLS handshake; does it speak TLS at all?"
        case aiohttp.ClientConnectorError():
            text = f"cannot be reached ({explain_os(error.os_error)}); start it, or correct host and port"
        case aiohttp.ClientOSError() if _is_tls(error):
            text = f"ends the connection ({_verdict(error)}); does it want a client certificate? See tls-cert and tls-key"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            text = "broke off the connection; is it well? If it speaks TLS, add tls=on"
        case _:
            text = f"answers, but not as {product} does ({type(error).__name__}); correct host and port"
    return text


def _is_tls(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)


def _verdict(error: BaseException) -> str:
    """OpenSSL's own error is within aiohttp's, some of which are kinds of it, but know nothing."""
    for found in (getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(found, ssl.SSLError) and not isinstance(found, aiohttp.ClientError):
            return explain_tls(found)
    return type(error).__name__
