"""A switch of source is a decision, not a matter of dates (design §4): who delivered, and whose certificate may follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import choosing
from controller.domain.certificate import Certificate, KeyType, Trust
from controller.domain.finding import Reason
from controller.domain.origin import GONE_AFTER, Known
from controller.domain.snapshot import Entry, Problem, Snapshot
from controller.domain.target import Place, Slot
from controller.installed import InstalledPair
from controller.policies import Facts, decide
from tests.certs import Authority
from tests.unit.made import ALT_CERT, ALT_PRIVATE, CERT, DOMAIN, NOW, PLACE, PRIVATE, facts, installed, nothing, target

TRUST = {
    "Let's Encrypt": Trust.PUBLIC,
    "ZeroSSL": Trust.PUBLIC,
    "Staging": Trust.STAGING,
    "Nobody": Trust.SELF_SIGNED,
    "Leaf alone": Trust.INCOMPLETE,
}
"""By the issuer's organisation; whoever is not named is a private CA."""


@cache
def authority(organisation: str, name: str) -> Authority:
    return Authority(name or organisation, organisation=organisation)


@cache
def made(organisation: str = "Let's Encrypt", *, age: float, by: str = "", **options: Any) -> Certificate:
    """A certificate whose life of 90 days began `age` days ago; `by` is the name of the intermediate."""
    begun = datetime.now(NOW.tzinfo) - NOW + timedelta(days=age)
    pair = authority(organisation, by).issue(*options.pop("names", (DOMAIN,)), age=begun, **options)
    return replace(pair.certificate, trust=TRUST.get(organisation, Trust.PRIVATE), root_unknown=False)


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def trust(self: InstalledPair, _moment: datetime) -> Trust:
        return TRUST.get(self.leaf.organisation if self.leaf else "", Trust.PRIVATE)

    monkeypatch.setattr(InstalledPair, "trust", trust)


OURS = made(age=30)
"""What is installed if nothing else is said; it begins to be late when it is 72 days old."""
NEXT = made(age=1)
OTHERS = made("ZeroSSL", age=2)
GONE = {"a": GONE_AFTER}
SHORT = made(age=1, days=7)
"""As public authorities issue them, too."""
SHORT_HELD_BY_A = {SHORT.fingerprint: frozenset({"a"})}
HELD_BY_A = {OURS.fingerprint: frozenset({"a"})}


@dataclass
class World:
    """What is installed, what each source holds in their order, and what is known of them."""

    there: Certificate | None = OURS
    held: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    target: dict[str, Any] = field(default_factory=dict)
    later: timedelta = timedelta()
    place: Place = PLACE

    def decided(self) -> Facts:
        files = installed(self.place, self.there) if self.there else nothing(self.place)
        situation = facts((), files, on=target(**{"places": (self.place,), **self.target}))
        snapshots = {
            name: Snapshot(name, tuple(Entry(f"le/{i}", one) for i, one in enumerate(held))) for name, held in self.held.items()
        }
        return choosing.choose(replace(situation, now=NOW + self.later, known=self.known), snapshots)

    def result(self) -> Certificate | Reason | None:
        """The certificate that is installed in place of the other; ``None`` where it stays; or why nothing can be done."""
        situation = self.decided()
        decision = decide(situation)
        if decision.refused:
            return decision.refused.reason
        return situation.selection.chosen[0][1].certificate if decision.write else None


