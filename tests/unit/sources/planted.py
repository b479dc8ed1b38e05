"""Recorded trees as directories, renewals of them in single steps, and a source that reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from controller.domain.snapshot import Snapshot
from sources.layout import Layout
from sources.local import LocalStorage
from sources.stored import StoredSource
from tests.unit.sources.recorded import DATA

Step = Callable[[], object]
"""One thing that a program does to a file."""


def plant(name: str, into: Path) -> Path:
    """A copy of a recorded tree, in which links are links again: they were recorded as files that hold where they lead."""
    root = into / "tree"
    shutil.copytree(DATA / name, root)
    for file in root.rglob("*"):
        if file.is_file() and file.stat().st_size < 200 and (text := file.read_text()).startswith(("./", "../")):
            file.unlink()
            file.symlink_to(text.strip())
    return root


class Reader:
    """A source over a directory, with a clock that stands still unless told otherwise."""

    def __init__(self, layout: Layout, root: Path, **options: object) -> None:
        self.seconds = 1000.0
        given = layout.options.model_validate({name.replace("_", "-"): value for name, value in options.items()})
        self.storage = LocalStorage(root, layout, given)
        self.source = StoredSource("it", layout, self.storage, given, clock=lambda: self.seconds)

    async def load(self) -> Snapshot:
        return await self.source.load()

    async def leaves(self) -> dict[str, str]:
        """The fingerprint of each entry, by its label; there must be no problem."""
        snapshot = await self.load()
        assert snapshot.problems == ()
        found = {entry.label: entry.certificate.fingerprint for entry in snapshot.entries}
        assert len(found) == len(snapshot.entries), "labels differ"
        return found

    async def problems(self) -> dict[str, str]:
        """The message of each problem by its label."""
        problems = (await self.load()).problems
        assert all("\n" not in problem.message for problem in problems)
        found = {problem.label: f"{problem.reason}: {problem.message}" for problem in problems}
        assert len(found) == len(problems), "each is told once"
        return found


async def play(reader: Reader, steps: Iterable[Step], *, label: str) -> tuple[str, str]:
    """Read after each step of a renewal: no step is a problem, and each shows one of two pairs of the label; returns them."""
    before = await reader.leaves()
    seen = [before[label]]
    for step in steps:
        step()
        found = await reader.leaves()
        assert {name: leaf for name, leaf in found.items() if name != label} == {
            name: leaf for name, leaf in before.items() if name != label
        }
        if found[label] != seen[-1]:
            seen.append(found[label])
    assert len(seen) == 2, "the old one, then the new one, and none twice"
    return seen[0], seen[1]


def rewrite(file: Path, content: bytes) -> list[Step]:
    """How a program writes a file in place: emptied, half-written, whole."""
    half = len(content) // 2
    return [lambda: file.write_bytes(b""), lambda: file.write_bytes(content[:half]), lambda: file.write_bytes(content)]


def replace(file: Path, content: bytes) -> list[Step]:
    """How a program writes a file beside it, with a number for a name, and renames it."""
    beside = file.parent / "4711"
    return [lambda: beside.write_bytes(content), lambda: beside.rename(file)]
