"""Passwords that somebody put into the arguments of `certferry.reload` or `certferry.check` stay on the operator's terminal."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from tarfile import TarInfo
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller import policies, views
from controller.domain.errors import Error, LabelError
from controller.domain.execution import ExecResult, program_of, without_arguments
from controller.domain.observed import Observed
from controller.domain.profile import Layout
from controller.domain.target import Reload, Target
from controller.labels import LabelSpec, parse_labels
from controller.web.status import describe_store
from sinks.container import ContainerSink
from tests.unit.made import NEW, OLD, PLACE, certificate, container, facts, installed, serves, target
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import virtually

SECRET = "hunter2-and-more"
COMMANDS = [
    ("mailctl", "reload", SECRET),
    ("mailctl", f"--password={SECRET}", "reload"),
    ("curl", "-u", f"admin:{SECRET}", "http://localhost/reload"),
    ("sh", "-c", f"PASSWORD={SECRET} mailctl reload"),
    ("sh", "-c", f"mailctl --token '{SECRET}' reload"),
    ("sh", "-c", f"curl http://admin:{SECRET}@localhost/reload"),
    (f"PASSWORD={SECRET}", "mailctl", "reload"),
]
SAID = [
    f"{'x' * 290} {SECRET}",
    f"login failed for {SECRET}",
    f"mailctl: unknown option --password={SECRET}",
    f"admin:{SECRET}@localhost: refused",
]


def read(labels: dict[str, str]) -> LabelSpec:
    return parse_labels({"certferry.domain": "a.example.com", **labels}, prefix="certferry.", profiles=[], sources=None)


class Failing:
    """Access to a container in which every command fails and repeats its arguments."""

    exec_timeout = 30.0

    def __init__(self, said: str, exit_code: int = 1) -> None:
        self.said, self.exit_code = said, exit_code

    async def execute(self, _container_id: str, _argv: Any, **_options: Any) -> ExecResult:
        return ExecResult(self.exit_code, b"", self.said.encode())

    async def get_file(self, _container_id: str, _path: PurePosixPath) -> tuple[TarInfo, bytes]:
        return TarInfo("sh"), b""


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("argv", COMMANDS)
async def test_a_command_that_fails_is_told_by_its_program_and_what_it_said_without_its_arguments(argv, said):
    sink = ContainerSink(Failing(said))  # type: ignore[arg-type]
    other = container(user="mail")  # by an exec of its own: what a script prints is read back in another way, see test_act
    checked = await sink.act(target(check=argv, container=other), Observed({}), {})
    reloaded = await sink.act(target(container=other), Observed({}), {}, steps=[Reload("exec", argv)])
    for acted in (checked, reloaded):
        (failure,) = acted.failures
        assert SECRET not in str(failure.error)
        assert f"`{program_of(argv)}` in mail: exit code 1, " in str(failure.error)


async def test_what_a_command_says_of_itself_stays():
    sink = ContainerSink(Failing("fatal: the Postfix mail system is not running"))  # type: ignore[arg-type]
    wanted = target(container=container(user="mail"))
    (failure,) = (await sink.act(wanted, Observed({}), {}, steps=[Reload("exec", ("postfix", "reload"))])).failures
    assert str(failure.error) == "`postfix` in mail: exit code 1, fatal: the Postfix mail system is not running"


async def test_a_program_that_is_not_there_is_named_without_what_was_set_before_it():
    said = f'OCI runtime exec failed: exec: "PASSWORD={SECRET}": executable file not found in $PATH'
    sink = ContainerSink(Failing(said, 127))  # type: ignore[arg-type]
    wanted = target(container=container(user="mail"))
    steps = [Reload("exec", (f"PASSWORD={SECRET}", "mailctl"))]
    (failure,) = (await sink.act(wanted, Observed({}), {}, steps=steps)).failures
    assert str(failure.error) == "there is no program PASSWORD in mail; correct the label reload"


@pytest.mark.parametrize("argv", COMMANDS)
def test_no_repr_and_no_text_of_a_step_shows_arguments(argv):
    step = Reload("exec", argv)
    holders: list[object] = [step, target(reload=(step,), check=argv), Layout(reload=(step,), check=argv)]
    holders.append(read({"certferry.check": "x " + SECRET}))
    for held in holders:
        assert SECRET not in repr(held)
        assert SECRET not in str(held)
    assert SECRET in step.command


@pytest.mark.parametrize("label", ["reload", "check", "relod", "chek"])
@pytest.mark.parametrize("value", [f"mailctl {SECRET} | true", f"PASSWORD={SECRET} mailctl > /dev/null", f"sh -c '{SECRET}"])
def test_a_label_that_cannot_be_read_is_told_without_its_arguments(label, value):
    with pytest.raises(LabelError) as failed:
        read({f"certferry.{label}": value})
    assert f"certferry.{label}='" in str(failed.value)
    assert SECRET not in str(failed.value)


def secretive() -> Target:
    argv = ("mailctl", "reload", SECRET)
    return target(reload=(Reload("exec", argv),), check=argv)


@pytest.mark.parametrize("fault", [None, "check", "mailctl reload " + SECRET])
def test_neither_the_log_nor_the_status_shows_arguments(fault):
    @virtually
    async def test() -> tuple[str, list[Any]]:
        world = World(Mailbox.holding(certificate(**OLD), wanted=secretive()))
        world.offer(certificate(**NEW))
        if fault:
            world.box.faults[fault] = [Error("it failed")]
        with capture_logs() as lines, suppress(Error):
            await world.look()
        return json.dumps(describe_store(world.store, now=0.0)), lines

    status, lines = test()
    assert SECRET not in status
    assert SECRET not in repr(lines)
    if not fault:
        assert [line["by"] for line in lines if line["event"] == "target.reloaded"] == ["mailctl"]


def test_plan_shows_the_whole_command_on_the_terminal_and_programs_in_json():
    now = facts(certificate(**NEW), installed(PLACE, certificate(**OLD)), serves(certificate(**OLD)), on=secretive())
    plan = (now, policies.decide(now))
    assert views.describe_plan(plan)["run"] == [f"mailctl reload {SECRET}"] * 2
    assert views.describe_plan(plan, whole=False)["run"] == ["mailctl", "mailctl"]
    spaced = replace(now, target=target(reload=(Reload("exec", ("sh", "-c", "a b")),)))
    assert views.describe_plan((spaced, plan[1]))["run"] == ["sh -c 'a b'"]


def test_short_words_of_a_message_are_not_taken_for_arguments():
    assert without_arguments("no such file in /tls", ("x", "no", "-n", "in")) == "no such file in /tls"
