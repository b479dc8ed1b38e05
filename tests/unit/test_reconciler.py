"""The order of the steps, and what happens when one fails. Faults come from a mailbox in memory, time is virtual."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.delivery import SILENT_LIMIT, SILENT_MOMENTS
from controller.domain.certificate import Certificate, KeyType, Trust
from controller.domain.container import State
from controller.domain.errors import (
    CheckFailed,
    EngineUnavailable,
    ExecCut,
    ExecTimeout,
    Overwritten,
    PermanentError,
    ProbeUnavailable,
    ReloadFailed,
    RollbackFailed,
    TargetGone,
    TargetNotRunning,
    TransientError,
    WriteFailed,
    WriteRefused,
)
from controller.domain.finding import Reason
from controller.domain.observed import Acted, InstalledFile, Served
from controller.domain.origin import GONE_AFTER
from controller.domain.snapshot import Problem, Snapshot, SourceStatus
from controller.domain.target import InvalidTarget, Place, ProbePort, Reload, Slot, Target
from controller.origins import Origins
from controller.reconciler import FAILED_PAUSE, STARTING_PAUSE, Outcome, Reconciler, Result
from controller.resting import SHORTEST_LOOK
from controller.store import Store
from tests.unit.made import (
    ALT_CERT,
    ALT_PRIVATE,
    CERT,
    DOMAIN,
    IMAPS,
    KEY,
    NEW,
    NOW,
    OLD,
    PLACE,
    PRIVATE,
    RELOAD,
    SMTP,
    certificate,
    container,
    pair,
    serves,
    snapshot,
    target,
)
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

between = certificate(hours_old=24)
old, new, newest = certificate(**OLD), certificate(**NEW), certificate(hours_old=0.5)
INSIDE = Place(Slot(), PurePosixPath("/in/cert"), PurePosixPath("/in/key"))
FORCED = Reload("exec", ("doveadm", "reload"))
SELF = target(reload=(Reload("self", patience=20.0),), internal=(INSIDE,), internal_reload=(FORCED,))
LINKED = target(reload=(Reload("self", patience=20.0),), internal_reload=(FORCED,))
"""As `SELF`, without copies inside."""
STARTING = container(started_at=NOW - timedelta(seconds=5))


def renewal(**options: Any) -> World:
    """The old certificate is installed and in use, the source has the new one."""
    world = World(Mailbox.holding(old, **options))
    world.offer(new)
    return world


def content(world: World, path: PurePosixPath = CERT) -> bytes | None:
    file = world.box.files.get(path)
    return file.content if file else None


def has(world: World, held: Certificate) -> bool:
    """Whether key and certificate are installed and in use."""
    pair = (content(world, PRIVATE), content(world, CERT))
    return pair == (held.key_pem, held.fullchain_pem) and world.box.in_use == held.leaf


class TestAGoodDay:
    @virtually
    async def test_where_nothing_differs_nothing_is_done(self):
        world = World(Mailbox.holding(new))
        world.offer(new)
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.done(), world.reason) == ([], "")

    @virtually
    async def test_a_renewal_is_written_checked_reloaded_proven_and_confirmed(self):
        world = renewal()
        assert await world.look() == Outcome(Result.CHANGED, TIMING.settle)
        assert world.done() == ["apply", "check", "postfix reload"]
        assert (has(world, new), world.reason) == (True, "ReloadPending")
        assert world.status.condition.message == "served by every port that answers; confirming after 3 s"

        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.done(), world.reason) == ([], "")

    @virtually
    async def test_looking_again_and_again_changes_nothing(self):
        world = renewal()
        await world.look()
        world.done()
        for _ in range(5):
            await world.look()
        assert world.done() == []

    @virtually
    async def test_without_time_to_settle_the_next_look_is_at_once(self):
        world = World(Mailbox.holding(old), timing=replace(TIMING, settle=0.0))
        world.offer(new)
        assert await world.look() == Outcome(Result.CHANGED, 0.0)

    @virtually
    async def test_the_status_tells_what_is_wanted_installed_and_served(self):
        world = renewal()
        await world.look()
        await world.look()
        status = world.status
        assert status.chosen == (("traefik", new.leaf),)
        assert status.installed == (new.leaf,)
        assert [served.leaf for served in status.served] == [new.leaf]
        assert status.last_success == NOW + timedelta(seconds=TIMING.settle)
        assert status.condition.message == f"{new.leaf.short} until {new.leaf.not_after:%Y-%m-%d}, served on 993/imaps"

    @virtually
    async def test_ports_may_take_some_time_to_hand_out_the_new_one(self):
        world = renewal()
        world.box.answers[993] = serves(old)

        async def come_round() -> None:
            await asyncio.sleep(10)
            del world.box.answers[993]

        task = asyncio.create_task(come_round())
        assert (await world.look()).result is Result.CHANGED
        await task

    @virtually
    async def test_a_port_that_hangs_holds_up_the_write_no_longer_than_one_handshake(self):
        """Whether it answered before must be known before: afterwards its silence would count against the new pair."""
        world = renewal()
        asked = world.box.served

        async def hang(*args, **kwargs):
            if "apply" not in world.box.log:
                await asyncio.sleep(10)
            return await asked(*args, **kwargs)

        world.box.served = hang  # type: ignore[method-assign]
        assert (await world.look()).result is Result.CHANGED
        assert 10 < clock() < 12

    @virtually
    async def test_a_renewal_costs_each_verified_port_one_connection_and_those_for_submission_two(self):
        ports = (SMTP, ProbePort(465, "smtps"), ProbePort(587, "smtp"), ProbePort(143, "imap"), IMAPS)
        world = World(Mailbox.holding(old, wanted=target(probe=ports), listening=frozenset(p.port for p in ports)))
        world.offer(old)
        await world.look()
        assert world.box.asked == [*ports]
        world.box.asked.clear()
        world.offer(new)
        await world.look()
        assert world.box.asked == [*ports]
        await world.look()
        assert world.box.asked[len(ports) :] == [ports[1], ports[2]]
        assert world.reason == ""

    @virtually
    async def test_the_first_renewal_after_the_start_asks_each_port_once_before(self):
        ports = (SMTP, ProbePort(465, "smtps"), ProbePort(587, "smtp"), ProbePort(143, "imap"), IMAPS)
        world = World(Mailbox.holding(old, wanted=target(probe=ports), listening=frozenset(p.port for p in ports)))
        world.offer(new)
        await world.look()
        await world.look()
        assert (len(world.box.asked), world.reason) == (12, "")

    @virtually
    async def test_the_order_of_the_sources_decides_and_not_which_was_read_first(self):
        world = World(Mailbox.holding(old))
        for name in ("first", "second"):
            world.store.sources[name] = SourceStatus()
        world.offer(new, source="second")
        world.offer(new, source="first")
        await world.look()
        assert world.status.chosen == (("first", new.leaf),)

    @virtually
    async def test_where_no_reload_is_needed_the_files_alone_are_enough(self):
        world = renewal(wanted=target(reload=()), notices_after=0.0)
        assert (await world.look()).result is Result.CHANGED
        assert (world.done(), has(world, new)) == (["apply", "check"], True)

    @virtually
    async def test_of_two_pairs_only_the_one_that_changed_is_written(self):
        second = Place(Slot(alternative=True, optional=True), PurePosixPath("/tls/alt"), PurePosixPath("/tls/alt-key"))
        world = World(Mailbox.holding(new, wanted=target(places=(*target().places, second), probe=())))
        rsa = certificate(kind="rsa", **OLD)
        world.offer(new, rsa)
        before = {path: world.box.files[path] for path in (CERT, PRIVATE)}
        await world.look()
        assert [content(world, path) for path in second.paths] == [rsa.key_pem, rsa.fullchain_pem]
        assert all(world.box.files[path] is file for path, file in before.items())

    @virtually
    async def test_a_better_second_pair_is_left_alone_and_does_not_hold_up_the_first(self):
        second = Place(Slot(alternative=True, optional=True), PurePosixPath("/tls/alt"), PurePosixPath("/tls/alt-key"))
        better = pair(kind="rsa").certificate
        world = renewal(wanted=target(places=(*target().places, second)))
        world.offer(new, certificate(kind="rsa", trust=Trust.SELF_SIGNED, **OLD))
        for path, text in second.contents(better).items():
            world.box.files[path] = InstalledFile(path, text, 0, 0, 0o600)
        assert (await world.look()).result is Result.CHANGED
        assert has(world, new)
        assert [content(world, path) for path in second.paths] == [better.key_pem, better.fullchain_pem]


class TestNothingToProve:
    """No port shows whether the new files are used: what was there before is kept until a reload was done, and tells of it."""

    @virtually
    async def test_what_was_there_is_kept_until_after_the_reload(self):
        world = renewal(wanted=target(probe=()))
        kept = []
        use = world.box._use_files

        def note() -> None:
            kept.append(dict(world.box.kept))
            use()

        world.box._use_files = note  # type: ignore[method-assign]
        assert await world.look() == Outcome(Result.CHANGED, 0.0)
        assert world.done() == ["apply", "check", "postfix reload"]
        assert [set(each) for each in kept] == [{CERT, PRIVATE}]
        assert kept[0][CERT] == Mailbox.holding(old).files[CERT]
        assert world.box.kept == {}
        assert await world.look() == Outcome(Result.UNCHANGED)

    @virtually
    async def test_where_nothing_listens_it_is_kept_until_a_port_shows_the_new_pair(self):
        world = renewal(listening=frozenset({80}))
        assert await world.look() == Outcome(Result.CHANGED, 0.0)
        await world.look()
        assert (world.reason, set(world.box.kept)) == ("NothingListens", {CERT, PRIVATE})
        assert world.done() == ["apply", "check", "postfix reload"]
        world.box.listening = frozenset({993})
        await world.look()
        assert (world.reason, world.box.kept, world.done()) == ("", {}, [])

    @virtually
    async def test_a_reload_that_an_earlier_run_still_owed_is_made_up_for(self):
        """models.md 1.9: docker-gen writes the file, fails to notify, and never notifies again."""
        world = World(Mailbox.holding(new, wanted=target(probe=()), kept=files_of("old")))
        world.offer(new)
        assert await world.look() == Outcome(Result.CHANGED, 0.0)
        assert (world.done(), world.box.kept) == (["check", "postfix reload"], {})
        assert await world.look() == Outcome(Result.UNCHANGED)

    @virtually
    async def test_a_reload_that_is_made_up_for_and_fails_brings_the_old_pair_back(self):
        world = World(Mailbox.holding(new, wanted=target(probe=()), kept=files_of("old")))
        world.offer(new)
        world.box.faults["postfix reload"] = [ReloadFailed("no")]
        await world.look()
        assert (has(world, old), world.reason, world.box.kept) == (True, "RolledBack", {})

    @virtually
    async def test_what_an_interrupted_run_left_lying_is_cleared_away(self):
        world = World(Mailbox.holding(new, litter=True))
        world.offer(new)
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.done(), world.box.litter) == (["clear"], False)

    @virtually
    async def test_what_cannot_be_cleared_away_says_nothing_about_the_certificate(self):
        world = World(Mailbox.holding(new, litter=True))
        world.offer(new)
        world.box.faults["clear"] = [WriteRefused("left over on a mount that is read-only here")]
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert world.reason == ""


class TestTheServicesWereNotTold:
    @virtually
    async def test_a_crash_between_swap_and_reload_is_healed_by_the_next_look(self):
        world = World(Mailbox.holding(new))
        world.box.in_use = old.leaf
        world.offer(new)
        assert (await world.look()).result is Result.CHANGED
        assert (world.done(), has(world, new)) == (["check", "postfix reload"], True)

    @virtually
    async def test_a_reload_without_effect_is_not_repeated_at_every_look(self):
        world = World(Mailbox.holding(new))
        world.box.answers[993] = serves(old)
        world.offer(new)
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), world.reason) == (["check", "postfix reload"], "VerifyFailed")
        await asyncio.sleep(FAILED_PAUSE)
        assert await world.look() == Outcome(Result.REFUSED, FAILED_PAUSE)
        assert (world.done(), world.reason) == ([], "VerifyFailed")


class TestNeverWorseThanBefore:
    """Whatever fails after the swap: the previous pair comes back, and into use."""

    @virtually
    async def test_a_failing_check_leaves_everything_as_it_was_and_needs_no_reload(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("`doveconf -n`: exit code 89")]
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), has(world, old), world.reason) == (["apply", "check", "put back"], True, "CheckFailed")
        assert world.status.condition.message == "`doveconf -n`: exit code 89; the previous files are back"

    @virtually
    async def test_a_failing_reload_brings_the_previous_pair_back(self):
        world = renewal()
        world.box.faults["postfix reload"] = [ReloadFailed("exit code 1")]
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert world.done() == ["apply", "check", "postfix reload", "rollback", "postfix reload"]
        assert (has(world, old), world.reason) == (True, "RolledBack")
        assert world.status.condition.message == "exit code 1; the previous files are back and in use"

    @virtually
    async def test_a_reload_that_does_not_end_brings_the_previous_pair_back_where_a_port_hands_out_the_old_one(self):
        world = renewal()
        world.box.faults["postfix reload"] = [ExecTimeout("`postfix` did not end within 30 s")]
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert world.done() == ["apply", "check", "postfix reload", "rollback", "postfix reload"]
        assert (has(world, old), world.reason) == (True, "RolledBack")
        assert world.status.condition.message == "`postfix` did not end within 30 s; the previous files are back and in use"

    @virtually
    async def test_a_reload_that_does_not_end_says_nothing_where_every_port_hands_out_the_new_one(self):
        """Of a busy machine a command's end may come after everything that it is for."""
        world = renewal(notices_after=5.0)
        world.box.faults["postfix reload"] = [ExecTimeout("`postfix` did not end within 30 s")]
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), has(world, new), world.reason) == (["apply", "check", "postfix reload"], True, "ReloadFailed")
        await asyncio.sleep(FAILED_PAUSE)
        await world.look()
        assert (world.done(), has(world, new), world.reason, world.box.kept) == ([], True, "", {})

    @virtually
    async def test_a_port_that_does_not_hand_out_the_new_one_brings_the_previous_pair_back(self):
        world = renewal(reads=PurePosixPath("/elsewhere"))
        world.box.files[world.box.reads] = InstalledFile(world.box.reads, old.fullchain_pem, 0, 0, 0o644)
        await world.look()
        assert world.done() == ["apply", "check", "postfix reload", "rollback", "postfix reload"]
        assert (has(world, old), world.reason) == (True, "RolledBack")
        assert f"port 993/imaps hands out {old.leaf.short}, not {new.leaf.short}" in world.status.condition.message

    @virtually
    async def test_what_somebody_else_put_there_meanwhile_is_not_taken_back(self):
        """Another certferry, or an operator by hand: what a port then hands out says nothing against the pair."""
        world, theirs = renewal(), Mailbox.holding(newest)
        world.box.replaced_by = [theirs.files]
        with pytest.raises(Overwritten):
            await world.look()
        assert (world.done(), has(world, newest)) == (["apply", "check", "postfix reload"], True)
        assert (world.reason, set(world.box.kept)) == ("WriteFailed", {CERT, PRIVATE})
        assert "somebody else replaced /tls/" in world.status.condition.message

        world.offer(newest)
        await world.look()
        await world.look()
        assert (world.done(), has(world, newest), world.reason, world.box.kept) == ([], True, "", {})

    @virtually
    async def test_a_fight_with_somebody_else_over_the_files_does_not_cost_a_reload_again_and_again(self):
        world, theirs = renewal(), Mailbox.holding(old)
        world.box.replaced_by = [theirs.files, theirs.files]
        with pytest.raises(Overwritten):
            await world.look()
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        world.done()
        assert await world.look() == Outcome(Result.REFUSED, FAILED_PAUSE)
        assert (world.done(), world.reason) == ([], "WriteRefused")

    @virtually
    async def test_a_port_that_is_gone_after_the_reload_brings_the_previous_pair_back_but_not_at_once(self):
        world = renewal()
        world.box.target = target(probe=(IMAPS, SMTP))
        world.box.answers[25] = serves(old, SMTP)
        use = world.box._use_files

        def end() -> None:
            use()
            gone = Served(SMTP, None, "network", "nothing listens there", refused=True)
            world.box.answers[25] = gone if world.box.in_use == new.leaf else serves(old, SMTP)

        world.box._use_files = end  # type: ignore[method-assign]
        await world.look()
        assert (has(world, old), world.reason) == (True, "RolledBack")
        assert "port 25/smtp: nothing listens there" in world.status.condition.message
        assert clock() > SILENT_LIMIT

    @virtually
    async def test_owner_and_mode_come_back_too(self):
        world = renewal()
        before = dict(world.box.files)
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        assert world.box.files == before

    @virtually
    async def test_what_was_not_there_before_is_gone_again(self):
        world = World(Mailbox())
        world.offer(new)
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        assert (content(world), content(world, PRIVATE)) == (None, None)
        assert world.status.condition.message == "no; the new files are removed again"

    @virtually
    async def test_what_was_not_there_before_stays_where_the_reload_fails(self):
        world = World(Mailbox())
        world.offer(new)
        world.box.faults["postfix reload"] = [ReloadFailed("no")]
        await world.look()
        assert (content(world), world.reason) == (new.fullchain_pem, "ReloadFailed")
        assert world.status.condition.message == "no; the new certificate stays: there was nothing before"

    @pytest.mark.parametrize(
        "before",
        [
            certificate(days=1, hours_old=48),
            certificate("other.example.com", hours_old=48),
            replace(old, key_pem=newest.key_pem),
        ],
        ids=["expired", "for another name", "without its key"],
    )
    def test_nothing_is_put_back_that_is_of_no_use(self, before):
        @virtually
        async def test() -> None:
            world = World(Mailbox.holding(before))
            world.offer(new)
            world.box.faults["postfix reload"] = [ReloadFailed("no")]
            await world.look()
            assert (content(world), content(world, PRIVATE)) == (new.fullchain_pem, new.key_pem)
            assert world.reason == "ReloadFailed"
            assert "the new certificate stays: what was there before is expired" in world.status.condition.message

        test()

    @virtually
    async def test_where_nothing_was_before_a_check_that_did_not_end_is_not_called_a_way_back(self):
        """The script, which puts back what was there, ended with it."""
        world = World(Mailbox(listening=frozenset()))
        world.offer(new)
        act = world.box.act

        async def overdue(*given: Any, **options: Any) -> Acted:
            return await act(*given, **options | {"put_back": False})

        world.box.act = overdue  # type: ignore[method-assign]
        world.box.faults["check"] = [CheckFailed("`check` did not end within 30 s")]
        await world.look()
        assert (content(world), world.reason) == (None, "CheckFailed")
        assert world.status.condition.message == "`check` did not end within 30 s; the new files are removed again"

    @virtually
    async def test_an_expired_pair_is_put_back_where_a_port_handed_it_out_and_hands_out_nothing_now(self):
        expired = certificate(days=1, hours_old=48)
        world = World(Mailbox.holding(expired))
        world.offer(new)
        use = world.box._use_files

        def fail() -> None:
            use()
            broken = Served(IMAPS, None, "network", "the TLS handshake failed")
            world.box.answers = {993: broken} if world.box.in_use == new.leaf else {}

        world.box._use_files = fail  # type: ignore[method-assign]
        await world.look()
        assert (has(world, expired), world.reason) == (True, "RolledBack")

    @virtually
    async def test_a_write_that_is_refused_needs_no_rollback(self):
        world = renewal()
        world.box.faults["apply"] = [WriteRefused("/tls is mounted read-only")]
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), has(world, old), world.reason) == (["apply"], True, "WriteRefused")

    @pytest.mark.parametrize("fault", [RollbackFailed("the disk is full"), WriteFailed("the disk is full")])
    def test_a_rollback_that_fails_is_told_with_both_causes(self, fault):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults["postfix reload"] = [ReloadFailed("reload failed")]
            world.box.faults["rollback"] = [fault]
            assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
            assert (world.reason, set(world.box.kept)) == ("VerifyFailed", {CERT, PRIVATE})
            assert world.status.condition.message == (
                "reload failed; and putting the previous files back failed: the disk is full"
            )

        test()

    @virtually
    async def test_the_reload_of_the_previous_pair_may_fail_where_the_ports_hand_it_out(self):
        world = renewal()
        world.box.faults["postfix reload"] = [ReloadFailed("down"), ReloadFailed("still down")]
        await world.look()
        assert (has(world, old), world.reason) == (True, "RolledBack")

    @virtually
    async def test_the_reload_of_the_previous_pair_must_work_where_no_port_tells(self):
        world = renewal(wanted=target(probe=()))
        world.box.faults["postfix reload"] = [ReloadFailed("down"), ReloadFailed("still down")]
        await world.look()
        assert world.status.condition.message == "down; the previous files are back, but not in use: still down"

    @virtually
    async def test_a_previous_pair_that_is_not_in_use_again_is_told(self):
        world = renewal()
        world.box.faults["postfix reload"] = [ReloadFailed("no")]
        served = world.box.served

        async def lost(*args, **kwargs):
            if "rollback" in world.box.log:
                return serves(newest)
            return await served(*args, **kwargs)

        world.box.served = lost  # type: ignore[method-assign]
        await world.look()
        assert world.status.condition.message == (
            "no; the previous files are back, but not in use:"
            f" after 15 s: port 993/imaps hands out {newest.leaf.short}, not {old.leaf.short}"
        )

    @pytest.mark.parametrize("fault", [EngineUnavailable("gone"), TargetNotRunning("paused")])
    def test_an_engine_that_goes_away_during_the_rollback_leaves_the_rest_to_the_next_look(self, fault):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults["postfix reload"] = [ReloadFailed("no")]
            world.box.faults["rollback"] = [fault]
            if isinstance(fault, EngineUnavailable):
                with pytest.raises(EngineUnavailable):
                    await world.look()
            else:
                assert await world.look() == Outcome(Result.WAITING, FAILED_PAUSE)
            assert set(world.box.kept) == {CERT, PRIVATE}
            world.done()
            await world.look()  # the new files are there, the services were not told
            assert (world.done(), has(world, new)) == (["check", "postfix reload"], True)

        test()

    @pytest.mark.parametrize("anew", [False, True], ids=["the same process", "a new one"])
    @pytest.mark.parametrize("works", [True, False], ids=["the new pair works", "it does not"])
    def test_an_act_that_was_cut_off_is_finished_by_whoever_comes_next(self, anew, works):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults["postfix reload"] = [EngineUnavailable("cut")]
            with pytest.raises(EngineUnavailable):
                await world.look()
            assert content(world) == new.fullchain_pem
            if anew:
                world = World(world.box)
                world.offer(new)
            world.done()
            if works:
                await world.look()
                await world.look()
                assert (world.done(), has(world, new), world.reason) == (["check", "postfix reload"], True, "")
            else:
                world.box.faults["postfix reload"] = [ReloadFailed("no")]
                await world.look()
                assert world.done() == ["check", "postfix reload", "rollback", "postfix reload"]
                assert (has(world, old), world.reason) == (True, "RolledBack")
            assert world.box.kept == {}

        test()


