"""What a source of files remembers from one load to the next: a toy layout, and a clock that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from controller.domain.certificate import Trust
from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem, Snapshot
from controller.threads import OwnThread
from controller.x509.pairs import parse_certificate
from sources import pairs
from sources.layout import FileOptions, Layout, Tree
from sources.pairs import Contents, RawPair
from sources.stored import StoredSource
from tests.certs import Authority, Pair
from tests.odd_certificates import NOW, SIGNS, make

PATIENCE = 2.0
AUTHORITY = Authority()
A, B, NEWER = (AUTHORITY.issue(f"{name}.example.test") for name in ("a", "b", "a"))


class Nowhere:
    """A storage without files: what is read was decided by the test."""

    where, focus = "/store", ""

    def __init__(self) -> None:
        self.own_problems: tuple[Problem, ...] = ()
        self.thread = OwnThread("toy")

    async def tree(self) -> Tree:
        return cast(Tree, self)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        raise NotImplementedError
        yield

    def forget(self) -> None:
        pass

    def problems(self) -> tuple[Problem, ...]:
        return self.own_problems


class Toy:
    """A source that reads what `contents` says, and a clock that moves when it is told to."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.seconds = 1000.0
        self.storage = Nowhere()
        self.contents: Callable[[], Contents] = Contents
        layout = Layout("toy", lambda tree, options: self.contents(), "do this", patience=patience)
        self.source = StoredSource("toy", layout, self.storage, FileOptions(), clock=lambda: self.seconds)

    def holds(self, *, blank: bool = False, bad: tuple[Problem, ...] = (), **pairs: Pair) -> Toy:
        """Let the store hold pairs by their labels, and have problems."""
        raw = [RawPair(label, pair.chain, pair.key) for label, pair in pairs.items()]
        self.contents = lambda: Contents(list(raw), list(bad), blank)
        return self

    def fails(self, error: BaseException) -> None:
        """Let reading raise an error."""

        def read() -> Contents:
            raise error

        self.contents = read

    async def load(self, *, after: float = 0.0) -> tuple[dict[str, str], list[str], float | None]:
        """Each entry's first name by its label, the labels with problems, and when to look again."""
        self.seconds += after
        snapshot = await self.source.load()
        entries = {entry.label: entry.certificate.leaf.names[0] for entry in snapshot.entries}
        assert len(entries) == len(snapshot.entries)
        return entries, [problem.label for problem in snapshot.problems], snapshot.again


def missing(label: str, reason: Reason = Reason.SOURCE_MALFORMED, message: str = "is missing") -> Problem:
    return Problem(label, reason, message)


BOTH = {"a": "a.example.test", "b": "b.example.test"}


@pytest.fixture
def toy() -> Toy:
    return Toy()


