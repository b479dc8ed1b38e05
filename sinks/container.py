"""The container sink: observe, act, put back and clear away inside one labelled container."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from controller.domain import guarded
from controller.domain.container import Container
from controller.domain.errors import (
    Error,
    ExecCut,
    ExecTimeout,
    FilesUnreadable,
    PermanentError,
    RollbackFailed,
    TargetNotRunning,
    WriteFailed,
    WriteRefused,
)
from controller.domain.execution import ExecResult
from controller.domain.observed import Acted, Failure, Observed, Receipt
from controller.domain.target import Reload, Target
from controller.ports import ContainerAccess
from sinks import act, archive, script
from sinks.act import Swap, Use
from sinks.commands import failure_of, failures_of, overdue
from sinks.files import (
    check_apart,
    drops_of,
    folders_of,
    keeps_of,
    modified_of,
    new_files,
    others_of,
    paths_of,
    previous_files,
)
from sinks.placement import Method, can_execute, choose
from sinks.script import FileWrite
from sinks.services import service_of
from sinks.shell import Shell, runs_as_writer

_MISSING = (126, 127)
"""Exit codes of a shell that could not begin, or that lacks a program (POSIX, Shell Command Language §2.8.2)."""


_REFUSED = (1, script.UNTOUCHED, *_MISSING)
"""Exit codes of a script after which only the operator can help. Others can end by themselves, such as those of a shell that
can start no program (2, 254)."""


class _HalfWritten(WriteRefused):
    """Something failed when files were already being replaced."""


class _HalfWrittenForNow(WriteFailed):
    """The same, for a reason that can end by itself."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be written; `keeps` are ``previous`` files, `drops` those that go, `undo` is put back where a check fails.

    `modified` tells of the files that are replaced when each was written, as in `Swap`.
    """

    writes: Sequence[FileWrite] = ()
    keeps: Sequence[FileWrite] = ()
    drops: Sequence[PurePosixPath] = ()
    undo: Sequence[FileWrite] = ()
    modified: tuple[tuple[PurePosixPath, str], ...] = ()


class ContainerSink:
    """Implements `controller.ports.Sink` over a `ContainerAccess`."""

    def __init__(self, access: ContainerAccess) -> None:
        self._access = access
        self._shell = Shell(access)

    async def observe(self, target: Target) -> Observed:
        """See `controller.ports.Sink.observe`."""
        paths, container = target.paths, target.container
        if not await self._shell.exists(container):
            return await archive.observe(self._access, container, paths)
        boundary = script.new_boundary()
        result = await self._shell.run_script(container, script.observe(paths, boundary, target.ask))
        if result.exit_code == script.LACKS:
            self._shell.give_up(container)
            return await archive.observe(self._access, container, paths)
        try:
            return script.parse_observed(result.stdout, paths, boundary)
        except ValueError as error:
            raise _unreadable(container, result, boundary) from error

    async def act(
        self,
        target: Target,
        observed: Observed,
        contents: Mapping[PurePosixPath, bytes],
        *,
        steps: Sequence[Reload] = (),
        check: bool = True,
        put_back: bool = True,
    ) -> Acted:
        """See `controller.ports.Sink.act`."""
        check_apart(target, observed, contents)
        before = {path: observed.files.get(path) for path in contents} | (observed.previous if contents else {})
        receipt = Receipt(target, before, observed.resolved)
        keeps = keeps_of(receipt, observed.kept)
        undo = previous_files(receipt) if put_back else ()
        change = _Change(new_files(target, observed, contents), keeps, (), undo, modified_of(target, observed, contents))
        checked = target.check if check and can_execute(target.container) else ()
        try:
            restored, failures = await self._bring(target, change, checked, steps)
        except (_HalfWritten, _HalfWrittenForNow) as error:
            await self._undo(receipt, error)
            raise
        return Acted(receipt if contents and not restored else None, tuple(failures))

    async def _undo(self, receipt: Receipt, cause: Error) -> None:
        """Raises `WriteFailed` where it cannot be undone: then it is tried again soon, since nobody knows what stands there."""
        try:
            await self.restore(receipt)
        except RollbackFailed as error:
            raise WriteFailed(f"{cause}; {error}") from error

    def check_mounts(self, target: Target, observed: Observed, paths: Iterable[PurePosixPath]) -> None:
        """See `controller.ports.Sink.check_mounts`."""
        with_shell = True  # that it has none is found out where it runs
        for path in paths:
            with suppress(TargetNotRunning):
                choose(target.container, observed.resolved.get(path, path), shell=with_shell)

    async def restore(self, receipt: Receipt, steps: Sequence[Reload] = ()) -> tuple[Failure, ...]:
        """See `controller.ports.Sink.restore`."""
        change = _Change(previous_files(receipt), drops=drops_of(receipt))
        try:
            _, failures = await self._bring(receipt.target, change, (), steps)
        except PermanentError as error:
            raise RollbackFailed(f"the previous files of {receipt.target.name} could not be restored: {error}") from error
        return tuple(failures)

    async def settle(self, target: Target, observed: Observed, *, confirmed: bool = True) -> None:
        """See `controller.ports.Sink.settle`."""
        if not await self._shell.exists(target.container):
            if confirmed and observed.kept:
                await archive.empty_previous(self._access, target.container, observed)
            return
        paths = {observed.resolved.get(path, path) for path in paths_of((*target.places, *target.internal))}
        folders = {path.parent for path in paths} | set(folders_of(target.container, paths))
        writable = sorted(folder for folder in folders if _is_writable(target.container, folder))
        if not writable:
            return
        others = others_of(target, observed) if confirmed else []
        if others:
            await self._run_act(target, _Change(keeps=others), {}, Use())
        text = script.clean(writable, previous=confirmed and not others)
        result = await self._shell.run_script(target.container, text)
        if result.exit_code:
            raise WriteRefused(f"what an earlier run left in {target.name} cannot be removed: {result.complaint}")

    async def stopped(self, target: Target, steps: Sequence[Reload]) -> tuple[str, ...]:
        """See `controller.ports.Sink.stopped`."""
        services = {service.name: service for step in steps if (service := service_of(step))}
        if not services or not await self._shell.exists(target.container):
            return ()
        text = "\n".join(f"( {one.question} ) >/dev/null 2>&1 </dev/null || echo {one.name}" for one in services.values())
        result = await self._shell.run_script(target.container, text)
        return tuple(name for name in result.stdout.decode(errors="replace").split() if name in services)

    async def _bring(
        self, target: Target, change: _Change, check: tuple[str, ...], steps: Sequence[Reload]
    ) -> tuple[bool, list[Failure]]:
        """Write, check and reload; whether the script has put the old files back, and what did not work."""
        container = target.container
        shell = await self._shell.exists(container)
        methods = {write.path: choose(container, write.path, shell=shell) for write in change.writes}
        by_archive = [write for write in change.writes if methods[write.path] is Method.ARCHIVE]
        if by_archive:
            keeps = change.keeps if can_execute(container) and not shell else ()  # what does not run is judged by its files
            await self._write_by_archive(container, [*keeps, *by_archive])
        if not shell:
            return False, await self._run_apart(target, check, steps)
        one_shell = runs_as_writer(target) and all(step.kind == "exec" for step in steps)
        use = Use(check, tuple(steps)) if one_shell else Use()
        restored, failures = False, list[Failure]()
        if len(by_archive) < len(change.writes) or use.check or use.steps:
            restored, failures = await self._run_act(target, change, methods, use)
        if not one_shell:
            failures += await self._run_apart(target, check, steps)
        return restored, failures

    async def _run_act(
        self, target: Target, change: _Change, methods: Mapping[PurePosixPath, Method], use: Use
    ) -> tuple[bool, list[Failure]]:
        stage = script.new_stage()
        swap = _swap(change.writes, methods, stage, keeps=change.keeps, drops=change.drops)
        swap = replace(swap, modified=change.modified)
        if use.check and change.undo:
            beside = stage.with_name(f"{stage.name}-was")
            use = replace(use, undo=_swap(change.undo, methods, beside))
        files = (*swap.staged, *(use.undo.moves if use.undo else ()))
        stages = act.stages_of(swap, use)
        if files:
            await self._stage(target.container, files, stages)
        boundary, limit = script.new_boundary(), self._access.exec_timeout
        text = act.script(swap, use, boundary=boundary, seconds=limit)
        in_place = (*swap.in_place, *(use.undo.in_place if use.undo else ()))
        result = await self._shell.execute(
            target.container, text, stdin=script.stdin_of(in_place), limit=limit + 2 * guarded.MARGIN
        )
        report = act.parse(result.stdout, boundary)
        if guarded.is_overdue(result):
            await self._shell.run_script(target.container, "\n".join(act.leave(swap, stages)))
        if not report.swapped or report.read_back != _concatenated(swap.in_place):
            await self._discard(target.container, stages)
            raise _not_in_place(target.container, result, report)
        return result.exit_code == act.PUT_BACK, failures_of(target, use, report, result, limit)

    async def _stage(self, container: Container, files: Sequence[script.Staged], stages: Sequence[PurePosixPath]) -> None:
        writes = [one.write for one in files]
        before, stdin = script.read_contents(writes), script.stdin_of(writes)
        result = await self._shell.run_script(container, script.stage(files), before=before, stdin=stdin)
        if result.exit_code == 0 and result.stdout == _concatenated(writes):
            return
        await self._discard(container, stages)
        why = result.complaint if result.exit_code else "what was read back is not what was written; is the disk full?"
        why += f" for user {container.user}: root has no rights there" if container.root_is_limited and container.user else ""
        kind = WriteRefused if result.exit_code in _REFUSED else WriteFailed
        raise kind(f"the new files could not be staged in {container.name}: {why}")

    async def _discard(self, container: Container, stages: Sequence[PurePosixPath]) -> None:
        if stages:
            await self._shell.run_script(container, script.discard(stages))

    async def _run_apart(self, target: Target, check: Sequence[str], steps: Sequence[Reload]) -> list[Failure]:
        """The commands by execs of their own: for another user, without a shell, or with signals among them."""
        if check and (failure := await self._run(target, check, None)):
            return [failure]
        failures = []
        for step in steps:
            if step.kind == "exec" and (failure := await self._run_step(target, step)):
                failures.append(failure)
            elif step.kind == "signal":
                await self._access.kill(target.container.id, step.signal)
        return failures

    async def _run_step(self, target: Target, step: Reload) -> Failure | None:
        """A service that runs and could not be reloaded may just have started: it is told once more."""
        failure = await self._run(target, step.argv, step)
        if failure is None or not failure.service:
            return failure
        if await self.stopped(target, [step]):
            return replace(failure, stopped=True)
        again = await self._run(target, step.argv, step)
        return again and replace(again, stopped=bool(await self.stopped(target, [step])))

    async def _run(self, target: Target, argv: Sequence[str], step: Reload | None) -> Failure | None:
        try:
            result = await self._shell.run(target, argv)
        except ExecTimeout as error:
            return overdue(str(error), step)
        return failure_of(target, result, step) if result.exit_code else None

    async def _write_by_archive(self, container: Container, writes: Sequence[FileWrite]) -> None:
        try:
            await archive.write(self._access, container.id, writes)
        except WriteRefused as error:
            raise _HalfWritten(f"{error} (in {container.name})") from error
        except WriteFailed as error:
            raise _HalfWrittenForNow(f"{error} (in {container.name})") from error


def _swap(
    writes: Iterable[FileWrite],
    methods: Mapping[PurePosixPath, Method],
    stage: PurePosixPath,
    *,
    keeps: Collection[FileWrite] = (),
    drops: Collection[PurePosixPath] = (),
) -> Swap:
    swaps = [write for write in writes if methods[write.path] is Method.SWAP]
    return Swap(
        moves=tuple(script.staged(write, stage) for write in swaps if write.content is not None),
        in_place=tuple(write for write in writes if methods[write.path] is Method.IN_PLACE),
        removals=tuple(write for write in swaps if write.content is None),
        keeps=tuple(script.Staged(keep, keep.path.parent / stage.name / keep.path.name) for keep in keeps),
        drops=tuple(drops),
    )


def _not_in_place(container: Container, result: ExecResult, report: act.Report) -> Error:
    why = "what was read back is not what was written" if report.swapped else result.complaint
    text = f"the new files could not be put in place in {container.name}: {why}"
    if result.exit_code == script.UNTOUCHED:
        return WriteRefused(text)
    if result.exit_code == script.VANISHED:
        return WriteFailed(text)
    return _HalfWritten(text) if result.exit_code in _REFUSED else _HalfWrittenForNow(text)


def _is_writable(container: Container, folder: PurePosixPath) -> bool:
    mount = container.mount_of(folder)
    return mount.writable if mount else not container.read_only_root


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


def _concatenated(writes: Sequence[FileWrite]) -> bytes:
    return b"".join(write.content or b"" for write in writes)
