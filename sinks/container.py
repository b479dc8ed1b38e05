"""The container sink: observe, apply, check, reload and roll back inside one labelled container."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from controller.domain import guarded
from controller.domain.container import Container
from controller.domain.errors import (
    CheckFailed,
    Error,
    ExecCut,
    ExecTimeout,
    FilesUnreadable,
    PermanentError,
    ReloadFailed,
    RollbackFailed,
    WriteRefused,
)
from controller.domain.execution import ExecResult, program_of
from controller.domain.observed import InstalledFile, Observed, Receipt
from controller.domain.recent import Recent
from controller.domain.target import Place, Reload, Target
from controller.ports import ContainerAccess
from sinks import archive, script
from sinks.placement import Method, can_execute, choose
from sinks.script import FileWrite

ROOT = "0"
"""Files are written as the archive API writes them, as root; owner and mode are set explicitly. Where root has lost the rights
that make it root, the container's own user can do more in its own directories."""

SHELL = PurePosixPath("/bin/sh")

SHELLS = 1000
"""Containers of which is remembered whether they have a shell."""

_MISSING = (126, 127)
"""Exit codes of a shell that could not begin, or that lacks a program (POSIX, Shell Command Language §2.8.2)."""

KEY_MODE, CERTIFICATE_MODE = 0o600, 0o644


_KILLED = 137
"""128 + SIGKILL: how a command ends whose container is stopped."""


class _HalfWritten(WriteRefused):
    """Something failed when files were already being replaced."""


class ContainerSink:
    """Implements `controller.ports.Sink` over a `ContainerAccess`."""

    def __init__(self, access: ContainerAccess) -> None:
        self._access = access
        self._shells: Recent[str, bool] = Recent(SHELLS)

    async def observe(self, target: Target) -> Observed:
        """See `controller.ports.Sink.observe`."""
        paths, container = target.paths, target.container
        if not await self._has_shell(container):
            return await archive.observe(self._access, container.id, paths)
        boundary = script.new_boundary()
        result = await self._shell(container, script.observe(paths, boundary, target.ask))
        try:
            return script.parse_observed(result.stdout, paths, boundary)
        except ValueError as error:
            raise _unreadable(container, result, boundary) from error

    async def apply(
        self, target: Target, observed: Observed, contents: Mapping[PurePosixPath, bytes], *, confirm: bool
    ) -> Receipt:
        """See `controller.ports.Sink.apply`."""
        private = frozenset(path for place in (*target.places, *target.internal) for path in place.private)
        writes = [_new_file(target, observed, path, content, private=path in private) for path, content in contents.items()]
        receipt = Receipt(target, {observed.resolved.get(path, path): observed.files.get(path) for path in contents})
        try:
            await self._write(target.container, writes, confirm=confirm)
        except _HalfWritten:
            await self.rollback(receipt)
            raise
        return receipt

    async def check(self, target: Target) -> None:
        """See `controller.ports.Sink.check`."""
        if not target.check or not can_execute(target.container):
            return
        result = await self._run(target, target.check)
        if result.exit_code:
            raise CheckFailed(_describe(target.check, target, result, "check"))

    async def reload(self, target: Target, steps: Sequence[Reload]) -> None:
        """See `controller.ports.Sink.reload`."""
        for step in steps:
            if step.kind == "exec":
                result = await self._run(target, step.argv)
                if result.exit_code:
                    raise ReloadFailed(_describe(step.argv, target, result, "reload"))
            elif step.kind == "signal":
                await self._access.kill(target.container.id, step.signal)

    async def settle(self, target: Target, observed: Observed) -> None:
        """See `controller.ports.Sink.settle`."""
        if not await self._has_shell(target.container):
            return
        paths = _paths((*target.places, *target.internal))
        directories = {path.parent: None for path in paths} | {observed.resolved.get(p, p).parent: None for p in paths}
        result = await self._shell(target.container, script.clean(directories))
        if result.exit_code:
            raise WriteRefused(f"what an earlier run left in {target.name} cannot be removed: {result.complaint}")

    async def rollback(self, receipt: Receipt) -> None:
        """See `controller.ports.Sink.rollback`."""
        writes = [_previous_file(path, file) for path, file in receipt.previous.items()]
        try:
            await self._write(receipt.target.container, writes, confirm=False)
        except PermanentError as error:
            raise RollbackFailed(f"the previous files of {receipt.target.name} could not be restored: {error}") from error

    async def _write(self, container: Container, writes: Sequence[FileWrite], *, confirm: bool) -> None:
        shell = await self._has_shell(container)
        methods = {write.path: choose(container, write.path, shell=shell) for write in writes}
        by_method = {method: [w for w in writes if methods[w.path] is method] for method in Method}
        if by_method[Method.ARCHIVE]:
            await self._write_by_archive(container, by_method[Method.ARCHIVE])
        if by_method[Method.SWAP] or by_method[Method.IN_PLACE]:
            await self._write_by_shell(container, by_method[Method.SWAP], by_method[Method.IN_PLACE], confirm=confirm)

    async def _write_by_archive(self, container: Container, writes: Sequence[FileWrite]) -> None:
        try:
            await archive.write(self._access, container.id, writes)
        except WriteRefused as error:
            raise _HalfWritten(f"{error} (in {container.name})") from error

    async def _write_by_shell(
        self, container: Container, swaps: Sequence[FileWrite], in_place: Sequence[FileWrite], *, confirm: bool
    ) -> None:
        moves, at = [write for write in swaps if write.content is not None], script.new_stage()
        if moves:
            await self._stage(container, moves, at)
        text = script.swap(moves, in_place, [w for w in swaps if w.content is None], at, confirm=confirm)
        text = "\n".join((script.read_contents(in_place), text))
        result = await self._execute(container, text, stdin=script.stdin_of(in_place))
        if result.exit_code == 0 and result.stdout == _concatenated(in_place):
            return
        if moves:
            await self._shell(container, script.discard(moves, at))
        why = result.complaint if result.exit_code else "what was read back is not what was written"
        error = WriteRefused if result.exit_code == script.UNTOUCHED else _HalfWritten
        raise error(f"the new files could not be put in place in {container.name}: {why}")

    async def _stage(self, container: Container, moves: Sequence[FileWrite], at: PurePosixPath) -> None:
        before, stdin = script.read_contents(moves), script.stdin_of(moves)
        result = await self._shell(container, script.stage(moves, at), before=before, stdin=stdin)
        if result.exit_code or result.stdout != _concatenated(moves):
            await self._shell(container, script.discard(moves, at))
            why = result.complaint if result.exit_code else "what was read back is not what was written; is the disk full?"
            raise WriteRefused(f"the new files could not be staged in {container.name}: {why}")

    async def _shell(self, container: Container, work: str, *, before: str = "", stdin: bytes = b"") -> ExecResult:
        """Run a script that ends when we go."""
        seconds = self._access.exec_timeout + guarded.MARGIN
        return await self._execute(container, guarded.script(work, seconds=seconds, tied=True, before=before), stdin=stdin)

    async def _execute(self, container: Container, text: str, *, stdin: bytes) -> ExecResult:
        user = container.user if container.root_is_limited else ROOT
        result = await self._access.execute(container.id, ("sh", "-c", text), stdin=stdin, user=user)
        if result.exit_code == _KILLED or result.runtime_gave_up:
            raise ExecCut(f"a shell in {container.name} was cut off, exit code {result.exit_code}; it stops or restarts")
        return result

    async def _run(self, target: Target, argv: Sequence[str]) -> ExecResult:
        """Run a command of the operator's. It ends by its own limit, not when we go; without a shell by nothing but itself."""
        identity, limit = target.container.id, self._access.exec_timeout
        if not await self._has_shell(target.container):
            return await self._access.execute(identity, argv, user=target.user)
        wrapped = guarded.command(argv, seconds=limit, tied=False)
        result = await self._access.execute(identity, wrapped, user=target.user, timeout=limit + guarded.MARGIN)
        if guarded.is_overdue(result):
            raise ExecTimeout(f"`{program_of(argv)}` did not end within {limit:g} s")
        return result

    async def _has_shell(self, container: Container) -> bool:
        """Whether a shell can be run now; looked up by the archive API, since trying would show in the container's logs."""
        if not can_execute(container):
            return False
        if (known := self._shells.get(container.id)) is None:
            known = await self._access.get_file(container.id, SHELL) is not None
            self._shells.put(container.id, known)
        return known


