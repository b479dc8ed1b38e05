"""Every kind of store, damaged in every way and renewed in every order: nothing wrong is delivered, and nothing breaks."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem, Snapshot
from sources.registry import LAYOUTS
from tests.certs import Authority, Pair
from tests.unit.sources.planted import Reader, Step, replace, rewrite
from tests.unit.sources.trees import SHAPES, Link, Shape, Store, clear, modes_count, put

NAMES = ("mail.example.test", "imap.example.test", "*.wild.example.test")
STRANGE = ("a b * [x] ?", "x\ny", "größe €", os.fsdecode(b"\xff\xfe"), "n" * 200, "#1", "-rf", "\x1b[31m", "%s{}", "$(id)")
SOME = settings().max_examples // 5
"""Each example writes a whole store three times, and there are eleven kinds."""
LONG_AFTER = 100.0
"""Seconds: longer than any layout is patient."""


@cache
def pair(name: str, renewed: int = 0) -> Pair:
    return _authority().issue("strange.example.test" if name in STRANGE else name)


@cache
def _authority() -> Authority:
    return Authority()


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder; afterwards it is gone."""
    with tempfile.TemporaryDirectory(prefix="certferry-test-") as name, modes_count():
        yield Path(name)
        clear(Path(name))


def reader_of(shape: Shape, root: Path) -> Reader:
    return Reader(shape.layout, root / shape.focus)


def leaves(snapshot: Snapshot) -> set[str]:
    return {entry.certificate.fingerprint for entry in snapshot.entries}


