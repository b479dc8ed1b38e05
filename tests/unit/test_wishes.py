"""What the targets ask for, told to those who make it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from controller.domain.certificate import KeyType
from controller.domain.target import Place, Slot, TargetKey
from controller.ports import Wish
from controller.wishes import Wishes
from tests.unit.made import ALT_CERT, ALT_PRIVATE, CERT, KEY, PRIVATE, target

RSA = Place(Slot(KeyType.RSA), CERT, PRIVATE)
IF_ANY = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)
OTHER = TargetKey("local", "f" * 64)


def test_each_place_that_needs_something_is_a_wish():
    wishes = Wishes()
    wishes.note(target("a.example.com", "b.example.com"))
    wishes.note(replace(target("c.example.com", places=(RSA, IF_ANY)), key=OTHER))
    assert wishes.wanted() == {Wish(("a.example.com", "b.example.com")), Wish(("c.example.com",), KeyType.RSA)}


def test_the_last_wish_of_a_target_counts_until_it_is_forgotten():
    wishes = Wishes()
    wishes.note(target("a.example.com"))
    wishes.note(target("b.example.com"))
    assert wishes.wanted() == {Wish(("b.example.com",))}
    wishes.forget(KEY)
    wishes.forget(KEY)
    assert wishes.wanted() == frozenset()


async def test_every_subscriber_is_told_of_changes_and_of_nothing_else():
    wishes = Wishes()
    wishes.note(target("a.example.com"))
    async with wishes.subscribe() as one, wishes.subscribe() as other:
        hints = [asyncio.ensure_future(anext(hints)) for hints in (one, other)]
        wishes.note(target("a.example.com"))
        wishes.forget(OTHER)
        assert not (await asyncio.wait(hints, timeout=0.05))[0]
        wishes.forget(KEY)
        assert len((await asyncio.wait(hints, timeout=60))[0]) == 2


async def test_what_changes_between_two_hints_is_one_hint():
    wishes = Wishes()
    async with wishes.subscribe() as hints:
        for number in range(3):
            wishes.note(target(f"{number}.example.com"))
        await anext(hints)
        hint = asyncio.ensure_future(anext(hints))
        assert not (await asyncio.wait({hint}, timeout=0.05))[0]
        hint.cancel()
