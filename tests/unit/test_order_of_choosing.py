"""The order of choosing (design §4) as a whole: a table of two at a time, all of them at once, and a year of two key types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import choosing
from controller.domain.certificate import Certificate, KeyType, Leaf, Trust
from controller.domain.moment import Moment
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import Place, Slot
from controller.label_values import parse_domains
from controller.policies import decide
from controller.selection import Preferences, Selection, select
from tests.unit.made import ALT_CERT, ALT_PRIVATE, DOMAIN, NOW, PLACE, certificate, facts, installed, target

WILD = "*.example.com"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALT = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)


@cache
def made(
    *names: str, left: float = 60, life: float = 90, kind: str = "ecdsa", trust: Trust = Trust.PUBLIC, **apart: Any
) -> Certificate:
    """One that has so many days of its life left; certificates of one kind have the key type and fingerprint that is said."""
    parsed = certificate(kind=kind)
    begin = NOW - timedelta(days=life - left)
    fingerprint = sha256(repr((names, left, life, kind, apart)).encode()).hexdigest()
    leaf = replace(
        parsed.leaf, names=names or (DOMAIN,), not_before=begin, not_after=begin + life * DAY, fingerprint=fingerprint
    )
    return replace(parsed, leaf=leaf, trust=trust, warnings=apart.get("warnings", ()))


def choose(*held: Certificate, there: Mapping[Place, Leaf] | None = None, **options: Any) -> Selection:
    entries = tuple(Entry(f"entry {one.fingerprint}", one) for one in held)
    preferences = Preferences(there or {}, frozenset(options.pop("gone", ())))
    return select(target(**options), {"a": Snapshot("a", entries)}, NOW, preferences=preferences)


def chosen(selection: Selection) -> list[Certificate]:
    return [candidate.certificate for _, candidate in selection.chosen]


BETTER: dict[str, tuple[Certificate, Certificate]] = {
    "trust before what is left": (made(left=1), made(trust=Trust.PRIVATE)),
    "trust before the name": (made(WILD), made(trust=Trust.PRIVATE)),
    "trust before what some clients refuse": (made(warnings=("must-staple",)), made(trust=Trust.PRIVATE)),
    "what all clients accept before what is left": (made(left=1), made(warnings=("must-staple",))),
    "what is left before the name: an hour against a fresh wildcard": (made(WILD, left=89), made(left=1 / 24)),
    "what is left before the key type that is installed": (made(left=60), made(left=17, kind="rsa")),
    "what is left before the newest": (made(left=300, life=365), made(left=1, life=6)),
    "a fifth of its own life: six days": (made(left=1.3, life=6), made(WILD, left=89)),
    "and no longer than that": (made(WILD, left=60), made(left=1.1, life=6)),
    "the name before the key type that is installed": (made(), made(WILD, kind="rsa")),
    "the name before the newest": (made(left=20), made(WILD, left=89)),
    "two names before one": (made(DOMAIN, "imap.example.com", left=20), made(DOMAIN, WILD, left=89)),
    "one name before none": (made(DOMAIN, WILD, left=20), made(WILD, left=89)),
    "the key type that is installed before the newest": (made(left=20, kind="rsa"), made(left=89)),
    "the newest": (made(left=61), made(left=60)),
    "the newest, though it ends earlier": (made(left=5.9, life=6), made(left=80)),
    "of two that begin together the one that ends later": (made(left=61, life=91), made(left=60, life=90)),
    "of two in their last fifth, by name": (made(left=2), made(WILD, left=10)),
}


@pytest.mark.parametrize(("better", "worse"), BETTER.values(), ids=BETTER)
@pytest.mark.parametrize("turned", [False, True], ids=["better first", "worse first"])
def test_of_two(better, worse, turned):
    domains = (DOMAIN, "imap.example.com") if {WILD, "imap.example.com"} & {*better.leaf.names} - {WILD} else (DOMAIN,)
    rsa = {PLACE: made(kind="rsa").leaf}
    selection = choose(*((worse, better) if turned else (better, worse)), there=rsa, domains=domains)
    assert chosen(selection) == [better]
    assert {c.certificate.fingerprint for c in selection.candidates if c.lost} == {worse.fingerprint}


def test_of_two_that_are_as_good_the_installed_one_stays():
    one, other = made(apart=1), made(apart=2)
    for there, held in [(one, (one, other)), (other, (one, other)), (one, (other, one)), (other, (other, one))]:
        selection = choose(*held, there={PLACE: there.leaf})
        assert chosen(selection) == [there]
        assert [c.lost for c in selection.candidates if c.lost] == [
            f"a:entry {there.fingerprint} {there.leaf.short} is as good and installed"
        ]


def test_where_none_of_them_is_installed_the_same_is_taken_in_whatever_order_they_stand():
    held = [made(apart=number) for number in range(4)]
    assert len({chosen(choose(*order))[0].fingerprint for order in permutations(held)}) == 1


def test_of_one_leaf_with_two_chains_the_same_is_taken_in_whatever_order_they_stand():
    """A program may keep both that an authority offers."""
    short, long = (replace(made(), chain_pem=chain) for chain in (b"R1\n", b"R1\nX1\n"))
    found = {chosen(choose(*order))[0].chain_pem for order in ((short, long), (long, short))}
    assert len(found) == 1


def rank(one: Certificate, there: KeyType | None, domains: tuple[str, ...]) -> tuple[Any, ...]:
    """§4, written down a second time."""
    leaf = one.leaf
    fresh = leaf.not_after - NOW > (leaf.not_after - leaf.not_before) / 5
    exact = sum(name in leaf.names for name in domains)
    return one.trust, not one.warnings, fresh, exact, leaf.key_type is there, leaf.not_before, leaf.not_after


CERTIFICATES = st.builds(
    made,
    st.sampled_from([DOMAIN, WILD]),
    left=st.sampled_from([-1, 1 / 24, 1.1, 1.3, 5, 17.9, 18.1, 60]),
    life=st.sampled_from([6, 45, 90, 365]),
    kind=st.sampled_from(["rsa", "ecdsa"]),
    trust=st.sampled_from(list(Trust)),
    warnings=st.sampled_from([(), ("must-staple",)]),
    apart=st.integers(0, 2),
).filter(lambda one: one.leaf.not_before <= NOW)
POOL = st.lists(CERTIFICATES, max_size=7, unique_by=lambda one: (one.fingerprint, one.trust))


@given(POOL, st.sampled_from([None, "rsa", "ecdsa"]), st.randoms())
def test_the_best_by_that_order_is_chosen_whatever_the_order_in_the_store(held, there, random):
    leaf = made(kind=there, apart=9).leaf if there else None
    mixed = random.sample(held, len(held))
    first, second = (chosen(choose(*order, there={PLACE: leaf} if leaf else {})) for order in (held, mixed))
    assert first == second
    valid = [one for one in held if one.leaf.not_after > NOW]
    assert bool(first) == bool(valid)
    if first:
        ranks = [rank(one, leaf.key_type if leaf else None, (DOMAIN,)) for one in valid]
        assert rank(first[0], leaf.key_type if leaf else None, (DOMAIN,)) == max(ranks)


@given(POOL)
def test_it_is_a_total_order_so_what_is_left_without_the_best_is_ordered_the_same(held):
    order = []
    while best := chosen(choose(*held)):
        order += best
        held = [one for one in held if one is not best[0]]
    for earlier, later in pairwise(order):
        assert chosen(choose(later, earlier)) == [earlier]


@given(POOL, CERTIFICATES)
def test_one_more_that_loses_changes_nothing(held, more):
    before, after = chosen(choose(*held)), chosen(choose(*held, more))
    assert after in (before, [more])


@given(POOL, st.sampled_from(["rsa", "ecdsa"]))
def test_what_was_chosen_is_chosen_again_once_it_is_installed(held, there):
    """Else it would be replaced at the next look."""
    first = chosen(choose(*held, there={PLACE: made(kind=there, apart=9).leaf}))
    again = chosen(choose(*held, there={PLACE: first[0].leaf} if first else {}))
    assert again == first


@given(POOL, st.sampled_from(["rsa", "ecdsa"]))
def test_nor_do_two_places_change_their_certificates_then(held, there):
    places = (PLACE, ALT)
    first = choose(*held, there={PLACE: made(kind=there, apart=9).leaf}, places=places).chosen
    again = choose(*held, there={place: c.certificate.leaf for place, c in first}, places=places).chosen
    assert [c.certificate for _, c in again] == [c.certificate for _, c in first]


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "held"),
        [
            ("MAIL.Example.COM", DOMAIN),
            ("mail.example.com.", DOMAIN),
            ("mail.müller.example", "mail.xn--mller-kva.example"),
            ("mail.MÜLLER.example.", "*.xn--mller-kva.example"),
            ("*.Example.com", WILD),
        ],
    )
    def test_are_compared_as_they_stand_in_dns(self, asked, held):
        assert chosen(choose(made(held), domains=parse_domains(asked))) == [made(held)]

    def test_a_name_that_is_asked_for_twice_in_other_words_counts_once(self):
        domains = parse_domains("mail.example.com, MAIL.example.com., imap.example.com")
        one_by_name = made(DOMAIN, WILD, left=89)
        both_by_name = made(DOMAIN, "imap.example.com", left=20)
        assert chosen(choose(one_by_name, both_by_name, domains=domains)) == [both_by_name]

    def test_where_each_has_another_of_them_by_name_the_newest_wins(self):
        domains = (DOMAIN, "imap.example.com")
        ours, theirs = made(DOMAIN, WILD, left=60), made("imap.example.com", WILD, left=61)
        assert chosen(choose(ours, theirs, domains=domains)) == [theirs]

    def test_a_wildcard_covers_no_second_level_and_not_the_name_above(self):
        for asked in ("example.com", "a.b.example.com"):
            assert chosen(choose(made(WILD), domains=(asked,))) == []


def test_what_ended_by_one_clock_only_is_still_better_than_what_is_less_trusted():
    ours, stand_in = made(left=1), made(trust=Trust.SELF_SIGNED)
    doubted = Moment(NOW, NOW + 2 * DAY, "the clock says two things")
    held = {"a": Snapshot("a", (Entry("1", ours), Entry("2", stand_in)))}
    assert chosen(select(target(), held, doubted)) == [ours]
    assert chosen(select(target(), held, NOW + 2 * DAY)) == [stand_in]


LIVES = [pytest.param(90, 30, id="90"), pytest.param(45, 15, id="45"), pytest.param(6, 2, id="6")]


class TestAYearOfTwoKeyTypes:
    """A store that keeps both, renewed at different moments."""

    def year(self, life: float, left: float, apart: float, *places: Place) -> list[tuple[list[str], bool]]:
        """At every half day, the key types in the places, and whether anything had to be written."""
        there: dict[Any, Any] = {}
        seen = []
        for moment in (NOW + number * DAY / 2 for number in range(2, 2 * 365)):
            held = []
            for kind, offset in (("rsa", 0.0), ("ecdsa", apart)):
                step = life - left
                number = (moment - NOW - offset * DAY) / DAY // step
                begin = NOW + (offset + number * step) * DAY
                held.append(made(left=(begin - NOW) / DAY + life, life=life, kind=kind))
            wanted = {place: there.get(place) for place in places}
            preferences = Preferences({place: leaf for place, leaf in wanted.items() if leaf})
            snapshot = Snapshot("a", tuple(Entry(one.leaf.key_type, one) for one in held))
            found = {
                place: c.certificate.leaf
                for place, c in select(target(places=places), {"a": snapshot}, moment, preferences=preferences).chosen
            }
            seen.append(([str(leaf.key_type) for leaf in found.values()], found != there))
            there = found
        return seen

    @pytest.mark.parametrize(("life", "left"), LIVES)
    @pytest.mark.parametrize("apart", [-0.3, -0.5])
    def test_the_installed_type_stays_and_each_of_its_renewals_is_one_write(self, life, left, apart):
        seen = self.year(life, left, apart * (life - left), PLACE)
        assert len({tuple(types) for types, _ in seen}) == 1
        renewals = 364 / (life - left)
        assert sum(written for _, written in seen) == pytest.approx(renewals, abs=1.1)

    @pytest.mark.parametrize(("life", "left"), LIVES)
    def test_in_two_places_each_type_keeps_its_own(self, life, left):
        seen = self.year(life, left, -0.3 * (life - left), PLACE, ALT)
        assert len({tuple(types) for types, _ in seen}) == 1
        assert len(seen[0][0]) == 2
        assert sum(written for _, written in seen) == pytest.approx(2 * 364 / (life - left), abs=2.1)

    def test_where_the_installed_type_is_renewed_no_more_the_other_takes_over_once_and_in_time(self):
        rsa, there = made(kind="rsa", left=89), made(kind="rsa", left=89).leaf
        types = []
        for number in range(120):
            moment = NOW + number * DAY
            ecdsa = made(left=number // 60 * 60 + 80)
            held = Snapshot("a", (Entry("1", rsa), Entry("2", ecdsa)))
            ((_, candidate),) = select(target(), {"a": held}, moment, preferences=Preferences({PLACE: there})).chosen
            there = candidate.certificate.leaf
            types.append(str(there.key_type))
        assert types == ["rsa"] * 71 + ["ecdsa"] * 49


def test_a_place_is_not_written_anew_because_the_store_was_written_in_another_order():
    one, other = certificate(apart="one"), certificate("imap.example.com", DOMAIN)
    other = replace(other, leaf=replace(other.leaf, not_before=one.leaf.not_before, not_after=one.leaf.not_after))
    assert other.leaf.fingerprint != one.leaf.fingerprint
    for held in ((one, other), (other, one)):
        entries = tuple(Entry(c.fingerprint, c) for c in held)
        situation = choosing.choose(facts((), installed(PLACE, one)), {"a": Snapshot("a", entries)})
        assert not decide(situation).write
