"""Which certificate a target gets, and what is said of those it does not get."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.certificate import Certificate, KeyType, Trust
from controller.domain.finding import Finding, Reason
from controller.domain.snapshot import Problem, Snapshot
from controller.domain.target import Place, Slot, Target
from controller.selection import Selection, select
from tests.unit.made import (
    ALT_CERT,
    ALT_PRIVATE,
    CERT,
    DOMAIN,
    NEW,
    NOW,
    OLD,
    PRIVATE,
    certificate,
    snapshot,
    target,
)

WILD = "*.example.com"
RSA = Place(Slot(KeyType.RSA), CERT, PRIVATE)
ECDSA = Place(Slot(KeyType.ECDSA), CERT, PRIVATE)
ANY = Place(Slot(), CERT, PRIVATE)
OTHER_IF_ANY = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)
RSA_TOO = Place(Slot(KeyType.RSA), ALT_CERT, ALT_PRIVATE)


def choose(*held: Certificate, on: Target | None = None) -> Selection:
    """What a target gets of the certificates of one source."""
    return select(on or target(), {"traefik": snapshot(*held)}, NOW)


def chosen(selection: Selection) -> list[Certificate]:
    return [candidate.certificate for _, candidate in selection.chosen]


def lost(selection: Selection) -> list[str]:
    return [candidate.lost for candidate in selection.candidates]


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        (
            certificate(trust=Trust.PUBLIC, **OLD),
            certificate(trust=Trust.PRIVATE, **NEW),
            "fewer clients trust it than traefik:le/mail.example.com {better}: PrivateRoot, not Trusted",
        ),
        (
            certificate(trust=Trust.PRIVATE, **OLD),
            certificate(trust=Trust.STAGING, **NEW),
            "fewer clients trust it than traefik:le/mail.example.com {better}: Staging, not PrivateRoot",
        ),
        (
            certificate(trust=Trust.STAGING, **OLD),
            certificate(trust=Trust.SELF_SIGNED, **NEW),
            "fewer clients trust it than traefik:le/mail.example.com {better}: SelfSigned, not Staging",
        ),
        (certificate(**OLD), certificate(WILD, **NEW), "it fits by a wildcard, traefik:le/mail.example.com {better} by name"),
        (certificate(**NEW), certificate(**OLD), "it is older than traefik:le/mail.example.com {better}"),
        (
            certificate(trust=Trust.PUBLIC, kind="rsa", **NEW),
            certificate(trust=Trust.PUBLIC, **OLD),
            "it is older than traefik:le/mail.example.com {better}",
        ),
        (
            certificate(trust=Trust.PUBLIC, kind="rsa"),
            certificate(trust=Trust.PRIVATE),
            "fewer clients trust it than traefik:le/mail.example.com {better}: PrivateRoot, not Trusted",
        ),
    ],
    ids=["public", "private", "staging", "by name", "newer", "newer of another key type", "public of another key type"],
)
@pytest.mark.parametrize("first", [True, False], ids=["better first", "worse first"])
def test_the_better_one_wins_and_the_other_is_told_why(better, worse, why, first):
    selection = choose(better, worse) if first else choose(worse, better)

    assert chosen(selection) == [better]
    assert sorted(lost(selection)) == sorted(["", why.format(better=better.leaf.short)])
    assert selection.finding is None


def test_of_two_alike_the_one_from_the_earlier_source_wins():
    held = certificate()
    selection = select(target(), {"a": snapshot(held, source="a"), "b": snapshot(held, source="b")}, NOW)

    assert [candidate.source for _, candidate in selection.chosen] == ["a"]
    assert lost(selection) == ["", f"a:le/{DOMAIN} {held.leaf.short} stands in an earlier place"]


def test_the_labels_order_of_sources_counts_more_than_that_of_the_settings():
    held = certificate()
    snapshots = {"a": snapshot(held, source="a"), "b": snapshot(held, source="b")}
    selection = select(target(sources=("b", "a")), snapshots, NOW)

    assert [candidate.source for _, candidate in selection.chosen] == ["b"]


def test_a_source_that_the_label_does_not_name_is_not_looked_at():
    selection = select(target(sources=("b",)), {"a": snapshot(certificate(), source="a"), "b": snapshot(source="b")}, NOW)

    assert (selection.candidates, selection.chosen) == ((), ())


def test_a_source_that_was_not_read_yet_holds_nothing():
    selection = select(target(sources=("gone",)), {"a": snapshot(certificate(), source="a")}, NOW)

    assert selection.finding is not None
    assert selection.finding.reason is Reason.NO_MATCHING_CERTIFICATE


class TestDates:
    @pytest.mark.parametrize(
        ("now", "lost_because", "reason"),
        [
            (timedelta(hours=-2), "begins on {begin:%Y-%m-%d %H:%M} UTC", Reason.NOT_YET_VALID),
            (timedelta(days=91), "ended on {end:%Y-%m-%d %H:%M} UTC", Reason.EXPIRED),
        ],
    )
    def test_a_certificate_outside_its_dates_is_refused(self, now, lost_because, reason):
        held = certificate()
        why = lost_because.format(begin=held.leaf.not_before, end=held.leaf.not_after)
        selection = select(target(), {"traefik": snapshot(held)}, NOW + now)

        assert (chosen(selection), lost(selection)) == ([], [why])
        assert selection.finding == Finding(reason, f"the certificate traefik:le/{DOMAIN} {held.leaf.short} {why}")

    def test_the_first_moment_counts_and_the_last_does_not(self):
        held = certificate()
        begin, end = held.leaf.not_before, held.leaf.not_after
        found = [
            bool(select(target(), {"traefik": snapshot(held)}, moment).chosen)
            for moment in (begin - timedelta(seconds=1), begin, end - timedelta(seconds=1), end)
        ]
        assert found == [False, True, True, False]

    def test_an_ended_one_does_not_stand_in_the_way_of_a_valid_one(self):
        ended, valid = certificate(days=1, hours_old=25), certificate(trust=Trust.SELF_SIGNED, **OLD)
        assert chosen(choose(ended, valid)) == [valid]


class TestNames:
    def test_every_name_asked_for_must_be_covered(self):
        held = certificate("mail.example.com")
        selection = choose(held, on=target("mail.example.com", "imap.example.com", "pop.example.com"))

        assert lost(selection) == ["does not name imap.example.com, pop.example.com"]
        assert selection.finding == Finding(
            Reason.NAME_MISMATCH,
            f"the certificate traefik:le/mail.example.com {held.leaf.short} does not name imap.example.com, pop.example.com",
        )

    def test_one_certificate_may_cover_some_by_name_and_some_by_wildcard(self):
        held = certificate("mail.example.org", WILD)
        assert chosen(choose(held, on=target("mail.example.org", "imap.example.com"))) == [held]

    def test_more_names_by_name_are_better(self):
        both, wild = certificate("mail.example.com", "imap.example.com", **OLD), certificate("mail.example.com", WILD, **NEW)
        assert chosen(choose(wild, both, on=target("mail.example.com", "imap.example.com"))) == [both]

    def test_a_wildcard_asked_for_takes_a_wildcard(self):
        held = certificate(WILD)
        assert chosen(choose(certificate(), held, on=target(WILD))) == [held]

    def test_a_certificate_for_nothing_asked_for_is_no_candidate(self):
        selection = choose(certificate("www.example.com"))
        assert selection.candidates == ()

    def test_a_certificate_is_a_candidate_once_however_many_names_it_covers(self):
        selection = choose(
            certificate("mail.example.com", "imap.example.com"), on=target("mail.example.com", "imap.example.com")
        )
        assert lost(selection) == [""]

    def test_where_nothing_fits_the_proxy_is_pointed_to(self):
        assert choose().finding == Finding(
            Reason.NO_MATCHING_CERTIFICATE,
            f"no source holds a certificate for {DOMAIN}; is a router for it configured in the proxy?"
            " The sources hold none at all",
        )

    def test_where_nothing_fits_it_is_told_what_there_is(self):
        held = [certificate(f"{letter}.example.com") for letter in "abcdefg"]
        finding = choose(*held).finding
        assert finding is not None
        assert finding.message.endswith(
            "The sources hold a.example.com, b.example.com, c.example.com, d.example.com, e.example.com and 2 more"
        )

    def test_of_several_misfits_the_nearest_is_told(self):
        ended, elsewhere = certificate("mail.example.com", "imap.example.com", days=1, **OLD), certificate("mail.example.com")
        finding = choose(elsewhere, ended, on=target("mail.example.com", "imap.example.com")).finding
        assert finding is not None
        assert finding.reason is Reason.EXPIRED


class TestProblemsOfASource:
    PROBLEM = Problem("le/mail.example.com", Reason.KEY_MISMATCH, "the key is another's")

    def chosen_from(self, *problems: Problem, on: Target | None = None) -> Finding | None:
        return select(on or target(), {"traefik": Snapshot("traefik", (), problems)}, NOW).finding

    def test_are_told_where_the_wanted_certificate_is_the_unusable_one(self):
        assert self.chosen_from(self.PROBLEM) == Finding(
            Reason.KEY_MISMATCH, "traefik:le/mail.example.com the key is another's"
        )

    @pytest.mark.parametrize("label", ["le/Mail.Example.com", "mail.example.com.crt", "folder/mail.example.com.pem"])
    def test_are_told_whatever_the_spelling(self, label):
        finding = self.chosen_from(Problem(label, Reason.KEY_MISMATCH, ""))
        assert finding is not None
        assert finding.reason is Reason.KEY_MISMATCH

    def test_are_told_of_a_wildcard_that_would_fit(self):
        finding = self.chosen_from(Problem("le/*.example.com", Reason.WEAK_KEY, ""))
        assert finding is not None
        assert finding.reason is Reason.WEAK_KEY

    @pytest.mark.parametrize("label", ["le/webmail.example.com", "le/mail.example.com.example.org", "le"])
    def test_are_not_told_where_they_concern_another_name(self, label):
        finding = self.chosen_from(Problem(label, Reason.KEY_MISMATCH, ""))
        assert finding is not None
        assert finding.reason is Reason.NO_MATCHING_CERTIFICATE

    def test_of_sources_the_target_does_not_take_from_are_not_told(self):
        finding = self.chosen_from(self.PROBLEM, on=target(sources=("other",)))
        assert finding is not None
        assert finding.reason is Reason.NO_MATCHING_CERTIFICATE


class TestKeyTypes:
    RSA_OLD, EC_NEW = certificate(kind="rsa", **OLD), certificate(**NEW)

    @pytest.mark.parametrize(
        ("place", "held", "left_out"),
        [
            (RSA, RSA_OLD, "its key type is ecdsa, another one is asked for"),
            (ECDSA, EC_NEW, "its key type is rsa, another one is asked for"),
        ],
    )
    def test_the_wanted_type_is_taken(self, place, held, left_out):
        selection = choose(self.RSA_OLD, self.EC_NEW, on=target(places=(place,)))
        assert chosen(selection) == [held]
        assert left_out in lost(selection)

    def test_without_the_wanted_type_nothing_is_chosen(self):
        selection = choose(self.EC_NEW, on=target(places=(RSA,)))
        assert chosen(selection) == []
        assert selection.finding == Finding(
            Reason.NO_MATCHING_CERTIFICATE, f"no source holds a certificate for {DOMAIN} with rsa"
        )
        assert lost(selection) == ["its key type is ecdsa, another one is asked for"]

    def test_a_second_place_takes_the_other_type(self):
        selection = choose(self.RSA_OLD, self.EC_NEW, on=target(places=(ANY, OTHER_IF_ANY)))
        assert [(place, c.certificate) for place, c in selection.chosen] == [(ANY, self.EC_NEW), (OTHER_IF_ANY, self.RSA_OLD)]
        assert lost(selection) == ["", ""]

    def test_the_best_is_in_the_first_place_whatever_its_type(self):
        rsa = certificate(kind="rsa", **NEW)
        ec = certificate(**OLD)
        selection = choose(rsa, ec, on=target(places=(ANY, OTHER_IF_ANY)))
        assert chosen(selection) == [rsa, ec]

    def test_a_second_place_stays_as_it_is_where_there_is_no_other_type(self):
        selection = choose(self.EC_NEW, certificate(**OLD), on=target(places=(ANY, OTHER_IF_ANY)))
        assert [(place, c.certificate) for place, c in selection.chosen] == [(ANY, self.EC_NEW)]
        assert selection.finding is None

    def test_both_takes_one_of_each(self):
        selection = choose(self.RSA_OLD, self.EC_NEW, on=target(places=(ECDSA, RSA_TOO)))
        assert [(place, c.certificate) for place, c in selection.chosen] == [(ECDSA, self.EC_NEW), (RSA_TOO, self.RSA_OLD)]

    @pytest.mark.parametrize(("only", "missing"), [(EC_NEW, "rsa"), (RSA_OLD, "ecdsa")])
    def test_both_installs_nothing_where_one_is_missing(self, only, missing):
        selection = choose(only, on=target(places=(ECDSA, RSA_TOO)))
        assert chosen(selection) == []
        assert selection.finding == Finding(
            Reason.NO_MATCHING_CERTIFICATE, f"no source holds a certificate for {DOMAIN} with {missing}"
        )

    def test_each_type_is_ranked_by_itself(self):
        older = certificate(kind="rsa", hours_old=99)
        selection = choose(older, self.RSA_OLD, self.EC_NEW, on=target(places=(ANY, OTHER_IF_ANY)))
        assert chosen(selection) == [self.EC_NEW, self.RSA_OLD]
        assert lost(selection)[0] == f"it is older than traefik:le/{DOMAIN} {self.RSA_OLD.leaf.short}"


POOL = [
    certificate(*names, trust=trust, **age)
    for names in ((DOMAIN,), (WILD,), ("imap.example.com", DOMAIN))
    for trust in (Trust.PUBLIC, Trust.STAGING)
    for age in (OLD, NEW)
]


@given(st.lists(st.sampled_from(POOL), max_size=6, unique_by=lambda c: (c.fingerprint, c.trust)), st.randoms())
def test_the_order_inside_a_source_never_decides_between_unlike_certificates(held, random):
    mixed = list(held)
    random.shuffle(mixed)
    first, second = (chosen(choose(*order)) for order in (held, mixed))

    def rank(c: Certificate) -> tuple[object, ...]:
        return c.trust, DOMAIN in c.leaf.names, c.leaf.not_before

    assert list(map(rank, first)) == list(map(rank, second))
    assert bool(first) == bool(held)
    if held:
        assert rank(first[0]) == max(map(rank, held))


@given(st.lists(st.sampled_from(POOL), max_size=6, unique_by=lambda c: (c.fingerprint, c.trust)))
def test_every_candidate_is_chosen_or_told_why_not(held):
    selection = choose(*held, on=target(DOMAIN, "imap.example.com"))
    winners = [candidate.certificate for _, candidate in selection.chosen]
    assert all((candidate.certificate in winners) == (not candidate.lost) for candidate in selection.candidates)
