"""Stores inside other containers, read through Docker: no shared volume is needed, and its traps are none.

Where certferry sees the same files itself, by a volume or folder that both have, they are read there and the kernel tells of
changes. Elsewhere each known path is looked at from time to time (``HEAD …/archive``), and nothing is transferred while all are
the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from controller.domain.errors import EngineUnavailable, SettingsError, SourceGone, SourceUnavailable, TargetGone
from controller.domain.snapshot import Problem
from controller.ending import end, pass_on_cancellation
from controller.ports import ContainerFiles, PathStat, Source
from controller.threads import OwnThread, step
from sources.archive import ArchiveTree, Node, Nodes, lead, unpack
from sources.files import MIB
from sources.layout import FileOptions, Layout, Tree
from sources.local import LocalStorage
from sources.stored import StoredSource
from sources.surroundings import Factory, Surroundings
from sources.url import SourceUrl, nearest

POLL = 10.0
"""Seconds between two looks, unless the option ``poll`` says otherwise."""
BLIND = 2.0
"""Seconds until the next look after one that Docker did not answer: it may be starting, or busy with a container that goes."""
SHARE = 100
"""After looks that took a second there is a pause of so many: large stores are looked at less often."""
LONGEST = 30.0
"""Seconds: the longest such pause, so that one slow look, when Docker is busy, hides no change for minutes."""
FOREIGN_PARTS = 40
"""Links out of the store that are followed."""
COARSEST = 3.0
"""Seconds: what changed less than that ago may change again without a trace, for archives tell whole seconds only."""
INSTEAD = 4 * MIB
"""Bytes that are fetched of a folder that holds no such store."""
_ARCHIVES = 4
"""Times ``max-size`` that all of a store may have."""

_KIND_OF = {
    "acme.json": "traefik",
    "/etc/nginx/certs": "acme-companion",
    "/etc/letsencrypt": "certbot",
    "/data/caddy": "caddy",
    "/usr/syno/etc/certificate/_archive": "synology",
}
"""Kinds by the end of a path that tells them."""


@dataclass(frozen=True)
class _Fetched:
    """What was read of a container, and what each path looked like."""

    container_id: str
    nodes: Nodes
    looks: dict[PurePosixPath, PathStat | None]
    again: bool
    """Whether to read once more at the next look: something changed less than the resolution of time stamps ago."""


@dataclass
class _Counts:
    """How often containers were asked: whole archives, and single looks."""

    fetches: int = 0
    looks: int = 0


@dataclass
class ContainerStorage:
    """Implements `sources.layout.Storage`. `selector` is as in `ContainerFiles.find`."""

    selector: str
    path: PurePosixPath
    layout: Layout
    options: FileOptions
    files: ContainerFiles
    counts: _Counts = field(default_factory=_Counts)
    thread: OwnThread = field(default_factory=lambda: OwnThread("source in a container"))
    _fetched: _Fetched | None = None
    _local: LocalStorage | None = None

    async def tree(self) -> Tree:
        try:
            container_id = await self._find()
            if local := await self._see(container_id):
                return await local.tree()
            if self._fetched is None or not await self._is_current(self._fetched, container_id):
                self._fetched = await self._fetch(container_id)
        except TargetGone as error:
            raise SourceUnavailable(f"the container {self.selector} is just going; another one is waited for") from error
        except EngineUnavailable as error:
            raise SourceUnavailable(str(error)) from error
        return await self.thread.run(partial(self._tree_of, self._fetched.nodes), self._where)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[None]]:
        """Hints of the kernel where the files can be seen, and of looking at them every now and then."""
        watch = _KernelWatch(asyncio.Event())
        try:
            await self._has_changed(watch)
            looking = asyncio.create_task(self._look_again_and_again(watch), name=f"look at {self.selector}")
            try:
                yield _hints(watch.stirred, looking)
            finally:
                await end(looking)
        finally:
            await watch.stop()

    def forget(self) -> None:
        if self._local:
            self._local.forget()

    def problems(self) -> tuple[Problem, ...]:
        return ()

    async def _find(self) -> str:
        if (container_id := await self.files.find(self.selector)) is None:
            raise SourceGone(f"there is no container {self.selector} (yet); start it, or correct the name")
        return container_id

    async def _see(self, container_id: str) -> LocalStorage | None:
        """The store as certferry sees it itself, if it does."""
        own = await self.files.own_path(container_id, self.path)
        if own is None:
            self._local = None
        elif self._local is None or self._local.path != own:
            self._local = LocalStorage(own, self.layout, self.options.model_copy(update={"poll": None}), thread=self.thread)
        return self._local

    async def _look_again_and_again(self, watch: _KernelWatch) -> None:
        every = self.options.poll or POLL
        pause = every
        while True:
            await asyncio.sleep(min(pause, BLIND) if watch.blind else pause)
            begin = time.monotonic()
            if await self._has_changed(watch):
                watch.stirred.set()
            pause = max(every, min((time.monotonic() - begin) * SHARE, LONGEST))

    async def _has_changed(self, watch: _KernelWatch) -> bool:
        """Whether it is time to read; where the files can be seen the kernel says so, from now on."""
        try:
            container_id = await self._find()
            local = await self._see(container_id)
            moved = await watch.follow(local)
            watch.blind = False
            if moved or local:
                return moved
            return self._fetched is None or not await self._is_current(self._fetched, container_id)
        except (TargetGone, EngineUnavailable, SourceUnavailable) as error:
            pass_on_cancellation()
            watch.blind = not isinstance(error, SourceUnavailable)
            await watch.follow(None)
            return True  # reading it says what is wrong

    async def _is_current(self, fetched: _Fetched, container_id: str) -> bool:
        if fetched.again or fetched.container_id != container_id:
            return False
        for path, seen in fetched.looks.items():
            if await self._look(container_id, path) != seen:
                return False
        return True

    async def _look(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        self.counts.looks += 1
        return await self.files.stat(container_id, path)

    async def _fetch(self, container_id: str) -> _Fetched:
        """Everything that is to be read, and what it looks like afterwards."""
        begin, nodes = time.time(), await self._fetch_nodes(container_id)
        watched = dict.fromkeys([self.path, *(self.path / part for part in self.layout.parts), *nodes])
        looks = {path: await self._look(container_id, path) for path in watched}
        if (root := looks[self.path]) and root.is_folder and self.path not in nodes:
            nodes[self.path] = Node(is_folder=True, size=0, modified=root.modified_at)
        changed = any(_differs(nodes.get(path), look) for path, look in looks.items())
        recent = any(begin - COARSEST < node.modified < begin + COARSEST for node in nodes.values())
        if self.layout.parts != ("",) and nodes.keys() == {self.path}:
            nodes |= await self._fetch_instead(container_id)
        return _Fetched(container_id, nodes, looks, again=changed or recent)

    async def _fetch_instead(self, container_id: str) -> Nodes:
        """What lies in the folder where nothing of this kind does, so that it can be told; it is not watched."""
        nodes: Nodes = {}
        with suppress(SourceUnavailable):
            await self._add(container_id, self.path, nodes, INSTEAD)
        return nodes

    async def _fetch_nodes(self, container_id: str) -> Nodes:
        nodes: Nodes = {}
        fetched = [self.path / part for part in self.layout.parts]
        room = self.options.max_size * _ARCHIVES
        for path in fetched:
            room -= await self._add(container_id, path, nodes, room)
        while len(fetched) < FOREIGN_PARTS:
            outside = await self.thread.run(partial(_leads_outside, nodes, fetched), self._where)
            if outside is None:
                break
            fetched.append(outside)
            room -= await self._add(container_id, outside, nodes, room)
        return nodes

    async def _add(self, container_id: str, path: PurePosixPath, nodes: Nodes, room: int) -> int:
        """Add what is in an archive of at most `room` bytes; returns how many it has."""
        self.counts.fetches += 1
        archive = await self.files.get_archive(container_id, path, limit=room)
        if archive is not None:
            unpacking = partial(unpack, archive, path.parent, limit=self.options.max_size)
            nodes |= await self.thread.run(unpacking, self._where)
        return len(archive or b"")

    @property
    def _where(self) -> str:
        return f"{self.selector}:{self.path}"

    def _tree_of(self, nodes: Nodes) -> ArchiveTree:
        found = lead(nodes, self.path)
        node = nodes.get(found) if found else None
        is_file = self.layout.shape == "file" or (self.layout.shape == "either" and node is not None and not node.is_folder)
        root, focus = (self.path.parent, self.path.name) if is_file else (self.path, "")
        return ArchiveTree(self.selector, root, nodes, focus=focus, limit=self.options.max_size)


def _leads_outside(nodes: Nodes, fetched: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """Where a link leads that was not fetched, if there is one."""
    for path, node in nodes.items():
        step()
        target = lead(nodes, path) if node.link else None
        if target and not any(target.is_relative_to(known) for known in fetched):
            return target
    return None


def _differs(node: Node | None, look: PathStat | None) -> bool:
    """Whether a path changed between its archive, which tells whole seconds, and the look at it."""
    if node is None or look is None:
        return not (node is None and look is None)
    return look.modified_at != node.modified or (node.data is not None and look.size != len(node.data))


@dataclass
class _KernelWatch:
    """Passes on the hints of the kernel about the store as certferry sees it itself, which may be elsewhere tomorrow."""

    stirred: asyncio.Event
    blind: bool = False
    """Whether the last look told nothing, because Docker did not answer."""
    _local: LocalStorage | None = None
    _task: asyncio.Task[None] | None = None

    async def follow(self, local: LocalStorage | None) -> bool:
        """Watch this and nothing else; whether that is anything new. The watch stands then; one that ended is begun again."""
        is_new = local is not self._local or (self._task is not None and self._task.done())
        if is_new:
            await self.stop()
            self._local = local
            if local is not None:
                stands = asyncio.Event()
                self._task = asyncio.create_task(self._pass_on(local, stands), name=f"watch {local.path}")
                await stands.wait()
        return is_new

    async def stop(self) -> None:
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _pass_on(self, local: LocalStorage, stands: asyncio.Event) -> None:
        try:
            async with local.subscribe() as hints:
                stands.set()
                async for _ in hints:
                    self.stirred.set()
        except SourceUnavailable:
            pass  # looking goes on
        finally:
            stands.set()


async def _hints(stirred: asyncio.Event, looking: asyncio.Task[None]) -> AsyncIterator[None]:
    """Hints until the looking fails, which it never should."""
    while True:
        waiting = asyncio.create_task(stirred.wait(), name="waiting for a change")
        either: set[asyncio.Task[Any]] = {waiting, looking}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            ended = not waiting.done()
        finally:
            await end(waiting)
        if ended:
            looking.result()
            return
        stirred.clear()
        yield


def container_factory(layouts: Mapping[str, Layout]) -> Factory:
    """Makes the sources of ``docker://`` URLs of any of these kinds."""

    def make(name: str, url: SourceUrl, surroundings: Surroundings) -> Source:
        layout = _layout_of(url, layouts)
        options = {key: value for key, value in url.options.items() if key != "kind"}
        read = SourceUrl(url.kind, url.host, url.path, url.name, options).read_options(layout.options)
        if surroundings.containers is None:
            raise SettingsError(f"{url} is read through Docker, which is not to be had here")
        storage = ContainerStorage(unquote(url.host), PurePosixPath(url.path), layout, read, surroundings.containers)
        return StoredSource(name, layout, storage, read)

    return make


def _layout_of(url: SourceUrl, layouts: Mapping[str, Layout]) -> Layout:
    if not url.host:
        raise SettingsError(f"{url} names no container; write docker://<name>/path, or docker://<label>=<value>/path")
    if not url.path.strip("/") or ".." in url.path.split("/") or "\0" in url.path:
        raise SettingsError(f"{url} names no path in the container; write one such as docker://traefik/traefik/acme.json")
    kind = url.options.get("kind") or next((k for end, k in _KIND_OF.items() if url.path.rstrip("/").endswith(end)), "")
    if kind not in layouts:
        asked = (
            f"unknown kind {kind}; {nearest(kind, layouts)}" if kind else f"add ?kind= with one of {', '.join(sorted(layouts))}"
        )
        raise SettingsError(f"{url}: {asked}")
    return layouts[kind]
