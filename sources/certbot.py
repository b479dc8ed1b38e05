"""certbot's folder: ``live/<name>/*.pem`` are links into ``archive/<name>/``, where each renewal adds files with a new number.

The links of one name are switched one after the other (certbot 2.1, ``storage.py``), so what they show together can be mixed.
The number that ``fullchain.pem`` leads to says which files belong together; files in the archive are never changed.
"""

from __future__ import annotations

import re

from controller.domain.errors import OtherStore, SourceUnavailable
from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.parts import above, is_there, link_of, read_part

_KNOWN = {"live", "archive", "renewal", "renewal-hooks", "accounts", "keys", "csr", "cli.ini"}
"""What certbot makes in its folder; any of them shows that it is the right one."""
_NUMBERED = re.compile(r"(?:^|/)archive/(?P<name>[^/]+)/fullchain(?P<number>[0-9]+)\.pem$")
_OF_A_PART = ("fullchain.pem", "fullchain1.pem")
_LINKS = {"cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"}


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """The current pair of every name.

    Raises:
        SourceUnavailable: it is no folder of certbot, or only a part of one.
    """
    names = tree.names()
    if tree.kind("live") != "folder":
        _check(tree, names)
        return Contents(blank=not names)
    contents = Contents()
    lineages = [name for name in tree.names("live") if tree.kind(f"live/{name}") == "folder"]
    if tree.kind("archive") != "folder" and any(tree.link(f"live/{name}/fullchain.pem") for name in lineages):
        raise SourceUnavailable(
            f"{tree.where} holds live, but not archive, where its links lead; mount the whole folder /etc/letsencrypt"
        )
    for name in lineages:
        with contents.entry(label_of(name), lost=f"certbot renews it by: certbot renew --force-renewal --cert-name {name}"):
            if not _LINKS.isdisjoint(tree.names(f"live/{name}")):  # a request that failed leaves an empty folder in NPM
                contents.pairs.append(_read_lineage(tree, name))
    return contents


def _read_lineage(tree: Tree, name: str) -> RawPair:
    chain, key = f"live/{name}/fullchain.pem", f"live/{name}/privkey.pem"
    if numbered := _NUMBERED.search(link_of(tree, chain)):
        folder, number = f"archive/{numbered['name']}", numbered["number"]
        chain, key = f"{folder}/fullchain{number}.pem", f"{folder}/privkey{number}.pem"
    return RawPair(label_of(name), read_part(tree, chain), read_part(tree, key), files=(chain, key))


def _check(tree: Tree, names: list[str]) -> None:
    """Raise what is wrong with a folder that has no ``live``, unless it is one of certbot that is still without."""
    if "fullchain.pem" in names:
        raise SourceUnavailable(
            f"{tree.where} is the folder of one certificate; mount certbot's whole folder, /etc/letsencrypt, and name that"
        )
    if any(is_there(tree, f"{name}/{file}") for name in names for file in _OF_A_PART):
        raise SourceUnavailable(
            f"{tree.where} is a part of certbot's folder only; mount the folder above it, {above(tree)}, whole, and name that"
        )
    if names and not _KNOWN.intersection(names):
        raise OtherStore(f"{tree.where} is no folder of certbot: it holds no live; correct the path")


CERTBOT = Layout(
    kind="certbot",
    read=read,
    remedy="let certbot renew it with --force-renewal",
    folders=("live", "live/*", "archive", "archive/*"),
    parts=("live", "archive"),
)
