"""How long a container's own change detector is left to itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.domain.detector import Detector
from controller.domain.observed import Served
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import Reload, Target
from controller.noticing import seconds_to_wait
from controller.selection import select
from tests.unit.made import (
    CERT,
    CLOSED,
    NEW,
    NOW,
    OLD,
    PLACE,
    PRIVATE,
    RELOAD,
    SMTP,
    certificate,
    facts,
    installed,
    serves,
    target,
)

old, new = certificate(**OLD), certificate(**NEW)
BOTH = frozenset({CERT, PRIVATE})
STARTS = Detector(20.0, BOTH)
SELF = Reload("self", patience=7.0)


def noticing(detector: Detector | None = STARTS, **changes: Any) -> Target:
    return target(reload=(SELF,), internal_reload=(RELOAD,), detector=detector, **changes)


def wait(*served: Served, on: Target | None = None, written: bool = True) -> float:
    there = facts(new, installed(PLACE, old), *(served or (serves(old),)), on=on or noticing())
    return seconds_to_wait(there, BOTH if written else ())


class TestByTheDetector:
    def test_one_that_runs_and_looks_at_what_was_written_is_awaited(self):
        assert wait() == 20.0

    def test_one_that_does_not_run_is_not(self):
        assert wait(on=noticing(Detector())) == 0.0

    def test_one_that_looks_elsewhere_is_not(self):
        assert wait(on=noticing(Detector(20.0, frozenset({PRIVATE.with_name("other")})))) == 0.0

    def test_what_was_seen_before_the_write_does_not_matter(self):
        assert wait(on=noticing(Detector(20.0, BOTH, BOTH))) == 20.0

    @pytest.mark.parametrize(("seen", "seconds"), [(frozenset[Any](), 20.0), (frozenset({CERT}), 20.0), (BOTH, 0.0)])
    def test_without_a_write_one_that_took_note_of_everything_will_not_act(self, seen, seconds):
        assert wait(on=noticing(Detector(20.0, BOTH, seen)), written=False) == seconds

    def test_where_it_could_not_be_asked_the_profile_knows(self):
        assert wait(on=noticing(None)) == 7.0

    def test_where_nothing_else_could_be_done_there_is_no_hurry(self):
        assert wait(serves(certificate("other.example.com")), on=replace(noticing(Detector()), internal_reload=())) == 7.0

    def test_where_there_is_none_there_is_nothing_to_wait_for(self):
        assert wait(on=replace(noticing(None), reload=(RELOAD,))) == 0.0


class TestWhatAnotherWrote:
    """File after file, so that services met it in its middle."""

    SOON, SELDOM = replace(STARTS, poll=2.0), replace(STARTS, poll=6.0)
    ACTED = replace(STARTS, seen=BOTH, acted=True)
    OTHER = certificate("other.example.com")

    def test_a_detector_that_is_about_to_look_puts_it_right(self):
        assert wait(serves(self.OTHER), on=noticing(self.SOON), written=False) == 10.0
        assert wait(serves(None), on=noticing(replace(self.SOON, patience=8.0)), written=False) == 8.0

    def test_one_that_has_seen_it_all_does_not(self):
        assert wait(serves(self.OTHER), on=noticing(replace(self.SOON, seen=BOTH)), written=False) == 0.0

    def test_one_that_looks_seldom_comes_too_late(self):
        assert wait(serves(self.OTHER), on=noticing(self.SELDOM), written=False) == 0.0

    def test_what_certferry_wrote_was_whole(self):
        assert wait(serves(self.OTHER), on=noticing(self.SOON)) == 0.0

    def test_where_the_detector_could_not_be_asked_nobody_knows_how_often_it_looks(self):
        assert wait(serves(self.OTHER), on=noticing(None), written=False) == 0.0

    @pytest.mark.parametrize("served", [serves(old), serves(certificate("other.example.com"))])
    def test_a_detector_that_has_just_reloaded_has_done_it(self, served):
        assert wait(served, on=noticing(self.ACTED), written=False) == 3.0

    @pytest.mark.parametrize("changes", [{"acted": False}, {"patience": 0.0}, {"watched": frozenset(), "seen": frozenset()}])
    def test_one_that_did_so_long_ago_or_looks_elsewhere_has_not(self, changes):
        assert wait(on=noticing(replace(self.ACTED, **changes)), written=False) == 0.0

    def test_after_a_write_it_has_to_come_again(self):
        assert wait(on=noticing(self.ACTED)) == 20.0


class TestByWhatIsServed:
    @pytest.mark.parametrize(
        "held",
        [
            certificate("other.example.com"),
            certificate(days=1.0, hours_old=25),
            certificate(days=90, hours_old=24 * 86),
            certificate(days=6, hours_old=24 * 5.75),
            certificate(days=90, hours_old=-1),
        ],
        ids=["another name", "ended", "the last days of 90", "the last hours of six days", "not begun"],
    )
    def test_what_clients_cannot_live_with_is_replaced_at_once(self, held):
        assert wait(serves(held)) == 0.0

    @pytest.mark.parametrize("held", [certificate(days=90, hours_old=24 * 85), certificate(days=6, hours_old=24 * 5.5)])
    def test_what_lasts_for_a_twentieth_of_its_life_or_longer_is_no_reason_to_hurry(self, held):
        assert wait(serves(held)) == 20.0

    def test_so_is_a_stand_in_that_signed_itself(self):
        leaf = replace(old.leaf, issuer=old.leaf.subject)
        assert wait(replace(serves(old), leaf=leaf)) == 0.0

    def test_so_is_one_whose_intermediate_is_not_sent(self):
        assert wait(serves(old, chain_pem=old.leaf_pem)) == 0.0
        assert wait(serves(old, chain_pem=old.fullchain_pem * 2)) == 20.0

    def test_so_is_one_that_a_source_made_for_the_time_being(self):
        there = facts(new, installed(PLACE, old), serves(old), on=noticing())
        made = Snapshot("self-signed", (Entry("mail", old, stand_in=True), Entry("mail", new)))
        assert seconds_to_wait(replace(there, selection=select(there.target, {"self-signed": made}, NOW)), BOTH) == 0.0

    def test_one_bad_port_is_enough(self):
        assert wait(serves(old), serves(certificate("other.example.com"), SMTP)) == 0.0

    @pytest.mark.parametrize("kind", [CLOSED, {"plain": True}, {"silent": True}, {"unknown": True}])
    def test_a_port_that_hands_out_nothing_says_nothing(self, kind):
        assert wait(serves(old), serves(None, SMTP, **kind)) == 20.0

    def test_one_that_answers_with_something_else_than_a_certificate_does(self):
        assert wait(serves(None)) == 0.0

    def test_the_time_is_now(self):
        there = facts(new, installed(PLACE, old), serves(old), on=noticing())
        assert seconds_to_wait(replace(there, now=NOW.replace(year=NOW.year + 1)), BOTH) == 0.0
