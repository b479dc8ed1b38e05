"""The choice among what several sources hold, seen with what is installed already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller import choosing, policies
from controller.domain.certificate import Certificate, KeyType, Leaf, Trust
from controller.domain.finding import Reason
from controller.domain.origin import Known
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import Place, Slot
from controller.installed import InstalledPair
from controller.policies import Decision, Facts, decide
from tests.certs import Authority
from tests.unit.made import (
    ALT_CERT,
    ALT_PRIVATE,
    CERT,
    DOMAIN,
    NEW,
    OLD,
    PLACE,
    PRIVATE,
    certificate,
    facts,
    installed,
    nothing,
    pair,
    serves,
    snapshot,
    target,
)

ALT = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)
BOTH = {CERT, PRIVATE}
old, new = certificate(**OLD), certificate(**NEW)


def choose(situation: Facts, *held: Certificate, stand_ins: tuple[Certificate, ...] = ()) -> Facts:
    """The choice made for a situation; `held` is what the proxy's source holds."""
    made = Snapshot("self-signed", tuple(Entry(c.leaf.names[0], c, stand_in=True) for c in stand_ins))
    return choosing.choose(situation, {"traefik": snapshot(*held), "self-signed": made})


def chosen(situation: Facts) -> list[Certificate]:
    return [candidate.certificate for _, candidate in situation.selection.chosen]


def lost(situation: Facts, held: Certificate) -> str:
    return next(c.lost for c in situation.selection.candidates if c.certificate == held)


def refused(situation: Facts) -> Reason | None:
    """Why nothing is done."""
    decision = decide(situation)
    assert not (decision.refused and decision.write)
    return decision.refused.reason if decision.refused else None


class TestAnOptionalSecondPlace:
    """One pair of another key type beside the first: it may stay as it is."""

    BETTER, WORSE = pair(kind="rsa", **NEW).certificate, certificate(kind="rsa", trust=Trust.STAGING, **OLD)

    def situation(self, *, second: Place = ALT) -> Facts:
        files = installed(PLACE, old) | installed(second, self.BETTER)
        return facts((new, self.WORSE), files, serves(old), on=target(places=(PLACE, second)))

    def test_in_which_something_better_stands_does_not_hold_up_the_first(self):
        spared = choose(self.situation(), new, self.WORSE)
        assert chosen(spared) == [new]
        assert decide(spared).write.keys() == BOTH
        assert [each.leaf for each in policies.expected(spared)] == [new.leaf, self.BETTER.leaf]
        assert "would replace" in lost(spared, self.WORSE)

    def test_that_is_asked_for_does(self):
        must = Place(Slot(KeyType.RSA), ALT_CERT, ALT_PRIVATE)
        assert refused(choose(self.situation(second=must), new, self.WORSE)) is Reason.UNTRUSTED_ISSUER

    def test_that_gets_something_better_is_written(self):
        better = certificate(kind="rsa", **NEW)
        files = installed(PLACE, new) | installed(ALT, self.WORSE)
        situation = facts((new, better), files, serves(new), on=target(places=(PLACE, ALT)))
        assert decide(choose(situation, new, better)).write.keys() == {ALT_CERT, ALT_PRIVATE}


class TestARefusedFirstChoice:
    """It must not hide another candidate that may be installed: an exact name is preferred, but may be too old."""

    WILD = certificate("*.example.com", hours_old=0.2)

    def test_gives_way_to_the_next(self, monkeypatch):
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.PUBLIC)
        between = certificate(hours_old=24)
        situation = choose(facts((), installed(PLACE, between), serves(between)), old, self.WILD)
        assert chosen(situation) == [self.WILD]
        assert decide(situation).write.keys() == BOTH
        assert "begins later" in lost(situation, old)

    def test_leaves_what_is_installed_alone_where_that_is_the_next(self, monkeypatch):
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.PUBLIC)
        situation = choose(facts((), installed(PLACE, self.WILD), serves(self.WILD)), old, self.WILD)
        assert decide(situation) == Decision()
        assert chosen(situation) == [self.WILD]

    @pytest.mark.parametrize(
        "stand_ins", [(), (certificate(trust=Trust.SELF_SIGNED, hours_old=0.1),)], ids=["alone", "stand-in"]
    )
    def test_is_told_where_there_is_no_next(self, stand_ins, monkeypatch):
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.PUBLIC)
        assert (
            refused(choose(facts((), installed(PLACE, new), serves(new)), old, stand_ins=stand_ins)) is Reason.WOULD_DOWNGRADE
        )