class TestAServiceThatDoesNotRun:
    @virtually
    async def test_says_nothing_about_the_pair_which_stays(self):
        world = renewal(wanted=target(reload=(FORCED, RELOAD), probe=(IMAPS, SMTP)), not_running=("Dovecot",))
        world.box.faults["doveadm reload"] = [ReloadFailed("exit code 75")]
        world.box.answers[993] = Served(IMAPS, None, "network", "nothing listens there", refused=True)
        assert await world.look() == Outcome(Result.FAILED, SHORTEST_LOOK)
        assert (world.done(), has(world, new)) == (["apply", "check", "doveadm reload", "postfix reload"], True)
        assert world.reason == "NotRunning"
        assert world.status.condition.message == "Dovecot does not run; the certificate is installed, for the next start"

        pauses = [(await world.look()).again for _ in range(6)]
        assert (pauses, world.reason) == ([5, 10, 20, 40, 60, 60], "NotRunning")
        assert world.status.condition.message.startswith("Dovecot does not run, seen since ")
        assert world.done() == []

        world.box.not_running, world.box.answers = (), {}
        await world.look()
        assert (world.reason, world.done(), world.box.kept) == ("", [], {})

    @virtually
    async def test_but_answered_before_is_not_held_against_the_pair_either(self):
        world = renewal(wanted=target(reload=(FORCED,)))
        use = world.box._use_files

        def end() -> None:
            use()
            world.box.not_running = ("Dovecot",)
            world.box.answers[993] = Served(IMAPS, None, "network", "nothing listens there", refused=True)

        world.box._use_files = end  # type: ignore[method-assign]
        await world.look()
        assert (world.reason, content(world), "rollback" in world.done()) == ("NotRunning", new.fullchain_pem, False)

    @virtually
    async def test_a_container_that_was_restarted_meanwhile_is_looked_at_anew(self):
        world = renewal()
        use = world.box._use_files

        def restart() -> None:
            use()
            world.box.target = target(container=container(started_at=NOW))
            world.box.answers[993] = Served(IMAPS, None, "network", "nothing listens there", refused=True)

        world.box._use_files = restart  # type: ignore[method-assign]
        assert (await world.look()).result is Result.WAITING
        assert ("rollback" in world.done(), content(world)) == (False, new.fullchain_pem)

    @pytest.mark.parametrize(("answers", "stays"), [(True, False), (False, True)])
    def test_a_command_that_only_the_label_knows_counts_where_a_port_answered(self, answers, stays):
        @virtually
        async def test() -> None:
            world = renewal(wanted=target(reload=(Reload("exec", ("/usr/local/bin/reload",)),)))
            world.box.faults["/usr/local/bin/reload"] = [ReloadFailed("exit code 1")]
            if not answers:
                world.box.answers[993] = Served(IMAPS, None, "network", "offers no STARTTLS", plain=True)
            await world.look()
            assert (content(world) == new.fullchain_pem, world.reason) == (stays, "ReloadFailed" if stays else "RolledBack")
            world.done()
            await world.look()
            assert world.done() == []

        test()


