"""What all stores have in common: the key of the account, and how its value becomes pairs."""

from __future__ import annotations

from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents
from sources.traefik_kv.value import decode_value
from sources.traefik_store import REMEDY, read_store

DEFAULT_KEY = "traefik/acme/account"
"""Traefik's documented ``acme.storage``."""
_OBJECT = "/object"


def object_key(path: str) -> str:
    """The key of the value itself, for an ``acme.storage`` as the operator wrote it; below it stand ``object`` and ``lock``."""
    return path if path.endswith(_OBJECT) else path.rstrip("/") + _OBJECT


def spellings(key: str) -> tuple[str, ...]:
    """The key as it was given, then with or without its leading slash: in some stores that is another key.

    Traefik v1 puts its configuration below ``/traefik`` and its account, unless told otherwise, below ``traefik``.
    """
    return (key, key[1:] if key.startswith("/") else f"/{key}")


def read(tree: Tree, options: StoreOptions) -> Contents:
    """Every pair of the account that is the root of the tree.

    Raises:
        SourceUnavailable, SourceMalformed: it cannot be read, or does not parse as a whole.
    """
    return read_value(tree.read(tree.focus), where=tree.where, limit=options.max_size)


def read_value(value: bytes, *, where: str, limit: int) -> Contents:
    """Every pair of an account; `where` names the value in messages.

    Raises:
        SourceMalformed: it does not parse as a whole.
    """
    data = decode_value(value, where=where, limit=limit)
    return read_store(data, where=where) if data else Contents(blank=True)


# A value is replaced as a whole, so an entry in it is never half of anything: no patience.
ACCOUNT = Layout(kind="traefik-kv", read=read, remedy=REMEDY, shape="file", patience=0.0)