class TestOneMadeForTesting:
    MADE = Snapshot("traefik", (Entry("_test_mail", new, test=True),))

    def test_is_no_candidate(self):
        situation = choosing.choose(facts((), nothing(PLACE)), {"traefik": self.MADE})
        assert refused(situation) is Reason.UNTRUSTED_ISSUER
        assert lost(situation, new) == "was made for testing; the label allow-untrusted would take it"

    def test_does_not_stand_in_the_way_of_a_real_one(self):
        held = {"traefik": self.MADE, "other": snapshot(old, source="other")}
        assert chosen(choosing.choose(facts((), nothing(PLACE)), held)) == [old]

    def test_is_one_where_the_operator_allows_it(self):
        situation = facts((), nothing(PLACE), on=target(allow_untrusted=True))
        assert decide(choosing.choose(situation, {"traefik": self.MADE})).write.keys() == BOTH


class TestAStandIn:
    """A certificate of the self-signed source: the last resort."""

    MADE = certificate(trust=Trust.SELF_SIGNED, hours_old=0.1)

    def given(self, there: Certificate | None, *held: Certificate, **options: bool) -> Facts:
        files = installed(PLACE, there) if there else nothing(PLACE)
        return choose(facts((), files, on=target(**options)), *held, stand_ins=(self.MADE,))

    @pytest.fixture
    def it_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is installed is self-signed."""
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.SELF_SIGNED)

    @pytest.mark.parametrize("there", [None, certificate(days=2, hours_old=49)], ids=["nothing", "an ended one"])
    def test_is_installed_where_nothing_usable_is(self, there):
        situation = self.given(there)
        assert chosen(situation) == [self.MADE]
        assert decide(situation).write.keys() == BOTH

    def test_never_replaces_one_that_works_and_is_no_news(self):
        situation = self.given(old)
        assert refused(situation) is Reason.NO_MATCHING_CERTIFICATE
        assert "would replace" in lost(situation, self.MADE)

    @pytest.mark.usefixtures("it_is_there")
    def test_never_replaces_the_self_signed_one_of_somebody_else(self):
        assert refused(self.given(Authority("Somebody").issue(DOMAIN).certificate)) is Reason.NO_MATCHING_CERTIFICATE

    @pytest.mark.usefixtures("it_is_there")
    def test_is_renewed(self):
        assert decide(self.given(old)).write.keys() == BOTH

    @pytest.mark.parametrize("trust", [Trust.STAGING, Trust.PRIVATE, Trust.PUBLIC])
    @pytest.mark.parametrize("there", [None, MADE], ids=["nothing is there", "it is there"])
    @pytest.mark.usefixtures("it_is_there")
    def test_gives_way_to_any_real_one_at_once(self, there, trust):
        real = certificate(trust=trust, **OLD)
        situation = self.given(there, real)
        assert chosen(situation) == [real]
        assert decide(situation).write.keys() == BOTH

    def test_is_installed_over_a_working_one_where_the_operator_allows_it(self):
        assert decide(self.given(old, allow_untrusted=True)).write.keys() == BOTH


class TestBothKeyTypes:
    """Docker-mailserver's second pair, filled from two sources."""

    PLACES = (Place(Slot(KeyType.ECDSA), CERT, PRIVATE), Place(Slot(KeyType.RSA), ALT_CERT, ALT_PRIVATE))

    def test_come_from_two_sources(self):
        rsa = certificate(kind="rsa", **OLD)
        held = {"a": snapshot(new, source="a"), "b": snapshot(rsa, source="b")}
        situation = choosing.choose(facts((), nothing(*self.PLACES), on=target(places=self.PLACES)), held)
        assert [(c.source, c.certificate) for _, c in situation.selection.chosen] == [("a", new), ("b", rsa)]
        assert decide(situation).write == self.PLACES[0].contents(new) | self.PLACES[1].contents(rsa)

    def test_where_one_would_be_a_step_back_nothing_is_touched(self):
        installed_rsa, older_rsa = pair(kind="rsa", **NEW).certificate, pair(kind="rsa", **OLD).certificate
        files = installed(self.PLACES[0], old) | installed(self.PLACES[1], installed_rsa)
        situation = choose(facts((), files, on=target(places=self.PLACES)), new, older_rsa)
        assert refused(situation) is Reason.WOULD_DOWNGRADE


