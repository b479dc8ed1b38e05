"""What discovery knows of a container: whether it keeps certificates, of which kind and where, and how that was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from controller.domain.container import Container

Files = Mapping[PurePosixPath, bytes | None]
"""What was read in a container: content by path, empty for a folder, ``None`` for what is not there."""


@dataclass(frozen=True, slots=True)
class KeptStore:
    """A store in a container; `kind` as in the URL of a source, `how` it was found, as one clause."""

    kind: str
    path: PurePosixPath
    how: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a container is: it keeps `stores`; or it is a proxy that is `left` alone, and why; or nothing of interest.

    Where that cannot be told yet, `wanted` are the files of the container that must be read first. `vouched`: the operator said
    that it is one, by what the container has and its image has not; what only an image's content looks like is no source.
    """

    stores: tuple[KeptStore, ...] = ()
    left: str = ""
    wanted: tuple[PurePosixPath, ...] = ()
    vouched: bool = False


NOTHING = Verdict()

DISCOVER = "discover"
"""The label, after the prefix, by which a proxy's container opts out, or in where its image is nobody's known; it makes no
target of the container."""


def without_discover(labels: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The labels that are about the container as a target."""
    return {name: value for name, value in labels.items() if name != f"{prefix}{DISCOVER}"}


def told_unused(container: str, text: str) -> str:
    """A container that looks like a proxy and is not used, with what makes a source of it, as one clause."""
    return f"the container {container} looks like a proxy: {text}"


Recogniser = Callable[[Container, Files], Verdict]
"""Tells what a container is from the files that were read in it so far. Pure."""
