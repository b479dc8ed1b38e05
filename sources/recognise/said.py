"""What of a container is the operator's word, and not its image's content. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from controller.domain.container import Container, Mount
from sources.recognise.official import is_official

_FOLDER_OF_HOST = "bind"
_KNOWN = frozenset({"traefik", "caddy", "certbot"})
"""Programs that a command is known by."""
_UNMISTAKABLE = frozenset({("caddy", "run"), ("caddy", "docker-proxy"), ("certbot", "renew"), ("certbot", "certonly")})
"""Nobody means another container by these words, whatever program of the image gets them."""
_APART = re.compile(r"[;&|(){}`\n]")
"""Between two commands of a shell."""
_STARTERS = frozenset(
    [
        *("sh", "bash", "ash", "dash", "busybox", "exec", "env", "command", "nohup", "nice", "time", "sudo"),
        *("tini", "dumb-init", "catatonit", "init", "!", "if", "while", "until", "do", "then", "else"),
    ]
)
"""What stands before the name of the program that is meant."""
_TAKES_A_WORD = frozenset({"gosu", "su-exec", "timeout"})
_SCRIPTS = (".sh", "entrypoint")
"""How scripts are called that prepare what they then start."""
_SETS = re.compile(r"[A-Za-z_]\w*=")


def as_the_operator_said(container: Container) -> Container:
    """The container as it would be had its image nothing in it; an official image of a known proxy is the operator's word, too.

    Of its mounts the folders of the host: Docker copies what an image holds at their place into volumes that are empty, those
    with a name too, and never into folders of the host.
    """
    return replace(
        container,
        image=container.image if is_official(container.image) else "",
        command=tuple(_own_words(container)),
        environment=container.own_environment,
        mounts=tuple(mount for mount in container.mounts if _is_whole_folder(mount, container)),
    )


def _own_words(container: Container) -> Iterator[str]:
    """Those of the operator's own command, without names of programs that it does not start.

    What is only an argument is about another container: ``watchtower traefik mail``, ``sh -c 'ping traefik'``.
    """
    started = frozenset(_started(container))
    for argument in container.own_command:
        words = argument.split()
        for word in words[:1] if argument.startswith("-") else words:
            if _name_of(word) not in _KNOWN or _name_of(word) in started:
                yield word


def _started(container: Container) -> Iterator[str]:
    """The programs that the operator's command starts, in shell lines too, and behind what starts others."""
    own, whole = container.own_command, container.command
    before = whole[: len(whole) - len(own)] if own and whole[-len(own) :] == own else ()
    parts = [part.split() for part in _APART.split(" ".join(own))]
    for words in parts[1:] if any(_program_of(" ".join(before).split())) else parts:
        yield from _program_of(words)
    yield from (program for program, command in pairwise(map(_name_of, own)) if (program, command) in _UNMISTAKABLE)


def _program_of(words: Sequence[str]) -> Iterator[str]:
    """The program that a line of words starts; none where only what would start one is there."""
    left = iter(words)
    for word in left:
        name = _name_of(word)
        if name in _TAKES_A_WORD:
            next(left, "")
        elif name and not (name in _STARTERS or name.endswith(_SCRIPTS) or word.startswith("-") or _SETS.match(word)):
            yield name
            return


def _name_of(word: str) -> str:
    return word.strip("\"';").rpartition("/")[2]


def _is_whole_folder(mount: Mount, container: Container) -> bool:
    """Whether it is a folder of the host in which no volume lies, which would hide a part of it."""
    within = (other for other in container.mounts if mount.destination in (other.destination, *other.destination.parents))
    return all(other.kind == _FOLDER_OF_HOST for other in within)
