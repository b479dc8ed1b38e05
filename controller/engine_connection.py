"""The connection to one Docker endpoint, and what becomes of its failures.

No aiodocker or aiohttp type leaves the modules whose names begin with ``engine``. Which error a failure becomes hangs on the
kind of request and on the HTTP status, never on the words of an answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

import aiohttp

from controller.domain.errors import EngineUnavailable, SettingsError, TargetGone, TargetNotRunning, WriteFailed, WriteRefused
from controller.ending import pass_on_cancellation
from controller.engine_requests import Garbled, NotDocker, Refused, Requests


class Ask(Enum):
    """The kinds of requests, by what a refusal of them means."""

    HOST = "of the engine as a whole"
    CONTAINER = "of one container: 404 is that it is gone"
    COMMAND = "of a command that was begun: 404 is that its container went, and the command with it"
    PATH = "of a path in a container: 404 is that the path, or the container, does not exist"
    WRITE = "a write to a path in a container"
    THING = "of an image or a service: 404 is that there is none"


class Missing(Exception):
    """What was asked for does not exist; never leaves the modules whose names begin with ``engine``."""


class Unreadable(Exception):
    """A path cannot be looked at (HTTP 500); never leaves the modules whose names begin with ``engine``."""


_FORBIDDEN = "; a socket proxy must allow POST, CONTAINERS, EXEC, IMAGES, PING, EVENTS and VERSION, with Swarm SERVICES, too"
_GATEWAY = (502, 503, 504)
"""Said by what stands before an engine that does not answer."""


class Connection:
    """Opened by the first request. `timeout` is in seconds, for each request."""

    def __init__(self, host: str, *, timeout: float) -> None:
        self.host = host
        self._timeout = timeout
        self._requests = Requests(host)

    async def close(self) -> None:
        """Close all connections; what hangs is left behind after some seconds."""
        await self._requests.close()

    def _check_socket(self) -> None:
        scheme, _, path = self.host.partition("://")
        if scheme != "unix":
            return
        try:
            exists = Path(path).exists()
        except PermissionError as error:
            raise SettingsError(_no_permission(self.host)) from error
        if not exists:
            raise SettingsError(f"no Docker socket at {path}; mount it (-v /var/run/docker.sock:{path}) or set DOCKER_HOST")
        if not Path(path).is_socket():
            raise SettingsError(
                f"{path} is not a socket; was it mounted before Docker had made it? Restart certferry's container"
            )

    @asynccontextmanager
    async def _guard(self, ask: Ask, what: str, *, limit: float | None = -1) -> AsyncIterator[None]:
        """Turn every way in which the engine fails into one of our errors; `limit` in seconds, ``None`` for none of its own."""
        seconds = self._timeout if limit == -1 else limit
        outer = asyncio.timeout(seconds)
        try:
            async with outer:
                yield
        except Refused as error:
            raise _translate(ask, what, error) from error
        except NotDocker as error:
            raise EngineUnavailable(f"what answers at {self.host} is not Docker; correct the mount or DOCKER_HOST") from error
        except Garbled as error:
            raise EngineUnavailable(f"Docker at {self.host} cannot {what}: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            pass_on_cancellation()
            if isinstance(error, TimeoutError) and not outer.expired():
                raise
            cause = getattr(error, "os_error", error)
            if isinstance(cause, PermissionError):
                raise SettingsError(_no_permission(self.host)) from error
            text = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else _why(cause)
            raise EngineUnavailable(f"Docker at {self.host} cannot {what}: {text}") from error


def _translate(ask: Ask, what: str, refused: Refused) -> Exception:
    status, message = refused.status, refused.message or f"HTTP status {refused.status}"
    remedy = _FORBIDDEN if status == 403 else ""
    unavailable = EngineUnavailable(f"Docker could not {what}: {message}{remedy}")
    if status == 409:  # paused, stopped, restarting, being removed
        return TargetNotRunning(message)
    if status == 404:
        missing = {
            Ask.HOST: unavailable,
            Ask.CONTAINER: TargetGone(message),
            Ask.COMMAND: TargetNotRunning(f"cannot {what}: the command went with its container"),
        }
        return missing.get(ask, Missing(message))
    if ask is Ask.WRITE and status not in _GATEWAY:  # of a disk that is full the API says 500, of what is read-only 403
        return WriteFailed(message) if status == 500 else WriteRefused(message)
    return Unreadable(message) if ask is Ask.PATH and status == 500 else unavailable


def _why(cause: BaseException) -> str:
    """Why there was no answer, in plain words."""
    if isinstance(cause, OSError) and cause.strerror:
        # asyncio tells what it called, and not what the system said.
        said_by_asyncio = cause.strerror.startswith(("Connect call", "Multiple"))
        return os.strerror(cause.errno) if said_by_asyncio and cause.errno else cause.strerror
    if isinstance(cause, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it ended the connection"
    if isinstance(cause, aiohttp.ClientPayloadError):
        return "its answer ended early or cannot be read"
    if isinstance(cause, aiohttp.ClientConnectionError):
        return str(cause) or "no connection"
    return "its answer is no HTTP"


def _no_permission(host: str) -> str:
    return f"no permission on the Docker socket {host}; run certferry as root or in the socket's group (--group-add)"