class TestAfterAFailure:
    @virtually
    async def test_the_same_is_tried_again_after_the_resync_interval_then_after_twice_that(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("no")] * 3
        tried = []
        for _ in range(int(2000 / FAILED_PAUSE)):
            await world.look()
            if world.done():
                tried.append(round(clock()))
            await asyncio.sleep(FAILED_PAUSE)
        assert tried == [0, 600, 1800]
        assert world.reason == "CheckFailed"

    @virtually
    async def test_another_certificate_is_tried_at_once(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        world.offer(newest)
        assert (await world.look()).result is Result.CHANGED
        assert has(world, newest)

    @virtually
    async def test_a_restarted_container_is_tried_at_once(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        world.box.target = target(container=container(started_at=NOW - timedelta(hours=1)))
        assert (await world.look()).result is Result.CHANGED

    @virtually
    async def test_success_forgets_the_failures(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        world.offer(newest)
        await world.look()
        await world.look()
        world.offer(new, newest)
        assert world.reason == ""

    @virtually
    async def test_the_reason_stays_the_failure_while_it_must_wait(self):
        world = renewal()
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        message = world.status.condition.message
        world.box.faults["observe"] = [EngineUnavailable("restarting")]
        with pytest.raises(EngineUnavailable):
            await world.look()
        assert world.reason == "Unreachable"
        assert await world.look() == Outcome(Result.REFUSED, FAILED_PAUSE)
        assert (world.reason, world.status.condition.message) == ("CheckFailed", message)

    @virtually
    async def test_a_write_that_does_not_last_is_not_repeated_at_every_look(self):
        """Something else writes there too, or the mount does not keep the mode: each round would cost a reload."""
        world = renewal(wanted=target(mode=0o600))  # the mailbox keeps 0640 whatever it is told
        assert (await world.look()).result is Result.CHANGED
        world.done()
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), world.reason) == ([], "WriteRefused")
        assert world.status.condition.message.startswith("/tls/key.pem has mode 0640, again, right after it was put right:")
        for _ in range(20):
            await asyncio.sleep(FAILED_PAUSE)
            await world.look()
        assert world.done() == []

    @virtually
    async def test_a_write_that_was_undone_later_is_repeated(self):
        world = renewal()
        await world.look()
        await world.look()
        world.box.files[CERT] = None
        world.done()
        assert (await world.look()).result is Result.CHANGED
        assert world.done()[0] == "apply"


class TestACommandThatIsCutOff:
    """As one that ends its own shell; one whose container stops looks the same."""

    @virtually
    async def test_is_not_run_at_each_try_where_the_container_runs_on(self):
        world = renewal(wanted=target(probe=()))
        world.box.faults["postfix reload"] = [ExecCut("`postfix` was cut off, exit code 137")] * 9
        with pytest.raises(ExecCut):
            await world.look()
        assert (await world.look()).result is Result.FAILED
        assert (world.reason, world.done().count("postfix reload")) == ("ReloadFailed", 2)
        assert "`postfix` was cut off, exit code 137, again and again, though the" in world.status.condition.message
        for _ in range(20):
            await asyncio.sleep(FAILED_PAUSE)
            await world.look()
        assert (world.done(), has(world, new)) == ([], False)
        world.offer(newest)
        with pytest.raises(ExecCut):
            await world.look()

    @virtually
    async def test_says_nothing_where_the_container_was_restarted(self):
        world = renewal()
        world.box.faults["postfix reload"] = [ExecCut("cut")] * 2
        for hours in (1, 2):
            with pytest.raises(ExecCut):
                await world.look()
            world.box.target = target(container=container(started_at=NOW - timedelta(hours=hours)))
        await world.look()
        await world.look()
        assert (has(world, new), world.reason) == (True, "")


class TestARenewalBeforeTheLastOneIsConfirmed:
    """What is kept is from before both; what worked in between is better than that, or than what nobody would accept."""

    @virtually
    async def test_goes_back_to_the_last_pair_that_was_served(self):
        world = renewal()
        await world.look()
        world.offer(newest)
        world.box.faults["check"] = [CheckFailed("no")]
        world.due = 0.0
        await world.look()
        assert (has(world, new), world.reason) == (True, "CheckFailed")

    @virtually
    async def test_goes_back_to_the_one_before_where_that_was_not_served(self):
        world = renewal()
        world.box.faults["postfix reload"] = [EngineUnavailable("gone")]
        with pytest.raises(EngineUnavailable):
            await world.look()
        world.offer(newest)
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        assert content(world) == old.fullchain_pem

    @virtually
    async def test_goes_back_to_a_pair_that_was_not_served_where_the_one_before_has_expired(self):
        expired = certificate(hours_old=100 * 24)
        world = World(Mailbox.holding(expired, wanted=target(probe=(), check=("check",))))
        world.offer(new)
        world.box.faults["postfix reload"] = [EngineUnavailable("gone")]
        with pytest.raises(EngineUnavailable):
            await world.look()
        world.offer(newest)
        world.box.faults["check"] = [CheckFailed("no")]
        await world.look()
        assert content(world) == new.fullchain_pem


class TestAReloadThatIsOwed:
    @virtually
    async def test_is_not_forgotten_where_nothing_could_be_kept(self):
        """On a read-only root with files that are mounted one by one."""
        world = renewal(wanted=target(probe=(), reload=(Reload("exec", ("own",)),)), keeps=False)
        world.box.faults["own"] = [ReloadFailed("exit code 1")] * 2
        await world.look()
        for _ in range(5):
            await asyncio.sleep(FAILED_PAUSE)
            await world.look()
            assert world.reason == "ReloadFailed"
        world.done()
        await asyncio.sleep(TIMING.resync)
        await world.look()
        await asyncio.sleep(2 * TIMING.resync)
        await world.look()
        assert world.done().count("own") == 2
        await world.look()
        assert (world.reason, world.done()) == ("", [])

    @virtually
    async def test_is_made_where_another_wrote_what_could_not_be_written_here(self):
        world = renewal(wanted=target(probe=()))
        world.box.faults["apply"] = [WriteRefused("/tls is read-only")]
        await world.look()
        assert world.reason == "WriteRefused"
        world.box.files, world.box.kept = Mailbox.holding(new).files, Mailbox.holding(old).files
        await world.look()
        assert (has(world, new), world.done()[-1]) == (True, "postfix reload")
        await world.look()
        assert world.reason == ""


class TestAPortThatDoesNotAnswer:
    SILENT = Served(SMTP, None, "network", "no greeting", silent=True)

    def silent(self) -> World:
        world = World(Mailbox.holding(new, wanted=target(probe=(IMAPS, SMTP))))
        world.offer(new)
        world.box.answers[25] = self.SILENT
        return world

    @virtually
    async def test_is_given_time_to_come_back_before_a_reload_is_tried(self):
        world = self.silent()
        pauses = []
        while (outcome := await world.look()).result is Result.WAITING:
            assert (world.done(), world.reason) == ([], "ServedDiffers")
            assert "Postfix keeps a service that failed silent for 60 s" in world.status.condition.message
            assert outcome.again is not None
            pauses.append(round(outcome.again))
            await asyncio.sleep(outcome.again)
        assert pauses == [20, 20, 25]
        assert world.done() == ["check", "postfix reload"]
        assert world.reason == "VerifyFailed"

    @virtually
    async def test_is_the_only_one_that_is_asked_again(self):
        world = self.silent()
        await asyncio.sleep((await world.look()).again or 0)
        world.box.asked.clear()
        await world.look()
        assert world.box.asked == [SMTP]

    @virtually
    async def test_is_given_the_time_anew_after_it_came_back(self):
        world = self.silent()
        await world.look()
        await asyncio.sleep(60)
        del world.box.answers[25]
        await world.look()
        assert world.reason == ""
        await asyncio.sleep(60)
        world.box.answers[25] = self.SILENT
        assert await world.look() == Outcome(Result.WAITING, SILENT_MOMENTS[0])


class TestAPortThatFallsSilent:
    """Postfix starts a service that failed only after a minute; the pair is not to blame."""

    SILENT = Served(SMTP, None, "network", "no greeting", silent=True)

    def world(self) -> World:
        return renewal(wanted=target(probe=(IMAPS, SMTP)))

    def silence(self, world: World, *, seconds: float) -> None:
        """From each reload on, port 25 is silent for so long."""
        use = world.box._use_files

        def throttle() -> None:
            use()
            world.box.answers[25] = self.SILENT
            asyncio.get_running_loop().call_later(seconds, world.box.answers.pop, 25, None)

        world.box._use_files = throttle  # type: ignore[method-assign]

    @virtually
    async def test_by_the_reload_is_waited_for(self):
        world = self.world()
        self.silence(world, seconds=60)
        assert (await world.look()).result is Result.CHANGED
        assert (has(world, new), "rollback" in world.done()) == (True, False)
        assert 65 <= clock() < 66

    @virtually
    async def test_by_the_reload_and_stays_so_brings_the_previous_pair_back(self):
        world = self.world()
        self.silence(world, seconds=10**6)
        assert (await world.look()).result is Result.FAILED
        assert "rollback" in world.done()

    @virtually
    async def test_before_the_write_is_no_reason_to_take_a_new_pair_back(self):
        world = self.world()
        world.box.answers[25] = self.SILENT
        assert (await world.look()).result is Result.CHANGED
        assert has(world, new)
        assert await world.look() == Outcome(Result.WAITING, SILENT_MOMENTS[0])

    @virtually
    async def test_that_was_right_once_but_not_asked_before_the_write_is_not_held_against_the_pair(self):
        """It may have been silent before: each port is asked as rarely as can be."""
        world = self.world()
        world.offer(old)
        await world.look()
        world.offer(new)
        world.box.answers[25] = self.SILENT
        await world.look()
        assert (has(world, new), world.reason, "rollback" in world.done()) == (True, "ServedDiffers", False)
        assert clock() >= SILENT_LIMIT


class TestAPortThatLosesTheChain:
    """The services hand out the leaf, and nothing behind it: that says nothing against the pair."""

    BARE = serves(new, chain_pem=new.leaf_pem)
    TEXT = f"port 993/imaps hands out {new.leaf.short} without the intermediate certferry test CA: clients cannot verify it"

    def world(self, held: Certificate = new) -> World:
        world = World(Mailbox.holding(held, loses_chain=True, behind=b""))
        world.offer(new)
        return world

    @virtually
    async def test_after_a_write_the_new_pair_stays(self):
        world = self.world(old)
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert world.done() == ["apply", "check", "postfix reload"]
        assert (has(world, new), world.reason, world.status.condition.message) == (True, "ServedDiffers", self.TEXT)

    @virtually
    async def test_and_no_reload_follows(self):
        world = self.world(old)
        await world.look()
        world.done()
        for _ in range(3):
            await asyncio.sleep(FAILED_PAUSE)
            assert await world.look() == Outcome(Result.REFUSED, FAILED_PAUSE)
        assert (world.done(), world.reason) == ([], "ServedDiffers")

    @virtually
    async def test_without_a_write_one_reload_is_tried(self):
        world = self.world()
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert (world.done(), world.reason, world.status.condition.message) == (
            ["check", "postfix reload"],
            "ServedDiffers",
            self.TEXT,
        )

    @virtually
    async def test_then_ever_more_rarely(self):
        world = self.world()
        times: list[float] = []
        while clock() < 86400:
            await world.look()
            times += [clock()] if world.done() else []
            await asyncio.sleep(FAILED_PAUSE)
        rests = [later - earlier for earlier, later in pairwise(times)]
        assert 5 <= len(times) <= 9
        assert all(rest >= TIMING.resync for rest in rests)
        assert sorted(rests) == rests

    @virtually
    async def test_a_reload_that_brings_it_back_is_all_there_is_to_it(self):
        world = self.world()
        world.box.loses_chain = False
        assert (await world.look()).result is Result.CHANGED
        assert world.done() == ["check", "postfix reload"]
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.done(), world.reason) == ([], "")

    @virtually
    async def test_once_it_is_back_by_itself_nothing_is_done(self):
        world = self.world()
        await world.look()
        world.done()
        world.box.behind = new.chain_pem
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.done(), world.reason) == ([], "")

    @virtually
    async def test_a_write_that_is_needed_is_not_held_off(self):
        world = self.world()
        await world.look()
        world.done()
        world.box.files |= Mailbox.holding(old).files
        await world.look()
        assert (world.done(), has(world, new)) == (["apply", "check", "postfix reload"], True)

    @virtually
    async def test_another_port_that_hands_out_something_else_has_it_rolled_back(self):
        world = renewal(wanted=target(probe=(IMAPS, SMTP)), loses_chain=True)
        world.box.answers[25] = serves(certificate("other.example.com"), SMTP)
        assert (await world.look()).result is Result.FAILED
        assert (content(world, CERT), world.reason) == (old.fullchain_pem, "RolledBack")

    @virtually
    async def test_what_was_right_before_a_write_is_remembered_with_its_chain(self):
        world = World(Mailbox.holding(old))
        world.offer(old)
        await world.look()
        world.box.asked.clear()
        world.offer(new)
        await world.look()
        assert world.reason == "ReloadPending"
        assert world.box.asked == [IMAPS]

    @virtually
    async def test_a_copy_that_lost_it_is_written_anew(self):
        """docker-mailserver's own copy holds the leaf alone."""
        world = World(Mailbox.holding(new, wanted=SELF, reads=PurePosixPath("/in/cert"), behind=b""))
        world.box.files[PurePosixPath("/in/cert")] = InstalledFile(PurePosixPath("/in/cert"), new.leaf_pem, 5, 6, 0o640)
        world.offer(new)
        assert (await world.look()).result is Result.CHANGED
        assert world.done()[-2:] == ["apply inside", "doveadm reload"]
        assert content(world, PurePosixPath("/in/cert")) == new.fullchain_pem
        await world.look()
        assert (world.done(), world.reason) == ([], "")

    @virtually
    async def test_what_the_container_does_by_itself_after_a_write_is_corrected(self):
        world = renewal(wanted=SELF, notices_after=4.0, loses_chain=True)
        await world.look()
        assert world.done() == ["apply", "check", "apply inside", "doveadm reload"]
        assert (world.reason, has(world, new)) == ("ServedDiffers", True)

    @virtually
    async def test_another_certificate_of_two_is_asked_for_by_its_key_type(self):
        wanted = target(places=(PLACE, Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)))
        box = TwoPairs.holding_both(wanted, new, certificate(kind="rsa"))
        world = World(box)
        world.offer(*box.both)
        assert await world.look() == Outcome(Result.UNCHANGED)
        box.bare = KeyType.RSA
        assert await world.look() == Outcome(Result.FAILED, FAILED_PAUSE)
        assert "without the intermediate" in world.status.condition.message
        assert certificate(kind="rsa").leaf.short in world.status.condition.message
        await asyncio.sleep(FAILED_PAUSE)
        await world.look()
        assert (world.reason, world.done()) == ("ServedDiffers", ["check", "postfix reload"])

    @virtually
    async def test_one_that_nobody_can_ask_for_is_told_and_holds_nothing_up(self):
        wanted = target(places=(PLACE, Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)))
        world = World(TwoPairs.holding_both(wanted, new, certificate(kind="rsa")))
        world.box.faults["unseen"] = [ProbeUnavailable("speaks no TLS 1.2")]
        world.offer(new, certificate(kind="rsa"))
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.reason, world.status.condition.message.endswith("; speaks no TLS 1.2")) == ("", True)


