"""A toy kind of store, in real directories: a folder for each pair, with its ``crt`` and ``key``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from controller.domain.snapshot import Snapshot
from controller.following import Follower, Pace, changed_names
from controller.ports import Source
from controller.store import Store
from sources.layout import FileOptions, Layout, StoreOptions, Tree
from sources.local import LocalStorage
from sources.pairs import Contents, RawPair, label_of
from sources.parts import folders, read_part
from sources.stored import StoredSource
from tests.certs import Authority, Key, Pair, new_key

GENEROUS = 30.0
"""Seconds for what takes a moment on a quiet machine."""


def read_toy(tree: Tree, _options: StoreOptions) -> Contents:
    contents = Contents()
    for group in folders(tree, contents):
        for name in folders(tree, contents, group):
            label, where = label_of(f"{group}/{name}"), f"{group}/{name}"
            with contents.entry(label):
                contents.pairs.append(RawPair(label, read_part(tree, f"{where}/crt"), read_part(tree, f"{where}/key")))
    return contents


TOY = Layout("toy", read_toy, "do this", folders=("*", "*/*"), patience=0.0, quiet=0.02)
EITHER = Layout("toy", lambda tree, options: Contents(blank=not tree.read(tree.focus)), "do this", shape="either")


HASTE = Pace(retry_min=0.05, retry_max=0.2, resync=3600.0)


@cache
def authority() -> Authority:
    return Authority()


@cache
def key() -> Key:
    return new_key()


def put(root: Path, name: str, pair: Pair | None = None, *, group: str = "group") -> Pair:
    """A folder with a pair, by default a new one."""
    pair = pair or authority().issue(f"{name}.example.test", key=key())
    folder = root / group / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crt").write_bytes(pair.chain)
    (folder / "key").write_bytes(pair.key)
    return pair


def toy(root: Path, layout: Layout = TOY, **options: Any) -> tuple[StoredSource, LocalStorage]:
    given = FileOptions(**options)
    storage = LocalStorage(root, layout, given)
    return StoredSource("toy", layout, storage, given), storage


class Followed:
    """A source under the real follower."""

    def __init__(self, source: Source, pace: Pace) -> None:
        self.store = Store()
        self.changed = asyncio.Event()
        self.changes = 0
        """How often certificates came or went, so that there was something to do."""
        self._name = source.name
        self.follower = Follower(source, self.store, self._note, pace=pace, jitter=lambda: 1.0)

    def _note(self, before: Snapshot, after: Snapshot) -> None:
        self.changes += bool(changed_names(before, after))
        self.changed.set()

    @property
    def message(self) -> str:
        return self.store.sources[self._name].message

    @property
    def snapshot(self) -> Snapshot:
        return self.store.snapshots.get(self._name, Snapshot(self._name))

    @property
    def leaves(self) -> set[str]:
        return {entry.certificate.fingerprint for entry in self.snapshot.entries}

    @property
    def told(self) -> str:
        """Everything that is wrong, with the store or what is in it."""
        return "; ".join([self.message, *(problem.message for problem in self.snapshot.problems)])

    async def until(self, condition: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(GENEROUS):
                while not condition():  # noqa: ASYNC110 -- the store tells nobody
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it has {len(self.leaves)} certificates, and says: {self.told or 'nothing'}") from None

    async def holds(self, *pairs: Pair) -> None:
        """Wait until it holds just these, and is well."""
        wanted = {pair.certificate.fingerprint for pair in pairs}
        await self.until(lambda: self.leaves == wanted and not self.message)


@asynccontextmanager
async def followed(source: Source, pace: Pace = HASTE) -> AsyncIterator[Followed]:
    it = Followed(source, pace)
    task = asyncio.create_task(it.follower.follow())
    try:
        yield it
    finally:
        assert not task.done(), task
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
