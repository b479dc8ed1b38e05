"""Who may work on which files: one target at a time in a folder, in the order in which they came. Pure state.

Nobody waits here: who cannot begin is told so, keeps its place in the line, and is called once it can. What is asked for is
given as a whole or not at all, so nobody waits for somebody who waits for him.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.target import TargetKey

Area = str
"""A folder on the engine's host, with everything below it; or the name of a volume, which is no path."""


def areas_of(container: Container, paths: Iterable[PurePosixPath]) -> frozenset[Area]:
    """Where the files of a container may be reached by others, too; what is only its own is not among them.

    The whole mount counts, since symbolic links may lead anywhere in it. A volume counts by its name and by its place on the
    host: a driver may tell no place, and a place may be mounted as a folder elsewhere.
    """
    areas: set[Area] = set()
    for path in paths:
        mount = container.mount_of(path)
        if mount is None:
            continue
        if mount.host_path:
            areas.add(posixpath.normpath(mount.host_path))
        if mount.source:
            areas.add(posixpath.normpath(mount.source) if mount.source.startswith("/") else mount.source)
    return frozenset(areas)


class _Claims:
    """Areas that are taken. Two are in each other's way when one is the other, or lies in it."""

    def __init__(self) -> None:
        self._taken: set[Area] = set()
        self._above: set[Area] = set()
        """Every folder above one that is taken."""

    def take(self, areas: Iterable[Area]) -> None:
        for area in areas:
            self._taken.add(area)
            self._above.update(_parents(area))

    def meet(self, areas: Iterable[Area]) -> bool:
        return any(
            area in self._taken or area in self._above or any(parent in self._taken for parent in _parents(area))
            for area in areas
        )


def _parents(area: Area) -> Iterator[Area]:
    while area.startswith("/") and area != "/":
        area = posixpath.dirname(area)
        yield area


def meet(some: Iterable[Area], others: Iterable[Area]) -> bool:
    """Whether files of the one may be files of the other."""
    claims = _Claims()
    claims.take(some)
    return claims.meet(others)


class Locks:
    """Holds the areas that are worked in. `call` is told of each key that had to wait and should come again now.

    What is kept is bounded by the keys that work or wait.
    """

    def __init__(self) -> None:
        self.call: Callable[[TargetKey], None] = lambda _key: None
        self._held: dict[TargetKey, frozenset[Area]] = {}
        self._waiting: dict[TargetKey, frozenset[Area]] = {}
        """In the order in which they came. Who was called stays here until it comes or leaves."""

    @property
    def waiting(self) -> tuple[TargetKey, ...]:
        """Who waits, the first first."""
        return tuple(self._waiting)

    def enter(self, key: TargetKey, areas: frozenset[Area]) -> bool:
        """Take all areas; false when one is held, or somebody waits for it who came earlier: then `key` waits, too."""
        claims = self._claims_before(key)
        if claims.meet(areas):
            self._waiting[key] = areas
            return False
        self._waiting.pop(key, None)
        self._held[key] = areas
        return True

    def leave(self, key: TargetKey) -> None:
        """Give up what was held and the place in the line; those that can begin now are called."""
        held, waited = self._held.pop(key, None), self._waiting.pop(key, None)
        if not (held or waited):
            return
        claims = self._claims_of_held()
        for waiting, areas in list(self._waiting.items()):
            if not claims.meet(areas):
                self.call(waiting)
            claims.take(areas)

    def _claims_before(self, key: TargetKey) -> _Claims:
        claims = self._claims_of_held()
        for waiting, areas in self._waiting.items():
            if waiting == key:
                break
            claims.take(areas)
        return claims

    def _claims_of_held(self) -> _Claims:
        claims = _Claims()
        for areas in self._held.values():
            claims.take(areas)
        return claims
