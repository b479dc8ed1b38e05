"""The connection to one Docker endpoint, and what becomes of its failures.

No aiodocker or aiohttp type leaves the modules whose names begin with ``engine``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiodocker
import aiohttp

from controller.domain.errors import EngineUnavailable, Error, SettingsError, TargetGone, TargetNotRunning, WriteRefused

_UNREACHABLE = 900
"""aiodocker's status when there was no connection, hence no status."""


class Connection:
    """Opened by the first request. `timeout` is in seconds, for each request."""

    def __init__(self, host: str, *, timeout: float) -> None:
        self.host = host
        self._timeout = timeout
        self._docker_client: aiodocker.Docker | None = None

    async def close(self) -> None:
        if self._docker_client is not None:
            await self._docker_client.close()
            self._docker_client = None

    @property
    def _docker(self) -> aiodocker.Docker:
        if self._docker_client is None:
            self._docker_client = aiodocker.Docker(url=self.host)
        return self._docker_client

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
    async def _guard(self, what: str, *, limit: float | None = -1) -> AsyncIterator[None]:
        """Turn every way in which the engine fails into one of our errors."""
        seconds = self._timeout if limit == -1 else limit
        outer = asyncio.timeout(seconds)
        try:
            async with outer:
                yield
        except (aiodocker.DockerError, aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and not outer.expired():
                raise
            if isinstance(error, aiodocker.DockerError) and error.status != _UNREACHABLE:
                raise _translate(what, error) from error
            cause = error.__context__ if isinstance(error, aiodocker.DockerError) else error
            cause = getattr(cause, "os_error", cause)
            if isinstance(cause, PermissionError):
                raise SettingsError(_no_permission(self.host)) from error
            text = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(cause)
            raise EngineUnavailable(f"Docker at {self.host} cannot {what}: {text}") from error


def _translate(what: str, error: aiodocker.DockerError) -> Error:
    message = error.message.strip()
    if error.status == 404 and "no such container" in message.lower():
        return TargetGone(message)
    if error.status == 409 or "no such exec" in message.lower():
        return TargetNotRunning(message)
    if error.status == 404 or what.startswith("write") or "not a directory" in message.lower():
        return WriteRefused(message)
    return EngineUnavailable(f"Docker could not {what}: {message}")


def _no_permission(host: str) -> str:
    return f"no permission on the Docker socket {host}; run certferry as root or in the socket's group (--group-add)"
