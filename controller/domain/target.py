"""The target: one labelled container, with everything certferry is to do there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from controller.domain.certificate import Certificate, KeyType
from controller.domain.container import Container
from controller.domain.detector import Detector
from controller.domain.execution import program_of


class TargetKey(NamedTuple):
    """What the work queue holds: which container on which Docker endpoint. Never data."""

    endpoint: str
    container_id: str

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.container_id[:12]}"


class ProbePort(NamedTuple):
    """A TCP port of the container and the protocol that leads to TLS on it."""

    port: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Slot:
    """Which certificate goes into a place.

    `key_type` is the wanted type, ``None`` the best of any. An `alternative` slot takes the best of another type than the first
    place got. An `optional` slot may stay as it is when no certificate fits; with `fill` its files must be there, and are made
    empty where they hold no pair of another type.
    """

    key_type: KeyType | None = None
    alternative: bool = False
    optional: bool = False
    fill: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where one certificate goes inside the container. `certificate` is the full chain unless `chain` takes the rest.

    Absolute paths; at least `combined`, or `certificate` and `key` together.
    """

    slot: Slot
    certificate: PurePosixPath | None = None
    key: PurePosixPath | None = None
    chain: PurePosixPath | None = None
    combined: PurePosixPath | None = None

    def contents(self, certificate: Certificate) -> dict[PurePosixPath, bytes]:
        """The bytes of each file, the key's first: where no atomic swap is possible it is written first."""
        leaf_part = certificate.leaf_pem if self.chain else certificate.fullchain_pem
        wanted = (
            (self.key, certificate.key_pem),
            (self.combined, certificate.combined_pem),
            (self.chain, certificate.chain_pem or b"\n"),
            (self.certificate, leaf_part),
        )
        return {path: content for path, content in wanted if path is not None}

    @property
    def private(self) -> frozenset[PurePosixPath]:
        """The files that hold a private key."""
        return frozenset(path for path in (self.key, self.combined) if path is not None)

    @property
    def paths(self) -> tuple[PurePosixPath, ...]:
        """All files of the place."""
        return tuple(p for p in (self.key, self.combined, self.chain, self.certificate) if p is not None)


@dataclass(frozen=True, slots=True)
class Reload:
    """One step that makes services use new files.

    `kind` is ``exec`` (argv inside the container), ``signal`` (to its first process) or ``self`` (the container notices by
    itself, within `patience` seconds).
    """

    kind: str
    argv: tuple[str, ...] = field(default=(), repr=False)
    signal: str = ""
    patience: float = 0.0

    def __str__(self) -> str:
        """For logs and pages: of a command its program alone, since passwords may stand in its arguments."""
        return program_of(self.argv) if self.kind == "exec" else self.command

    @property
    def command(self) -> str:
        """The whole of it, as it could be typed; for the operator's own terminal."""
        if self.kind == "exec":
            return shlex.join(self.argv)
        return f"signal:{self.signal}" if self.kind == "signal" else self.kind


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of one container. `probe` is empty when probing is switched off."""

    key: TargetKey
    container: Container
    profile: str
    domains: tuple[str, ...]
    places: tuple[Place, ...]
    reload: tuple[Reload, ...] = ()
    internal: tuple[Place, ...] = ()
    """Copies that the container makes itself of `places`; written only when it did not do so in time."""
    internal_reload: tuple[Reload, ...] = ()
    check: tuple[str, ...] = field(default=(), repr=False)
    probe: tuple[ProbePort, ...] = ()
    probe_required: bool = False
    """The operator listed the ports himself: every one of them must answer, not only those that listen."""
    sources: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    mode: int | None = None
    """Mode of the files that hold a key; ``None`` keeps the replaced file's."""
    user: str = ""
    allow_untrusted: bool = False
    paused_by: str = ""
    """The label or setting that says to look and report only, and touch nothing; empty where none does."""
    notes: tuple[str, ...] = ()
    """Sentences the operator should know about, e.g. that internal copies do not survive a recreate."""
    ask: str = field(default="", repr=False)
    """Shell text that prints what the services in the container use; see `Observed.answers`."""
    beside: tuple[PurePosixPath, ...] = ()
    """Further files that are looked at and not written."""
    written_by: str = ""
    """What else writes the files, as the subject of a sentence; then certferry does not, and sees that they are used."""
    starting: bool = False
    """Its own start is going on: services may be up, and others not yet."""
    detector: Detector | None = None
    """Who in the container looks for changed files, where that could be asked."""

    @property
    def paths(self) -> tuple[PurePosixPath, ...]:
        """All files that are looked at, each once."""
        held = [path for place in (*self.places, *self.internal) for path in place.paths]
        return tuple(dict.fromkeys((*held, *self.beside)))

    @property
    def name(self) -> str:
        return self.container.name


@dataclass(frozen=True, slots=True)
class InvalidTarget:
    """A container that asks for a certificate with labels that cannot be used; `problems` has one line for each."""

    container: Container
    problems: tuple[str, ...]
