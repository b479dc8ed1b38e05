"""Which of the stores that were seen in containers become sources, and under which names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
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
    """A container that keeps certificates: its stores, each with where certferry sees the same files; or why it is left."""

    container: Container
    stores: tuple[tuple[KeptStore, Path | None], ...] = ()
    left: str = ""
    opted_out: bool = False


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
    """The sources by name, why containers were left, by name, and those that are to be left whatever was before."""

    adopted: dict[str, Adopted]
    left: dict[str, str]
    dismissed: frozenset[str]


def choose(seen: Iterable[Seen], configured: Collection[Configured], before: Mapping[str, Adopted]) -> Choice:
    """Decide. What was a source `before` keeps its name as long as its store, or its container's name, is there."""
    adopted: dict[str, Adopted] = {}
    left: dict[str, str] = {}
    dismissed: set[str] = set()
    for one in sorted(seen, key=lambda one: _precedence(one.container, before)):
        name, reasons = one.container.name, [one.left] if one.left else []
        if one.opted_out:
            dismissed.add(name)
        for number, (store, own_path) in enumerate(one.stores):
            place = place_of(one.container, store.path)
            if reader := next((c.source for c in configured if _reads(c, one.container, store, own_path)), None):
                dismissed.add(name)
            else:
                reader = next((other.source for other in adopted.values() if other.place == place), None)
            if reader:
                reasons.append(f"{store.how}; {store.path} is already read by the source {reader}")
                continue
            found = Adopted("", name, one.container.id, number, store, place)
            source = _name_for(found, before, adopted.keys() | {c.source for c in configured})
            adopted[source] = replace(found, source=source)
        if reasons:
            left[name] = "; ".join(reasons)
    return Choice(adopted, left, frozenset(dismissed))


def place_of(container: Container, path: PurePosixPath) -> str:
    """What tells a store from others: its path on the host or in a volume, else its container and path."""
    mount = container.mount_of(path)
    if mount is None or not mount.source:
        return f"container {container.name}:{path}"
    return f"{mount.kind} {PurePosixPath(mount.source) / path.relative_to(mount.destination)}"


def _precedence(container: Container, before: Mapping[str, Adopted]) -> tuple[bool, bool, bool, str]:
    """Who comes first of several containers with one store: whose name or id is known, who runs, then by name."""
    known = any(container.id == one.container_id for one in before.values())
    return container.name not in before, not known, container.state is not State.RUNNING, container.name


def _reads(configured: Configured, container: Container, store: KeptStore, own_path: Path | None) -> bool:
    if configured.selector:
        return configured.path == store.path and configured.selects(container)
    return own_path is not None and configured.path == PurePosixPath(own_path)


def _name_for(found: Adopted, before: Mapping[str, Adopted], taken: Collection[str]) -> str:
    free = [one for name, one in before.items() if name not in taken]
    same = [one for one in free if one.place == found.place]
    same += [one for one in free if (one.container, one.number) == (found.container, found.number)]
    if same:
        return same[0].source
    names = (found.container if number == 1 else f"{found.container}-{number}" for number in count(1))
    return next(name for name in names if name not in taken and name not in before)
