"""What tells a container's program: the name of its image, the words of its command, and the paths in its settings."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from controller.domain.container import Container

ROOT_HOME = "/root"
LONGEST_PATH = 4095
"""Bytes of a path (Linux, ``PATH_MAX``)."""


def image_of(container: Container) -> tuple[str, str]:
    """Namespace and name of the image, without registry, tag and digest; the namespace is empty where there is none."""
    path, _, last = container.image.partition("@")[0].rpartition("/")
    return path.rpartition("/")[2], last.partition(":")[0]


def is_called(container: Container, *names: str) -> bool:
    """Whether the image has one of these names, or one that Compose or people give to their own builds: ``project-caddy``."""
    image = image_of(container)[1]
    return any(image == name or image.endswith((f"-{name}", f"_{name}")) for name in names)


def programs(container: Container) -> Iterator[str]:
    """The names of all programs that the command may run, those of shell lines among them."""
    for word in " ".join(container.command).replace(";", " ").split():
        if not word.startswith("-"):
            yield word.rpartition("/")[2]


def read_flags(command: Sequence[str]) -> dict[str, str]:
    """The options of a command, ``--name=value``, ``--name value`` and ``-name``: values by name in lower case."""
    words = [word for argument in command for word in ([argument] if argument.startswith("-") else argument.split())]
    flags = {}
    for word, following in pairwise([*words, "-"]):
        if word.startswith("-"):
            name, given, value = word.lstrip("-").partition("=")
            flags[name.lower()] = value if given else "" if following.startswith("-") else following
    return flags


def home_of(container: Container) -> str:
    """The home folder of the container's user, as far as can be told: root's unless it is said."""
    return container.environment.get("HOME") or ROOT_HOME


def inside(container: Container, text: str) -> PurePosixPath:
    """A path from a program's settings, made absolute from the folder in which the program was started.

    Raises:
        ValueError: it is no path that could exist, or one with a placeholder in it; says so.
    """
    if len(text) > LONGEST_PATH or not text.strip() or not text.isprintable() or set(text) & set("{}$"):
        raise ValueError(f"{text[:200]!r} is no path that certferry could look at")
    return PurePosixPath("/" + posixpath.normpath(posixpath.join(container.working_dir or "/", text)).lstrip("/"))