STAYS = None
ROWS: dict[str, tuple[World, Certificate | Reason | None]] = {
    # After a restart nobody knows who held the installed pair, which its source has renewed meanwhile.
    "after a restart: the next by another intermediate, beside a second source": (
        World(held={"b": (OTHERS,), "a": (made(age=3, by="R11"),)}),
        made(age=3, by="R11"),
    ),
    "after a restart: the next by another CA, beside a second source": (
        World(held={"a": (made("ZeroSSL", age=3),), "b": (made("Buypass", age=2),)}),
        made("ZeroSSL", age=3),
    ),
    "after a restart: the next of the private CA, older than the rogue's": (
        World(there=made("Evil", age=1), held={"a": (made("Own CA", age=5),)}),
        made("Own CA", age=5),
    ),
    "after a restart: the same of a rogue that calls itself like the private CA": (
        World(there=made("Own CA", age=1, by="evil"), held={"a": (made("Own CA", age=5),)}),
        made("Own CA", age=5),
    ),
    "after a restart: an older one that the same private CA signed": (
        World(there=made("Own CA", age=1), held={"a": (made("Own CA", age=5),)}),
        Reason.WOULD_DOWNGRADE,
    ),
    "after a restart: an older one of the same public CA": (
        World(there=NEXT, held={"a": (OURS,)}),
        Reason.WOULD_DOWNGRADE,
    ),
    "after a restart: a source that was not read may have delivered it": (
        World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"}))),
        Reason.OTHER_SOURCE,
    ),
    "after a restart: a proxy that was not looked for yet may have delivered it": (
        World(held={"b": (OTHERS,)}, known=Known(searching=True)),
        Reason.OTHER_SOURCE,
    ),
    "after a restart: not one that the label does not name": (
        World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"}), searching=True), target={"sources": ("b",)}),
        OTHERS,
    ),
    "after a restart: nor one that is gone": (
        World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"}), gone=GONE)),
        OTHERS,
    ),
    "after a restart: until the installed one is late": (
        World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"})), later=timedelta(days=43)),
        OTHERS,
    ),
    "after a restart: who has the same names of the same CA is no other source, whatever was not read": (
        World(held={"b": (NEXT,)}, known=Known(unread=frozenset({"a"}))),
        NEXT,
    ),
    # In one process it is known who held what.
    "its own next": (World(held={"a": (NEXT,)}, known=Known(held=HELD_BY_A)), NEXT),
    "its own next by another CA": (World(held={"a": (OTHERS,)}, known=Known(held=HELD_BY_A)), OTHERS),
    "its own next by another CA, which antedates": (
        World(held={"a": (made("ZeroSSL", age=40),)}, known=Known(held=HELD_BY_A)),
        made("ZeroSSL", age=40),
    ),
    "its own next, beside a newer one": (
        World(held={"a": (made(age=3),), "b": (NEXT,)}, known=Known(held=HELD_BY_A)),
        made(age=3),
    ),
    "its own, older: a store that was restored": (
        World(there=NEXT, held={"a": (OURS,)}, known=Known(held={NEXT.fingerprint: frozenset({"a"})})),
        Reason.WOULD_DOWNGRADE,
    ),
    "its own, older and for longer, while the installed one is not late": (
        World(there=SHORT, held={"a": (OURS,)}, known=Known(held=SHORT_HELD_BY_A)),
        Reason.WOULD_DOWNGRADE,
    ),
    "its own, older and for longer, once the installed one is late": (
        World(there=SHORT, held={"a": (OURS,)}, known=Known(held=SHORT_HELD_BY_A), later=timedelta(days=5)),
        OURS,
    ),
    "a newer one of a second source": (World(held={"a": (OURS,), "b": (NEXT,)}), STAYS),
    "a newer one of a source before it in no order that the operator gave": (World(held={"b": (NEXT,), "a": (OURS,)}), STAYS),
    "a newer one where the first cannot be reached": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(held=HELD_BY_A)),
        STAYS,
    ),
    "a newer one where both hold the installed one": (World(held={"a": (OURS,), "b": (OURS, NEXT)}), NEXT),
    # A proxy that was replaced by another, and its old store left in place.
    "another's, a moment before the first has a fifth of its life left": (
        World(held={"a": (OURS,), "b": (NEXT,)}, later=timedelta(days=41.9)),
        STAYS,
    ),
    "another's, when the first has a fifth of its life left": (
        World(held={"a": (OURS,), "b": (NEXT,)}, later=timedelta(days=42.1)),
        NEXT,
    ),
    "another's, though the first has one that it may not give": (
        World(held={"a": (OURS, made("Staging", age=0.5)), "b": (NEXT,)}, later=timedelta(days=42.1)),
        NEXT,
    ),
    "another's, where the first has none for it any more": (
        World(held={"a": (), "b": (OTHERS,)}, known=Known(held=HELD_BY_A)),
        OTHERS,
    ),
    # The order and the label are the operator's word.
    "a newer one of a source that stands before it in the settings": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(order=("b", "a"))),
        NEXT,
    ),
    "a newer one of a source that stands behind it in the settings": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(order=("a", "b"))),
        STAYS,
    ),
    "a newer one of a source in the settings, where the first was found": (
        World(held={"b": (NEXT,), "a": (OURS,)}, known=Known(order=("b",))),
        STAYS,
    ),
    "a newer one of a source that stands before it in the label": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(order=("a", "b")), target={"sources": ("b", "a")}),
        NEXT,
    ),
    "a newer one of a source that stands behind it in the label": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(order=("b", "a")), target={"sources": ("a", "b")}),
        STAYS,
    ),
    "one of the source that the label names now": (
        World(held={"a": (OURS,), "b": (OTHERS,)}, target={"sources": ("b",)}),
        OTHERS,
    ),
    # Gone is who was removed, for ten minutes.
    "another's, where the first is gone": (World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(gone=GONE)), NEXT),
    "another's that is older, where the first is gone": (
        World(held={"a": (OURS,), "b": (made("ZeroSSL", age=50),)}, known=Known(gone=GONE)),
        made("ZeroSSL", age=50),
    ),
    "another's that is late itself, where the first is gone": (
        World(held={"a": (OURS,), "b": (made("ZeroSSL", age=80),)}, known=Known(gone=GONE)),
        STAYS,
    ),
    "another's, where the first is just being recreated": (
        World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(gone={"a": GONE_AFTER - 1})),
        STAYS,
    ),
    "another's, where the first and its certificates are gone": (
        World(held={"b": (OTHERS,)}, known=Known(held=HELD_BY_A, gone=GONE)),
        OTHERS,
    ),
    "another's, where the first and its certificates have just gone": (
        World(held={"b": (OTHERS,)}, known=Known(held=HELD_BY_A, gone={"a": 1.0})),
        Reason.OTHER_SOURCE,
    ),
    "another's, where one of two that held it is gone": (
        World(held={"a": (OURS,), "b": (NEXT,), "c": (OURS,)}, known=Known(gone=GONE)),
        STAYS,
    ),
    # Trust comes before all.
    "a private one, where the public one's source is gone": (
        World(held={"a": (OURS,), "b": (made("Own CA", age=1),)}, known=Known(gone=GONE)),
        STAYS,
    ),
    "a private one, where the public one's source has none any more": (
        World(held={"a": (), "b": (made("Own CA", age=1),)}, known=Known(held=HELD_BY_A)),
        Reason.UNTRUSTED_ISSUER,
    ),
    "its own next, which is made for testing": (
        World(held={"a": (made("Staging", age=1),)}, known=Known(held=HELD_BY_A)),
        Reason.UNTRUSTED_ISSUER,
    ),
    "a private one, where the public one has ended": (
        World(there=made(age=91), held={"a": (), "b": (made("Own CA", age=1),)}, known=Known(held=HELD_BY_A)),
        made("Own CA", age=1),
    ),
    "a public one of another source, where a private one works": (
        World(there=made("Own CA", age=30), held={"a": (made("Own CA", age=30),), "b": (NEXT,)}),
        STAYS,
    ),
    "a public one of another source, where a private one of a rogue works": (
        World(there=made("Evil", age=1), held={"a": (made("Evil", age=1),), "b": (OURS,)}, known=Known(gone=GONE)),
        OURS,
    ),
    "a real one of another source in place of one for testing": (
        World(there=made("Staging", age=1), held={"a": (made("Staging", age=1),), "b": (OURS,)}),
        OURS,
    ),
    "a real one of another source in place of one without its chain": (
        World(there=made("Leaf alone", age=1), held={"a": (made("Leaf alone", age=1),), "b": (OURS,)}),
        OURS,
    ),
    "a private one of another source in place of one without its chain": (
        World(there=made("Leaf alone", age=1), held={"a": (made("Leaf alone", age=1),), "b": (made("Own CA", age=1),)}),
        STAYS,
    ),
    "a real one of another source in place of a self-signed one": (
        World(there=made("Nobody", age=1), held={"a": (made("Nobody", age=1),), "b": (OURS,)}),
        OURS,
    ),
    "one for testing, which the label allows, of a second source": (
        World(held={"a": (OURS,), "b": (made("Staging", age=1),)}, target={"allow_untrusted": True}),
        STAYS,
    ),
    "nothing works yet": (World(there=None, held={"a": (OURS,), "b": (NEXT,)}, known=Known(searching=True)), NEXT),
    "what is there is for another name": (
        World(there=made(age=1, names=("other.example.com",)), held={"a": (OURS,)}, known=Known(unread=frozenset({"b"}))),
        OURS,
    ),
}