@dataclass
class TwoPairs(Mailbox):
    """One that holds two, and hands out the one that is asked for; the ECDSA one where nobody says."""

    both: tuple[Certificate, ...] = ()
    bare: KeyType | None = None
    """The one of which the chain is lost."""

    @classmethod
    def holding_both(cls, wanted: Target, *both: Certificate) -> TwoPairs:
        pairs = zip(wanted.places, both, strict=True)
        contents = {path: content for place, held in pairs for path, content in place.contents(held).items()}
        return cls(target=wanted, both=both, files={p: InstalledFile(p, c, 5, 6, 0o640) for p, c in contents.items()})

    async def served(self, _target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        if key_type is KeyType.RSA and (waiting := self.faults.get("unseen")):
            raise waiting.pop() or AssertionError("none left")
        held = next(held for held in self.both if key_type in (None, held.leaf.key_type))
        return serves(held, port, **({"chain_pem": held.leaf_pem} if held.leaf.key_type is self.bare else {}))


class TestACopyInside:
    """docker-mailserver copies the pair and reloads by itself."""

    @virtually
    async def test_a_container_that_notices_by_itself_is_left_alone(self):
        world = renewal(wanted=SELF, notices_after=4.0)
        assert (await world.look()).result is Result.CHANGED
        assert world.done() == ["apply", "check"]
        assert world.box.in_use == new.leaf
        assert 4 <= clock() < 6

    @virtually
    async def test_one_that_does_not_notice_gets_the_copies_written_and_is_reloaded(self):
        world = renewal(wanted=SELF, reads=PurePosixPath("/in/cert"))
        assert (await world.look()).result is Result.CHANGED
        assert world.done() == ["apply", "check", "apply inside", "doveadm reload"]
        assert content(world, PurePosixPath("/in/cert")) == new.fullchain_pem
        assert content(world, PurePosixPath("/in/key")) == new.key_pem
        assert clock() > 19

    @virtually
    async def test_one_without_copies_is_only_reloaded(self):
        world = renewal(wanted=LINKED)
        await world.look()
        assert world.done() == ["apply", "check", "doveadm reload"]

    @pytest.mark.parametrize("probe", [(IMAPS,), ()], ids=["probed", "not probed"])
    def test_one_that_cannot_notice_is_reloaded_at_once(self, probe):
        @virtually
        async def test() -> None:
            wanted = replace(SELF, reload=(Reload("self", patience=0.0),), probe=probe)
            world = renewal(wanted=wanted, reads=PurePosixPath("/in/cert"))
            await world.look()
            assert world.done()[:4] == ["apply", "check", "apply inside", "doveadm reload"]
            assert clock() < 1

        test()

    @virtually
    async def test_one_that_is_only_said_to_notice_is_rolled_back_when_it_does_not(self):
        world = renewal(wanted=target(reload=(Reload("self", patience=20.0),)))
        await world.look()
        assert (world.done(), world.reason) == (["apply", "check", "rollback"], "RolledBack")

    @virtually
    async def test_the_copies_come_back_too_and_the_services_are_told_the_same_way(self):
        world = renewal(wanted=SELF, reads=PurePosixPath("/in/cert"))
        world.box.faults["doveadm reload"] = [ReloadFailed("no")]
        await world.look()
        assert world.done() == [
            "apply",
            "check",
            "apply inside",
            "doveadm reload",
            "rollback",
            "rollback",
            "doveadm reload",
        ]
        assert content(world, PurePosixPath("/in/cert")) == old.fullchain_pem
        assert (has(world, old), world.reason) == (True, "RolledBack")

    @virtually
    async def test_without_copies_the_services_are_told_the_same_way(self):
        world = renewal(wanted=LINKED)
        world.box.faults["doveadm reload"] = [ReloadFailed("no")]
        await world.look()
        assert world.done() == ["apply", "check", "doveadm reload", "rollback", "doveadm reload"]
        assert (has(world, old), world.reason) == (True, "RolledBack")

    @virtually
    async def test_copies_that_cannot_be_written_bring_everything_back(self):
        world = renewal(wanted=SELF, reads=PurePosixPath("/in/cert"))
        world.box.faults["apply inside"] = [WriteRefused("read-only")]
        await world.look()
        assert (world.box.in_use, world.reason) == (old.leaf, "RolledBack")
        assert content(world) == old.fullchain_pem

    @virtually
    async def test_the_second_pair_has_its_copy_too(self):
        second = Place(Slot(alternative=True, optional=True), PurePosixPath("/tls/alt"), PurePosixPath("/tls/alt-key"))
        inside = Place(Slot(), PurePosixPath("/in/alt"), PurePosixPath("/in/alt-key"))
        wanted = replace(SELF, places=(*SELF.places, second), internal=(INSIDE, inside), probe=())
        wanted = replace(wanted, reload=(Reload("self", patience=0.0),))
        rsa = certificate(kind="rsa", hours_old=2)  # the younger goes into the first place
        world = World(Mailbox(target=wanted))
        world.offer(new, rsa)
        await world.look()
        assert content(world, PurePosixPath("/in/alt-key")) == rsa.key_pem
        assert content(world, PurePosixPath("/in/cert")) == new.fullchain_pem


class TestAStartingContainer:
    def starting(self, **options: Any) -> World:
        world = World(Mailbox(target=target(container=STARTING), **options))
        world.offer(new)
        return world

    @virtually
    async def test_gets_its_files_at_once_and_no_reload(self):
        world = self.starting()
        assert await world.look() == Outcome(Result.CHANGED, STARTING_PAUSE)
        assert (world.done(), world.reason) == (["apply", "check"], "ReloadPending")
        assert world.box.kept == {CERT: None, PRIVATE: None}

    @virtually
    async def test_is_looked_at_until_its_ports_open(self):
        world = self.starting()
        await world.look()
        for _ in range(3):
            assert await world.look() == Outcome(Result.WAITING, STARTING_PAUSE)
        world.box.in_use = new.leaf
        assert (await world.look()).result is Result.UNCHANGED
        assert (world.done(), world.reason) == (["apply", "check"], "")

    @virtually
    async def test_that_came_up_with_the_old_files_is_reloaded(self):
        world = self.starting()
        await world.look()
        world.box.in_use = old.leaf
        world.done()
        assert (await world.look()).result is Result.CHANGED
        assert (world.done(), world.box.in_use) == (["check", "postfix reload"], new.leaf)

    @virtually
    async def test_is_looked_at_again_after_twice_the_time_since_daemons_start_one_after_the_other(self):
        world = World(Mailbox.holding(new, wanted=target(container=STARTING)))
        world.offer(new)
        assert await world.look() == Outcome(Result.UNCHANGED, 5.0)

    @virtually
    async def test_that_restarts_again_and_again_is_not_ready(self):
        world = World(Mailbox.holding(new, wanted=target(container=replace(STARTING, state=State.RESTARTING)), in_use=None))
        world.offer(new)
        await world.look()
        assert world.reason == "ReloadPending"

    @virtually
    async def test_a_port_that_closes_after_it_was_right_is_told_and_costs_no_reload(self):
        world = World(Mailbox.holding(new, wanted=target(probe=(IMAPS, SMTP))))
        world.offer(new)
        await world.look()
        assert world.reason == ""
        world.box.answers[25] = Served(SMTP, None, "network", "nothing listens there", refused=True)
        assert await world.look() == Outcome(Result.WAITING, SHORTEST_LOOK)
        assert (world.reason, world.done()) == ("ServedDiffers", [])
        world.box.not_running = ("Postfix",)
        await world.look()
        assert world.reason == "NotRunning"
        world.box.answers, world.box.not_running = {}, ()
        await world.look()
        assert world.reason == ""

    @virtually
    async def test_all_ports_that_close_are_told_too(self):
        world = World(Mailbox.holding(new))
        world.offer(new)
        await world.look()
        world.box.in_use = None
        assert await world.look() == Outcome(Result.WAITING, SHORTEST_LOOK)
        assert (world.reason, world.done(), world.store.all_ready) == ("NothingListens", [], False)

    @virtually
    async def test_whose_last_change_was_not_confirmed_keeps_what_was_there_until_the_ports_are_open(self):
        world = World(Mailbox.holding(new, wanted=target(container=STARTING), kept=files_of("old"), litter=True, in_use=None))
        world.offer(new)
        assert await world.look() == Outcome(Result.WAITING, STARTING_PAUSE)
        assert (world.done(), set(world.box.kept)) == (["clear"], {CERT, PRIVATE})
        world.box.in_use = old.leaf
        await world.look()
        await world.look()
        assert (world.done(), world.box.kept, world.box.in_use) == (["check", "postfix reload"], {}, new.leaf)

    @virtually
    async def test_that_never_opens_a_port_is_not_ready_and_is_looked_at_from_time_to_time(self):
        world = World(Mailbox.holding(new, wanted=target(container=STARTING), in_use=None))
        world.offer(new)
        await world.look()
        await asyncio.sleep(60)
        pauses = [(await world.look()).again for _ in range(6)]
        assert pauses == [5, 10, 20, 40, 60, 60]
        assert world.reason == "NothingListens"
        assert "set certferry.probe=off" in world.status.condition.message
        world.box.in_use = new.leaf
        await world.look()
        assert world.reason == ""

    @virtually
    async def test_whose_services_are_not_all_up_is_not_ready_before_they_are(self):
        """On a busy machine Postfix comes up seconds after Dovecot; until the start is over that is no trouble."""
        world = World(Mailbox.holding(new, wanted=target(container=STARTING, probe=(IMAPS, SMTP)), listening=frozenset({993})))
        world.offer(new)
        world.box.not_running = ("Postfix",)
        assert await world.look() == Outcome(Result.WAITING, SHORTEST_LOOK)
        assert (world.reason, world.status.condition.message) == ("ReloadPending", "waiting for Postfix to start")
        await asyncio.sleep(60)
        await world.look()
        assert world.reason == "NotRunning"
        world.box.not_running, world.box.listening = (), frozenset({25, 993})
        await world.look()
        assert (world.reason, world.done()) == ("", [])

    @virtually
    async def test_without_a_shell_is_asked_less_often_since_each_look_is_a_connection(self):
        world = World(Mailbox.holding(new, wanted=target(container=STARTING), in_use=None, listening=None))
        world.offer(new)
        assert await world.look() == Outcome(Result.WAITING, SHORTEST_LOOK)


class TestAContainerThatDoesNotRun:
    @virtually
    async def test_gets_its_files_for_the_next_start(self):
        world = World(Mailbox(target=target(container=container(state=State.CREATED, started_at=None))))
        world.offer(new)
        assert (await world.look()).result is Result.CHANGED
        assert world.done() == ["apply", "check"]
        await world.look()
        assert world.status.condition.message.endswith("installed; the container is created")

    @virtually
    async def test_is_waited_for_where_its_files_need_it_running(self):
        world = World(Mailbox(target=target(container=container(state=State.EXITED))))
        world.offer(new)
        world.box.faults["apply"] = [TargetNotRunning("/tls is on a tmpfs")]
        assert await world.look() == Outcome(Result.WAITING, FAILED_PAUSE)
        assert (world.reason, world.status.condition.message) == ("NotInstalled", "/tls is on a tmpfs")

    @virtually
    async def test_is_waited_for_while_it_is_paused(self):
        world = renewal(wanted=target(container=container(state=State.PAUSED)))
        assert await world.look() == Outcome(Result.REFUSED)
        assert (world.done(), world.reason) == ([], "LeafDiffers")
        assert world.status.condition.message.endswith("the container is paused, waiting for unpause")


class TestNoWayLeadsToAPort:
    @virtually
    async def test_that_never_rolls_anything_back(self):
        world = renewal()
        world.box.faults["probe"] = [ProbeUnavailable("no way")] * 99
        assert await world.look() == Outcome(Result.CHANGED, 0.0)
        assert "rollback" not in world.done()
        assert content(world) == new.fullchain_pem

    @virtually
    async def test_but_is_told(self):
        world = World(Mailbox.holding(new))
        world.offer(new)
        world.box.faults["probe"] = [ProbeUnavailable("attach certferry to its network")]
        assert await world.look() == Outcome(Result.UNCHANGED)
        assert (world.reason, world.status.condition.message) == ("PortsNotAskable", "attach certferry to its network")

    @virtually
    async def test_after_the_reload_does_not_roll_back_either(self):
        world = renewal()
        world.box.faults["probe"] = [None, *[ProbeUnavailable("no way")] * 99]
        assert (await world.look()).result is Result.CHANGED
        assert content(world) == new.fullchain_pem


class TestNoCertificate:
    @virtually
    async def test_what_is_installed_stays(self):
        """Promise 7: a certificate that vanishes from a source is never removed from a container."""
        world = World(Mailbox.holding(old))
        world.offer()
        assert await world.look() == Outcome(Result.REFUSED)
        assert (world.done(), has(world, old), world.reason) == ([], True, "NoMatchingCertificate")

    @virtually
    async def test_where_a_source_was_never_read_that_is_the_reason(self):
        world = World(Mailbox.holding(old))
        world.store.sources["traefik"] = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "acme.json does not exist")
        await world.look()
        assert (world.reason, world.status.condition.message) == (
            "SourceUnavailable",
            "source traefik: acme.json does not exist",
        )

    @virtually
    async def test_where_a_source_was_never_read_what_could_be_used_instead_is_told_all_the_same(self):
        world = World(Mailbox.holding(old))
        world.store.sources["traefik"] = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "acme.json does not exist")
        world.store.unused = {"edge": "Caddy: found, not used: put the label certferry.discover=true on it to use it"}
        await world.look()
        plan = await world.reconciler.plan(KEY)
        assert isinstance(plan, tuple)
        assert plan[1].refused is not None
        for told in (world.status.condition.message, plan[1].refused.message):
            assert told.startswith("source traefik: acme.json does not exist; the container edge looks like a proxy: Caddy")
            assert told.endswith("put the label certferry.discover=true on it to use it")

    @virtually
    async def test_where_a_source_still_has_its_last_good_state_it_is_not(self):
        world = World(Mailbox.holding(old))
        world.offer()
        world.store.sources["traefik"] = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "gone")
        await world.look()
        assert world.reason == "NoMatchingCertificate"

    @virtually
    async def test_a_source_that_the_target_does_not_take_from_is_not_to_blame(self):
        world = World(Mailbox.holding(old, wanted=target(sources=("other",))))
        world.offer(source="other")
        world.store.sources["traefik"] = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "gone")
        await world.look()
        assert world.reason == "NoMatchingCertificate"

    @virtually
    async def test_an_unusable_entry_of_the_source_is_the_reason(self):
        world = World(Mailbox.holding(old))
        world.offer_snapshot(Snapshot("traefik", (), (Problem(f"le/{DOMAIN}", Reason.KEY_MISMATCH, "of another"),)))
        await world.look()
        assert world.reason == "KeyMismatch"


