"""Looks at containers, to find proxies whose stores become sources by themselves; `controller.adoption` decides which do."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import structlog

from controller.adoption import Adopted, Configured, Seen, choose
from controller.domain.container import Container, State
from controller.domain.errors import Error, SettingsError, TargetGone
from controller.domain.proxy import DISCOVER, NOTHING, Files, Recogniser, Verdict, without_discover
from controller.engine import Engine
from controller.faults import Faults
from controller.label_values import parse_flag
from controller.labels import is_opted_in
from controller.ports import ContainerFiles, PathStat, Source
from controller.store import Store
from controller.together import together

log = structlog.get_logger()

AT_A_TIME = 8
"""Containers that are looked at at a time: each costs the engine some milliseconds."""

LARGEST_CONFIG = 256 * 2**10
"""Bytes of a proxy's configuration that are read; real ones have a few thousand."""

SMALL = 8 * 2**10
"""Characters of a container's settings and files that are looked through at once; more than that is, beside the loop."""

LINKS = 5
"""Symbolic links that are followed to a configuration file."""

NOTHING_KNOWN = "its label {label} asks to use it, but it looks like no known proxy; name its store in CERTFERRY_SOURCES"
LONGEST_FOUND = 400
"""Characters of what was found that is not used: an image may name any number of stores, and the remedy stands behind them."""
UNUSED = "found, not used: put the label {label} on it to use it"
SAME = " (its image has {label}, which does not count, nor does the same on the container)"


@dataclass(frozen=True, slots=True)
class Change:
    """What a look means for the sources: those to follow from now on, in place of a former one of that name or not; those not
    to follow any more; and those whose container something happened to, by name."""

    follow: tuple[Source, ...] = ()
    retire: tuple[str, ...] = ()
    touched: frozenset[str] = frozenset()
    unused: bool = False
    """Whether other containers than before are found and not used."""


