"""How the operator's commands ended, as failures of the act. Pure."""

from __future__ import annotations

from dataclasses import replace

from controller.domain import guarded
from controller.domain.errors import CheckFailed, ExecCut, ReloadFailed
from controller.domain.execution import ExecResult, program_of
from controller.domain.observed import Failure
from controller.domain.target import Reload, Target
from sinks.act import CHECK, STOPPED, Report, Use
from sinks.services import service_of


def failure_of(target: Target, result: ExecResult, step: Reload | None) -> Failure:
    """A command that ended with another exit code than 0; `step` is ``None`` for the check."""
    argv, label = (target.check, "check") if step is None else (step.argv, "reload")
    if result.is_missing:
        return failed(f"there is no program {program_of(argv)} in {target.name}; correct the label {label}", step)
    text = f"`{program_of(argv)}` in {target.name}: exit code {result.exit_code}, {result.tail_of(argv)}"
    service = service_of(step) if step else None
    return replace(failed(text, step), service=service.name if service else "")


def failed(text: str, step: Reload | None) -> Failure:
    """A step that did not work; ``None`` is the check."""
    return Failure(CheckFailed(text) if step is None else ReloadFailed(text), step)


def overdue(text: str, step: Reload | None) -> Failure:
    """A step that did not end in time. A check must end."""
    return replace(failed(text, step), overdue=step is not None)


def failures_of(target: Target, use: Use, report: Report, result: ExecResult, seconds: float) -> list[Failure]:
    """What did not work of the commands in the script of the act, which had `seconds` in all.

    Raises:
        ExecCut: the script was cut off before its end.
    """
    failures: list[Failure] = []
    commands: list[tuple[str, Reload | None]] = [(CHECK, None)] if use.check else []
    for name, step in [*commands, *((str(number), step) for number, step in enumerate(use.steps))]:
        if name not in report.ended:
            program = program_of(use.check if step is None else step.argv)
            if result.cut:
                return [*failures, failed(f"`{program}` prints too much to see how it ended; let it print less", step)]
            if not guarded.is_overdue(result):
                raise ExecCut(f"`{program}` in {target.name} was cut off, exit code {result.exit_code}")
            return [*failures, overdue(f"`{program}` did not end within {seconds:g} s", step)]
        code, output = report.ended[name]
        stopped, said = report.ended.get(f"{name}{STOPPED}", (0, b""))
        if code:
            failure = failure_of(target, ExecResult(code, said or output, b""), step)
            failures.append(replace(failure, stopped=bool(stopped and failure.service)))
        if code and step is None:
            break
    return failures
