"""Containers that share files are worked on one after the other, and hold nobody else up: in ``run`` and in ``once``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from controller import app
from controller.app import App
from controller.domain.errors import EngineUnavailable
from controller.domain.finding import Reason
from controller.domain.target import Target
from tests.unit.fleet import Fleet, key, on, renewed, replace_settings, supervised
from tests.unit.virtual_time import clock, virtually


def slow(*targets: Target, seconds: float = 30.0) -> Fleet:
    """Those with files on the host take so long to be written to, all others no time."""
    fleet = Fleet(*targets)
    fleet.seconds = {each.key: seconds for each in targets if each.container.mounts}
    return fleet


async def run_all(fleet: Fleet, seconds: float = 400, **options: Any) -> None:
    async with supervised(fleet, **options):
        await asyncio.sleep(seconds)


async def once_all(fleet: Fleet, workers: int = 2) -> None:
    parts: Any = dict.fromkeys(App.__dataclass_fields__)
    parts |= {"settings": replace_settings(workers=workers), "store": fleet.store, "reconciler": fleet.reconciler}
    async with asyncio.timeout(5000):
        await app.settle(App(**parts), list(fleet.boxes))


@pytest.fixture(params=[run_all, once_all], ids=["run", "once"])
def work(request, monkeypatch):
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=clock))
    return request.param


def test_an_unrelated_container_does_not_wait_while_others_wait_for_their_shared_files(work):
    """Measured: 29.6 s with one slow neighbour, since those that waited for it filled the pool."""

    @virtually
    async def test() -> None:
        fleet = slow(*(on(name, "/srv/tls") for name in "abcde"), on("z"))
        await work(fleet, workers=2)
        assert fleet.done["z"] < 1
        assert sorted(fleet.done.values())[1:] == [30.0, 60.0, 90.0, 120.0, 150.0]
        assert all(renewed(fleet, name) for name in "abcdez")

    test()


def test_a_folder_and_one_in_it_are_never_written_to_together(work):
    @virtually
    async def test() -> None:
        fleet = slow(on("a", "/srv/tls"), on("b", "/srv"), on("d", "/srv/tls"))
        await work(fleet, workers=4)
        assert (max(map(len, fleet.met)), len(fleet.done)) == (1, 3)

    test()


def test_two_folders_whose_names_only_begin_alike_are_written_to_at_once(work):
    @virtually
    async def test() -> None:
        fleet = slow(on("a", "/srv/tls"), on("b", "/srv/tls2"))
        await work(fleet, workers=4)
        assert max(map(len, fleet.met)) == 2

    test()


def test_with_two_folders_in_either_order_nobody_waits_for_ever(work):
    @virtually
    async def test() -> None:
        fleet = slow(on("a", "/a", "/b"), on("b", "/b", "/a"), on("c", "/b"))
        await work(fleet, workers=3)
        assert max(map(len, fleet.met)) == 1
        assert len(fleet.done) == 3

    test()


def test_with_folders_of_their_own_it_is_all_at_once(work):
    @virtually
    async def test() -> None:
        fleet = slow(on("a", "/a"), on("b", "/b"))
        await work(fleet)
        assert max(map(len, fleet.met)) == 2

    test()


def test_those_that_wait_do_not_look_again_and_again(work):
    @virtually
    async def test() -> None:
        fleet = slow(*(on(name, "/srv") for name in "abcdefgh"))
        await work(fleet)
        assert all(renewed(fleet, name) for name in "abcdefgh")
        assert len(fleet.looks) <= 8 * 4  # blocked, written, confirmed, and one more for whoever was called while it came

    test()


@virtually
async def test_where_the_one_before_fails_the_next_comes_to_its_turn() -> None:
    fleet = slow(on("a", "/srv"), on("b", "/srv"))
    fleet.boxes[key("a")].faults["apply"] = [EngineUnavailable("away")] * 50
    async with supervised(fleet):
        await asyncio.sleep(100)
        assert renewed(fleet, "b")
        assert not renewed(fleet, "a")


@virtually
async def test_who_waits_and_vanishes_does_not_hold_up_those_behind() -> None:
    fleet = slow(*(on(name, "/srv") for name in "abc"))
    async with supervised(fleet):
        await asyncio.sleep(10)
        second, third = fleet.reconciler.locks.waiting
        fleet.stop(second)
        await asyncio.sleep(90)
        assert renewed(fleet, third.container_id)
        assert second not in fleet.store.targets
        assert fleet.reconciler.locks.waiting == ()


@virtually
async def test_who_is_called_and_cannot_be_looked_at_does_not_hold_up_those_behind() -> None:
    fleet = slow(*(on(name, "/srv") for name in "abc"))
    async with supervised(fleet):
        await asyncio.sleep(10)
        second, third = fleet.reconciler.locks.waiting
        fleet.boxes[second].faults["resolve"] = [EngineUnavailable("away")] * 50
        await asyncio.sleep(55)
        assert renewed(fleet, third.container_id)


@virtually
async def test_who_waits_is_not_ready_and_says_so() -> None:
    fleet = slow(on("a", "/srv"), on("b", "/srv"))
    async with supervised(fleet) as supervisor:
        await asyncio.sleep(10)
        (second,) = fleet.reconciler.locks.waiting
        condition = fleet.store.targets[second].condition
        assert (condition.ready, condition.reason) == (False, Reason.UNREACHABLE)
        assert condition.message == "not looked at yet: a container that shares its files is being worked on"
        assert not supervisor.first_pass_done
        await asyncio.sleep(60)
        assert supervisor.first_pass_done


@virtually
async def test_a_link_to_files_of_others_is_held_too() -> None:
    """Docker tells of mounts, not of links: where one leads is known once its container was looked at."""
    fleet = slow(on("a", "/srv/tls"), on("b", "/own", "/srv"))
    linked = fleet.boxes[key("b")]
    assert isinstance(linked.target, Target)
    place = replace(linked.target.places[0], certificate=PurePosixPath("/v0/cert.pem"), key=PurePosixPath("/v0/key.pem"))
    linked.target = replace(linked.target, places=(place,))
    linked.reads = PurePosixPath("/v0/cert.pem")
    observe = linked.observe

    async def follow_links(wanted: Target) -> Any:
        observed = await observe(wanted)
        observed.resolved[PurePosixPath("/v0/key.pem")] = PurePosixPath("/v1/tls/key.pem")
        return observed

    linked.observe = follow_links  # type: ignore[method-assign]
    async with supervised(fleet):
        await asyncio.sleep(100)
        assert max(map(len, fleet.met)) == 1
        assert renewed(fleet, "a")
        assert renewed(fleet, "b")
