"""ZooKeeper, through kazoo, which works in threads of its own: what comes from there is handed to our loop.

A session that is lost is not mended but begun anew, so that no watch of an old one is relied upon. Facts: ZooKeeper's
Programmer's Guide, "Watches" (each fires once) and "ACL Permissions"; kazoo's documentation.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError

from controller.domain.errors import SourceUnavailable
from controller.ending import pass_on_cancellation
from controller.threads import OwnThread
from sources.traefik_kv.keyed import KeyRefused
from sources.traefik_kv.network import (
    Endpoint,
    NetworkOptions,
    TlsMaterial,
    as_file,
    explain_os,
    explain_tls,
    read_secret,
)

SESSION = 10.0
"""Seconds that a server may be silent before the session ends; kazoo asks it every third of that."""
CLOSE = 0.5
"""Seconds that the end of a session is waited for."""
_LOG = logging.getLogger("certferry.kazoo")
_LOG.setLevel(logging.CRITICAL + 1)  # what kazoo has to say of each attempt is said here once, in our own words


@dataclass
class _Session:
    """One session with ZooKeeper: an answer for each question, and an alarm when a watch fires or the session is lost."""

    client: Any
    timeout: float
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    alarm: asyncio.Event = field(default_factory=asyncio.Event)
    ended: SourceUnavailable | None = None
    """Why it is no good any more."""

    def end(self, why: SourceUnavailable) -> None:
        self.ended = why
        self.alarm.set()

    async def ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The answer to a question of kazoo's asynchronous kind.

        Raises:
            TimeoutError: none came.
            KazooException: as kazoo says.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        call(*arguments, **options).rawlink(lambda result: _hand_over(loop, _settle, answer, result))
        async with asyncio.timeout(self.timeout):
            return await answer


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if result.exception is None:
        answer.set_result(result.value)
    else:
        answer.set_exception(result.exception)


def _hand_over(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    """From a thread of kazoo's to our loop, which may be gone by then."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


