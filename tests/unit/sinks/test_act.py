"""The script of the act, run for real by the shells of this machine: its order, what it keeps, and what it puts back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from controller.domain.errors import CheckFailed, ExecCut, ReloadFailed, WriteFailed, WriteRefused
from controller.domain.execution import ExecResult
from controller.domain.observed import Acted, Observed
from controller.domain.target import Place, Reload, Slot
from sinks import act, script
from sinks.commands import failures_of
from sinks.container import ContainerSink
from tests.unit.made import NEW, OLD, certificate, target
from tests.unit.sinks.shells import OF_PROGRAMS, SHELLS, Machine, commands_of
from tests.unit.sinks.test_script import Hands, litter, mounted_one_by_one, pair_in

old, new = certificate(**OLD), certificate(**NEW)


ONE_BY_ONE, TOGETHER = "mounted one by one", "in one folder"


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(request.param, commands_of(request.param, tmp_path / "bin"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    made.mkdir()
    return made


def program(machine: Machine, name: str, text: str) -> str:
    """A program beside those of the machine."""
    at = machine.commands / name
    at.write_text(f"#!/bin/sh\n{text}\n")
    at.chmod(0o755)
    return name


def immutable(path: Path, how: str) -> bool:
    """Whether chattr(1) can make it so, or no more."""
    return subprocess.run(["chattr", how, path], check=False, capture_output=True, timeout=20).returncode == 0


async def act_on(hands: Hands, held: Any, **options: Any) -> Acted:
    observed = await hands.look()
    contents = {path: c for place in hands.target.places for path, c in place.contents(held).items()}
    return await hands.sink.act(hands.target, observed, contents, **options)


def names(acted: Acted) -> list[tuple[str, str]]:
    """Of each failure its kind and its message."""
    return [(type(failure.error).__name__, str(failure.error)) for failure in acted.failures]


class TestTheOrder:
    async def test_is_swap_check_and_each_reload_in_one_shell(self, machine, folder, tmp_path):
        log = tmp_path / "log"
        for name in ("check", "one", "two"):
            program(machine, name, f"read -r first <{folder}/cert.pem; echo {name} $$ >>{log}; echo noise; echo noise >&2")
        steps = [Reload("exec", ("one",)), Reload("exec", ("two",))]
        hands = Hands(machine, pair_in(folder, check=("check",)))
        await hands.bring(old)
        machine.scripts.clear()
        acted = await act_on(hands, new, steps=steps)
        assert acted.failures == ()
        assert [line.split()[0] for line in log.read_text().splitlines()][-3:] == ["check", "one", "two"]
        assert len(machine.scripts) == 3, "a look, the stage, and the act"

    async def test_a_failing_reload_keeps_no_other_from_its_service(self, machine, folder, tmp_path):
        program(machine, "one", "echo it said why >&2; exit 3")
        program(machine, "two", f"echo two >{tmp_path}/log")
        hands = Hands(machine, pair_in(folder))
        acted = await act_on(hands, new, steps=[Reload("exec", ("one",)), Reload("exec", ("two",))])
        assert names(acted) == [("ReloadFailed", "`one` in mail: exit code 3, it said why")]
        assert (tmp_path / "log").exists()
        assert acted.receipt is not None

    async def test_a_program_that_is_not_there_is_named(self, machine, folder):
        acted = await act_on(Hands(machine, pair_in(folder)), new, steps=[Reload("exec", ("nowhere", "reload"))])
        assert names(acted) == [("ReloadFailed", "there is no program nowhere in mail; correct the label reload")]

    async def test_a_command_that_takes_too_long_is_ended_and_named(self, machine, folder):
        machine.exec_timeout = 1
        program(machine, "one", "sleep 60")
        acted = await act_on(Hands(machine, pair_in(folder)), new, steps=[Reload("exec", ("one",))])
        assert names(acted) == [("ReloadFailed", "`one` did not end within 1 s")]
        assert acted.receipt is not None

    async def test_a_script_that_is_cut_off_between_its_steps_says_nothing_about_the_pair(self, machine, folder):
        program(machine, "one", "kill -9 $PPID")
        with pytest.raises(ExecCut):
            await act_on(Hands(machine, pair_in(folder)), new, steps=[Reload("exec", ("one",))])

    async def test_another_users_commands_have_an_exec_of_their_own(self, machine, folder, tmp_path):
        program(machine, "one", f"echo one >{tmp_path}/log")
        hands = Hands(machine, pair_in(folder, user="mail", check=("one",)))
        acted = await act_on(hands, new, steps=[Reload("exec", ("one",))])
        assert (acted.failures, len(machine.scripts)) == ((), 5)


class TestAFailingCheck:
    @pytest.fixture
    def checking(self, machine: Machine, folder: Path) -> Hands:
        program(machine, "check", "echo line 7 is wrong; exit 89")
        return Hands(machine, pair_in(folder, check=("check",)))

    async def test_puts_back_what_was_there_in_the_same_script(self, checking, machine, folder):
        await checking.act(old, check=False)
        await checking.sink.settle(checking.target, await checking.look())
        (folder / "key.pem").chmod(0o640)
        before = checking.there
        machine.scripts.clear()
        acted = await act_on(checking, new, steps=[Reload("exec", ("never",))])
        assert names(acted) == [("CheckFailed", "`check` in mail: exit code 89, line 7 is wrong")]
        assert (acted.receipt, checking.there, litter(folder), len(machine.scripts)) == (None, before, [], 3)

    async def test_removes_the_files_where_there_was_nothing(self, checking, folder):
        acted = await act_on(checking, new)
        assert (acted.receipt, checking.there, litter(folder)) == (None, {}, [])

    async def test_leaves_the_new_files_where_they_shall_stay(self, checking, folder):
        await checking.act(old, check=False)
        acted = await act_on(checking, new, put_back=False)
        assert acted.receipt is not None
        assert checking.there["key.pem"][0] == new.key_pem
        assert litter(folder) == [f"{folder}/.certferry"]

    async def test_puts_back_files_that_are_mounted_by_themselves(self, machine, folder):
        program(machine, "check", "exit 1")
        hands = Hands(machine, mounted_one_by_one(folder, check=("check",)))
        acted = await act_on(hands, new)
        assert [type(failure.error) for failure in acted.failures] == [CheckFailed]
        assert ((folder / "outside-key.pem").read_bytes(), (folder / "outside-cert.pem").read_bytes()) == (b"old", b"old")
        assert (acted.receipt, litter(folder)) == (None, [])


class TestDovecotsSocket:
    def test_is_waited_for_between_dovecot_and_postfix_alone(self):
        dovecot, postfix, other = (Reload("exec", (name, "reload")) for name in ("doveadm", "postfix", "other"))

        def waits(*steps: Reload) -> bool:
            text = act.script(act.Swap(), act.Use(steps=steps), boundary="--", seconds=1)
            return "dovecot_socket" in text

        assert waits(dovecot, postfix)
        assert waits(dovecot, other, postfix)
        assert not waits(postfix, dovecot)
        assert not waits(dovecot)
        assert not waits(other, postfix)

    @pytest.mark.parametrize("sasl", ["dovecot\nprivate/auth", "cyrus\nsmtpd", "dovecot\ninet:127.0.0.1:12345", ""])
    async def test_that_is_not_there_costs_no_time(self, machine, folder, sasl):
        for name in ("doveadm", "postfix"):
            program(machine, name, "exit 0")
        program(machine, "postconf", f"printf '%s\\n' '{folder}' '{sasl}'")
        steps = [Reload("exec", ("doveadm", "reload")), Reload("exec", ("postfix", "reload"))]
        acted = await act_on(Hands(machine, pair_in(folder)), new, steps=steps)
        assert acted.failures == ()


async def test_no_room_is_no_refusal_since_the_folder_can_be_written_to(machine, folder, monkeypatch):
    without_room = script.WRITE.replace('printf "$1" >"$2" && return', "false && return")
    monkeypatch.setattr(script, "WRITE", without_room)
    hands = Hands(machine, pair_in(folder))
    with pytest.raises(WriteFailed, match=r"cannot be written; is the disk full\?"):
        await hands.act(new)
    assert (hands.there, litter(folder)) == ({}, [])


@pytest.mark.parametrize("machine", OF_PROGRAMS, indirect=True)
class TestWhatCanEndByItself:
    @staticmethod
    def broken(machine: Machine, folder: Path, name: str, *, code: int, times: int) -> None:
        """A program that works at first, and fails some times once a file is there that says so."""
        (machine.commands / f"real-{name}").symlink_to((machine.commands / name).resolve())
        (machine.commands / name).unlink()
        text = f"read -r n <{folder}/fails || n=0; case $n in 0) ;; *) echo $((n - 1)) >{folder}/fails; exit {code} ;; esac"
        program(machine, name, f'{text}\nexec {machine.commands}/real-{name} "$@"')
        (folder / "fails").write_text(f"{times}\n")

    async def test_a_program_that_could_not_be_started_is_no_refusal(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.act(old)
        before, observed = hands.there, await hands.look()
        self.broken(machine, folder, "cat", code=2, times=9)
        with pytest.raises(WriteFailed, match="could not be staged"):
            await hands.sink.act(hands.target, observed, hands.target.places[0].contents(new))
        assert hands.there == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="for others it may be a matter of rights")
    @pytest.mark.parametrize("times", [1, 9], ids=["once", "and the way back fails, too"])
    async def test_a_rename_that_fails_is_no_refusal_whatever_becomes_of_the_way_back(self, machine, folder, times):
        place = Place(Slot(), PurePosixPath(folder / "certs/cert.pem"), PurePosixPath(folder / "private/key.pem"))
        hands = Hands(machine, target(places=(place,)))
        await hands.bring(old)
        before, observed = hands.there, await hands.look()
        self.broken(machine, folder, "mv", code=1, times=times)
        with pytest.raises(WriteFailed, match="could not be put in place"):
            await hands.sink.act(hands.target, observed, place.contents(new))
        assert hands.there == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make it so")
    async def test_an_immutable_file_is_named_before_anything_is_replaced(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        before, observed = hands.there, await hands.look()
        knows_it = immutable(folder / "cert.pem", "+i")  # not every file system does
        refused = pytest.raises(WriteRefused, match=r"cert.pem may not be replaced: it is immutable")
        try:
            with refused if knows_it else nullcontext():
                await hands.sink.act(hands.target, observed, hands.target.places[0].contents(new))
            assert (hands.there == before) == knows_it
        finally:
            immutable(folder / "cert.pem", "-i")


class TestServicesThatDoNotRun:
    STEPS = (Reload("exec", ("doveadm", "reload")), Reload("exec", ("postfix", "reload")))

    @pytest.mark.parametrize("runs", [True, False])
    async def test_are_told_from_those_that_refuse(self, machine, folder, runs):
        program(machine, "postfix", f"[ $1 = status ] && exit {0 if runs else 1}; echo fatal >&2; exit 1")
        acted = await act_on(Hands(machine, pair_in(folder)), new, steps=self.STEPS[1:])
        (failure,) = acted.failures
        assert (type(failure.error), failure.service, failure.stopped) == (ReloadFailed, "Postfix", not runs)

    async def test_are_named(self, machine, folder):
        program(machine, "postfix", "exit 0")
        program(machine, "doveconf", f"echo {folder}")
        hands = Hands(machine, pair_in(folder))
        assert await hands.sink.stopped(hands.target, self.STEPS) == ("Dovecot",)
        assert await hands.sink.stopped(hands.target, [Reload("exec", ("other",)), Reload("self")]) == ()

    async def test_a_program_that_is_not_there_is_no_service_that_does_not_run(self, machine, folder):
        acted = await act_on(Hands(machine, pair_in(folder)), new, steps=self.STEPS[1:])
        (failure,) = acted.failures
        assert (failure.service, failure.stopped) == ("", False)


def test_what_is_written_after_a_mark_that_is_none_ends_the_report():
    report = act.parse(b"read back\n--b swapped 0\noutput\n--b 0 75\n\n--b garbage", "--b")
    assert (report.swapped, report.read_back, report.ended) == (
        True,
        b"read back",
        {"swapped": (0, b"read back"), "0": (75, b"output")},
    )
    assert not act.parse(b"", "--b").swapped


async def test_two_places_in_one_folder_are_kept_in_one_file(machine, folder):
    places = tuple(Place(Slot(), PurePosixPath(folder / f"{n}.pem"), PurePosixPath(folder / f"{n}.key")) for n in "ab")
    hands = Hands(machine, target(places=places))
    await hands.act(new)
    assert (await ContainerSink(machine).observe(hands.target)).previous == dict.fromkeys((await hands.look()).files)


class Answering(Machine):
    """A machine whose commands end in a way of their own; the shell of a container goes with it, or its end is lost."""

    def __init__(self, machine: Machine, result: ExecResult) -> None:
        super().__init__(machine.shell, machine.commands)
        self.result = result

    async def execute(
        self,
        _container_id: str,
        _argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:
        return self.result


@pytest.mark.parametrize(
    "result",
    [
        ExecResult(-1, b"", b""),
        ExecResult(137, b"", b""),
        ExecResult(126, b"", b"OCI runtime exec failed: exec failed: cannot exec in a stopped state: unknown"),
    ],
    ids=["its end is not known", "killed with the container", "the container has stopped"],
)
async def test_an_end_that_is_not_the_commands_own_says_nothing_about_the_pair(machine, folder, result):
    sink = ContainerSink(Answering(machine, result))
    for user in ("", "mail"):
        wanted = pair_in(folder, user=user)
        with pytest.raises(ExecCut):
            await sink.act(wanted, Observed({}), {}, steps=[Reload("exec", ("postfix", "reload"))])


def test_a_command_that_prints_so_much_that_its_end_is_lost_has_failed_and_was_not_cut_off(tmp_path):
    step, code = Reload("exec", ("chatter", "on")), ExecResult(0, b"", b"", cut=True)
    report = act.parse(b"\n--b swapped 0\nxxxxxx", "--b")
    (failure,) = failures_of(pair_in(tmp_path), act.Use(steps=(step,)), report, code, 5)
    assert str(failure.error) == "`chatter` prints too much to see how it ended; let it print less"


@pytest.mark.parametrize("way", [TOGETHER, ONE_BY_ONE])
@pytest.mark.parametrize("there_before", [True, False])
async def test_what_somebody_else_wrote_since_the_look_is_not_replaced(machine, folder, way, there_before):
    """Another certferry may hold a newer pair than ours."""
    wanted = pair_in(folder) if way == TOGETHER else mounted_one_by_one(folder)
    hands = Hands(machine, wanted)
    if there_before:
        await hands.bring(old)
    observed, contents = await hands.look(), {p: c for place in wanted.places for p, c in place.contents(old).items()}
    await hands.bring(new)
    theirs = hands.there
    with pytest.raises(WriteFailed, match="somebody else replaced .* meanwhile"):
        await hands.sink.act(wanted, observed, contents)
    assert (hands.there, litter(folder)) == (theirs, [])


async def test_copies_that_the_container_made_itself_since_the_look_are_replaced(machine, folder):
    wanted = replace(pair_in(folder), places=(), internal=pair_in(folder).places)
    hands = Hands(machine, wanted)
    observed = await hands.look()
    contents = {path: c for place in wanted.internal for path, c in place.contents(new).items()}
    (folder / "cert.pem").write_bytes(old.fullchain_pem)
    acted = await hands.sink.act(wanted, observed, contents)
    assert (acted.failures, (folder / "cert.pem").read_bytes()) == ((), new.fullchain_pem)