@pytest.mark.parametrize(("world", "expected"), ROWS.values(), ids=ROWS)
def test_who_may_follow(world, expected):
    assert world.result() == expected


@pytest.mark.parametrize(
    ("label", "later", "expected"), [(DOMAIN, 0, STAYS), (DOMAIN, 43, NEXT), ("other.example.com", 0, NEXT)]
)
def test_what_the_first_holds_and_cannot_be_used_just_now_is_not_nothing(label, later, expected):
    """Its key file cannot be read, or does not fit: that is mended, and no reason for another to take over (promise 7)."""
    broken = Snapshot("a", problems=(Problem(f"certs/{label}.key", Reason.KEY_MISMATCH, "the key is another's"),))
    situation = replace(World(known=Known(held=HELD_BY_A)).decided(), now=NOW + timedelta(days=later))
    decided = choosing.choose(situation, {"a": broken, "b": Snapshot("b", (Entry("le/0", NEXT),))})
    decision = decide(decided)
    if expected is STAYS:
        assert decision.refused is not None
        assert decision.refused.reason is Reason.OTHER_SOURCE
    else:
        assert [c.certificate for _, c in decided.selection.chosen] == [expected]
        assert decision.write


def test_a_switch_happens_once():
    """Two proxies that both renew: each renewal is newer than what the other brought, and displaces it only once at most."""
    third = made(age=0.5)
    known = Known(order=("b", "a"))
    assert World(held={"a": (OURS,), "b": (NEXT,)}, known=known).result() == NEXT
    assert World(there=NEXT, held={"a": (third,), "b": (NEXT,)}, known=known).result() is STAYS


