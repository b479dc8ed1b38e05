"""Traefik 1 to 3: where its ``acme.json`` is, by static configuration file, arguments or environment.

Traefik 2 and later use the first of the three that is there (its documentation, "Static Configuration"); Traefik 1 merges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from sources.pairs import label_of
from sources.recognise import traefik_stores
from sources.recognise.config import DEEPEST, Tree, parse_config
from sources.recognise.hints import inside, is_called, programs, read_flags

_PREFIX = "traefik_"
_CONFIG = tuple(PurePosixPath(f"/etc/traefik/traefik.{ending}") for ending in ("toml", "yaml", "yml"))
_RESOLVERS = "certificatesresolvers"
_DEFAULT_STORAGE = "acme.json"
MOST_STORES = 64
"""Files of certificates that one Traefik may have; usual are one or two, and each is followed as a source of its own."""


def recognise(container: Container, files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    flags = read_flags(container.command)
    if not _is_traefik(container, flags):
        return NOTHING
    try:
        named = inside(container, flags["configfile"]) if "configfile" in flags else None
        paths = (named,) if named else _CONFIG
        if wanted := tuple(path for path in paths if path not in files):
            return Verdict(wanted=wanted)
        return _judge(container, _places(container, flags, {path: files[path] for path in paths}))
    except ValueError as error:
        return Verdict(left=f"Traefik, but {error}")


def _is_traefik(container: Container, flags: Mapping[str, str]) -> bool:
    return bool(
        is_called(container, "traefik")
        or "traefik" in programs(container)
        or any(name.startswith((f"{_RESOLVERS}.", "acme.storage")) for name in flags)
        or any(name.lower().startswith(f"{_PREFIX}{_RESOLVERS}_") for name in container.environment)
    )


def _places(container: Container, flags: Mapping[str, str], files: Files) -> Iterator[tuple[str, Tree]]:
    """Where settings stand, in words, and what stands there."""
    for path, content in files.items():
        if content is not None:
            yield str(path), parse_config(path, content)
            break
    yield "its arguments", _nest(flags)
    environment = {name.lower(): value for name, value in container.environment.items()}
    own = {name.removeprefix(_PREFIX): value for name, value in environment.items() if name.startswith(_PREFIX)}
    yield "its environment", _nest({name.replace("_", "."): value for name, value in own.items()})


def _judge(container: Container, places: Iterable[tuple[str, Tree]]) -> Verdict:
    read = [(where, _lowered(tree)) for where, tree in places]
    if left := _in_key_value_store(read):
        return Verdict(left=left)
    for where, tree in read:
        if stores := tuple(_stores(container, where, tree)):
            if len(stores) > MOST_STORES:
                named = f"more than {MOST_STORES} files of certificates are named in {where}"
                raise ValueError(f"{named}; name those you want in CERTFERRY_SOURCES")
            return Verdict(stores)
    looked_at = ", ".join(where for where, _ in read)
    return Verdict(left=f"Traefik that gets no certificates by ACME: there is no resolver for it in {looked_at}")


def _in_key_value_store(read: Sequence[tuple[str, Tree]]) -> str:
    """What to do about certificates in a store that switches Traefik 1 to cluster mode; empty if there is none.

    Later versions have these sections below ``providers``, and not for certificates.
    """
    found = next(((kind, where) for where, tree in read for kind in traefik_stores.KINDS if kind in tree), None)
    if found is None:
        return ""
    kind, where = found
    url = traefik_stores.url_of(kind, _merged(read, kind), _storage_of(_merged(read, "acme")))
    return (
        f"Traefik 1 that keeps its certificates in a key-value store ({kind} in {where}), not in a file;"
        f' to read it, set CERTFERRY_SOURCES="{url}"'
    )


def _merged(read: Sequence[tuple[str, Tree]], name: str) -> Tree:
    """A section as Traefik 1 reads it: arguments over its file; its environment, which it ignores, fills the gaps."""
    *file_and_arguments, environment = (_lowered(tree.get(name)) for _, tree in read)
    return {key: value for section in (environment, *file_and_arguments) for key, value in section.items()}


def _stores(container: Container, where: str, tree: Tree) -> Iterator[KeptStore]:
    named: dict[PurePosixPath, list[str]] = {}
    for resolver, storage in _storages(tree):
        named.setdefault(inside(container, storage), []).append(resolver)
    for path, resolvers in named.items():
        yield KeptStore("traefik", path, f"Traefik, by {where}: {label_of(' and '.join(resolvers))}")


def _storages(tree: Tree) -> Iterator[tuple[str, str]]:
    """Each resolver, in words, and its storage; Traefik 1 has one section for all."""
    for name, resolver in _lowered(tree.get(_RESOLVERS)).items():
        if "acme" in (kinds := _lowered(resolver)):
            yield f"the resolver {name}", str(_lowered(kinds["acme"]).get("storage") or _DEFAULT_STORAGE)
    if storage := _storage_of(_lowered(tree.get("acme"))):
        yield "the section acme", storage


def _storage_of(acme: Tree) -> str:
    return str(acme.get("storage") or acme.get("storagefile") or "")


def _lowered(tree: Any) -> Tree:
    """The keys in lower case: Traefik reads them in any. Nothing of what is no section."""
    return {str(name).lower(): value for name, value in tree.items()} if isinstance(tree, Mapping) else {}


def _nest(dotted: Mapping[str, str]) -> Tree:
    """Settings by name, in sections; those deeper than any section, which Traefik knows none of, are left out."""
    tree: dict[str, Any] = {}
    for name, value in dotted.items():
        if name.count(".") > DEEPEST:
            continue
        *folders, last = name.split(".")
        branch = tree
        for folder in folders:
            if not isinstance(branch.get(folder), dict):
                branch[folder] = {}
            branch = branch[folder]
        if not isinstance(branch.get(last), dict):
            branch[last] = value
    return tree