class TestAContainerThatIsNoTarget:
    @virtually
    async def test_is_forgotten(self):
        world = renewal()
        await world.look()
        world.box.target = None
        assert await world.look() == Outcome(Result.GONE)
        assert world.store.targets == {}

    @pytest.mark.parametrize("step", ["resolve", "observe", "apply", "check", "postfix reload"])
    def test_is_forgotten_when_it_vanishes_in_the_middle(self, step):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults[step] = [TargetGone("no such container")]
            assert await world.look() == Outcome(Result.GONE)
            assert world.store.targets == {}

        test()

    @virtually
    async def test_with_wrong_labels_is_told_all_that_is_wrong(self):
        world = World(Mailbox(target=InvalidTarget(container(), ("one is wrong", "two is wrong"))))
        assert await world.look() == Outcome(Result.REFUSED)
        assert (world.reason, world.status.condition.message) == ("InvalidLabels", "one is wrong; two is wrong")


class TestWhatCannotBeLookedAt:
    @pytest.mark.parametrize("step", ["resolve", "observe", "apply", "check", "postfix reload"])
    def test_an_engine_that_does_not_answer_is_the_callers_business(self, step):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults[step] = [EngineUnavailable("Docker does not answer")]
            with pytest.raises(EngineUnavailable):
                await world.look()
            assert "rollback" not in world.done()
            assert (world.reason, world.status.condition.message) == ("Unreachable", "Docker does not answer")
            for _ in range(3):
                await world.look()
            assert (has(world, new), world.reason) == (True, "")

        test()

    @pytest.mark.parametrize("error", [ExecTimeout("it hangs"), TargetNotRunning("cut off"), PermanentError("odd")])
    def test_is_not_ready_even_if_it_was_never_seen_before(self, error):
        @virtually
        async def test() -> None:
            world = renewal()
            world.box.faults["observe"] = [error]
            with pytest.raises(type(error)):
                await world.look()
            assert (world.reason, world.status.name) == ("Unreachable", "mail")
            assert not world.store.all_ready

        test()

    @virtually
    async def test_keeps_what_was_known_of_it(self):
        world = renewal()
        await world.look()
        await world.look()
        world.box.faults["observe"] = [ExecTimeout("it hangs")]
        with pytest.raises(ExecTimeout):
            await world.look()
        since = NOW + timedelta(seconds=TIMING.settle)
        assert (world.status.name, world.status.installed, world.status.last_success) == ("mail", (new.leaf,), since)