OF_ALL_KINDS = [
    made(organisation, age=age, kind=kind, names=(name,), days=days)
    for organisation in ("Let's Encrypt", "ZeroSSL", "Staging", "Nobody", "Own CA", "Evil")
    for age, days in ((-1, 90), (1, 90), (30, 90), (80, 90), (95, 90), (3, 365), (2, 7))
    for kind, name in (("ecdsa", DOMAIN), ("ecdsa", "*.example.com"), ("rsa", DOMAIN))
]
NAMES = st.sampled_from("abc")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Whatever may come together."""
    some = st.sampled_from(OF_ALL_KINDS)
    held = {name: tuple(draw(st.lists(some, max_size=3))) for name in draw(st.permutations("abc"))[: draw(st.integers(0, 3))]}
    there = draw(st.sampled_from([None, *(one for each in held.values() for one in each)]) | some)
    known = Known(
        held={there.fingerprint: frozenset(draw(st.sets(NAMES, max_size=2)))} if there and draw(st.booleans()) else {},
        gone=draw(st.dictionaries(NAMES, st.sampled_from([1.0, GONE_AFTER]), max_size=2)),
        unread=frozenset(draw(st.sets(NAMES, max_size=1)) - held.keys()),
        searching=draw(st.booleans()),
        order=draw(st.sampled_from([(), ("a", "b"), ("b", "a"), ("a", "b", "c")])),
    )
    wanted = {"sources": draw(st.sampled_from([(), (), ("a",), ("b", "a")])), "allow_untrusted": draw(st.booleans())}
    return World(there, held, known, wanted, timedelta(days=draw(st.sampled_from([0, 4, 5, 43, 71]))))


@given(worlds())
def test_whatever_there_is_what_is_chosen_is_good_and_stays(world):
    """It is valid, never less trusted than what works, the best there is where nothing does; and nothing goes to and fro."""
    now, there, wanted = NOW + world.later, world.there, world.target["sources"]

    def works(one: Certificate | None) -> bool:
        return one is not None and one.leaf.not_before <= now < one.leaf.not_after

    usable = [one for name, held in world.held.items() if name in (wanted or (name,)) for one in held if works(one)]
    result = world.result()
    if usable and not works(there):
        assert isinstance(result, Certificate)
        assert result.trust is max(one.trust for one in usable)
    if there and works(there) and now >= there.leaf.late and there.trust > Trust.STAGING:
        lasting = [one for one in usable if now < one.leaf.late and one.trust >= there.trust]
        assert isinstance(result, Certificate) or not lasting, "nothing was done before a warning goes out"
    for _ in range(4):
        if not isinstance(result, Certificate):
            break
        assert works(result)
        if there and works(there) and not world.target["allow_untrusted"]:
            assert result.trust >= there.trust
        there = result
        world = replace(world, there=result, known=replace(world.known, held={}))
        result = world.result()
    assert result is STAYS or isinstance(result, Reason), "it goes to and fro"


class TestWhatPlanSays:
    def lost(self, world: World, source: str) -> str:
        return next(c.lost for c in world.decided().selection.candidates if c.source == source)

    def test_of_another_source(self):
        late = f"{NOW + timedelta(days=42):%Y-%m-%d}"
        told = self.lost(World(held={"a": (OURS,), "b": (NEXT,)}), "b")
        assert told.startswith(
            f"{NEXT.leaf.short} is another source's: {OURS.leaf.short} works and was delivered by a, which is not gone and has"
            f" more than a fifth of its life left; b may replace it from {late}"
        )

    def test_of_another_source_where_the_first_has_gone(self):
        told = self.lost(World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(gone={"a": 130.0})), "b")
        assert "was delivered by a, which is gone for 2 min only; b may replace it after 10 min, or from " in told

    def test_of_a_source_that_could_not_be_read(self):
        world = World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"})))
        told = decide(world.decided()).refused
        assert told is not None
        assert (
            f"nobody knows who delivered {OURS.leaf.short}, which works: not read yet: a; b may replace it from" in told.message
        )

    @pytest.mark.parametrize(
        ("world", "why"),
        [
            (World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(gone={"a": 700.0})), "a is gone for 11 min"),
            (
                World(held={"a": (OURS,), "b": (NEXT,)}, later=timedelta(days=43)),
                "a has no more than a fifth of its life left",
            ),
            (World(held={"a": (), "b": (NEXT,)}, known=Known(held=HELD_BY_A)), "a has none for it any more"),
            (
                World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(order=("b", "a"))),
                "b stands before a in the order of the sources",
            ),
            (World(held={"a": (OURS,), "b": (NEXT,)}, target={"sources": ("b",)}), "its label does not name a"),
            (
                World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"})), later=timedelta(days=43)),
                "what is installed has no more than a fifth of its life left",
            ),
        ],
    )
    def test_of_a_switch(self, world, why):
        situation = world.decided()
        told = f"a switch of source, since {why}"
        assert [c.switch for c in situation.selection.candidates if not c.lost] == [told]
        assert all(finding.message.endswith(f"; {told}") for finding in decide(situation).findings)

    def test_of_a_switch_that_is_none_once(self):
        decision = decide(World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"}))).decided())
        told = "; ".join([*map(str, decision.findings), str(decision.refused)])
        assert told.count("nobody knows who delivered") == 1

    def test_of_its_own_next_nothing(self):
        situation = World(held={"a": (NEXT,)}, known=Known(held=HELD_BY_A)).decided()
        assert [c.switch for c in situation.selection.candidates] == [""]

    @pytest.mark.parametrize(
        ("world", "source", "why"),
        [
            (
                World(there=None, held={"a": (made(age=80),), "b": (made("ZeroSSL", age=50),)}),
                "a",
                "less than a fifth of its life",
            ),
            (
                World(there=None, held={"a": (NEXT,), "b": (OTHERS,)}, known=Known(gone=GONE)),
                "a",
                "its source is gone, that of",
            ),
            (
                World(held={"a": (OURS, made(age=1, kind="rsa"))}, known=Known(held=HELD_BY_A)),
                "a",
                "its key is rsa; a key of the type that",
            ),
        ],
    )
    def test_of_what_is_not_as_good(self, world, source, why):
        lost = [c.lost for c in world.decided().selection.candidates if c.source == source and c.lost]
        assert len(lost) == 1
        assert why in lost[0]


class TestOfSeveralThatFit:
    def first(self, *held: Certificate, there: Certificate | None = None, **known: Any) -> Certificate:
        world = World(there=there, held={"a": held}, known=Known(**known))
        return world.decided().selection.chosen[0][1].certificate

    def test_trust_comes_before_what_is_left_of_a_life(self):
        assert self.first(made("Own CA", age=1), made(age=80)) == made(age=80)

    def test_what_is_left_of_a_life_comes_before_an_exact_name(self):
        wild = made(age=60, names=("*.example.com",))
        assert self.first(made(age=80), wild) == wild

    def test_an_exact_name_comes_before_the_key_type_that_is_installed(self):
        wild = made(age=1, names=("*.example.com",))
        assert self.first(wild, made(age=30, kind="rsa"), there=OURS) == made(age=30, kind="rsa")

    def test_the_key_type_that_is_installed_comes_before_the_newest(self):
        older = made(age=20)
        assert self.first(older, made(age=1, kind="rsa"), there=OURS) == older
        assert self.first(older, made(age=1, kind="rsa")) == made(age=1, kind="rsa")

    def test_each_place_keeps_its_key_type(self):
        second = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)
        rsa, ecdsa = made(age=1, kind="rsa"), made(age=1)
        files = installed(PLACE, made(age=30, kind="rsa")) | installed(second, OURS)
        situation = facts((), files, on=target(places=(PLACE, second)))
        situation = choosing.choose(situation, {"a": Snapshot("a", (Entry("1", ecdsa), Entry("2", rsa)))})
        assert [c.certificate for _, c in situation.selection.chosen] == [rsa, ecdsa]


class TestTheNextLook:
    def test_is_when_a_source_counts_as_gone(self):
        world = World(held={"a": (OURS,), "b": (NEXT,)}, known=Known(gone={"a": 590.0, "x": 100.0, "y": 700.0}))
        assert world.decided().selection.again == 10.0

    def test_is_when_the_pair_that_works_is_late(self):
        world = World(held={"a": (OURS,), "b": (NEXT,)}, later=timedelta(days=42, seconds=-30))
        assert world.decided().selection.again == pytest.approx(30.0, abs=5.0)

    def test_is_when_the_source_that_may_have_delivered_counts_as_gone(self):
        world = World(held={"b": (OTHERS,)}, known=Known(unread=frozenset({"a"}), gone={"a": 590.0}))
        assert world.decided().selection.again == 10.0

    def test_is_when_the_source_that_delivered_and_is_known_no_more_counts_as_gone(self):
        world = World(held={"b": (OTHERS,)}, known=Known(held=HELD_BY_A, gone={"a": 590.0}))
        assert world.decided().selection.again == 10.0

    def test_is_when_what_works_ends_and_another_does_not(self):
        """It is less trusted; after the end it is better than nothing, and at once, not at the resync."""
        held, known = {"a": (), "b": (made("Own CA", age=1),)}, Known(held=HELD_BY_A)
        ending = World(held=held, known=known, later=timedelta(days=60, seconds=-30)).decided()
        refused = decide(ending).refused
        assert refused is not None
        assert refused.reason is Reason.UNTRUSTED_ISSUER
        assert ending.selection.again == pytest.approx(30.0, abs=5.0)

    @pytest.mark.parametrize("held", [{"a": (made(age=80),)}, {"a": (OURS,), "b": ()}, {}])
    def test_is_not_planned_where_there_is_no_other_source(self, held):
        assert World(held=held, known=Known(gone={"a": 10.0, "b": 10.0})).decided().selection.again is None


def test_another_key_type_does_not_tell_who_delivered():
    """The first source has an RSA pair only, and an ECDSA one is wanted: it is another one's business."""
    place = Place(Slot(KeyType.ECDSA), CERT, PRIVATE)
    world = World(held={"a": (made(age=1, kind="rsa"),), "b": (made("ZeroSSL", age=1),)}, place=place)
    assert world.result() == made("ZeroSSL", age=1)


