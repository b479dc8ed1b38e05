"""What is remembered of when sources renewed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controller import renewals
from controller.domain.certificate import Certificate
from controller.domain.snapshot import Entry, Snapshot
from controller.expiry import FIFTH, TENTH
from controller.store import Store
from sources.traefik_file import SCHEDULE
from tests.unit.made import DOMAIN, NOW, certificate, snapshot

DAY = timedelta(days=1)


def made(*names: str, at: float = 0.0, days: float = 90, **options: object) -> Certificate:
    """One that begins `at` days from now."""
    return certificate(*names, days=days, hours_old=-24 * at, **options)  # type: ignore[arg-type]


def renew(*held: Certificate, store: Store | None = None, source: str = "a", late: timedelta = timedelta(0)) -> Store:
    """Have a source hold these one after the other, each from its begin on, or some time later."""
    store = store or Store()
    for one in held:
        begin: datetime = one.leaf.not_before
        store.now = lambda begin=begin: begin + late  # type: ignore[misc]
        store.put(snapshot(one, source=source))
    return store


def seen(store: Store, like: Certificate, source: str = "a") -> list[float]:
    return [round(part, 3) for part in store.renewals.seen(source, like.leaf)]


def test_what_was_left_of_the_old_one_is_remembered():
    old, new = made(), made(at=60)
    assert seen(renew(old), old) == []
    assert seen(renew(old, new), new) == [0.333]
    assert seen(renew(old, new), old, source="b") == []


def test_when_it_came_counts_and_not_when_it_was_issued():
    assert seen(renew(made(), made(at=60), late=20 * DAY), made()) == [0.111]


@pytest.mark.parametrize("late", [timedelta(0), -1000 * DAY], ids=["right", "far back"])
def test_a_clock_that_is_behind_does_not_make_it_early(late):
    assert seen(renew(made(), made(at=60), late=late), made()) == [0.333]


def test_a_gap_counts_as_nothing_left():
    assert seen(renew(made(), made(at=120)), made()) == [0.0]


@pytest.mark.parametrize(
    "new",
    [made("other.example.com", at=60), made(DOMAIN, "more.example.com", at=60), made(at=60, kind="rsa"), made(at=-30)],
    ids=["another name", "more names", "another key type", "older"],
)
def test_what_takes_no_place_is_no_renewal(new):
    store = renew(made(), new)
    assert seen(store, made()) == seen(store, new) == []


def test_what_was_replaced_early_says_nothing_of_when_it_is_due():
    assert seen(renew(made(), made(at=10)), made()) == []
    assert seen(renew(made(days=6), made(at=3, days=6)), made(days=6)) == [0.5]


def test_another_life_is_another_matter():
    store = renew(made(), made(at=60, days=64), made(at=60 + 54, days=64))
    assert seen(store, made()) == [0.333]
    assert seen(store, made(days=64)) == [0.156]
    assert seen(store, made(days=66)) == [0.156]


def test_of_several_beside_each_other_the_newest_is_the_one_that_was_replaced():
    store = Store(now=lambda: NOW)
    store.put(snapshot(made(at=-100), made(at=-60), source="a"))
    store.put(snapshot(made(at=-100), made(at=-60), made(), source="a"))
    assert seen(store, made()) == [0.333]


def test_a_leaf_without_names_is_no_matter():
    without = replace(certificate(), leaf=replace(certificate().leaf, names=()))
    nameless = Snapshot("a", (Entry("le/-", without),))
    store = Store()
    store.put(nameless)
    assert seen(store, without) == []


def test_only_so_much_is_remembered(monkeypatch):
    monkeypatch.setattr(renewals, "CERTIFICATES", 1)
    store = renew(made("a.example.com"), made("a.example.com", at=60), source="a")
    renew(made("b.example.com"), made("b.example.com", at=60), store=store, source="b")
    assert seen(store, made("a.example.com")) == []
    assert seen(store, made("b.example.com"), source="b") == [0.333]
    many = renew(*(made(at=60 * number) for number in range(12)))
    assert seen(many, made()) == [0.333] * 6


def test_the_first_word_follows_what_was_seen_and_what_is_known_of_the_program():
    store = renew(made(days=64), made(at=57.6, days=64))
    leaf = made(days=64).leaf
    assert store.first_word("a", leaf) == TENTH
    assert store.first_word("b", leaf) == FIFTH
    store.snapshots["b"] = Snapshot("b", schedule=SCHEDULE)
    assert store.first_word("b", leaf) == pytest.approx(0.125)
