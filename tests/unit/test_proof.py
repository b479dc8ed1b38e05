"""Asking the ports until they hand out what they should, or time is up; in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from controller.domain.certificate import KeyType
from controller.domain.errors import EngineUnavailable, ProbeUnavailable
from controller.domain.observed import Ask, Expected, Served
from controller.domain.target import ProbePort, Target
from controller.proof import Prover, Question, Verified, questions
from tests.unit.made import CLOSED, IMAPS, NEW, OLD, SMTP, certificate, serves, target
from tests.unit.virtual_time import clock, virtually

old, new, rsa = certificate(**OLD), certificate(**NEW), certificate(kind="rsa")
OLD_SERVED, NEW_SERVED = serves(certificate(**OLD)), serves(certificate(**NEW))
RIGHT = (Expected(new.leaf, new.chain_pem),)
BOTH = (*RIGHT, Expected(rsa.leaf, rsa.chain_pem))
SILENT = Served(IMAPS, None, "network", "no greeting", silent=True)


class Ports:
    """A probe that answers by the second: at each moment the last answer whose time has come."""

    def __init__(self, answers: dict[int, dict[float, Served | Exception]]) -> None:
        self.answers = answers
        self.asked: list[tuple[int, KeyType | None, float]] = []

    async def served(self, _target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        self.asked.append((port.port, key_type, clock()))
        by_time = self.answers[port.port]
        answer = by_time[max(moment for moment in by_time if moment <= clock() + 1e-3)]
        if isinstance(answer, Exception):
            raise answer
        return answer


def prover(answers: dict[int, dict[float, Served | Exception]]) -> tuple[Prover, Ports]:
    ports = Ports(answers)
    return Prover(ports, clock), ports


def asking(*ports: ProbePort, **options: object) -> list[Question]:
    return [Question(port, None, RIGHT, **options) for port in ports]  # type: ignore[arg-type]


class TestQuestions:
    def test_are_one_a_port_for_whatever_it_prefers(self):
        assert questions([IMAPS, SMTP], [None], RIGHT) == [Question(IMAPS, None, RIGHT), Question(SMTP, None, RIGHT)]

    def test_are_one_for_each_key_type_where_two_are_installed_since_a_handshake_shows_one(self):
        assert questions([IMAPS], [KeyType.ECDSA, KeyType.RSA], BOTH) == [
            Question(IMAPS, KeyType.ECDSA, RIGHT),
            Question(IMAPS, KeyType.RSA, BOTH[1:]),
        ]

    def test_know_the_ports_that_may_stay_silent(self):
        assert [q.was_dead for q in questions([IMAPS, SMTP], [None], RIGHT, dead=[SMTP])] == [False, True]


class TestAProof:
    @virtually
    async def test_is_what_all_ports_hand_out(self):
        proven, _ = prover({993: {0: NEW_SERVED}, 25: {0: serves(certificate(**NEW), SMTP)}})
        assert (await proven.verify(target(), asking(IMAPS, SMTP), seconds=10)).served == (
            NEW_SERVED,
            serves(certificate(**NEW), SMTP),
        )
        assert clock() < 0.1

    @virtually
    async def test_of_nothing_is_nothing(self):
        proven, _ = prover({})
        assert (await proven.verify(target(), [], seconds=10)).served == ()

    @pytest.mark.parametrize(
        "wrong",
        [OLD_SERVED, serves(None, **CLOSED), serves(None, plain=True), SILENT],
        ids=["the old one", "closed", "without TLS", "silent"],
    )
    def test_waits_for_a_port_to_come_round(self, wrong):
        @virtually
        async def test() -> None:
            proven, _ = prover({993: {0: wrong, 7: NEW_SERVED}})
            assert (await proven.verify(target(), asking(IMAPS), seconds=10)).served == (NEW_SERVED,)
            assert 7 <= clock() < 8

        test()

    @virtually
    async def test_asks_often_at_first_and_then_once_a_second(self):
        proven, ports = prover({993: {0: OLD_SERVED}})
        assert (await proven.verify(target(), asking(IMAPS), seconds=10)).wrong == (OLD_SERVED,)
        moments = [moment for _, _, moment in ports.asked]
        assert [round(moment, 2) for moment in moments[:6]] == [0, 0.05, 0.15, 0.35, 0.75, 1.55]
        assert (moments[-1] > 9, len(moments)) == (True, 14)

    @virtually
    async def test_asks_each_port_only_until_it_is_right(self):
        proven, ports = prover({993: {0: NEW_SERVED}, 25: {0: OLD_SERVED, 5: NEW_SERVED}})
        await proven.verify(target(), asking(IMAPS, SMTP), seconds=10)
        assert [port for port, _, _ in ports.asked].count(993) == 1

    @virtually
    async def test_asks_for_the_key_type_in_question(self):
        proven, ports = prover({993: {0: serves(certificate(kind="rsa"))}})
        await proven.verify(target(), [Question(IMAPS, KeyType.RSA, BOTH[1:])], seconds=1)
        assert [kind for _, kind, _ in ports.asked] == [KeyType.RSA]


class TestAFailedProof:
    @pytest.mark.parametrize(
        ("served", "problem"),
        [
            (OLD_SERVED, f"port 993/imaps hands out {old.leaf.short}, not {new.leaf.short}"),
            (serves(None, **CLOSED), "port 993/imaps: nothing listens there"),
            (Served(IMAPS, None, "network", "offers no STARTTLS", plain=True), "port 993/imaps: offers no STARTTLS"),
            (SILENT, "port 993/imaps: no greeting"),
        ],
        ids=["another leaf", "closed", "without TLS", "silent"],
    )
    def test_names_the_port_and_what_is_wrong(self, served, problem):
        @virtually
        async def test() -> None:
            proven, _ = prover({993: {0: served}})
            verified = await proven.verify(target(), asking(IMAPS), seconds=10)
            assert (verified.problems, verified.wrong) == (problem, (served,))

        test()

    @virtually
    async def test_names_all_ports_that_are_wrong_and_each_problem_once(self):
        proven, _ = prover({993: {0: OLD_SERVED}, 25: {0: serves(None, SMTP, **CLOSED)}})
        verified = await proven.verify(target(), [*asking(IMAPS, SMTP), *asking(IMAPS)], seconds=1)
        wrong = f"port 993/imaps hands out {old.leaf.short}, not {new.leaf.short}"
        assert verified.problems == f"{wrong}; port 25/smtp: nothing listens there"

    @virtually
    async def test_without_time_asks_once(self):
        proven, ports = prover({993: {0: OLD_SERVED}})
        assert (await proven.verify(target(), asking(IMAPS), seconds=0)).wrong
        assert len(ports.asked) == 1

    @pytest.mark.parametrize(
        ("one", "other", "quiet"),
        [
            (SILENT, NEW_SERVED, True),
            (SILENT, serves(None, **CLOSED), True),
            (SILENT, SILENT, True),
            (SILENT, OLD_SERVED, False),
            (NEW_SERVED, NEW_SERVED, False),
        ],
        ids=["silent", "silent and closed", "all are silent", "another is wrong", "nothing is wrong"],
    )
    def test_knows_whether_there_is_nothing_but_silence(self, one, other, quiet):
        @virtually
        async def test() -> None:
            proven, _ = prover({993: {0: one}, 25: {0: other}})
            assert (await proven.verify(target(), asking(IMAPS, SMTP), seconds=1)).quiet is quiet

        test()

    @virtually
    async def test_a_port_that_was_dead_does_not_count_while_it_is(self):
        proven, _ = prover({993: {0: SILENT}, 25: {0: NEW_SERVED}})
        asked = [*asking(IMAPS, was_dead=True), *asking(SMTP)]
        assert (await proven.verify(target(), asked, seconds=1)).served == (SILENT, NEW_SERVED)

    @virtually
    async def test_a_port_that_was_dead_must_hand_out_nothing_wrong(self):
        proven, _ = prover({993: {0: OLD_SERVED}})
        assert (await proven.verify(target(), asking(IMAPS, was_dead=True), seconds=1)).wrong == (OLD_SERVED,)


class TestAChainThatIsMissing:
    """It says nothing against the leaf."""

    BARE = serves(new, chain_pem=new.leaf_pem)

    @virtually
    async def test_is_told_and_is_not_wrong(self):
        proven, _ = prover({993: {0: self.BARE}})
        verified = await proven.verify(target(), asking(IMAPS), seconds=5)
        assert (verified.wrong, verified.incomplete, verified.quiet) == ((), True, False)
        assert verified.problems.startswith(f"port 993/imaps hands out {new.leaf.short} without the intermediate ")

    @virtually
    async def test_is_waited_for(self):
        proven, _ = prover({993: {0: self.BARE, 3: NEW_SERVED}})
        verified = await proven.verify(target(), asking(IMAPS), seconds=5)
        assert (verified.served, verified.incomplete, 3 <= clock() < 4) == ((NEW_SERVED,), False, True)

    @virtually
    async def test_beside_something_wrong_is_told_with_it(self):
        proven, _ = prover({993: {0: self.BARE}, 25: {0: OLD_SERVED}})
        verified = await proven.verify(target(), asking(IMAPS, SMTP), seconds=1)
        assert (verified.wrong, verified.incomplete) == ((OLD_SERVED,), False)
        assert verified.problems.count("; ") == 1


class TestAskingAgain:
    @virtually
    async def test_asks_what_was_wrong_at_the_moments_given_until_it_is_right(self):
        proven, ports = prover({993: {0: SILENT, 30: NEW_SERVED}, 25: {0: NEW_SERVED}})
        before = await proven.verify(target(), asking(IMAPS, SMTP), seconds=0)
        ports.asked.clear()
        verified = await proven.verify_again(target(), before, [20, 40, 65])
        assert (verified.served, verified.wrong) == ((NEW_SERVED, NEW_SERVED), ())
        assert [(port, round(moment)) for port, _, moment in ports.asked] == [(993, 20), (993, 40)]

    @virtually
    async def test_a_moment_that_has_passed_is_now(self):
        proven, ports = prover({993: {0: SILENT}})
        before = await proven.verify(target(), asking(IMAPS), seconds=0)
        assert (await proven.verify_again(target(), before, [-5, 1])).wrong == (SILENT,)
        assert [round(moment) for _, _, moment in ports.asked] == [0, 0, 1]

    def test_of_nothing_nothing_is_wrong(self):
        assert (Verified().wrong, Verified().quiet, Verified().problems) == ((), False, "")


class TestNoWayToAPort:
    """Nothing is known about it: no proof, and no failure either."""

    @virtually
    async def test_is_an_answer(self):
        proven, _ = prover({993: {0: ProbeUnavailable("attach certferry to its network")}})
        answer = Served(IMAPS, None, "none", "attach certferry to its network", unknown=True)
        assert await proven.ask(target(), [Ask(IMAPS)]) == (answer,)
        assert (await proven.verify(target(), asking(IMAPS), seconds=5)).served == (answer,)
        assert clock() < 0.1

    @virtually
    async def test_an_engine_that_does_not_answer_is_not_one(self):
        proven, _ = prover({993: {0: EngineUnavailable("gone")}})
        with pytest.raises(EngineUnavailable):
            await proven.ask(target(), [Ask(IMAPS)])


class TestLooking:
    @virtually
    async def test_asks_all_ports_at_once(self):
        async def slow(_target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
            await asyncio.sleep(3)
            return serves(certificate(**NEW), port)

        proven, ports = prover({})
        ports.served = slow  # type: ignore[method-assign]
        assert [served.port for served in await proven.ask(target(), [Ask(IMAPS), Ask(SMTP)])] == [IMAPS, SMTP]
        assert clock() == pytest.approx(3, abs=0.1)

    @pytest.mark.parametrize(("seconds", "silent"), [(1.0, True), (5.0, False), (None, False)])
    def test_takes_no_longer_than_it_may(self, seconds, silent):
        async def slow(*_args: object, **_options: object) -> Served:
            await asyncio.sleep(3)
            return NEW_SERVED

        @virtually
        async def test() -> None:
            proven, ports = prover({})
            ports.served = slow  # type: ignore[method-assign]
            (answer,) = await proven.ask(target(), [Ask(IMAPS)], seconds=seconds)
            assert (answer.silent, answer.leaf is None) == (silent, silent)
            if silent:
                assert answer.error == "no answer within 1 s"

        test()
