"""Traefik v1 with a BoltDB file for its key-value store.

Traefik 1.7 writes its account there only by ``traefik storeconfig``: with ACME on BoltDB it stops when it starts ("The current
call is not supported with this backend"), since that store can neither watch nor lock a key. So no such file sees a renewal by
Traefik; what it holds is read to move away from it, and again when it changes.

Before each value stands a counter of eight bytes, which begins anew in every process of Traefik (its library valkeyrie,
``store/boltdb/boltdb.go``). Each operation, reading as well, opens the file, locks it, and closes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from pydantic import Field

from controller.domain.errors import SettingsError, SourceMalformed, SourceUnavailable
from sources.layout import FileOptions, Layout, StoreOptions, Tree
from sources.pairs import Contents, printable
from sources.traefik_kv.account import DEFAULT_KEY, object_key, read_value, spellings
from sources.traefik_kv.bolt_pages import find_value
from sources.traefik_store import REMEDY
from sources.url import SourceUrl

_COUNTER_SIZE = 8
_FILE = re.compile(r"(.+?\.(?:db|bolt|boltdb))(?:/(.*))?", re.DOTALL)
"""The path of a URL: up to the first part that looks like a file of BoltDB, and the key."""


class BoltOptions(FileOptions):
    """Query options."""

    bucket: str = Field(default="traefik", min_length=1)
    """The bucket of the file; Traefik v1 knows no other name."""
    key: str = Field(default=DEFAULT_KEY, min_length=1)
    """Traefik's ``acme.storage``."""


def split_path(url: SourceUrl) -> SourceUrl:
    """The URL with the file alone in its path; the key, which may follow it there, is among the options then.

    Raises:
        SettingsError: it names a directory.
    """
    found = None if "key" in url.options else _FILE.fullmatch(url.path)
    if found:
        key = {"key": found[2]} if found[2] else {}
        return replace(url, path=found[1], options={**url.options, **key})
    if url.path.endswith("/") and url.path.strip("/"):
        raise SettingsError(f"{url} names a directory; did you mean {url}traefik.db?")
    return url


def read(tree: Tree, options: StoreOptions) -> Contents:
    """Every pair of the account in the file.

    Raises:
        SourceUnavailable, SourceMalformed: the file cannot be read, or has no such bucket or key; the account does not parse.
    """
    given, where = cast(BoltOptions, options), printable(f"{tree.where.rstrip('/')}/{tree.focus}")
    if not (data := tree.read(tree.focus)):
        return Contents(blank=True)  # just being made
    key = object_key(given.key)
    for spelling in spellings(key):
        value = find_value(data, given.bucket.encode(), spelling.encode(), where=where)
        if value is not None:
            return _read_counted(value, where=printable(f"{where}, key {spelling}"), limit=given.max_size)
    raise SourceUnavailable(
        printable(f"{where} has no key {key} in its bucket {given.bucket} (yet); name Traefik's acme.storage by the option key")
    )


def _read_counted(value: bytes, *, where: str, limit: int) -> Contents:
    if value and len(value) < _COUNTER_SIZE:
        raise SourceMalformed(f"{where} is shorter than the counter before each value of Traefik's; name another key")
    return read_value(value[_COUNTER_SIZE:], where=where, limit=limit)


# A value is replaced as a whole, so an entry in it is never half of anything: no patience.
BOLTDB = Layout(kind="boltdb", read=read, remedy=REMEDY, shape="file", patience=0.0, options=BoltOptions, locked=True)