def _unreadable(container: Container, result: ExecResult, boundary: str) -> Error:
    """Why the answer to `script.observe` is none."""
    said = f": {result.complaint}" if result.stderr.strip() else ""
    if result.cut:
        return FilesUnreadable(f"the shell of {container.name} prints far more than it was asked for")
    if result.exit_code in _MISSING:
        return FilesUnreadable(f"the files of {container.name} cannot be read by its shell: {result.complaint}")
    if result.exit_code == 0 or (result.stdout and boundary.encode() not in result.stdout):
        return FilesUnreadable(f"the shell of {container.name} answers with something else than it was asked for{said}")
    return ExecCut(f"a shell in {container.name} was cut off: {result.complaint}")


def _describe(argv: Sequence[str], target: Target, result: ExecResult, label: str) -> str:
    if result.is_missing:
        return f"there is no program {program_of(argv)} in {target.name}; correct the label {label}"
    return f"`{program_of(argv)}` in {target.name}: exit code {result.exit_code}, {result.tail_of(argv)}"


def _paths(places: Iterable[Place]) -> list[PurePosixPath]:
    return list(dict.fromkeys(path for place in places for path in place.paths))


def _new_file(target: Target, observed: Observed, path: PurePosixPath, content: bytes, *, private: bool) -> FileWrite:
    """A file with the owner and mode of the one it replaces, else those of the labels, else the safe ones."""
    present = observed.files.get(path)
    mode = (present.mode if present else KEY_MODE) if private else (present.mode if present else CERTIFICATE_MODE)
    if private and target.mode is not None:
        mode = target.mode
    owner = target.owner or ((present.uid, present.gid) if present else None)
    return FileWrite(observed.resolved.get(path, path), content, mode, owner)


def _previous_file(path: PurePosixPath, file: InstalledFile | None) -> FileWrite:
    if file is None:
        return FileWrite(path, None)
    return FileWrite(path, file.content, file.mode, (file.uid, file.gid))


def _concatenated(writes: Sequence[FileWrite]) -> bytes:
    return b"".join(write.content or b"" for write in writes)