class TestPatience:
    async def test_at_the_first_load_everything_is_told_at_once(self, toy):
        assert await toy.holds(b=B, bad=(missing("a"),)).load() == ({"b": "b.example.test"}, ["a"], None)

    async def test_nor_is_anything_held_back_after_loads_that_failed(self, toy):
        for error in (SourceUnavailable("not there"), SourceMalformed("half"), SourceUnavailable("not there")):
            toy.fails(error)
            with pytest.raises(type(error)):
                await toy.load()
        assert await toy.holds(bad=(missing("a"),)).load() == ({}, ["a"], None)

    async def test_what_was_good_is_kept_without_a_word_and_looked_at_again_when_patience_ends(self, toy):
        await toy.holds(a=A, b=B).load()
        toy.holds(b=B, bad=(missing("a"),))
        assert await toy.load() == (BOTH, [], PATIENCE)
        assert await toy.load(after=0.5) == (BOTH, [], PATIENCE - 0.5)

    async def test_when_it_ends_the_old_entry_goes_and_the_problem_is_told(self, toy):
        await toy.holds(a=A, b=B).load()
        toy.holds(b=B, bad=(missing("a"),))
        await toy.load()
        for _ in range(2):
            assert await toy.load(after=PATIENCE) == ({"b": "b.example.test"}, ["a"], None)

    async def test_a_pair_that_does_not_fit_is_kept_just_so(self, toy):
        await toy.holds(a=A, b=B).load()
        toy.holds(a=Pair(NEWER.chain, A.key), b=B)
        assert await toy.load() == (BOTH, [], PATIENCE)
        assert await toy.load(after=PATIENCE) == ({"b": "b.example.test"}, ["a"], None)

    async def test_what_gets_good_again_in_time_was_never_bad(self, toy):
        await toy.holds(a=A).load()
        toy.holds(bad=(missing("a"),))
        await toy.load()
        assert await toy.holds(a=NEWER).load(after=PATIENCE - 0.1) == ({"a": "a.example.test"}, [], None)
        toy.holds(bad=(missing("a"),))
        assert await toy.load(after=PATIENCE) == ({"a": "a.example.test"}, [], PATIENCE), "and its time begins anew"

    async def test_what_was_told_stays_told_while_its_reason_changes(self, toy):
        await toy.holds(a=A).load()
        for after, reason in ((0, Reason.SOURCE_MALFORMED), (PATIENCE, Reason.KEY_MISMATCH), (0.1, Reason.WEAK_KEY)):
            toy.holds(bad=(missing("a", reason),))
            found = await toy.load(after=after)
        assert found == ({}, ["a"], None)

    async def test_a_new_entry_that_is_still_being_written_is_no_news_either(self, toy):
        await toy.holds(b=B).load()
        assert await toy.holds(b=B, bad=(missing("a"),)).load() == ({"b": "b.example.test"}, [], PATIENCE)
        assert await toy.holds(a=A, b=B).load(after=0.1) == (BOTH, [], None)

    async def test_each_problem_has_its_own_time_and_the_next_one_decides(self, toy):
        await toy.holds(a=A, b=B).load()
        await toy.holds(b=B, bad=(missing("a"),)).load()
        toy.holds(bad=(missing("a"), missing("b")))
        assert await toy.load(after=1.5) == (BOTH, [], 0.5)
        assert await toy.load(after=0.5) == ({"b": "b.example.test"}, ["a"], 1.5)
        assert await toy.load(after=1.5) == ({}, ["a", "b"], None)

    async def test_without_patience_nothing_is_kept(self):
        toy = Toy(patience=0)
        await toy.holds(a=A, b=B).load()
        assert await toy.holds(b=B, bad=(missing("a"),)).load() == ({"b": "b.example.test"}, ["a"], None)

    async def test_one_of_two_with_the_same_label_that_stays_good_is_not_doubled(self, toy):
        raw = [RawPair("a", pair.chain, pair.key) for pair in (A, NEWER)]
        toy.contents = lambda: Contents(list(raw))
        await toy.source.load()
        raw[1] = RawPair("a", NEWER.chain, b"")
        snapshot = await toy.source.load()
        assert [entry.certificate.fingerprint for entry in snapshot.entries] == [A.certificate.fingerprint]


class TestLabelsThatChange:
    async def test_what_went_while_another_label_tells_why_is_kept_as_long(self, toy):
        """As of own files: when the chain was just emptied, it is the key that is left over."""
        await toy.holds(a=A, b=B).load()
        toy.holds(b=B, bad=(missing("a.key"),))
        assert await toy.load() == (BOTH, [], PATIENCE)
        assert await toy.load(after=PATIENCE) == ({"b": "b.example.test"}, ["a.key"], None)

    async def test_problems_that_flip_between_labels_keep_nothing_for_longer(self, toy):
        await toy.holds(a=A).load()
        flips = [missing("a.crt"), missing("a.key")] * 3
        found = [(await toy.holds(bad=(flip,)).load(after=0.5))[0] for flip in flips]
        assert found == [{"a": "a.example.test"}] * 4 + [{}] * 2

    async def test_the_first_of_them_that_stays_is_told(self, toy):
        await toy.holds(a=A).load()
        await toy.holds(bad=(missing("a.crt"),)).load()
        toy.holds(bad=(missing("a.key"),))
        await toy.load(after=PATIENCE)
        assert await toy.load(after=PATIENCE) == ({}, ["a.key"], None)

    async def test_what_went_while_nothing_is_wrong_was_removed(self, toy):
        await toy.holds(a=A, b=B).load()
        assert await toy.holds(b=B).load() == ({"b": "b.example.test"}, [], None)
        assert await toy.holds(b=B, bad=(missing("c"),)).load() == ({"b": "b.example.test"}, [], PATIENCE)