STATES = st.sampled_from(["nothing", "old", "new", "garbage", "key of another"])
PASSING = [EngineUnavailable("engine"), ExecTimeout("hangs"), TargetNotRunning("restarts")]
LASTING = [CheckFailed("check"), ReloadFailed("reload"), WriteRefused("write")]
STEPS: dict[str, list[Any]] = {
    "observe": [EngineUnavailable("engine"), ExecTimeout("hangs"), TargetNotRunning("cut off")],
    "apply": [*PASSING, WriteRefused("full")],
    "check": [*PASSING, CheckFailed("no")],
    "postfix reload": [*PASSING, ReloadFailed("no")],
    "rollback": [EngineUnavailable("engine"), RollbackFailed("full")],
    "clear": [EngineUnavailable("engine")],
}


def files_of(state: str) -> dict[PurePosixPath, InstalledFile | None]:
    held = {
        "old": (old.key_pem, old.fullchain_pem),
        "new": (new.key_pem, new.fullchain_pem),
        "garbage": (b"garbage", b"garbage"),
        "key of another": (newest.key_pem, old.fullchain_pem),
    }.get(state)
    if held is None:
        return {CERT: None, PRIVATE: None}
    return {path: InstalledFile(path, text, 0, 0, 0o600) for path, text in zip((PRIVATE, CERT), held, strict=True)}


