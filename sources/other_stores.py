"""What another program keeps where a source looks: told with the URL that reads it, whichever kind is in the place of which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources.layout import Tree

_MOST, _MOST_FILES = 500, 10
"""Names of a folder that are looked at, and files of it that are read; a sign is among the first of them, if there is one."""
_PLACES = (
    "",
    "etc/letsencrypt",
    "config/etc/letsencrypt",
    "letsencrypt",
    "letsencrypt/etc",
    "certbot",
    "certbot/conf",
    "conf",
    "tls/certbot",
    "data/tls/certbot",
    "acme",
    "traefik",
    "traefik/acme",
    "data",
    "certs",
    "nginx/certs",
    "caddy",
    "data/caddy",
    ".local/share/caddy",
    ".caddy",
    "_archive",
)
"""Where a store is below the folder that people name in its place: volumes, homes, and what images put into them."""
_OF_PEM = (".pem", ".crt", ".cer", ".key")
_OF_TRAEFIK = (b'"Certificates"', b'"DomainsCertificate"', b'"Account"')
_OF_BOLT = b"\xed\xda\x0c\xed"
"""The magic number of its first page, after the page's own head of 16 bytes."""


@dataclass(frozen=True, slots=True)
class _Store:
    """One kind of store; `found` tells which path below a folder is to be named: ``None`` where the folder is no such store."""

    kind: str
    called: str
    found: Callable[[Tree, str], str | None]


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _names(tree: Tree, folder: str) -> list[str]:
    with suppress(SourceUnavailable):
        return tree.names(folder)[:_MOST] if not folder or tree.kind(folder) == "folder" else []
    return []


def _files_of(tree: Tree, folder: str, *endings: str) -> list[str]:
    return [name for name in _names(tree, folder) if name.endswith(endings)][:_MOST_FILES]


def _has(tree: Tree, folder: str, kind: str, *names: str) -> bool:
    return any(tree.kind(_in(folder, name)) == kind for name in names)


def _acme_json(tree: Tree, folder: str) -> str | None:
    files = dict.fromkeys(["acme.json", *_files_of(tree, folder, ".json")])
    return next((file for file in files if _kind_of(tree, _in(folder, file)) == "traefik"), None)


def _bolt(tree: Tree, folder: str) -> str | None:
    return next(
        (file for file in _files_of(tree, folder, ".db", ".bolt") if _kind_of(tree, _in(folder, file)) == "boltdb"), None
    )


def _certbot(tree: Tree, folder: str) -> str | None:
    is_it = _has(tree, folder, "folder", "live") and _has(tree, folder, "folder", "archive", "renewal", "accounts")
    return "" if is_it else None


def _caddy(tree: Tree, folder: str) -> str | None:
    for top, below in (("certificates", ""), ("acme", "sites")):
        for issuer in _names(tree, _in(folder, top)):
            sites = _in(_in(_in(folder, top), issuer), below).rstrip("/")
            if any(_has(tree, f"{sites}/{site}", "file", f"{site}.crt") for site in _names(tree, sites)):
                return ""
    return None


def _companion(tree: Tree, folder: str) -> str | None:
    is_it = any(_has(tree, _in(folder, name), "file", ".companion") for name in _names(tree, folder))
    return "" if is_it else None


def _synology(tree: Tree, folder: str) -> str | None:
    return "" if all(_has(tree, folder, "file", name) for name in ("INFO", "DEFAULT")) else None


_STORES = (
    _Store("traefik", "Traefik's acme.json", _acme_json),
    _Store("certbot", "certbot's folder", _certbot),
    _Store("caddy", "Caddy's storage", _caddy),
    _Store("acme-companion", "the folder of acme-companion", _companion),
    _Store("synology", "the archive of a Synology NAS", _synology),
    _Store("boltdb", "a BoltDB file of Traefik", _bolt),
)
_CALLED = {store.kind: store.called for store in _STORES} | {"pem": "certificates or keys in PEM"}


def other_store(tree: Tree, kind: str, *, only_here: bool = False) -> str:
    """What lies in the place of a store of some kind, or beside its file that is missing, and which URL reads that; else empty.

    `only_here`: there is something that may be of that kind, so only what is sure counts: another's store in this very folder.
    """
    if kind not in _CALLED or (only_here and kind == "pem" and not tree.focus):
        return ""
    named, what = f"{tree.where.rstrip('/')}/{tree.focus}".rstrip("/"), tree.kind(tree.focus)
    if tree.focus and what == "file":
        found = _kind_of(tree, tree.focus)
        return f"{named} is {_CALLED[found]}; use {_url(tree, found, tree.focus)}" if found not in {"", kind} else ""
    if tree.focus and what == "missing":
        return next((text for store, text in _found(tree, "", tree.where, _PLACES) if _may_be_meant(store, kind, text)), "")
    if not tree.focus and any(store.kind == kind and store.found(tree, "") is not None for store in _STORES):
        return ""
    told = next((text for _, text in _found(tree, tree.focus, named, _PLACES[:1] if only_here else _PLACES)), "")
    if not told and kind != "pem" and not only_here and _holds_pem(tree, tree.focus):
        return f"{named} holds {_CALLED['pem']}; use {_url(tree, 'pem', tree.focus)}"
    return told


def _found(tree: Tree, root: str, here: str, places: Iterable[str]) -> Iterator[tuple[_Store, str]]:
    """The stores in a folder and below it, each with what to say of it."""
    for place in places:
        folder = _in(root, place).rstrip("/")
        for store in _STORES:
            if (path := store.found(tree, folder)) is not None:
                is_it = "holds" if path else "is a folder above" if place else "is"
                yield store, f"{here} {is_it} {store.called}; use {_url(tree, store.kind, _in(folder, path).rstrip('/'))}"


def _may_be_meant(store: _Store, kind: str, text: str) -> bool:
    """Whether a store may be the one whose file is missing: not the file of another source that lies beside it."""
    return store.kind == kind and (kind != "traefik" or "/acme.json" in text.rpartition(" ")[2])


def _holds_pem(tree: Tree, root: str) -> bool:
    """Whether there are plain files, which any program may have written, in a folder or in those below it."""
    below = (_in(root, name) for name in _names(tree, root))
    folders = (root, *(path for path in below if tree.kind(path) == "folder"))
    return any(_kind_of(tree, _in(folder, name)) == "pem" for folder in folders for name in _files_of(tree, folder, *_OF_PEM))


def _kind_of(tree: Tree, file: str) -> str:
    """The kind that a file is read as; empty for what is none or cannot be read."""
    try:
        data = tree.read(file) if tree.kind(file) == "file" else b""
    except (SourceUnavailable, SourceMalformed):
        return ""
    if data[16:20] == _OF_BOLT:
        return "boltdb"
    if data.lstrip()[:1] == b"{":
        return "traefik" if any(mark in data for mark in _OF_TRAEFIK) else ""
    return "pem" if b"-----BEGIN CERTIFICATE-----" in data or b"PRIVATE KEY-----" in data else ""


def _url(tree: Tree, kind: str, path: str) -> str:
    container, _, root = tree.where.rpartition(":")
    whole = quote(f"{root.rstrip('/')}/{path}".rstrip("/"), safe="/@:+,=*~!$&'()")
    return f"docker://{container}{whole}?kind={kind}" if container else f"{kind}://{whole}"
