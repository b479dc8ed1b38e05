"""Commands inside containers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiodocker.stream import Stream

from controller.domain.errors import EngineUnavailable, ExecTimeout, StillRunning, TargetNotRunning
from controller.domain.execution import ExecResult, program_of
from controller.domain.recent import Recent
from controller.engine_connection import Ask, Connection
from controller.engine_files import LARGEST

FLOOD = 16 * LARGEST
"""Bytes of output after which a command is given up: nothing that certferry runs prints a hundredth of that."""

LEFT = 4
"""Commands that may be left running in a container, each given up by us and not ended by itself. Where a shell, a file system
or a program hangs, one more would be left at every try."""

LEAVING = 3.0
"""Seconds that a command which was given up may take to notice and to end."""

_LOOK = 0.1
"""Seconds between two looks at whether it did."""


class EngineExec(Connection):
    """Runs commands."""

    def __init__(self, host: str, *, timeout: float, exec_timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self.exec_timeout = exec_timeout
        self._left: Recent[str, set[str]] = Recent(1000)
        """Ids of the execs that were given up, by container."""

    async def execute(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:
        """See `controller.ports.ContainerAccess.execute`; `timeout` in seconds, the engine's `exec_timeout` by default.

        Raises:
            TargetNotRunning: the container is paused, stopped or restarting.
            ExecTimeout: no end in time.
            StillRunning: too many commands that were given up earlier still run there.
        """
        limit, what = timeout or self.exec_timeout, f"run a command in {container_id[:12]}"
        await self._wait_for_left(container_id)
        exec_id = await self._create(container_id, argv, user, what, attach_input=stdin is not None)
        try:
            async with (
                asyncio.timeout(limit),
                self._guard(Ask.COMMAND, what, limit=None),
                self._requests.attach(exec_id) as stream,
            ):
                if stdin:
                    await stream.write_in(stdin)
                stdout, stderr, size = await _drain(stream)
        except BaseException as error:
            self._leave(container_id, exec_id)
            if isinstance(error, TimeoutError):
                raise ExecTimeout(f"`{program_of(argv)}` did not end within {limit:g} s") from error
            raise
        if size >= FLOOD:
            self._leave(container_id, exec_id)
            return ExecResult(-1, stdout, stderr, cut=True)
        ended = await self._look(exec_id, what)
        code = ended.get("ExitCode")
        return ExecResult(code if isinstance(code, int) else -1, stdout, stderr, cut=size > len(stdout) + len(stderr))

    async def _create(self, container_id: str, argv: Sequence[str], user: str, what: str, *, attach_input: bool) -> str:
        body = {
            "Cmd": list(argv),
            "User": user,
            "AttachStdin": attach_input,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
        }
        async with self._guard(Ask.CONTAINER, what):
            created = await self._requests.json("POST", f"containers/{container_id}/exec", body=body)
        exec_id = created.get("Id") if isinstance(created, dict) else None
        if not isinstance(exec_id, str):
            raise EngineUnavailable(f"Docker cannot {what}: it gave no id for it")
        return exec_id

    async def _look(self, exec_id: str, what: str) -> dict[str, object]:
        async with self._guard(Ask.COMMAND, what):
            found = await self._requests.json("GET", f"exec/{exec_id}/json")
        if not isinstance(found, dict):
            raise EngineUnavailable(f"Docker cannot {what}: it does not say how it ended")
        return found

    def _leave(self, container_id: str, exec_id: str) -> None:
        left = self._left.get(container_id) or set()
        left.add(exec_id)
        self._left.put(container_id, left)

    async def _wait_for_left(self, container_id: str) -> None:
        """Wait for commands that were given up, where there are many."""
        left = self._left.get(container_id)
        if left is None or len(left) < LEFT:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + LEAVING
        while True:
            for exec_id in [*left]:
                if not await self._still_runs(exec_id):
                    left.discard(exec_id)
            if len(left) < LEFT:
                return
            if loop.time() >= until:
                raise StillRunning(
                    f"{len(left)} commands that were given up still run in {container_id[:12]}: its shell, or a file system,"
                    " hangs; restart the container"
                )
            await asyncio.sleep(_LOOK)

    async def _still_runs(self, exec_id: str) -> bool:
        try:
            return bool((await self._look(exec_id, "look at a command")).get("Running"))
        except TargetNotRunning:
            return False


async def _drain(stream: Stream) -> tuple[bytes, bytes, int]:
    """Both outputs, each cut at `LARGEST`, and how many bytes there were: nothing that chatters on may fill our memory."""
    outputs, size = {1: bytearray(), 2: bytearray()}, 0
    while size < FLOOD and (message := await stream.read_out()) is not None:
        size += len(message.data)
        if (output := outputs.get(message.stream)) is not None:
            output += message.data[: LARGEST - len(output)]
    return bytes(outputs[1]), bytes(outputs[2]), size