@given(
    state=STATES,
    in_use=st.sampled_from([None, old.leaf, new.leaf]),
    kept=st.sampled_from(["", "old", "nothing"]),
    litter=st.booleans(),
    probed=st.booleans(),
    troubles=st.lists(st.sampled_from([(step, fault) for step, faults in STEPS.items() for fault in faults]), max_size=4),
)
def test_from_any_state_and_through_any_trouble_it_ends_well_and_then_rests(state, in_use, kept, litter, probed, troubles):
    """Promise 1: whatever happened, the next looks bring it about; once it is so, nothing more is done."""

    @virtually
    async def test() -> None:
        wanted = target(probe=(IMAPS,) if probed else ())
        before = files_of(kept) if kept else {}
        world = World(Mailbox(target=wanted, files=files_of(state), in_use=in_use, kept=before, litter=litter))
        world.offer(new)
        for step, fault in troubles:
            world.box.faults.setdefault(step, []).append(fault)
        dead = probed and in_use is None and state == "new" and not kept  # nobody starts what does not run
        for _ in range(150):
            with contextlib.suppress(TransientError):
                await world.look()
            at_its_end = world.store.targets and world.reason == ("NothingListens" if dead else "")
            if at_its_end and not world.box.faults.get("observe"):
                break
            await asyncio.sleep(300)
        pair = (content(world, PRIVATE), content(world))
        assert pair == (new.key_pem, new.fullchain_pem)
        if state != "new" or kept or (probed and in_use):
            assert world.box.in_use == new.leaf
        assert (world.box.kept, world.box.litter) == ({}, False)
        assert world.reason == ("NothingListens" if dead else "")
        world.done()
        for _ in range(3):
            assert (await world.look()).result is (Result.WAITING if dead else Result.UNCHANGED)
        assert world.done() == []

    test()


