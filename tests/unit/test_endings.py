"""What is said of installed certificates that were not renewed, and who should have renewed them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller import policies
from controller.domain.certificate import Certificate
from controller.domain.finding import Reason
from controller.domain.origin import Known, Renewer
from controller.domain.snapshot import Entry, Problem, Snapshot, SourceStatus
from controller.domain.target import Place, Slot
from controller.endings import endings, next_word
from controller.expiry import FIFTH, TENTH
from controller.memory import Memory
from controller.policies import Facts
from controller.remarks import remarks
from controller.renewers import find_renewers
from controller.selection import select
from controller.store import Store
from controller.views import describe_plan, plans
from sources.traefik_file import SCHEDULE
from tests.unit.made import ALT_CERT, ALT_PRIVATE, DOMAIN, NOW, PLACE, certificate, facts, installed, nothing, snapshot, target
from tests.unit.test_views import shown

LATE = certificate(days=90, hours_old=24 * 75)
"""It has 15 days left."""
NEWER = certificate(days=90)
END = f"{LATE.leaf.short} for {DOMAIN} expires in 15 days ({LATE.leaf.not_after:%Y-%m-%d %H:%M} UTC)"


def with_(*snapshots: Snapshot, held: Certificate = LATE, store: Store | None = None, **changes: Any) -> Facts:
    """A target in which one is installed, and what these sources hold."""
    there = facts((), installed(PLACE, held, mode=0o600), on=changes.pop("on", None))
    store = store or Store()
    store.snapshots |= {snapshot.source: snapshot for snapshot in snapshots}
    selection = select(there.target, store.snapshots_in_order, there.at)
    there = replace(there, selection=selection, **changes)
    return replace(there, renewers=find_renewers(there, store))


def said(there: Facts) -> list[str]:
    return [ending.message for ending in endings(there)]


class TestWhoShouldHaveRenewedIt:
    def sources(self, there: Facts) -> tuple[str, ...]:
        return there.renewers[LATE.fingerprint].sources

    def test_whoever_holds_it(self):
        held = [snapshot(LATE, source="a"), snapshot(LATE, source="b"), snapshot(source="c")]
        assert self.sources(with_(*held)) == ("a", "b")
        why = "and a and b should have renewed it by now: the log of the program behind that source says why it did not"
        assert said(with_(*held)) == [f"{END}, {why}"]

    def test_else_whoever_held_it(self):
        known = Known(held={LATE.fingerprint: frozenset({"b"})})
        alike = certificate(days=90, hours_old=24 * 76)
        assert self.sources(with_(snapshot(alike, source="a"), known=known)) == ("b",)

    def test_else_whoever_has_one_for_the_same_names_by_the_same_organisation(self):
        alike = certificate(days=90, hours_old=24 * 76)
        other = replace(alike, leaf=replace(alike.leaf, organisation="another", fingerprint="00"))
        held = [snapshot(alike, source="a"), snapshot(other, source="b"), snapshot(certificate("*.example.com"), source="c")]
        assert self.sources(with_(*held)) == ("a",)
        stand_in = Snapshot("a", (Entry("made", alike, stand_in=True),))
        assert self.sources(with_(stand_in)) == ()

    def test_where_nobody_knows_that_is_said(self):
        assert said(with_()) == [
            f"{END}, and no source holds it, so nobody is known who renews it: have a source hold one for these names"
        ]

    def test_of_a_source_that_was_not_read_yet_nobody_knows(self):
        there = with_(known=Known(unread=frozenset({"b", "a"})))
        assert said(there) == [
            f"{END}, and was not renewed: a, b could not be read yet, so nobody knows whether there is a newer one"
        ]

    def test_before_the_proxies_were_looked_for_nobody_knows_either(self):
        (text,) = said(with_(known=Known(searching=True)))
        assert text.endswith("the proxies were not looked for yet, so nobody knows whether there is a newer one")

    def test_the_latest_of_their_first_words_counts(self):
        short = certificate(days=64, hours_old=24 * 55)
        there = with_(Snapshot("a", snapshot(short).entries, schedule=SCHEDULE), snapshot(short, source="b"), held=short)
        assert there.renewers[short.fingerprint].first == pytest.approx(0.125)
        assert endings(there) == ()
        assert with_(snapshot(short, source="b"), held=short).renewers[short.fingerprint].first == FIFTH


class TestWhatStandsInTheWay:
    def trouble(self, *snapshots: Snapshot, **options: Any) -> str:
        (text,) = said(with_(*snapshots, **options))
        assert text.startswith(f"{END}, and was not renewed: ")
        return text.removeprefix(f"{END}, and was not renewed: ")

    def test_a_source_that_is_gone(self):
        assert self.trouble(snapshot(LATE), known=Known(gone={"traefik": 60.0})) == (
            "the container or setting of traefik is gone"
        )

    def test_a_source_that_cannot_be_read(self):
        down = SourceStatus(False, Reason.SOURCE_UNAVAILABLE, "/acme.json is missing")
        store = Store(sources={"traefik": down})
        assert self.trouble(snapshot(LATE), store=store) == "traefik cannot be read: /acme.json is missing"

    def test_a_renewed_one_that_cannot_be_used(self):
        problem = Problem(f"le/{DOMAIN}", Reason.KEY_MISMATCH, "the key is another's")
        elsewhere = Problem("le/other.example.com", Reason.KEY_MISMATCH, "")
        held = snapshot(LATE, problems=(elsewhere, problem))
        assert self.trouble(held) == f"traefik:le/{DOMAIN}: the key is another's"
        assert "should have renewed it" in said(with_(replace(held, problems=(elsewhere,))))[0]

    def test_a_renewed_one_that_lacks_a_name(self):
        on = target(DOMAIN, "imap.example.com")
        both = certificate(DOMAIN, "imap.example.com", days=90, hours_old=24 * 75)
        (text,) = said(with_(snapshot(both, NEWER), held=both, on=on))
        short, end = NEWER.leaf.short, f"{NEWER.leaf.not_after:%Y-%m-%d}"
        assert text.endswith(f"traefik:le/{DOMAIN} {short} until {end} cannot take its place: does not name imap.example.com")

    def test_another_source_s_is_not_told(self):
        on = target(DOMAIN, "imap.example.com")
        both = certificate(DOMAIN, "imap.example.com", days=90, hours_old=24 * 75)
        (text,) = said(with_(snapshot(both), snapshot(NEWER, source="b"), held=both, on=on))
        assert "should have renewed it" in text


class TestWhatIsSaid:
    def test_of_one_that_has_time_enough_it_is_nothing(self):
        there = with_(snapshot(NEWER), held=NEWER)
        assert (said(there), remarks(there)) == ([], ())
        assert next_word(there) == NEWER.leaf.late

    def test_where_nothing_is_installed_it_is_nothing(self):
        there = facts(NEWER, nothing(PLACE))
        assert (said(there), next_word(there)) == ([], None)

    def test_what_is_to_replace_it_is_named(self):
        (text,) = said(with_(snapshot(LATE, NEWER)))
        short, end = NEWER.leaf.short, f"{NEWER.leaf.not_after:%Y-%m-%d}"
        assert text == f"{END}, and is to be replaced by traefik:le/{DOMAIN} {short} until {end}, which is not installed yet"

    def test_one_in_two_places_is_told_once(self):
        second = Place(Slot(), ALT_CERT, ALT_PRIVATE)
        on = target(places=(PLACE, second))
        there = facts(LATE, installed(PLACE, LATE) | installed(second, LATE), on=on)
        assert len(said(there)) == 1

    @pytest.mark.parametrize(
        ("names", "told"),
        [(("a.example.com", DOMAIN), f"a.example.com, {DOMAIN}"), ((DOMAIN, "a", "b"), f"{DOMAIN}, a and 1 more")],
    )
    def test_of_many_names_two_are_told(self, names, told):
        held = certificate(*names, days=90, hours_old=24 * 75)
        assert f" for {told} expires" in said(with_(held=held))[0]

    def test_once_it_has_expired_there_is_no_next_word(self):
        there = replace(with_(snapshot(LATE)), now=NOW + timedelta(days=16))
        assert said(there)[0].startswith(f"{LATE.leaf.short} for {DOMAIN} expired on ")
        assert next_word(there) is None

    def test_plan_says_it_too_whether_something_is_refused_or_not(self):
        there = with_(snapshot(LATE))
        assert describe_plan((there, policies.decide(there)))["notes"] == said(there)
        gone = with_()
        described = describe_plan((gone, policies.decide(gone)))
        assert (described["refused"]["reason"], described["notes"]) == ("NoMatchingCertificate", said(gone))
        assert f"note: {END}" in shown(plans([described]))


def test_each_step_is_told_once_and_a_later_one_again():
    memory = Memory()
    (first,) = endings(with_(snapshot(LATE)))
    assert memory.not_told([first]) == [first]
    assert memory.not_told([first]) == []
    further = replace(first, step=TENTH)
    assert memory.not_told([further]) == [further]
    assert memory.not_told([]) == []
    assert memory.told_endings == {}


def test_where_it_is_not_known_who_renews_the_first_word_comes_at_a_fifth():
    there = replace(with_(snapshot(LATE)), renewers={})
    assert [ending.step for ending in endings(there)] == [FIFTH]
    assert Renewer((), FIFTH).sources == ()
