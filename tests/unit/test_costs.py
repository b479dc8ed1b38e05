"""What is decided takes a time that grows with what there is to decide on, not with its square.

Work is measured in calls of functions, which is the same on every machine; where the work is inside one call, in processor
time, see `tests.unit.costs`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from controller import adoption, policies
from controller import installed as installed_pair
from controller.choosing import choose
from controller.domain.certificate import Certificate, Trust
from controller.domain.container import Mount
from controller.domain.finding import Reason
from controller.domain.proxy import KeptStore
from controller.domain.snapshot import Entry, Problem, Snapshot
from controller.following import changed_names
from tests.unit.costs import costs_at_most
from tests.unit.made import NEW, OLD, PLACE, certificate, container, facts, installed, nothing, target
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import virtually

held = certificate(hours_old=0.5, trust=Trust.PRIVATE)
old, new, older_still = certificate(**OLD), certificate(**NEW), certificate(hours_old=96)  # made before anything is counted


def calls(work: Callable[[], object]) -> int:
    """How many functions were called."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def older(number: int, *names: str) -> Certificate:
    """Certificates that are all older than the installed one, so that each is refused."""
    leaf = replace(old.leaf, fingerprint=f"{number:064x}", not_before=old.leaf.not_before.replace(microsecond=number))
    return replace(old, leaf=replace(leaf, names=names or leaf.names), trust=Trust.PRIVATE)


def store(number: int, *names: str) -> dict[str, Snapshot]:
    return {"traefik": Snapshot("traefik", tuple(Entry(f"le/{i}", older(i, *names)) for i in range(number)))}


def choosing(number: int) -> Callable[[], object]:
    snapshots = store(number)
    return lambda: choose(facts(held, installed(PLACE, held)), snapshots)


def test_two_hundred_candidates_that_are_all_refused_cost_ten_times_what_twenty_do():
    """Measured before: 1.8 s, since each refusal began the choice anew."""
    few, many = calls(choosing(20)), calls(choosing(200))
    assert many < 12 * few
    chosen: Any = choosing(200)()
    refused = policies.decide(chosen).refused
    assert refused is not None
    assert refused.reason is Reason.WOULD_DOWNGRADE


@pytest.fixture
def parsings(monkeypatch):
    """How often each function that reads certificates or keys was called."""
    count: dict[str, int] = {}

    def counting(name: str) -> Callable[..., object]:
        inner = getattr(installed_pair, name)

        def counted(*args: object) -> object:
            count[name] = count.get(name, 0) + 1
            return inner(*args)

        return counted

    for name in ("parse_leaf", "judge", "key_fits"):
        monkeypatch.setattr(installed_pair, name, counting(name))
    return count


def test_what_is_installed_is_read_once_however_many_candidates_there_are(parsings):
    choosing(200)()
    assert parsings == {"parse_leaf": 1, "judge": 1, "key_fits": 1}


def test_each_installed_leaf_is_read_once_a_pass(parsings):
    """Measured before: six times."""

    @virtually
    async def test() -> None:
        world = World(Mailbox.holding(old))
        world.offer(old)
        await world.look()
        assert parsings == {"parse_leaf": 1}
        parsings.clear()
        world.box.files = Mailbox.holding(older_still).files
        world.box.in_use = older_still.leaf
        world.offer(new)
        await world.look()
        assert parsings["parse_leaf"] == 1

    test()


@pytest.mark.parametrize("installed_already", [False, True], ids=["nothing", "installed"])
def test_two_thousand_names_cost_four_times_what_five_hundred_do(installed_already):
    def choosing(number: int) -> Callable[[], object]:
        names = tuple(f"m{i}.example.com" for i in range(number))
        wide = replace(held, leaf=replace(held.leaf, names=names))
        wanted = target(*names)
        snapshots = store(10, *names)
        files = installed(PLACE, wide) if installed_already else nothing(PLACE)
        return lambda: choose(facts(wide, files, on=wanted), snapshots)

    assert costs_at_most(10, choosing(500), choosing(2000))


def test_a_thousand_unusable_entries_and_two_thousand_names_are_looked_up_not_compared():
    names = tuple(f"m{i}.example.com" for i in range(2000))
    problems = tuple(Problem(f"le/x{i}.example.org", Reason.WEAK_KEY, "") for i in range(1000))
    snapshots = {"traefik": Snapshot("traefik", (), problems)}
    situation = facts([], nothing(PLACE), on=target(*names))
    assert calls(lambda: choose(situation, snapshots)) < 100_000  # compared with each other it were 6,000,000


def proxies(number: int) -> list[adoption.Seen]:
    def seen(i: int) -> adoption.Seen:
        mount = Mount("volume", f"v{i}", PurePosixPath("/acme"), True, f"/volumes/v{i}")
        made = container(id=f"{i:064x}", name=f"proxy{i}", labels={"n": str(i)}, mounts=(mount,))
        kept = (KeptStore("traefik", PurePosixPath(f"/acme/{k}.json"), "Traefik") for k in range(2))
        return adoption.Seen(made, tuple((each, Path(f"/own/{i}/{each.path.name}")) for each in kept))

    return [seen(i) for i in range(number)]


def test_two_hundred_proxies_cost_ten_times_what_twenty_do():
    def adopting(number: int) -> Callable[[], object]:
        found = proxies(number)
        configured = [adoption.Configured(f"c{i}", PurePosixPath(f"/x/{i}"), f"name{i}") for i in range(number)]
        before = adoption.choose(found, configured, {}).adopted
        assert len(before) == 2 * number
        return lambda: adoption.choose(found, configured, before)

    assert calls(adopting(200)) < 14 * calls(adopting(20))


def many_names(number: int) -> Snapshot:
    """A store that was just read, with so many names that nobody asks for."""
    entries = (Entry(f"le/{n}", older(n, *(f"n{i}.example.net" for i in range(n, number, 100)))) for n in range(100))
    snapshot = Snapshot("traefik", tuple(entries))
    assert len(snapshot.by_name) == number  # made where the store is read
    return snapshot


@pytest.mark.parametrize(
    "work",
    [
        lambda snapshot: choose(facts(held, installed(PLACE, held)), {"traefik": snapshot}),
        lambda snapshot: changed_names(Snapshot("traefik"), snapshot),
    ],
    ids=["no certificate fits", "the first reading"],
)
def test_ten_times_the_names_of_others_cost_no_more(work):
    few, many = many_names(20_000), many_names(200_000)
    assert costs_at_most(3, lambda: work(few), lambda: work(many))