class ZooKeeper:
    """Implements `sources.traefik_kv.keyed.Client`."""

    def __init__(self, endpoints: tuple[Endpoint, ...], options: NetworkOptions) -> None:
        self._endpoints, self._options = endpoints, options
        self.where = f"ZooKeeper at {','.join(map(str, endpoints))}"
        self.thread = OwnThread(f"source {self.where}")
        self._tls = TlsMaterial(options)
        self._session: _Session | None = None
        """While changes are waited for, this one serves all."""

    async def get(self, key: str) -> bytes | None:
        if self._session:
            try:
                return await self._read(self._session, key)
            except KeyRefused as error:  # a session stays with the password that it began with
                self._session.end(error)
                raise
        async with self._open() as session:
            return await self._read(session, key)

    @asynccontextmanager
    async def changes(self, keys: tuple[str, ...]) -> AsyncIterator[AsyncIterator[None]]:
        (key,) = keys
        async with self._open() as session:
            await self._watch(session, key)
            self._session = session
            try:
                yield self._follow(session, key)
            finally:
                self._session = None

    async def _follow(self, session: _Session, key: str) -> AsyncIterator[None]:
        while True:
            await session.alarm.wait()
            if session.ended:
                raise session.ended
            session.alarm.clear()
            await self._watch(session, key)
            yield

    async def _watch(self, session: _Session, key: str) -> None:
        """Be told of the next change of a node, also when it comes or goes."""
        loop = asyncio.get_running_loop()
        with self._explaining(key):
            await session.ask(session.client.exists_async, key, watch=lambda _event: _hand_over(loop, session.alarm.set))

    async def _read(self, session: _Session, key: str) -> bytes | None:
        with self._explaining(key):
            if await session.ask(session.client.exists_async, key) is None:
                return None
            value, _ = await session.ask(session.client.get_async, key)
        return bytes(value)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Session]:
        await self._reach()
        loop, timeout = asyncio.get_running_loop(), self._options.timeout
        with ExitStack() as files:
            session = _Session(await self.thread.run(partial(self._make_client, files), self.where), timeout)
            session.client.add_listener(lambda state: _hand_over(loop, self._note, session, state))
            try:
                session.client.start_async()
                with self._explaining(""):
                    async with asyncio.timeout(timeout):
                        await session.connected.wait()
                yield session
            finally:
                await _close(session.client)

    def _note(self, session: _Session, state: str) -> None:
        """A state of the connection, by kazoo's words; ``SUSPENDED`` counts as lost."""
        if state == KazooState.CONNECTED:
            session.connected.set()
        elif session.connected.is_set():
            session.end(SourceUnavailable(f"{self.where} broke off the session; is it well?"))

    async def _reach(self) -> None:
        """Connect to one of the servers and hang up: kazoo does not tell what is in the way, this does."""
        problems = []
        context = await self.thread.run(self._tls.context, self.where) if self._options.uses_tls else None
        for endpoint in self._endpoints:
            try:
                async with asyncio.timeout(self._options.timeout):
                    _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
            except (OSError, TimeoutError) as error:
                pass_on_cancellation()
                problems.append(f"ZooKeeper at {endpoint} {_explain(error)}")
                continue
            writer.transport.abort()  # an end in good order may take a hung server's time
            return
        raise SourceUnavailable("; ".join(problems))

    def _make_client(self, files: ExitStack) -> Any:
        options = self._options
        password = read_secret(options.password, options.password_file)
        paths = {
            name: files.enter_context(as_file(value)) if value else None
            for name, value in (("ca", options.tls_ca), ("certfile", options.tls_cert), ("keyfile", options.tls_key))
        }
        return KazooClient(
            ",".join(map(str, self._endpoints)),
            timeout=SESSION,
            auth_data=[("digest", f"{options.user}:{password}")] if options.user else None,
            use_ssl=options.uses_tls,
            verify_certs=not options.tls_insecure_skip_verify,
            check_hostname=not options.tls_insecure_skip_verify,
            logger=_LOG,
            **paths,
        )

    @contextmanager
    def _explaining(self, key: str) -> Iterator[None]:
        """Whatever kazoo raises in here becomes an error that says what went wrong and what to do."""
        user = self._options.user
        try:
            yield
        except NoAuthError as error:
            pass_on_cancellation()
            who = f"the password of {user} is wrong, or it may not read {key}" if user else f"only users may read {key}"
            raise KeyRefused(
                f"{self.where}: permission denied, {who}; correct user, password-file or the node's ACL"
            ) from error
        except AuthFailedError as error:
            pass_on_cancellation()
            raise SourceUnavailable(f"{self.where} refuses the user {user}; correct user and password-file") from error
        except TimeoutError as error:
            pass_on_cancellation()
            tls = "" if self._options.uses_tls else "does it want TLS (tls=on), "
            remedy = f"is it ZooKeeper, {tls}do most of its servers run?"
            raise SourceUnavailable(f"{self.where} gives no answer within {self._options.timeout:g} s; {remedy}") from error
        except KazooException as error:
            pass_on_cancellation()
            raise SourceUnavailable(f"{self.where} broke off ({type(error).__name__}); is it well?") from error


def _explain(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"is not trusted ({explain_tls(error)}); name its authority by tls-ca"
        case ssl.SSLError():
            return f"does not agree on TLS ({explain_tls(error)}); does it speak TLS, or want tls-cert and tls-key?"
        case ConnectionResetError():
            return "breaks off the TLS handshake; does it speak TLS at all?"
        case TimeoutError():
            return "does not answer; start it, or correct host and port"
        case socket.gaierror():
            return "cannot be found: its name has no address (yet); start it, or correct the name"
        case _:
            return f"cannot be reached ({explain_os(error)}); start it, or correct host and port"


async def _close(client: KazooClient) -> None:
    """End the session and kazoo's threads, in another thread: of a server that hangs kazoo does not let go for `SESSION`."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        for step in (client.stop, client.close):
            with suppress(Exception):  # whatever it has to say to that, it is over
                step()
        _hand_over(loop, closed.set)

    threading.Thread(target=close, name="close-zookeeper", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE):
            await closed.wait()