class TestARenewalWhoseRootIsNotKnownHere:
    """A list of roots that ages must not hold up a renewal; a private CA must not take the place of a public one."""

    THERE = certificate(trust=Trust.PUBLIC, **OLD)
    RENEWED = replace(certificate(trust=Trust.ROOT_UNKNOWN, **NEW), root_unknown=True)

    def choice(self, *held: Any, leaf: Leaf | None = None, **renewed: Any) -> Facts:
        offered = replace(self.RENEWED, **renewed)
        offered = replace(offered, leaf=leaf) if leaf else offered
        known = Known(held={self.THERE.fingerprint: frozenset({"traefik"})})
        return choose(replace(facts((), installed(PLACE, self.THERE), serves(self.THERE)), known=known), offered, *held)

    @pytest.fixture(autouse=True)
    def it_is_public(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is installed is."""
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.PUBLIC)

    def test_is_taken_from_whoever_delivered_the_installed_pair(self):
        assert decide(self.choice()).write.keys() == BOTH

    def test_is_taken_where_it_is_of_the_same_authority_though_nothing_else_shows_that_it_is_public(self):
        assert decide(self.choice(trust=Trust.PRIVATE)).write.keys() == BOTH

    def test_is_not_taken_of_another_authority_that_may_be_private(self):
        other = replace(self.RENEWED.leaf, organisation="Caddy Local Authority")
        assert refused(self.choice(trust=Trust.PRIVATE, leaf=other)) is Reason.UNTRUSTED_ISSUER

    @pytest.mark.parametrize("trust", [Trust.SELF_SIGNED, Trust.STAGING, Trust.REFUSED, Trust.INCOMPLETE, Trust.PRIVATE])
    def test_what_is_less_for_another_reason_is_not_taken(self, trust):
        assert refused(self.choice(trust=trust, root_unknown=False)) is Reason.UNTRUSTED_ISSUER

    def test_is_not_taken_from_another_source(self):
        known = Known(held={self.THERE.fingerprint: frozenset({"other"})})
        situation = replace(facts((), installed(PLACE, self.THERE), serves(self.THERE)), known=known)
        assert refused(choose(situation, self.RENEWED)) is Reason.UNTRUSTED_ISSUER


class TestARenewalWhoseChainIsAsBadAsTheInstalledOne:
    """With an intermediate by SHA-1, say: it lies in the source, where it is judged, and never in a container."""

    def choice(self, there: Trust, trust: Trust, source: str, monkeypatch: pytest.MonkeyPatch) -> Facts:
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: there)
        known = Known(held={old.fingerprint: frozenset({source})})
        situation = replace(facts((), installed(PLACE, old), serves(old)), known=known)
        return choose(situation, replace(new, trust=trust))

    @pytest.mark.parametrize(
        ("there", "trust"),
        [(Trust.INCOMPLETE, Trust.REFUSED), (Trust.REFUSED, Trust.INCOMPLETE), (Trust.REFUSED, Trust.REFUSED)],
    )
    def test_is_taken_from_whoever_delivered_it(self, there, trust, monkeypatch):
        assert decide(self.choice(there, trust, "traefik", monkeypatch)).write.keys() == BOTH

    def test_is_not_taken_from_another_source(self, monkeypatch):
        assert refused(self.choice(Trust.INCOMPLETE, Trust.REFUSED, "other", monkeypatch)) is Reason.UNTRUSTED_ISSUER

    @pytest.mark.parametrize("trust", [Trust.SELF_SIGNED, Trust.STAGING])
    def test_is_not_taken_where_it_is_worse_than_that(self, trust, monkeypatch):
        assert refused(self.choice(Trust.INCOMPLETE, trust, "traefik", monkeypatch)) is Reason.UNTRUSTED_ISSUER


class TestWhatSomeClientsRefuse:
    """It is used where there is nothing better, and replaces nothing that all accept."""

    ODD = replace(certificate(**NEW), warnings=("its key is Ed25519",))

    def test_is_chosen_last(self):
        assert chosen(choose(facts((), nothing(PLACE)), self.ODD, old)) == [old]
        assert chosen(choose(facts((), nothing(PLACE)), self.ODD)) == [self.ODD]
        assert lost(choose(facts((), nothing(PLACE)), self.ODD, old), self.ODD) == "some clients refuse it: its key is Ed25519"

    def test_does_not_replace_what_all_accept(self, monkeypatch):
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.PUBLIC)
        situation = choose(facts((), installed(PLACE, old), serves(old)), self.ODD)
        assert refused(situation) is Reason.SOME_CLIENTS_REFUSE
        assert "which all clients accept: its key is Ed25519" in str(decide(situation).refused)

    def test_replaces_what_clients_trust_less_and_what_has_ended(self, monkeypatch):
        ended = certificate(days=1, hours_old=30)
        assert decide(choose(facts((), installed(PLACE, ended), serves(ended)), self.ODD)).write.keys() == BOTH
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: Trust.SELF_SIGNED)
        assert decide(choose(facts((), installed(PLACE, old), serves(old)), self.ODD)).write.keys() == BOTH
