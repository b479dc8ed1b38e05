"""The one place that runs shells and commands in a target's container."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath

from controller.domain import guarded
from controller.domain.container import Container
from controller.domain.errors import ExecCut, ExecTimeout
from controller.domain.execution import ExecResult, program_of
from controller.domain.recent import Recent
from controller.domain.target import Target
from controller.ports import ContainerAccess
from sinks.placement import can_execute

ROOT = "0"
"""Files are written as the archive API writes them, as root; owner and mode are set explicitly. Where root has lost the rights
that make it root, the container's own user can do more in its own directories."""

SHELL = PurePosixPath("/bin/sh")

SHELLS = 1000
"""Containers of which is remembered that they have a shell, or that its programs are missing until their next start. That they
have none is asked again each time: all depends on it."""

_ROOT_NAMES = frozenset({"0", "root", "0:0", "root:root", "root:0", "0:root"})
_UNKNOWN = -1
"""The engine does not say how it ended."""
_KILLED = 137
"""128 + SIGKILL: how a command ends whose container is stopped."""


class Shell:
    """Runs what it is told over a `ContainerAccess`."""

    def __init__(self, access: ContainerAccess) -> None:
        self._access = access
        self._known: Recent[tuple[str, datetime | None], bool] = Recent(SHELLS)

    async def exists(self, container: Container) -> bool:
        """Whether a shell can be run now; looked up by the archive API, since trying would show in the container's logs."""
        if not can_execute(container):
            return False
        if (known := self._known.get((container.id, container.started_at))) is not None:
            return known
        found = await self._access.get_file(container.id, SHELL) is not None
        if found:
            self._known.put((container.id, container.started_at), True)
        return found

    def give_up(self, container: Container) -> None:
        """It is there, and of no use: programs are missing beside it."""
        self._known.put((container.id, container.started_at), False)

    async def run_script(self, container: Container, work: str, *, before: str = "", stdin: bytes = b"") -> ExecResult:
        """Run a script that ends when we go."""
        seconds = self._access.exec_timeout + guarded.MARGIN
        text = guarded.script(work, seconds=seconds, tied=True, before=before)
        return await self.execute(container, text, stdin=stdin)

    async def execute(self, container: Container, text: str, *, stdin: bytes, limit: float | None = None) -> ExecResult:
        """Run shell text that looks after its own end; `limit` in seconds.

        Raises:
            ExecCut: it was killed with its container.
        """
        result = await self._access.execute(
            container.id, ("sh", "-c", text), stdin=stdin, user=writer_of(container), timeout=limit
        )
        _check_ended(result, "a shell", container)
        return result

    async def run(self, target: Target, argv: Sequence[str]) -> ExecResult:
        """Run a command of the operator's. It ends by its own limit, not when we go; without a shell by nothing but itself.

        Raises:
            ExecTimeout, ExecCut: it did not end in time, or nobody knows how.
        """
        identity, limit = target.container.id, self._access.exec_timeout
        if await self.exists(target.container):
            wrapped = guarded.command(argv, seconds=limit, tied=False)
            result = await self._access.execute(identity, wrapped, user=target.user, timeout=limit + guarded.MARGIN)
        else:
            result = await self._access.execute(identity, argv, user=target.user)
        if guarded.is_overdue(result):
            raise ExecTimeout(f"`{program_of(argv)}` did not end within {limit:g} s")
        _check_ended(result, f"`{program_of(argv)}`", target.container)
        return result


def _check_ended(result: ExecResult, what: str, container: Container) -> None:
    """An end that nobody knows, or that came with the container's, is none of the command's own. Raises `ExecCut`."""
    unknown = result.exit_code == _UNKNOWN and not result.cut
    killed = result.exit_code == _KILLED and not guarded.is_overdue(result)
    if unknown or killed or result.runtime_gave_up:
        raise ExecCut(f"{what} in {container.name} was cut off, exit code {result.exit_code}")


def writer_of(container: Container) -> str:
    """Who writes the files."""
    return container.user if container.root_is_limited else ROOT


def runs_as_writer(target: Target) -> bool:
    """Whether the operator's commands are run by the user who writes the files, so that one shell can do both."""
    writer, runner = writer_of(target.container), target.user or target.container.user or ROOT
    return writer == runner or {writer, runner} <= _ROOT_NAMES
