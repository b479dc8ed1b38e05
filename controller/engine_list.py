"""The list of all containers, whatever stands in the labels of one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.engine_requests import MIB, Garbled

LARGEST_LIST = 64 * MIB
"""Bytes of the list of all containers; one has some kilobytes in it, so this is for some ten thousand."""

LARGEST_ENTRY = MIB
"""Bytes of one container in the list, mostly its labels. Of a larger one only the id is read, so that it stops no other."""

_BETWEEN = re.compile(rb'\}\s{0,8},\s{0,8}(?=\{\s{0,8}"Id"\s{0,8}:)')
"""Stands between two containers and, since quotes are escaped in strings, in none of them: Docker says the id first (Docker
Engine API, ContainerList)."""

_ID = re.compile(rb'"Id"\s{0,8}:\s{0,8}"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Listed:
    """One container in the list. `labels` is ``None`` where there are too many of them to be read."""

    id: str
    labels: dict[str, str] | None = field(repr=False)
    image: str = ""
    names: tuple[str, ...] = ()
    running: bool = False
    created: int = 0
    command: str = field(default="", repr=False)


def read_list(data: bytes) -> list[Listed]:
    """All containers. For a thread: it takes no longer step than one container needs.

    Raises:
        Garbled: it is no such list.
    """
    try:
        return [_listed(part) for part in _parts(data.strip())]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Garbled("its list of containers cannot be read") from error


def _parts(data: bytes) -> Iterator[bytes]:
    """The JSON of each container."""
    if not (data.startswith(b"[") and data.endswith(b"]")):
        raise ValueError("no list")
    begin, end = 1, len(data) - 1
    for between in _BETWEEN.finditer(data, 1, end):
        yield data[begin : between.start() + 1]
        begin = between.end()
    if last := data[begin:end].strip():
        yield last


def _listed(part: bytes) -> Listed:
    if len(part) > LARGEST_ENTRY:
        found = _ID.search(part, 0, 256)
        if found is None:
            raise ValueError("no id")
        return Listed(found[1].decode(), None)
    raw: dict[str, Any] = json.loads(part)
    labels, names = raw.get("Labels") or {}, raw.get("Names") or ()
    if not all(isinstance(text, str) for text in (raw["Id"], *labels, *labels.values(), *names)):
        raise TypeError("no text")
    return Listed(
        raw["Id"],
        dict(labels),
        image=str(raw.get("ImageID") or ""),
        names=tuple(names),
        running=raw.get("State") == "running",
        created=int(raw.get("Created") or 0),
        command=str(raw.get("Command") or ""),
    )
