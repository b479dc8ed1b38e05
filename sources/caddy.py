"""Caddy's storage, v2 (``certificates/<issuer>/<name>/``) and v1 (``acme/<host>/sites/<name>/``): ``<name>.crt .key .json``.

Up to 2.8 the files are written in place (measured for 2.6.2: key, crt, json, within 1 ms), from 2.9 on each is renamed from a
file that has a number for a name (certmagic v0.21.4); the pair is never changed in one step. A name may be held by several
issuers: Caddy takes the newest, and so does the choice among all candidates.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.domain.errors import SourceUnavailable
from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.parts import above, folders, read_part

_KNOWN = {"certificates", "acme", "pki", "ocsp", "locks", "users", "instance.uuid", "last_clean.json"}
"""What Caddy makes in its folder; any of them shows that it is the right one."""
_PLACES = ("caddy", ".local/share/caddy", ".caddy")
"""Where it is below the folder of its volume, or below the home folder of its user (v2, v1)."""


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """Every pair of every issuer.

    Raises:
        SourceUnavailable: it is another folder.
    """
    names = tree.names()
    contents = Contents(blank=not names)
    if names and not _KNOWN.intersection(names):
        raise SourceUnavailable(_wrong_folder(tree, contents))
    for issuer, site, folder in _sites(tree, contents):
        crt, key = f"{site}.crt", f"{site}.key"
        label = label_of(f"{issuer}/{site.replace('wildcard_', '*', 1)}")
        with contents.entry(label):
            if {crt, key}.isdisjoint(tree.names(folder)):
                continue  # it was just made, or given up
            contents.pairs.append(RawPair(label, read_part(tree, f"{folder}/{crt}"), read_part(tree, f"{folder}/{key}")))
    return contents


def _sites(tree: Tree, contents: Contents) -> Iterator[tuple[str, str, str]]:
    """Issuer, name and folder of each certificate."""
    for top, below in (("certificates", ""), ("acme", "/sites")):
        for issuer in folders(tree, contents, top):
            sites = f"{top}/{issuer}{below}"
            for site in folders(tree, contents, sites):
                yield issuer, site, f"{sites}/{site}"


def _wrong_folder(tree: Tree, contents: Contents) -> str:
    if below := next((place for place in _PLACES if tree.kind(place) == "folder"), None):
        return f"{tree.where} is a folder above Caddy's; name {tree.where.rstrip('/')}/{below}"
    issuers = (name for name in folders(tree, contents) if name != "sites")
    inside = ((issuer, site) for issuer in issuers for site in folders(tree, contents, issuer))
    if any(tree.kind(f"{issuer}/{site}/{site}.crt") == "file" for issuer, site in inside):
        return f"{tree.where} is a part of Caddy's folder; name the one above it, {above(tree)}"
    return f"{tree.where} is no storage of Caddy: it holds neither certificates nor acme; name the folder that does"


CADDY = Layout(
    kind="caddy",
    read=read,
    remedy="remove its folder and restart Caddy, which asks for a new one",
    folders=("certificates", "certificates/*", "certificates/*/*", "acme", "acme/*", "acme/*/sites", "acme/*/sites/*"),
    parts=("certificates", "acme"),
)