class TestTheStoreAsAWhole:
    async def test_one_that_never_held_anything_may_be_blank(self, toy):
        for _ in range(2):
            assert await toy.holds(blank=True).load() == ({}, [], None)

    async def test_one_that_became_blank_is_malformed_until_it_is_not(self, toy):
        await toy.holds(a=A).load()
        for _ in range(2):
            toy.holds(blank=True)
            with pytest.raises(SourceMalformed, match="^/store is empty, and was not before; if it stays so, restore"):
                await toy.load(after=PATIENCE)
        assert await toy.holds(a=A).load() == ({"a": "a.example.test"}, [], None)

    async def test_an_empty_list_is_no_blank_store(self, toy):
        await toy.holds(a=A).load()
        assert await toy.holds().load() == ({}, [], None)

    @pytest.mark.parametrize("error", [KeyError(), OSError(5, "io"), RecursionError(), MemoryError(), UnicodeError()])
    async def test_whatever_a_layout_raises_the_source_is_unavailable_and_remembers_as_before(self, toy, error):
        await toy.holds(a=A, b=B).load()
        toy.fails(error)
        with pytest.raises(SourceUnavailable) as caught:
            await toy.load()
        assert str(caught.value) == f"/store cannot be read ({type(error).__name__}); correct what lies there"
        toy.holds(b=B, bad=(missing("a"),))
        assert await toy.load() == (BOTH, [], PATIENCE)

    async def test_the_storages_own_problems_come_first_and_are_never_held_back(self, toy):
        await toy.holds(a=A).load()
        toy.storage.own_problems = (missing("/store"),)
        assert await toy.load() == ({"a": "a.example.test"}, ["/store"], None)

    async def test_a_problem_is_told_once_and_on_one_line(self, toy):
        twice = missing("a", message="x\n\x1b[31m\udcff is missing")
        snapshot = await toy.holds(bad=(twice, twice)).source.load()
        assert [problem.message for problem in snapshot.problems] == ["x??[31m? is missing"]


async def test_only_a_pair_that_changed_is_parsed_again(toy, monkeypatch):
    parsed: list[bytes] = []
    real = parse_certificate

    def parse(chain: bytes, *others: Any) -> Any:
        parsed.append(chain)
        return real(chain, *others)

    monkeypatch.setattr(pairs, "parse_certificate", parse)
    await toy.holds(a=A, b=B).load()
    await toy.load()
    await toy.holds(a=NEWER, b=B).load()
    await toy.holds(b=B, a=NEWER).load()
    assert parsed == [A.chain, B.chain, NEWER.chain]


async def test_what_a_wrong_clock_said_of_a_chain_is_forgotten_when_it_is_put_back(toy, monkeypatch):
    """An intermediate that ends before its leaf counted as ended until the next start."""
    top = make("Clock root", authority=True, usage=SIGNS, number=1)
    between = make("Clock CA", top, authority=True, usage=SIGNS, number=2, days=30)
    toy.holds(a=make("a.example.test", between, names=["a.example.test"], number=3).with_chain(between))
    found = []
    for days in (0, 60, 0):
        monkeypatch.setattr(toy.source, "_now", lambda days=days: NOW + timedelta(days=days))
        found += [entry.certificate.trust for entry in (await toy.source.load()).entries]
    assert found == [Trust.PRIVATE, Trust.REFUSED, Trust.PRIVATE]


async def test_a_load_that_was_given_up_leaves_no_trace(toy):
    """Its reading goes on alone; the next one begins once it has ended."""
    await toy.holds(a=A, b=B).load()
    entered, released, left = (threading.Event() for _ in range(3))
    late = Contents([], [missing("a"), missing("b")])

    def read_slowly() -> Contents:
        entered.set()
        released.wait(30)
        left.set()
        return late

    toy.contents = read_slowly
    task = asyncio.create_task(toy.source.load())
    await asyncio.to_thread(entered.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    toy.holds(a=NEWER, b=B)
    later = asyncio.create_task(toy.source.load())
    await asyncio.sleep(0.05)
    assert not left.is_set()
    assert not later.done()
    released.set()
    snapshot = await later
    assert left.is_set()
    assert snapshot.problems == ()
    toy.holds(b=B, bad=(missing("a"),))
    assert await toy.load() == (BOTH, [], PATIENCE), "neither forgotten nor met before"
    assert await toy.source.load() == Snapshot("toy", (*snapshot.entries[1:], snapshot.entries[0]))