class Proxies:
    """What is known of all containers that keep certificates; `create` makes the source of a URL under a name."""

    def __init__(  # noqa: PLR0913
        self,
        engine: Engine,
        store: Store,
        *,
        recognise: Recogniser,
        create: Callable[[str, str], Source],
        configured: Collection[Configured],
        prefix: str,
        own_id: str | None,
    ) -> None:
        self._engine, self._store, self._recognise, self._create = engine, store, recognise, create
        self._configured, self._prefix, self._own_id = configured, prefix, own_id
        self._label = f"{prefix}{DISCOVER}"
        self._gate = asyncio.Semaphore(AT_A_TIME)
        self._seen: dict[str, Seen] = {}
        self._adopted: dict[str, Adopted] = {}
        self._gone: set[str] = set()
        self._faults = Faults()
        self.looked_at = 0
        """How many containers there were at the last look at all of them."""

    def id_of(self, name: str) -> str | None:
        """The container of that name whose store is a source now; ``None`` where it is gone."""
        there = (one for source, one in self._adopted.items() if source not in self._gone)
        return next((one.container_id for one in there if one.container == name), None)

    async def look(self, container_ids: Collection[str] | None = None) -> Change:
        """Look at some containers, or at all there are, and decide anew.

        Raises:
            EngineUnavailable: they cannot be listed; one that cannot be looked at stays as it was.
        """
        if container_ids is None:
            container_ids = await self._engine.labels()
            self.looked_at = len(container_ids)
            self._seen = {container_id: seen for container_id, seen in self._seen.items() if container_id in container_ids}
        looks = await together(self._look_at(container_id) for container_id in container_ids)
        before = tuple(self._adopted.values())
        change = self._decide()
        touched = {one.source for one in (*before, *self._adopted.values()) if one.container_id in container_ids}
        touched |= {c.source for c in self._configured if c.selector for one in looks if one and c.selects(one)}
        return replace(change, touched=frozenset(touched))

    async def _look_at(self, container_id: str) -> Container | None:
        if container_id == self._own_id:
            return None
        try:
            async with self._gate:
                container = await self._engine.inspect(container_id)
                seen = await self._see(container) if container else None
        except TargetGone:
            container = seen = None
        except Error as error:
            log.debug("proxy.unknown", container=container_id[:12], message=str(error))
            return None
        except Exception as error:  # one container, whatever stands in its settings, must not hide the others
            name = container_id[:12]
            self._faults.tell("proxy.crashed", error, about=name, container=name, message=str(error))
            return None
        if seen:
            self._seen[container_id] = seen
        else:
            self._seen.pop(container_id, None)
        return container

    async def _see(self, container: Container) -> Seen | None:
        if container.state in (State.REMOVING, State.DEAD):
            return None
        if is_opted_in(without_discover(container.labels, self._prefix), self._prefix):
            return None  # a target; what is in it was delivered
        verdict, reason = await self._recognise_with(container, {}), self._opted_out(container)
        if verdict != NOTHING and reason:
            return Seen(container, left=reason, opted_out=True)
        verdict = await self._judge(container) if verdict != NOTHING else verdict
        labelled = self._label in container.labels and not reason
        if verdict == NOTHING:
            return Seen(container, left=NOTHING_KNOWN.format(label=self._label)) if labelled else None
        stores = [(store, await self._engine.own_path(container.id, store.path)) for store in verdict.stores]
        return Seen(container, tuple(stores), verdict.left, vouched=verdict.vouched or labelled)

    def _opted_out(self, container: Container) -> str:
        text = container.labels.get(self._label, "true").strip()
        try:
            return "" if parse_flag(text) else f"its label {self._label}={text} asks for that"
        except ValueError as error:
            return f"its label {self._label} is {text[:80]!r}: {error}"

    async def _judge(self, container: Container) -> Verdict:
        files: dict[PurePosixPath, bytes | None] = {}
        verdict = await self._recognise_with(container, files)
        while wanted := set(verdict.wanted) - files.keys():
            for path in sorted(wanted):
                try:
                    files[path] = await self._read(container, path)
                except TargetGone:
                    raise
                except (Error, ValueError) as error:
                    return Verdict(left=f"its {path} cannot be read: {error}", vouched=verdict.vouched)
            verdict = await self._recognise_with(container, files)
        return verdict

    async def _recognise_with(self, container: Container, files: Files) -> Verdict:
        """What the recogniser says, without holding the loop over text that anybody may make as long as they like."""
        if _size(container) + sum(len(content or b"") for content in files.values()) <= SMALL:
            return self._recognise(container, files)
        return await asyncio.to_thread(self._recognise, container, dict(files))

    async def _read(self, container: Container, path: PurePosixPath) -> bytes | None:
        for _ in range(LINKS):
            found = await self._engine.get_file(container.id, path)
            if found is None:
                return None
            info, content = found
            if not info.issym():
                break
            path = PurePosixPath(posixpath.normpath(path.parent / info.linkname))
        if info.issym() or (info.isfile() and info.size > LARGEST_CONFIG):
            raise ValueError(f"{path} is too large, or one of too many links")
        return content

    def _decide(self) -> Change:
        choice = choose(self._seen.values(), self._configured, self._adopted)
        unused = {name: f"{_shortened(found)}: {self._remedy(name)}" for name, found in choice.unused.items()}
        left, follow = choice.left | {name: "; ".join((*_given(choice.left, name), text)) for name, text in unused.items()}, []
        for name, found in list(choice.adopted.items()):
            before = self._adopted.get(name)
            if before is None or before.url != found.url:
                try:
                    follow.append(self._create(found.url, name))
                except SettingsError as error:
                    left[found.container] = f"{found.store.how}, but {error}"
                    del choice.adopted[name]
        gone = {name: one for name, one in self._adopted.items() if name not in choice.adopted}
        kept = {name: one for name, one in gone.items() if one.container not in choice.dismissed and self._holds(name)}
        self._tell(choice.adopted, gone, left, unused)
        self._adopted = kept | choice.adopted
        news, self._store.unused = unused != self._store.unused, unused
        self._store.found = {name: str(one) for name, one in self._adopted.items()}
        return Change(tuple(follow), tuple(gone.keys() - kept.keys()), unused=news)

    def _remedy(self, name: str) -> str:
        """What makes a source of a container; Docker does not tell a label of its own from the very same one of its image."""
        baked = next(
            (seen.container.all_labels.get(self._label) for seen in self._seen.values() if seen.container.name == name), None
        )
        wanted = f"{self._label}={'yes' if baked == 'true' else 'true'}"
        return UNUSED.format(label=wanted) + (SAME.format(label=f"{self._label}={baked[:80]}") if baked else "")

    def _holds(self, source: str) -> bool:
        """Whether there is something to keep: a certificate that vanishes stays in use."""
        snapshot = self._store.snapshots.get(source)
        return bool(snapshot and snapshot.entries)

    def _tell(
        self, adopted: dict[str, Adopted], gone: dict[str, Adopted], left: dict[str, str], unused: dict[str, str]
    ) -> None:
        """Log what is news, and put what is left into the store."""
        for name, found in adopted.items():
            if name in self._gone or self._adopted.get(name) is None or self._adopted[name].url != found.url:
                log.info("proxy.found", source=name, container=found.container, path=str(found.store.path), how=found.store.how)
        for name in gone.keys() - self._gone:
            log.warning("proxy.gone", source=name, container=gone[name].container)
        for container, reason in left.items():
            if self._store.left.get(container) == reason:
                continue
            if container in unused:
                log.warning("proxy.unused", container=container, message=reason)
            else:
                log.info("proxy.left", container=container, message=reason)
        self._gone = set(gone)
        self._store.left = left


class FilesOfProxies:
    """Implements `controller.ports.ContainerFiles` for what was found: by its name only the container that was looked at.

    Another one may have that name by now, and anything in it.
    """

    def __init__(self, files: ContainerFiles, id_of: Callable[[str], str | None]) -> None:
        self._files, self._id_of = files, id_of

    async def find(self, selector: str) -> str | None:
        return self._id_of(selector)

    async def stat(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        return await self._files.stat(container_id, path)

    async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes | None:
        return await self._files.get_archive(container_id, path, limit=limit)

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        return await self._files.own_path(container_id, path)


def _shortened(found: str) -> str:
    return found if len(found) <= LONGEST_FOUND else f"{found[:LONGEST_FOUND]}…"


def _given(left: dict[str, str], name: str) -> tuple[str, ...]:
    return (left[name],) if name in left else ()


def _size(container: Container) -> int:
    """Characters that a recogniser looks through."""
    named = (container.environment, container.labels)
    return sum(map(len, container.command)) + sum(len(name) + len(value) for pairs in named for name, value in pairs.items())
