"""What is found in a container before and after the act: files, listening ports, served certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from controller.domain.certificate import KeyType, Leaf
from controller.domain.errors import Error
from controller.domain.target import ProbePort, Reload, Target

LARGEST_FILE = 2**20
"""Bytes of a file at a certificate's path that are read. A pair with a long chain has some 20 KiB; a larger file is something
else, and is not replaced."""


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One file as found in the container; the content may be a private key and never shows in ``repr()``."""

    path: PurePosixPath
    content: bytes = field(repr=False)
    uid: int
    gid: int
    mode: int
    modified: str = field(default="", compare=False)
    """When it was written, as the container says it; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The container's side of the comparison.

    `files` has a key for every path of the target, ``None`` where nothing is. `listening` are the TCP ports with a listener
    in the container's network namespace, ``None`` where that cannot be read (no shell, not running). `kept` is what
    ``.certferry/previous`` tells, by path with links resolved; `litter`: something else of an interrupted run is left.
    """

    files: dict[PurePosixPath, InstalledFile | None]
    resolved: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Where a path leads when it is a symbolic link; the link stays, its destination is replaced."""
    listening: frozenset[int] | None = None
    kept: dict[PurePosixPath, InstalledFile | None] = field(default_factory=dict, repr=False)
    litter: bool = False
    answers: str = field(default="", repr=False)
    """What `Target.ask` printed; empty where nothing was asked or could be: not running, no shell."""
    damaged: bool = False
    """What some folder keeps is not understood: half of it, or another's. Nothing can be put back from it."""
    understood: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was found out about the files by reading them once; it goes with them."""

    @property
    def previous(self) -> dict[PurePosixPath, InstalledFile | None]:
        """What stood at the target's paths before a change that was not confirmed; empty where none is open."""
        kept = {path: self.kept[at] for path in self.files if (at := self.resolved.get(path, path)) in self.kept}
        return kept if any(_content(self.files[path]) != _content(file) for path, file in kept.items()) else {}

    @property
    def pending(self) -> bool:
        """Whether files were replaced that were not confirmed to be in use."""
        return bool(self.previous)


def _content(file: InstalledFile | None) -> bytes | None:
    return file.content if file else None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `Sink.act` replaced, by the target's paths, so that it can be put back; `resolved` as in `Observed`."""

    target: Target
    previous: dict[PurePosixPath, InstalledFile | None]
    resolved: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step of the act that did not work: the check, or one of the steps of the reload."""

    error: Error
    step: Reload | None = None
    """``None`` is the check."""
    service: str = ""
    """The service that the step is for, where that is known."""
    stopped: bool = False
    """It does not run, so the failure says nothing about the certificate."""
    overdue: bool = False
    """The step did not end in time, which is no answer: the ports decide."""


@dataclass(frozen=True, slots=True)
class Acted:
    """How an act ended; `receipt` is ``None`` where nothing was replaced, or the script itself has put it back."""

    receipt: Receipt | None = None
    failures: tuple[Failure, ...] = ()


class Ask(NamedTuple):
    """One handshake: with which port, and for which of its certificates; ``None``: the one that the server prefers."""

    port: ProbePort
    key_type: KeyType | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a port may rightly hand out: a leaf, and behind it these intermediates."""

    leaf: Leaf
    chain_pem: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Served:
    """What one port handed out, or why it handed out nothing. `way` is ``network`` or ``exec``."""

    port: ProbePort
    leaf: Leaf | None
    way: str
    error: str = ""
    refused: bool = False
    """Nothing listens there, as opposed to something that listens and does not hand out a certificate."""
    plain: bool = False
    """The port answers and does not offer TLS."""
    silent: bool = False
    """Something listens there and does not answer: a service that hangs, or is throttled."""
    unknown: bool = False
    """The port could be asked by no way, or not for this key type, so nothing is known about it."""
    chain_pem: bytes = b""
    """Leaf and whatever the server sent behind it."""
    key_type: KeyType | None = None
    """The key type that was asked for; ``None`` where it was left to the server."""

    @property
    def ask(self) -> Ask:
        """The handshake that this is the answer to."""
        return Ask(self.port, self.key_type)
