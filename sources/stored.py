"""The source that reads a store of files, of whatever layout, wherever it is kept.

Programs write the files of a pair one after the other, so a reader meets a new certificate beside an old key, or half a file.
What was good and is not at this moment stays in use; what stays bad longer than the layout's patience is reported, and then
used no more, just as if certferry were started now.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from controller.domain.errors import OtherStore, SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.moment import EARLIEST, TOLERANCE
from controller.domain.snapshot import Entry, Problem, Snapshot
from sources.layout import Layout, Storage, StoreOptions, Tree
from sources.other_stores import other_store
from sources.pairs import Contents, Known, next_change, printable, read_pairs

MOST_PROBLEMS = 100
"""Of one source that are told one by one: whoever reads them corrects the first, and a log has an end."""


def utc_now() -> datetime:
    """The wall clock, for dates of certificates."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is remembered from one load to the next."""

    known: Known = field(default_factory=dict)
    moment: datetime = EARLIEST
    """When that was, by the wall clock."""
    had_content: bool = False
    good: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    """The entries in use, by label."""
    bad_since: dict[str, float] | None = None
    """Since when each label has a problem, or lost its entries beside one; ``None`` before the first load."""


class StoredSource:
    """Implements `controller.ports.Source`."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        storage: Storage,
        options: StoreOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = name
        self.layout, self.storage, self.options = layout, storage, options or layout.options()
        self._clock, self._now = clock, now
        self._read_layout = layout.reader() if layout.reader else layout.read
        self._memory = _Memory()

    async def load(self) -> Snapshot:
        tree = await self.storage.tree()
        snapshot, memory = await self.storage.thread.run(partial(self._read, tree, self._memory), tree.where)
        # Assigned here and not in the thread, which goes on alone when the caller has given up waiting.
        self._memory = memory
        return snapshot

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        return self.storage.subscribe()

    def _read(self, tree: Tree, before: _Memory) -> tuple[Snapshot, _Memory]:
        contents = self._read_contents(tree)
        self.storage.forget()
        if contents.blank and before.had_content:
            where = f"{tree.where}/{tree.focus}" if tree.focus else tree.where
            raise SourceMalformed(f"{where} is empty, and was not before; if it stays so, restore it from a backup")
        moment = self._now()
        known = before.known if moment > before.moment - TOLERANCE else {}  # that was judged by a clock that was wrong
        reading = read_pairs(contents, known, moment=moment, remedy=self.layout.remedy)
        problems = tuple(dict.fromkeys(map(_on_one_line, (*contents.problems, *reading.problems))))
        good = _by_label(reading.entries)
        # What went while nothing is wrong was removed; else it may be a part of that, whatever label that has.
        lost = before.good.keys() - good.keys() if problems else set[str]()
        rests, bad_since = self._wait({problem.label for problem in problems} | lost, before)
        kept = {label: before.good[label] for label in sorted(lost & rests.keys())}
        entries = (*reading.entries, *(entry for group in kept.values() for entry in group))
        reported = _at_most(tuple(problem for problem in problems if problem.label not in rests))
        memory = _Memory(reading.known, moment, not contents.blank, good | kept, bad_since)
        again = min((*rests.values(), *filter(None, [next_change(entries, moment)])), default=None)
        snapshot = Snapshot(self.name, entries, (*self.storage.problems(), *reported), again, self.layout.schedule)
        snapshot.by_name  # noqa: B018 -- made here, since the loop would be held by that: a store may have millions of names
        return snapshot, memory

    def _read_contents(self, tree: Tree) -> Contents:
        try:
            contents = self._read_layout(tree, self.options)
        except (SourceUnavailable, SourceMalformed) as error:
            missing = f"{error}; " if tree.focus and tree.kind(tree.focus) == "missing" else ""
            only_here = not isinstance(error, OtherStore) and self.layout.shape != "file"
            self._tell_other_store(tree, only_here=only_here, beside=missing)
            raise
        except Exception as error:  # foreign names and bytes: whatever they lead to, the other sources must stay usable
            raise SourceUnavailable(f"{tree.where} cannot be read ({type(error).__name__}); correct what lies there") from error
        if not contents.pairs:
            self._tell_other_store(tree, only_here=any(p.reason is not Reason.KEY_MISMATCH for p in contents.problems))
        return contents

    def _tell_other_store(self, tree: Tree, *, only_here: bool, beside: str = "") -> None:
        """Raise what is there in place of a store of this kind, if that is known; `beside` is what to say before."""
        if told := other_store(tree, self.layout.kind, only_here=only_here):
            raise OtherStore(printable(beside + told))

    def _wait(self, bad: Iterable[str], before: _Memory) -> tuple[dict[str, float], dict[str, float]]:
        """How many seconds each bad label may still take to become good, without those that took too long; and since when
        each is bad.

        What is bad at the very first load took too long: there is nothing good of it to be kept in use meanwhile.
        """
        now, patience = self._clock(), self.layout.patience
        first, known = (now - patience, {}) if before.bad_since is None else (now, before.bad_since)
        since = {label: known.get(label, first) for label in bad}
        rests = {label: begin + patience - now for label, begin in since.items()}
        return {label: rest for label, rest in rests.items() if rest > 0}, since


def _on_one_line(problem: Problem) -> Problem:
    return replace(problem, message=printable(problem.message))


def _by_label(entries: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.label, []).append(entry)
    return {label: tuple(group) for label, group in found.items()}


def _at_most(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The first of many, and how many there are beside them."""
    if len(problems) <= MOST_PROBLEMS:
        return problems
    more = len(problems) - MOST_PROBLEMS
    text = f"{more:,} more entries cannot be used; correct those before them first"
    return (*problems[:MOST_PROBLEMS], Problem(f"{more:,} more", problems[MOST_PROBLEMS].reason, text))
