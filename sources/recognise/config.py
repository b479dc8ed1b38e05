"""Configuration files of proxies, read in bounded time: whoever may start a container may put anything there.

Only what a proxy's own reader would find is looked for, so values stay text. Real files have some hundred entries, four deep.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from sources.foreign_json import parse_json

MOST_ENTRIES = 10_000
"""Values of a file; where YAML names one again by an alias, all that it holds counts again."""
DEEPEST = 32
"""Sections within sections."""
LONGEST_NAME = 16
"""Parts of a name in TOML, with dots between them: Python's reader takes time with the square of their number."""
MOST_DIRECTIVES = 100
"""Short forms of tags (``%TAG``) in YAML, each of which libyaml compares with all before it. No proxy's file has any."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast; not every build has it
_NULL = ("", "~", "null", "Null", "NULL")
"""What a plain scalar says that stands for nothing (YAML 1.1)."""
_MERGE = "<<"
_TOML_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:\\[^\n]|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|(?P<comment>#[^\n]*)",
    re.DOTALL,
)
"""Strings and comments of TOML, closed or not, so that no place is tried twice."""
_TOML_MARKS = re.compile(r"[,=\n\[\]{}]")

Tree = Mapping[str, Any]


def parse_config(path: PurePosixPath, content: bytes) -> Tree:
    """The sections of a file, of the format that its ending tells; empty where it holds something else.

    Raises:
        ValueError: it cannot be parsed, or is larger or deeper than `MOST_ENTRIES` and `DEEPEST` allow; says so.
    """
    parse = {".toml": _parse_toml, ".json": _parse_json}.get(path.suffix, _parse_yaml)
    try:
        tree = parse(content)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error)[:1000].split())[:200]
        raise ValueError(f"{path} cannot be parsed: {problem}; correct it, or name its store in CERTFERRY_SOURCES") from error
    return tree if isinstance(tree, dict) else {}


def _parse_json(content: bytes) -> Any:
    return parse_json(content) if content.strip() else {}


def _parse_toml(content: bytes) -> Any:
    text = content.decode()
    plain = _TOML_TEXT.sub(lambda found: "" if found["comment"] else "s", text)
    depth = begin = 0
    for count, mark in enumerate(_TOML_MARKS.finditer(plain), start=1):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        _check(count, depth)
        if plain.count(".", begin, mark.start()) >= LONGEST_NAME:
            raise ValueError(f"a name in it has more than {LONGEST_NAME} parts")
        begin = mark.end()
    return tomllib.loads(text)


def _check(count: int, depth: int) -> None:
    if count > MOST_ENTRIES:
        raise ValueError(f"it has more than {MOST_ENTRIES:,} entries")
    if depth > DEEPEST:
        raise ValueError(f"it has more than {DEEPEST} sections within each other")


def _parse_yaml(content: bytes) -> Any:
    if content.replace(b"\0", b"").count(b"%TAG") > MOST_DIRECTIVES:  # without the zeros of UTF-16
        raise ValueError(f"it has more than {MOST_DIRECTIVES} short forms of tags (%TAG)")
    loader = _Loader(content)
    try:
        return _Composer(loader).document()
    finally:
        loader.dispose()


class _Composer:
    """Makes text, lists and mappings of the events of YAML; as PyYAML's own, but nothing may grow beyond the limits."""

    def __init__(self, loader: Any) -> None:
        self._loader, self._size, self._depth = loader, 0, 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        """What each anchor names, and how many entries it has."""

    def document(self) -> Any:
        """The first document; ``None`` where there is none."""
        event = self._next()
        while not isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.StreamEndEvent):
                return None
            event = self._next()
        return self._node(event)

    def _next(self) -> Any:
        return self._loader.get_event()

    def _grow(self, size: int) -> None:
        self._size += size
        _check(self._size, self._depth)

    def _node(self, event: Any) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._named(event.anchor)
        self._grow(1)
        before = self._size
        if isinstance(event, yaml.ScalarEvent):
            node: Any = None if not event.style and event.value in _NULL else event.value
        else:
            self._depth += 1
            node = dict(self._pairs()) if isinstance(event, yaml.MappingStartEvent) else list(self._items())
            self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = node, self._size - before + 1
        return node

    def _named(self, anchor: str) -> Any:
        if anchor not in self._anchors:
            raise ValueError(f"the alias {anchor[:80]!r} names nothing before it")
        node, size = self._anchors[anchor]
        self._grow(size)
        return node

    def _items(self) -> Iterator[Any]:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            yield self._node(event)

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        """Names and values; what is merged in comes first, as it counts less than what is written there itself."""
        merged: dict[str, Any] = {}
        own: list[tuple[str, Any]] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            name, value = self._node(event), self._node(self._next())
            if name == _MERGE:
                maps = value if isinstance(value, list) else [value]
                for one in reversed(maps):  # of several the first counts
                    merged |= one if isinstance(one, dict) else {}
            elif isinstance(name, str):  # nothing else is a name of a setting
                own.append((name, value))
        yield from merged.items()
        yield from own
