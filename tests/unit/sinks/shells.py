"""A container's side of the sink on this machine: the scripts run for real, by whatever shells there are."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from controller.domain.execution import ExecResult

COMMANDS = ("cat", "dd", "sleep", "mv", "rm", "rmdir", "mkdir", "chown", "chmod", "stat", "readlink")
"""All that the scripts may use beside the shell."""

_FOUND = {name: path for name in ("sh", "dash", "bash", "busybox") if (path := shutil.which(name))}
SHELLS = {name: path for path, name in {str(Path(path).resolve()): name for name, path in _FOUND.items()}.items()}
"""Each once: on most systems ``sh`` is one of the others."""
OF_PROGRAMS = [name for name in SHELLS if name != "busybox"]
"""Those that run the programs of a folder. BusyBox's may run its own ``mv`` instead, and its ``[ -w`` asks the mode."""


def commands_of(shell: str, folder: Path) -> Path:
    """A folder with nothing but the commands that the scripts may use: BusyBox's own for its shell."""
    folder.mkdir()
    for name in COMMANDS:
        command = SHELLS["busybox"] if shell == "busybox" else shutil.which(name)
        assert command, name
        (folder / name).symlink_to(command)
    return folder


@dataclass
class Machine:
    """Implements `controller.ports.ContainerAccess` with a shell of this machine."""

    shell: str
    commands: Path
    fails: list[bytes] = field(default_factory=list)
    """Parts of scripts that are cut off where they occur, one after the other."""
    scripts: list[str] = field(default_factory=list)
    exec_timeout: float = 20.0

    async def execute(
        self,
        _container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:
        text = argv[-1]
        self.scripts.append(text)
        if self.fails and self.fails[0].decode() in text:
            text = text.replace(self.fails.pop(0).decode(), "exit 1; ", 1)
        process = subprocess.Popen(  # noqa: ASYNC220 -- milliseconds, and nothing else is going on
            [argv[0], *argv[1:-1], text],
            executable=SHELLS[self.shell] if argv[0] == "sh" else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": str(self.commands)},
            start_new_session=True,  # as an exec has
        )
        return _until_its_end(process, stdin or b"")

    async def put_archive(self, container_id: str, directory: PurePosixPath, archive: bytes) -> None:
        raise NotImplementedError

    async def get_file(self, _container_id: str, path: PurePosixPath) -> tuple[tarfile.TarInfo, bytes] | None:
        return tarfile.TarInfo(str(path)), b""

    async def kill(self, container_id: str, signal: str) -> None:
        raise NotImplementedError


def _until_its_end(process: subprocess.Popen[bytes], stdin: bytes) -> ExecResult:
    """The input stays open until the command has ended, as the engine keeps it."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    overdue = threading.Timer(20, process.kill)
    overdue.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.flush()
        stdout, stderr = process.stdout.read(), process.stderr.read()
        return ExecResult(process.wait(), stdout, stderr)
    finally:
        overdue.cancel()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.stderr.close()
