"""Who held which certificate, and since when sources are gone: in memory, and never more than so much."""

from __future__ import annotations

import pytest

from controller import origins
from controller.domain.origin import GONE_AFTER, Known
from controller.domain.snapshot import Snapshot, SourceStatus
from controller.origins import Origins
from controller.store import Store
from tests.unit.made import NEW, OLD, certificate, snapshot

old, new = certificate(**OLD), certificate(**NEW)
OLDS, NEWS = old.fingerprint, new.fingerprint


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(origins=Origins(clock))


def test_what_a_source_held_is_remembered_when_it_holds_it_no_more(store):
    assert store.put(snapshot(old)) == Snapshot("traefik")
    assert store.known([OLDS]).held == {}
    assert store.put(snapshot(new)) == snapshot(old)
    assert store.known([OLDS, NEWS]).held == {OLDS: {"traefik"}}
    assert store.known([]).held == {}


def test_of_several_that_held_it_each_is_remembered(store):
    for name in ("a", "b"):
        store.put(snapshot(old, source=name))
        store.put(snapshot(new, source=name))
    assert store.known([OLDS]).held == {OLDS: {"a", "b"}}


def test_only_so_many_are_remembered(monkeypatch, clock):
    monkeypatch.setattr(origins, "LEAVES", 2)
    monkeypatch.setattr(origins, "SOURCES", 2)
    store = Store(origins=Origins(clock))
    held = [certificate(hours_old=hours) for hours in (3, 4, 5)]
    for one in held:
        store.put(snapshot(one))
        store.put(snapshot())
    assert store.known(one.fingerprint for one in held).held.keys() == {one.fingerprint for one in held[1:]}
    for name in "abc":
        store.origins.is_gone(name)
    assert store.known([]).gone.keys() == {"b", "c"}


class TestASourceThatIsGone:
    def test_is_news_once_and_counts_from_then_on(self, store, clock):
        assert store.origins.is_gone("a")
        clock.now += 30
        assert not store.origins.is_gone("a")
        assert store.known([]).gone == {"a": 30.0}

    @pytest.mark.parametrize(
        "back", [lambda store: store.put(snapshot(source="a")), lambda store: store.origins.is_not_gone("a")]
    )
    def test_is_not_when_it_is_back_or_nobody_can_say(self, store, back):
        store.origins.is_gone("a")
        back(store)
        assert store.known([]).gone == {}
        assert store.origins.is_gone("a")

    def test_that_is_no_source_any_more_is_gone_with_all_that_it_held(self, store, clock):
        store.put(snapshot(old, source="a"))
        store.sources["a"] = SourceStatus(up=True)
        assert store.drop("a") == snapshot(old, source="a")
        clock.now += GONE_AFTER
        known = store.known([OLDS])
        assert (known.held, known.gone, known.is_gone("a")) == ({OLDS: {"a"}}, {"a": GONE_AFTER}, True)
        assert (store.snapshots, store.sources) == ({}, {})

    def test_that_was_never_read_held_nothing(self, store):
        store.sources["a"] = SourceStatus()
        assert store.drop("a") is None
        assert store.known([OLDS]).held == {}

    def test_counts_as_gone_after_ten_minutes(self):
        assert not Known(gone={"a": GONE_AFTER - 0.1}).is_gone("a")
        assert not Known().is_gone("a")


def test_sources_that_were_never_read_are_named(store):
    store.sources = {"a": SourceStatus(), "b": SourceStatus(up=True)}
    store.put(snapshot(source="b"))
    assert store.known([]).unread == {"a"}


def test_what_the_operator_listed_and_whether_proxies_are_looked_for_is_passed_on(store):
    store.origins.order, store.origins.searching = ("b", "a"), True
    known = store.known([])
    assert (known.order, known.searching) == (("b", "a"), True)
