"""Caddy's storage, v2 (``certificates/<issuer>/<name>/``) and v1 (``acme/<host>/sites/<name>/``): ``<name>.crt .key .json``.

Up to 2.8 the files are written in place (measured for 2.6.2: key, crt, json, within 1 ms), from 2.9 on each is renamed from a
file that has a number for a name (certmagic v0.21.4); the pair is never changed in one step. A name may be held by several
issuers: Caddy takes the newest, and so does the choice among all candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from controller.domain.errors import OtherStore, SourceUnavailable
from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.parts import above, folders, read_part

_KNOWN = {"certificates", "acme", "pki", "ocsp", "locks", "users", "instance.uuid", "last_clean.json"}
"""What Caddy makes in its folder; any of them shows that it is the right one."""
_PLACES = ("caddy", ".local/share/caddy", ".caddy")
"""Where it is below the folder of its volume, or below the home folder of its user (v2, v1)."""
_ORDERED = "Caddy is ordering it, or its last order failed: see its log"


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """Every pair of every issuer.

    Raises:
        SourceUnavailable: it is another folder.
    """
    names = tree.names()
    contents = Contents(blank=not names)
    sites = [*_sites(tree, contents)] or [*_sites_of_one_issuer(tree, contents)]
    if names and not sites and not _KNOWN.intersection(names):
        _explain(tree, contents)
    for issuer, site, folder in sites:
        crt, key = f"{site}.crt", f"{site}.key"
        name = site.replace("wildcard_", "*", 1)
        label = label_of(f"{issuer}/{name}" if issuer else name)
        with contents.entry(label, lost=_ORDERED):
            if {crt, key}.isdisjoint(tree.names(folder)):
                continue  # it was just made, or given up
            files = (f"{folder}/{crt}", f"{folder}/{key}")
            contents.pairs.append(RawPair(label, read_part(tree, files[0]), read_part(tree, files[1]), files=files))
    return contents


def _sites(tree: Tree, contents: Contents) -> Iterator[tuple[str, str, str]]:
    """Issuer, name and folder of each certificate."""
    for top, below in (("certificates", ""), ("acme", "/sites")):
        for issuer in folders(tree, contents, top):
            sites = f"{top}/{issuer}{below}"
            for site in folders(tree, contents, sites):
                yield issuer, site, f"{sites}/{site}"


def _sites_of_one_issuer(tree: Tree, contents: Contents) -> Iterator[tuple[str, str, str]]:
    """The same where only the folder of one issuer was mounted, be it of v2 or of v1."""
    for prefix in ("", "sites/"):
        for site in folders(tree, contents, prefix.rstrip("/")):
            if tree.kind(f"{prefix}{site}/{site}.crt") == "file":
                yield "", site, f"{prefix}{site}"


def _explain(tree: Tree, contents: Contents) -> NoReturn:
    if below := next((place for place in _PLACES if tree.kind(place) == "folder"), None):
        raise SourceUnavailable(f"{tree.where} is a folder above Caddy's; name {tree.where.rstrip('/')}/{below}")
    inside = ((issuer, site) for issuer in folders(tree, contents) for site in folders(tree, contents, issuer))
    if any(tree.kind(f"{issuer}/{site}/{site}.crt") == "file" for issuer, site in inside):
        raise SourceUnavailable(f"{tree.where} is a part of Caddy's folder; name the one above it, {above(tree)}")
    raise OtherStore(f"{tree.where} is no storage of Caddy: it holds neither certificates nor acme; name the folder that does")


CADDY = Layout(
    kind="caddy",
    read=read,
    remedy="rename its folder and restart Caddy, which then asks for a new one",
    folders=("*", "sites/*", "certificates/*", "certificates/*/*", "acme/*", "acme/*/sites", "acme/*/sites/*"),
    parts=("certificates", "acme"),
)
