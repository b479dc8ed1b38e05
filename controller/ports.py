"""The seams of the house: what the controller asks of sources, sinks and the probe.

Implementations live on floor 3 and know nothing of each other; `controller.app` puts them together.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from tarfile import TarInfo
from typing import NamedTuple, Protocol

from controller.domain.certificate import KeyType
from controller.domain.execution import ExecResult
from controller.domain.observed import Acted, Failure, Observed, Receipt, Served
from controller.domain.snapshot import Snapshot
from controller.domain.target import InvalidTarget, ProbePort, Reload, Target, TargetKey


class Source(Protocol):
    """A place that holds certificates."""

    name: str
    """Unique among the sources; what ``certferry.source`` and the reports call it."""

    async def load(self) -> Snapshot:
        """Read the whole state.

        Raises:
            SourceUnavailable: it cannot be reached or read.
            SourceMalformed: it was read and does not parse as a whole; entries that do not parse are problems of the snapshot.
        """
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Hints that the state may have changed, without data. The subscription stands once the context is entered.

        Raises:
            SourceUnavailable: on entering or while iterating, when hints cannot be had (any more).
        """
        ...


class ContainerAccess(Protocol):
    """What sinks and probe may do to a container; `controller.engine` does it through Docker.

    Every method raises `EngineUnavailable` when the engine does not answer and `TargetGone` when the container is gone.
    """

    exec_timeout: float
    """Seconds that a command may take when nothing else is said."""

    async def execute(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:
        """Run a command; `TargetNotRunning` when the container does not run, `ExecTimeout` when it does not end.

        Its input is empty and at its end, or begins with `stdin` and ends when we go: by that a script can tell.
        """
        ...

    async def put_archive(self, container_id: str, directory: PurePosixPath, archive: bytes) -> None:
        """Unpack a tar below a directory; `WriteRefused` when the engine refuses."""
        ...

    async def get_file(self, container_id: str, path: PurePosixPath) -> tuple[TarInfo, bytes] | None:
        """One file, or the header alone of anything else and of huge files; ``None`` when it does not exist."""
        ...

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal to the container's first process."""
        ...


@dataclass(frozen=True, slots=True)
class PathStat:
    """What the engine tells of a path in a container without reading it; of a symbolic link, not of what it points to."""

    size: int
    mode: int
    """As in Go's ``os.FileMode``: the bits above the permissions differ from those of `os.stat`."""
    modified: str
    """RFC 3339 with as many digits as the engine gives."""
    link_target: str = ""

    @property
    def is_folder(self) -> bool:
        return bool(self.mode & 1 << 31)

    @property
    def modified_at(self) -> int:
        """Unix time of the last change, in whole seconds; 0 where it cannot be read."""
        try:
            return int(datetime.fromisoformat(re.sub(r"\.[0-9]+", "", self.modified)).timestamp())
        except ValueError:
            return 0


class ContainerFiles(Protocol):
    """How sources read files of other containers; `controller.engine` does it through Docker.

    Every method raises `EngineUnavailable` when the engine does not answer and `TargetGone` when the container is gone.
    """

    async def find(self, selector: str) -> str | None:
        """The id of the container with a name, or with a label where the selector is ``key=value``; ``None`` without one.

        Labels of its image do not count. Of several with the label the running ones count first, then the one made last.
        """
        ...

    async def stat(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        """One path, running container or not; ``None`` when it does not exist."""
        ...

    async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes | None:
        """A file or a whole folder as a tar, at most `limit` bytes of it; ``None`` when the path does not exist.

        Raises:
            SourceUnavailable: it is larger.
        """
        ...

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        """Where certferry itself sees the same files, by a volume or host folder that both have; ``None`` when it does not."""
        ...


class Wish(NamedTuple):
    """A certificate that a target needs: the names it must cover, and its key type, ``None`` for any."""

    names: tuple[str, ...]
    key_type: KeyType | None = None


class Wishes(Protocol):
    """Which certificates the targets ask for; the self-signed source makes what nobody else has."""

    def wanted(self) -> frozenset[Wish]:
        """The wishes of all targets."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Hints that `wanted` changed, without data."""
        ...


class Sink(Protocol):
    """What writes to targets. Every method raises `EngineUnavailable`, `TargetGone` or `ExecTimeout` where these happen."""

    async def observe(self, target: Target) -> Observed:
        """Read the target's files, their owners and modes, and what listens."""
        ...

    async def act(
        self,
        target: Target,
        observed: Observed,
        contents: Mapping[PurePosixPath, bytes],
        *,
        steps: Sequence[Reload] = (),
        check: bool = True,
        put_back: bool = True,
    ) -> Acted:
        """Stage, compare the staged bytes, keep what was there, swap all files together, check, and reload step by step.

        Without `contents` only check and reload. A ``self`` step is left to the container. Where the check fails, nothing is
        reloaded, and what was there is put back if `put_back` says so. A failing step does not keep the next from its service.

        Raises:
            WriteRefused: the mounts do not allow it, or the bytes read back are not those written; nothing was swapped.
            WriteFailed: the same, for a reason that can end by itself.
        """
        ...

    def check_mounts(self, target: Target, observed: Observed, paths: Iterable[PurePosixPath]) -> None:
        """See whether files could be written, without doing it.

        Raises:
            WriteRefused: the mounts do not allow it.
        """
        ...

    async def restore(self, receipt: Receipt, steps: Sequence[Reload] = ()) -> tuple[Failure, ...]:
        """Put the previous files back, remove those that did not exist, and reload; what did not work of the reload.

        Raises:
            RollbackFailed: the previous files could not be restored.
        """
        ...

    async def stopped(self, target: Target, steps: Sequence[Reload]) -> tuple[str, ...]:
        """The names of the services that these steps reload and that do not run, as far as certferry knows them."""
        ...

    async def settle(self, target: Target, observed: Observed, *, confirmed: bool = True) -> None:
        """Remove what an interrupted run left, and what was kept to be put back where the change is `confirmed`.

        Raises:
            WriteRefused: something cannot be removed.
        """
        ...


class Probe(Protocol):
    """A TLS or STARTTLS handshake that reads the served leaf."""

    async def served(self, target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        """Ask one port, by the network or by exec; `key_type` asks for that one of two certificates.

        A port that refuses, hangs or speaks no TLS is an answer (`Served.error`), not an exception.

        Raises:
            ProbeUnavailable: neither way exists, so nothing is known about the port.
        """
        ...


class Targets(Protocol):
    """Who the targets are. Both methods raise `EngineUnavailable` when the engine does not answer."""

    async def keys(self) -> Collection[TargetKey]:
        """Every container that asks for a certificate now."""
        ...

    async def resolve(self, key: TargetKey) -> Target | InvalidTarget | None:
        """Read the container anew; ``None`` when it is no target (any more)."""
        ...

    def adapt(self, target: Target, observed: Observed) -> Target | InvalidTarget:
        """The target corrected by what its container answered and holds. Asks nobody.

        Raises:
            TargetNotRunning: it cannot be told before the container has started up.
        """
        ...