def test_what_is_in_the_first_place_is_none_for_the_second():
    """The first source has no second key type any more; what it delivered is in its last fifth, and another has one."""
    second = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)
    late, ours, theirs = made(age=75, kind="rsa"), made(age=1), made("ZeroSSL", age=1, kind="rsa")
    situation = facts((), installed(PLACE, ours) | installed(second, late), on=target(places=(PLACE, second)))
    situation = replace(situation, known=Known(held={late.fingerprint: frozenset({"a"})}))
    situation = choosing.choose(situation, {"a": Snapshot("a", (Entry("1", ours),)), "b": Snapshot("b", (Entry("2", theirs),))})
    assert [c.certificate for _, c in situation.selection.chosen] == [ours, theirs]
    assert second.paths[0] in decide(situation).write


def test_a_container_that_looks_like_a_proxy_is_named_where_nothing_fits():
    situation = replace(facts((), nothing(PLACE)), unused={"edge": "found, not used: put the label x.discover=true on it"})
    refused = decide(choosing.choose(situation, {})).refused
    assert refused is not None
    assert refused.reason is Reason.NO_MATCHING_CERTIFICATE
    assert refused.message.endswith(
        "; the container edge looks like a proxy: found, not used: put the label x.discover=true on it"
    )
    named = replace(situation, target=target(sources=("traefik",)))
    assert "edge" not in str(decide(choosing.choose(named, {})).refused)
