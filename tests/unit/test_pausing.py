"""Looking without touching: what is said of a paused target, and that nothing is done to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from controller.domain.container import Mount, State
from controller.domain.errors import WriteRefused
from controller.domain.finding import Reason
from controller.domain.observed import Served
from controller.pausing import intention, judge
from controller.policies import Decision, Facts, decide
from controller.reconciler import Outcome, Result
from tests.unit.made import (
    CERT,
    CLOSED,
    IMAPS,
    NEW,
    NOW,
    OLD,
    PLACE,
    SMTP,
    authority,
    certificate,
    container,
    facts,
    installed,
    nothing,
    serves,
    target,
)
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import virtually

LABEL = "certferry.pause=true"
old, new = certificate(**OLD), certificate(**NEW)
ended = certificate(days=1, hours_old=48)
early = certificate(hours_old=-2)
foreign = certificate("other.example.com")
PAUSED = target(paused_by=LABEL, probe=(SMTP, IMAPS))
STARTING = container(started_at=NOW - timedelta(seconds=5))


def judged(situation: Facts) -> tuple[Reason | None, str]:
    problem, message = judge(situation, decide(situation))
    return problem.reason if problem else None, message


def paused(wanted, files, *served: Served, **changes) -> Facts:
    return facts(wanted, files, *served, on=replace(PAUSED, **changes))


class TestTheChain:
    def test_that_is_not_sent_is_a_reason(self):
        bare = serves(old, chain_pem=old.leaf_pem)
        reason, message = judged(paused(new, installed(PLACE, old), serves(old, SMTP), bare))
        assert reason is Reason.SERVED_DIFFERS
        assert message.startswith(f"port 993/imaps hands out {old.leaf.short} without the intermediate certferry test CA")

    def test_may_be_the_installed_or_the_chosen_one(self):
        longer = replace(new, chain_pem=new.chain_pem + authority().root_pem)
        for held in (new, longer):
            assert judged(paused(longer, installed(PLACE, new), serves(held, SMTP), serves(held)))[0] is None

    def test_of_one_key_type_that_cannot_be_told_is_none(self):
        unseen = serves(None, unknown=True, error="speaks no TLS 1.2")
        assert judged(paused(new, installed(PLACE, new), serves(new), unseen))[0] is None
        assert judged(paused(new, installed(PLACE, new), unseen))[0] is Reason.PORTS_NOT_ASKABLE


class TestReady:
    def test_while_clients_accept_what_is_installed_and_served(self):
        reason, message = judged(paused(new, installed(PLACE, old), serves(old, SMTP), serves(old)))
        assert reason is None
        assert message.startswith(
            f"{old.leaf.short} until {old.leaf.not_after:%Y-%m-%d}, served on 25/smtp, 993/imaps; paused ({LABEL}), so nothing"
            " is touched; certferry would write /tls/key.pem, /tls/cert.pem and reload (LeafDiffers: "
        )

    def test_while_the_chosen_one_is_served_from_elsewhere(self):
        """Such as from files that certferry does not know of."""
        assert judged(paused(new, installed(PLACE, old), serves(new, SMTP), serves(new)))[0] is None

    def test_where_nothing_better_is_known(self):
        reason, message = judged(paused((), installed(PLACE, old), serves(old)))
        assert (reason, "certferry would do nothing: NoMatchingCertificate" in message) == (None, True)

    def test_where_there_is_nothing_to_do(self):
        reason, message = judged(paused(new, installed(PLACE, new), serves(new)))
        assert (reason, message.endswith("; certferry would do nothing")) == (None, True)

    @pytest.mark.parametrize("excuse", [CLOSED, {"plain": True}])
    def test_whatever_ports_without_tls_there_are(self, excuse):
        assert judged(paused(new, installed(PLACE, new), serves(new), serves(None, SMTP, **excuse)))[0] is None

    @pytest.mark.parametrize("changes", [{"probe": ()}, {"container": container(state=State.EXITED)}])
    def test_by_its_files_where_no_port_can_be_asked(self, changes):
        reason, message = judged(paused(new, installed(PLACE, old), **changes))
        assert (reason, message.startswith(f"{old.leaf.short} until")) == (None, True)


class TestNotReady:
    @pytest.mark.parametrize(
        ("held", "expected"), [(ended, Reason.EXPIRED), (early, Reason.NOT_YET_VALID), (foreign, Reason.NAME_MISMATCH)]
    )
    def test_where_a_client_would_refuse_what_is_served_or_installed(self, held, expected):
        reason, message = judged(paused(new, installed(PLACE, held), serves(held)))
        assert (reason, message.startswith("port 993/imaps hands out")) == (expected, True)
        assert "; certferry would write" in message
        assert judged(paused(new, installed(PLACE, held), probe=()))[0] is expected

    def test_where_what_is_served_is_neither_installed_nor_chosen(self):
        third = certificate(hours_old=72)
        reason, message = judged(paused(new, installed(PLACE, old), serves(third)))
        assert (reason, "which is neither installed nor chosen" in message) == (Reason.SERVED_DIFFERS, True)

    def test_where_a_port_does_not_answer(self):
        reason, message = judged(paused(new, installed(PLACE, new), serves(new), serves(None, SMTP, error="no greeting")))
        assert (reason, message.startswith("port 25/smtp: no greeting")) == (Reason.SERVED_DIFFERS, True)

    def test_where_a_listed_port_is_closed(self):
        closed = serves(None, SMTP, **CLOSED)
        assert judged(paused(new, installed(PLACE, new), serves(new), closed, probe_required=True))[0] is Reason.SERVED_DIFFERS

    def test_where_a_port_cannot_be_asked(self):
        reason, message = judged(paused(new, installed(PLACE, new), serves(None, error="no openssl", unknown=True)))
        assert (reason, message.startswith("no openssl")) == (Reason.PORTS_NOT_ASKABLE, True)

    def test_where_nothing_listens(self):
        reason, message = judged(paused(new, installed(PLACE, new), serves(None, **CLOSED)))
        assert (reason, message.startswith("no port hands out a certificate")) == (Reason.NOTHING_LISTENS, True)

    def test_while_it_starts(self):
        situation = paused(new, installed(PLACE, new), serves(None, **CLOSED), container=STARTING)
        assert judged(situation)[0] is Reason.RELOAD_PENDING

    def test_where_there_is_nothing_at_its_paths(self):
        assert judged(paused(new, nothing(PLACE), probe=()))[0] is Reason.NOT_INSTALLED


def test_a_reload_alone_is_said_without_files():
    assert intention(Decision(reload=True)) == "certferry would reload ()"


@virtually
async def test_what_another_is_at_is_told_and_looked_at_once_more():
    read_only = container(mounts=(Mount("bind", "/srv", CERT.parent, writable=False),))
    world = World(Mailbox.holding(old, wanted=replace(PAUSED, container=read_only)))
    world.offer(new)
    assert await world.look() == Outcome(Result.PAUSED, 60.0)
    message = world.status.condition.message
    assert "certferry would wait (ReloadPending: " in message
    assert message.endswith("waiting for whoever keeps these files, which are read-only here)")


class TestReconciling:
    def world(self, **changes) -> World:
        """A renewal is due, and what an interrupted run left is there: litter, and a previous pair to be put back."""
        wanted = target(paused_by=LABEL, **changes)
        world = World(Mailbox.holding(old, wanted=wanted, litter=True, kept=installed(PLACE, certificate(hours_old=72))))
        world.offer(new)
        return world

    @virtually
    async def test_nothing_is_done_however_often_it_is_looked_at(self):
        world = self.world()
        for _ in range(3):
            assert await world.look() == Outcome(Result.PAUSED)
        assert (world.done(), world.reason, world.status.installed) == ([], "", (old.leaf,))
        assert "certferry would write" in world.status.condition.message

    @virtually
    async def test_it_is_told_where_the_mounts_would_refuse_the_write(self):
        world = self.world()
        world.box.faults["mounts"] = [WriteRefused("/tls is read-only")]
        await world.look()
        assert "certferry would do nothing: WriteRefused: /tls is read-only" in world.status.condition.message

    @virtually
    async def test_it_is_told_once_until_something_else_would_be_done(self):
        world = self.world()
        with capture_logs() as logs:
            await world.look()
            await world.look()
            world.offer(certificate(hours_old=0.5))
            await world.look()
        assert [line["event"] for line in logs if line["event"] == "target.watched"] == ["target.watched"] * 2

    @virtually
    async def test_a_pair_that_ends_makes_it_not_ready_although_nothing_is_done(self):
        world = self.world()
        world.box = replace(world.box)
        world.box.files = installed(PLACE, ended)
        world.box.in_use = ended.leaf
        again = World(world.box)
        again.offer(new)
        assert (await again.look()).result is Result.PAUSED
        assert (again.done(), again.reason) == ([], "Expired")

    @virtually
    async def test_it_is_looked_at_again_while_it_starts(self):
        world = self.world(container=STARTING)
        outcome = await world.look()
        assert outcome.again is not None
        assert outcome.again <= 5.0

    @virtually
    async def test_without_the_label_it_is_done(self):
        world = self.world()
        await world.look()
        world.box.target = target()
        assert (await world.look()).result is Result.CHANGED
        assert world.box.in_use == new.leaf
