"""Which of the stores that were seen in containers become sources, and under which names. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from controller.domain.container import Container, State
from controller.domain.proxy import KeptStore


@dataclass(frozen=True, slots=True)
class Configured:
    """What a configured source reads: a path of certferry's own, or one in the container that `selector` names."""

    source: str
    path: PurePosixPath
    selector: str = ""

    def selects(self, container: Container) -> bool:
        """Whether it is this container that is meant, by name or by label; see `controller.ports.ContainerFiles.find`."""
        name, by_label, value = self.selector.partition("=")
        return container.labels.get(name) == value if by_label else container.name == name


@dataclass(frozen=True, slots=True)
class Seen:
    """A container that keeps certificates: its stores, each with where certferry sees the same files; or why it is left.

    Those that the operator did not vouch for are shown and not used; see `controller.domain.proxy.Verdict`.
    """

    container: Container
    stores: tuple[tuple[KeptStore, Path | None], ...] = ()
    left: str = ""
    opted_out: bool = False
    vouched: bool = True


@dataclass(frozen=True, slots=True)
class Adopted:
    """A store that is a source. `place` is the same for all containers that have it mounted."""

    source: str
    container: str
    container_id: str
    number: int
    store: KeptStore
    place: str

    @property
    def url(self) -> str:
        """What it would be called if it were configured."""
        return f"docker://{self.container}{quote(str(self.store.path))}?kind={self.store.kind}"

    def __str__(self) -> str:
        return f"{self.store.how}; {self.store.path} in the container {self.container}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The sources by name, why containers were left, by name, and those that are to be left whatever was before.

    `unused` are the stores, in words and by container, that would be sources did the operator say so.
    """

    adopted: dict[str, Adopted]
    left: dict[str, str]
    dismissed: frozenset[str]
    unused: dict[str, str] = field(repr=False)


def choose(seen: Iterable[Seen], configured: Collection[Configured], before: Mapping[str, Adopted]) -> Choice:
    """Decide. What was a source `before` keeps its name as long as its store, or its container's name, is there."""
    adopted: dict[str, Adopted] = {}
    left: dict[str, str] = {}
    unused: dict[str, str] = {}
    dismissed: set[str] = set()
    readers, names, readers_of_places = _Readers(configured), _Names(before, configured), dict[str, str]()
    known = _Known(before)
    for one in sorted(seen, key=known.precedence):
        name, reasons = one.container.name, [one.left] if one.left else []
        offered: list[str] = []
        if one.opted_out or not one.vouched:
            dismissed.add(name)
        for number, (store, own_path) in enumerate(one.stores):
            place = place_of(one.container, store.path)
            if reader := readers.of(one.container, store, own_path):
                dismissed.add(name)
            else:
                reader = readers_of_places.get(place)
            if reader:
                reasons.append(f"{store.how}; {store.path} is already read by the source {reader}")
                continue
            if not one.vouched:
                offered.append(f"{store.how}; {store.path}")
                continue
            found = Adopted("", name, one.container.id, number, store, place)
            source = names.take_for(found)
            adopted[source] = replace(found, source=source)
            readers_of_places[place] = source
        if reasons:
            left[name] = "; ".join(reasons)
        if offered:
            unused[name] = "; ".join(offered)
    return Choice(adopted, left, frozenset(dismissed), unused)


def place_of(container: Container, path: PurePosixPath) -> str:
    """What tells a store from others: its path on the host or in a volume, else its container and path."""
    mount = container.mount_of(path)
    if mount is None or not mount.source:
        return f"container {container.name}:{path}"
    return f"{mount.kind} {PurePosixPath(mount.source) / path.relative_to(mount.destination)}"


class _Known:
    """Who comes first of several with one store: who is vouched for, whose name or id is known, who runs; then by name."""

    def __init__(self, before: Mapping[str, Adopted]) -> None:
        self._names, self._ids = before.keys(), frozenset(one.container_id for one in before.values())

    def precedence(self, one: Seen) -> tuple[bool, bool, bool, bool, str]:
        container = one.container
        return (
            not one.vouched,
            container.name not in self._names,
            container.id not in self._ids,
            container.state is not State.RUNNING,
            container.name,
        )


class _Readers:
    """The configured sources by what they read, so that each store is looked up and not compared with all of them."""

    def __init__(self, configured: Collection[Configured]) -> None:
        self._by_place: dict[tuple[str, PurePosixPath], tuple[int, str]] = {}
        for position, one in enumerate(configured):
            self._by_place.setdefault((one.selector, one.path), (position, one.source))

    def of(self, container: Container, store: KeptStore, own_path: Path | None) -> str | None:
        """The first of those that read a store: by the container's name, by a label, or where certferry sees it itself."""
        selectors = (container.name, *(f"{name}={value}" for name, value in container.labels.items()))
        places = [(selector, store.path) for selector in selectors]
        if own_path is not None:
            places.append(("", PurePosixPath(own_path)))
        return min((self._by_place[place] for place in places if place in self._by_place), default=(0, None))[1]


class _Names:
    """Gives sources their names: the former one of the same store or container, else one that is free."""

    def __init__(self, before: Mapping[str, Adopted], configured: Collection[Configured]) -> None:
        self._before = before
        self._taken = {one.source for one in configured}
        self._former: defaultdict[object, list[str]] = defaultdict(list)
        for name, one in before.items():
            self._former[one.place].append(name)
            self._former[one.container, one.number].append(name)

    def take_for(self, found: Adopted) -> str:
        former = (*self._former[found.place], *self._former[found.container, found.number])
        name = next((name for name in former if name not in self._taken), None) or next(
            name for name in self._new(found.container) if name not in self._taken and name not in self._before
        )
        self._taken.add(name)
        return name

    def _new(self, container: str) -> Iterator[str]:
        return (container if number == 1 else f"{container}-{number}" for number in count(1))