class TestFilesReplacedBySomebodyElse:
    """A container with the same volume was served first: the files are right, and nobody told these services."""

    def silent(self, **changes: Any) -> World:
        world = World(Mailbox.holding(old, wanted=target(probe=(), **changes)))
        world.offer(old)
        return world

    def replace_files(self, world: World) -> None:
        world.box.files |= Mailbox.holding(new).files
        world.offer(new)

    @virtually
    async def test_are_loaded_where_no_port_tells_what_is_in_use(self):
        world = self.silent()
        await world.look()
        self.replace_files(world)
        assert (await world.look()).result is Result.CHANGED
        assert world.done() == ["check", "postfix reload"]
        assert (await world.look()).result is Result.UNCHANGED
        assert (world.done(), world.box.in_use) == ([], new.leaf)

    @virtually
    async def test_were_read_anyway_by_services_that_were_started_since(self):
        world = self.silent()
        await world.look()
        self.replace_files(world)
        world.box.target = target(probe=(), container=container(started_at=NOW - timedelta(hours=1)))
        await world.look()
        assert world.done() == []

    @virtually
    async def test_need_no_memory_where_a_port_tells(self):
        world = World(Mailbox.holding(old))
        world.offer(old)
        await world.look()
        self.replace_files(world)
        world.box.in_use = new.leaf
        assert (await world.look()).result is Result.UNCHANGED
        assert world.done() == []

    @virtually
    async def test_are_loaded_once_the_container_runs_again_after_a_pause(self):
        world = self.silent()
        await world.look()
        self.replace_files(world)
        running = world.box.target
        world.box.target = target(probe=(), container=container(state=State.PAUSED))
        await world.look()
        assert world.done() == []
        world.box.target = running
        await world.look()
        assert world.done() == ["check", "postfix reload"]


class TestPlan:
    @virtually
    async def test_tells_what_would_be_done_and_does_nothing(self):
        world = renewal()
        plan = await world.reconciler.plan(KEY)
        assert isinstance(plan, tuple)
        facts, decision = plan
        assert (facts.target.name, set(decision.write), decision.reload) == ("mail", {CERT, PRIVATE}, True)
        assert (world.done(), world.store.targets) == ([], {})

    @virtually
    async def test_says_where_the_mounts_would_refuse_the_write(self):
        world = renewal()
        world.box.faults["mounts"] = [WriteRefused("/tls is read-only")]
        plan = await world.reconciler.plan(KEY)
        assert isinstance(plan, tuple)
        assert str(plan[1].refused) == "WriteRefused: /tls is read-only"

    @pytest.mark.parametrize("found", [None, InvalidTarget(container(), ("wrong",))])
    def test_of_what_is_no_target_is_what_was_found(self, found):
        @virtually
        async def test() -> None:
            assert await World(Mailbox(target=found)).reconciler.plan(KEY) == found

        test()


def test_the_reconciler_needs_nothing_but_the_ports() -> None:
    box = Mailbox()
    assert Reconciler(targets=box, sink=box, probe=box, store=Store(), timing=TIMING, now=lambda: NOW, clock=lambda: 0.0)


class TestFoundByAnAdversary:
    @virtually
    async def test_a_refused_pair_is_not_brought_into_use_after_a_crash(self):
        world = World(Mailbox.holding(new, wanted=target(), in_use=old.leaf, faults={"check": [CheckFailed("no")]}))
        world.offer(new)
        assert (await world.look()).result is Result.FAILED
        assert (world.done(), world.reason) == (["check"], "CheckFailed")

    @virtually
    async def test_a_port_that_takes_the_old_leaf_up_again_and_again_is_not_reloaded_for_ever(self):
        world = World(Mailbox.holding(new, wanted=target(), in_use=old.leaf))
        world.offer(new)
        for _ in range(20):
            await world.look()
            world.box.in_use = old.leaf
            await asyncio.sleep(1)
        assert (world.done().count("postfix reload"), world.reason) == (1, "VerifyFailed")

    @virtually
    async def test_another_chain_for_a_leaf_that_failed_is_tried_at_once(self):
        wrong = replace(new, chain_pem=new.chain_pem * 2)
        world = World(Mailbox.holding(old, wanted=target(), faults={"check": [CheckFailed("three certificates")]}))
        world.offer(wrong)
        assert (await world.look()).result is Result.FAILED
        world.offer(new)
        assert (await world.look()).result is Result.CHANGED
        assert has(world, new)

    @virtually
    async def test_the_next_look_comes_when_the_certificate_ends(self):
        ending = replace(new, leaf=replace(new.leaf, not_after=NOW + timedelta(seconds=90)))
        world = World(Mailbox.holding(ending))
        world.offer(ending)
        again = (await world.look()).again
        assert again is not None
        assert 80 < again < 100


class TestASwitchOfSource:
    """Two sources with certificates for the name: `traefik` delivered, `other` has a newer one."""

    def world(self) -> World:
        world = World(Mailbox.holding(old), store=Store(origins=Origins(clock)), timing=replace(TIMING, resync=7200.0))
        world.offer(old)
        world.offer(new, source="other")
        return world

    @virtually
    async def test_comes_ten_minutes_after_the_first_was_removed_and_not_before(self):
        world = self.world()
        assert ((await world.look()).again, world.reason) == (None, "")
        world.store.origins.is_gone("traefik")
        outcome = await world.look()
        assert (outcome.again, world.done()) == (GONE_AFTER + 1, [])
        await asyncio.sleep(GONE_AFTER - 1)
        assert (await world.look()).again == pytest.approx(2.0)
        assert has(world, old)
        await asyncio.sleep(2)
        assert (await world.look()).result is Result.CHANGED
        assert has(world, new)

    @virtually
    async def test_is_not_made_for_a_source_that_cannot_be_reached(self):
        world = self.world()
        world.store.sources["traefik"] = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "away")
        world.store.origins.is_not_gone("traefik")
        await asyncio.sleep(2 * GONE_AFTER)
        assert (await world.look()).result is Result.UNCHANGED
        assert has(world, old)

    @virtually
    async def test_is_none_where_the_first_renews_what_it_delivered_in_this_process(self):
        world = self.world()
        await world.look()
        world.store.put(snapshot(between))
        assert (await world.look()).result is Result.CHANGED
        assert has(world, between)