# --- damage -----------------------------------------------------------------------------------------------------------------


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        clear(path)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _instead(put_there: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        _remove(path)
        put_there(path)

    return damage


def _cut(path: Path) -> None:
    if path.is_file():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbage(path: Path) -> object:
    return path.write_bytes(b"\x00\x30\x82\xff-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": _remove,
    "cut": _cut,
    "empty": _instead(Path.touch),
    "folder": _instead(Path.mkdir),
    "unreadable": lambda path: path.chmod(0),
    "circle": _instead(lambda path: path.symlink_to(path.name)),
    "dangling": _instead(lambda path: path.symlink_to("no/where")),
    "garbage": _instead(_garbage),
    "itself": _instead(lambda path: path.symlink_to(".")),
}


@dataclass
class Plan:
    """What is done to a store."""

    damages: list[tuple[str, str]] = field(default_factory=list)
    swaps: list[tuple[str, str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def touched(self) -> set[str]:
        return {path for _, path in self.damages} | {path for swap in self.swaps for path in swap}

    def carry_out(self, store: Store, root: Path) -> None:
        for one, other in self.swaps:
            put(root / one, store.files[other])
            put(root / other, store.files[one])
        for stray in self.strays:
            (root / stray).write_bytes(b"\x00stray")
        for damage, path in sorted(self.damages, key=lambda damage: -damage[1].count("/")):  # before the way to it is damaged
            with suppress(OSError):  # of what was damaged before, not everything can be damaged more
                DAMAGES[damage](root / path)


def plans(store: Store) -> st.SearchStrategy[Plan]:
    plain = sorted(path for path, content in store.files.items() if not isinstance(content, Link))
    folders = ["", *(f"{path}/" for path in store.paths if path not in store.files)]
    damage = st.tuples(st.sampled_from(sorted(DAMAGES)), st.sampled_from(store.paths))
    damages = st.lists(damage, max_size=4, unique_by=lambda damage: damage[1])
    swaps = st.lists(st.tuples(st.sampled_from(plain), st.sampled_from(plain)), max_size=2)
    stray = st.tuples(st.sampled_from(folders), st.sampled_from(STRANGE), st.sampled_from(("+", ".crt", ".key", ".pem")))
    strays = st.lists(stray.map("".join).filter(lambda path: path not in store.files), max_size=2)
    return st.builds(Plan, damages, swaps, strays)


def judge(snapshot: Snapshot, right: list[Pair]) -> None:
    """Nothing wrong is delivered, and every problem is told once, on one line."""
    known = {pair.certificate.fingerprint: pair for pair in right}
    for entry in snapshot.entries:
        assert entry.certificate.key_pem == known[entry.certificate.fingerprint].key
        assert entry.label.isprintable()
    told = [(problem.label, problem.reason) for problem in snapshot.problems]
    assert len(told) == len(set(told)), snapshot.problems
    for problem in snapshot.problems:
        assert problem.label.isprintable(), problem
        assert problem.message.isprintable(), problem


async def load_damaged(reader: Reader, right: list[Pair], untouched: set[str]) -> None:
    try:
        async with reader.source.subscribe():
            snapshot = await reader.load()
    except (SourceUnavailable, SourceMalformed) as error:
        snapshot = Snapshot("it", problems=(Problem("the store", Reason.SOURCE_UNAVAILABLE, str(error)),))
    judge(snapshot, right)
    assert leaves(snapshot) >= {pair(name).certificate.fingerprint for name in untouched}, snapshot.problems


@pytest.mark.hypothesis
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_whatever_is_damaged_nothing_wrong_is_delivered_and_the_rest_is_used(shape):
    @settings(max_examples=SOME, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test(data: st.DataObject) -> None:
        names = (*NAMES, data.draw(st.sampled_from(STRANGE)))
        store = shape.lay_out({name: pair(name) for name in names})
        plan, was_read_before = data.draw(plans(store)), data.draw(st.booleans())
        right = [pair(name) for name in names]

        async def play(root: Path) -> None:
            reader = reader_of(shape, root)
            store.write(root)
            if was_read_before:
                assert leaves(await reader.load()) == {one.certificate.fingerprint for one in right}
            plan.carry_out(store, root)
            untouched = store.untouched(plan.touched)
            await load_damaged(reader, right, untouched)
            reader.seconds += LONG_AFTER
            await load_damaged(reader, right, untouched)
            clear(root)
            store.write(root)
            mended = await reader.load()
            assert (leaves(mended), mended.problems) == ({one.certificate.fingerprint for one in right}, ())

        with folder() as root:
            asyncio.run(play(root))

    test()


# --- renewal ----------------------------------------------------------------------------------------------------------------


def _whole(path: Path, content: bytes) -> list[Step]:
    return [lambda: put(path, content)]


WRITINGS = {"whole": _whole, "in place": rewrite, "renamed": replace}


def steps_of(path: Path, content: bytes | Link, writing: str) -> list[Step]:
    if isinstance(content, Link):
        return [lambda: put(path, content)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return WRITINGS[writing](path, content)


@pytest.mark.hypothesis
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_in_whatever_order_the_files_are_replaced_each_name_has_the_old_or_the_new_pair(shape):
    before, after = (shape.lay_out({name: pair(name, renewed) for name in NAMES}, renewed) for renewed in (0, 1))
    changed = [path for path, content in after.files.items() if before.files.get(path) != content]
    right = [pair(name, renewed) for name in NAMES for renewed in (0, 1)]

    @settings(max_examples=SOME, suppress_health_check=list(HealthCheck))
    @given(st.permutations(changed), st.sampled_from(sorted(WRITINGS)), st.booleans())
    def test(order: list[str], writing: str, had_been_read: bool) -> None:
        async def play(root: Path) -> None:
            reader = reader_of(shape, root)
            before.write(root)
            if had_been_read:
                await reader.load()
            for path in order:
                for step in steps_of(root / path, after.files[path], writing):
                    step()
                    await load_renewed(reader, right, set(NAMES) if had_been_read else set())
            reader.seconds += LONG_AFTER
            renewed = await reader.load()
            assert (leaves(renewed), renewed.problems) == ({pair(name, 1).certificate.fingerprint for name in NAMES}, ())

        with folder() as root:
            asyncio.run(play(root))

    test()


async def load_renewed(reader: Reader, right: list[Pair], names: set[str]) -> None:
    """A store that is rewritten as a whole may say that it is torn; then what was good stays in use."""
    try:
        snapshot = await reader.load()
    except SourceMalformed:
        return
    judge(snapshot, right)
    assert snapshot.by_name.keys() >= names


def test_every_kind_is_tried():
    assert {shape.kind for shape in SHAPES} == LAYOUTS.keys(), "add how it lays out its files to trees.py"
