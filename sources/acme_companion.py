"""nginx-proxy's certificates as acme-companion (formerly letsencrypt-nginx-proxy-companion) keeps them, and the operator's own.

A folder for each certificate (``cert.pem chain.pem fullchain.pem key.pem``), and for each of its names links ``<name>.crt``,
``<name>.key`` into it. The files are written in place, one by one (measured: cert, chain, key, fullchain, within 17 ms). What a
staging CA issued lies in ``_test_<name>``, under links with the usual names.
"""

from __future__ import annotations

from posixpath import join, normpath

from controller.domain.errors import SourceUnavailable
from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.parts import above, folders, link_of, read_part

_TEST, _WILDCARD = "_test_", "wildcard_"
_CHAIN, _KEY, _LEAF, _REST = "fullchain.pem", "key.pem", "cert.pem", "chain.pem"
_FILES = {_CHAIN, _KEY, _LEAF}
_ENDINGS = (".crt", ".key")
_OWN = "bring the right files"
_ORDERED = "it is being ordered, or the last order failed: see the log of the companion"
_PLACEHOLDER = "default"
"""The pair that nginx-proxy shows to those who ask for a name it does not know; it is for nobody."""
_WITHOUT_KEY = (".chain", ".ca")
"""``<name>.chain.crt`` served nginx-proxy for OCSP, ``<name>.ca.crt`` and ``ca.crt`` judge the certificates of clients."""
_MAX_LINKS = 40  # as the kernel's own path walk


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """Every pair, once: those of the folders, and the operator's own beside them.

    Raises:
        SourceUnavailable: it is another folder.
    """
    names = tree.names()
    contents = Contents(blank=not names)
    subfolders = folders(tree, contents)
    _check(tree, names, subfolders)
    managed = _read_managed(tree, contents, subfolders)
    for stem in _own(tree, names, managed):
        label = label_of(f"own/{stem}")
        with contents.entry(label, lost="bring the missing half of the pair"):
            files = (f"{stem}.crt", f"{stem}.key")
            chain = _read_chain(tree, files[0], (f"{stem}.chain.pem", f"{stem}.chain.crt"))
            contents.pairs.append(RawPair(label, chain, read_part(tree, files[1]), files=files, remedy=_OWN))
    return contents


def _read_managed(tree: Tree, contents: Contents, subfolders: list[str]) -> list[str]:
    """Read the folders that hold a pair; those that may hold one, but cannot be read, are returned with them."""
    managed: list[str] = []
    known = frozenset(subfolders)
    for folder in subfolders:
        if (end := _end_of(tree, folder)) != folder and end in known:
            continue
        label = _label(folder)
        with contents.entry(label, lost=_ORDERED):
            managed.append(folder)
            if _FILES.isdisjoint(names := tree.names(folder)):
                managed.pop()
                continue
            files = (f"{folder}/{_CHAIN if _CHAIN in names or _LEAF not in names else _LEAF}", f"{folder}/{_KEY}")
            chain = _read_chain(tree, files[0], (f"{folder}/{_REST}",))
            is_test = folder.startswith(_TEST)
            contents.pairs.append(RawPair(label, chain, read_part(tree, files[1]), test=is_test, files=files))
    return managed


def _label(folder: str) -> str:
    name = folder.removeprefix(_TEST)
    issuer = "staging/" if name != folder else ""
    return label_of(issuer + (f"*.{name.removeprefix(_WILDCARD)}" if name.startswith(_WILDCARD) else name))


def _own(tree: Tree, names: list[str], managed: list[str]) -> list[str]:
    """The pairs that lie here themselves, or are linked to from elsewhere, by the part of their names before the dot."""
    elsewhere = {*names, *(f"{folder}/{file}" for folder in managed for file in _FILES)}
    stems = dict.fromkeys(name[:-4] for name in names if name.endswith(_ENDINGS))
    there = frozenset(names)
    return [stem for stem in stems if not _is_no_pair(stem, there) and not _is_link_to(elsewhere, tree, stem, there)]


def _is_no_pair(stem: str, names: frozenset[str]) -> bool:
    return stem == _PLACEHOLDER or (f".{stem}".endswith(_WITHOUT_KEY) and f"{stem}.key" not in names)


def _is_link_to(others: set[str], tree: Tree, stem: str, names: frozenset[str]) -> bool:
    """Whether the certificate is one that is read by another name. Two certificates may well share a key."""
    file = next(f"{stem}{ending}" for ending in _ENDINGS if f"{stem}{ending}" in names)
    return (end := _end_of(tree, file)) != file and end in others


def _end_of(tree: Tree, path: str) -> str:
    """Where a path of at most two parts leads to, through links of files and of folders."""
    root = f"{tree.where.rpartition(':')[2].rstrip('/')}/"
    for _ in range(_MAX_LINKS):
        folder, _, file = path.rpartition("/")
        if target := link_of(tree, path):
            path = join(folder, target)
        elif folder and (target := tree.link(folder)):
            path = join(target, file)
        else:
            break
        path = normpath(path).removeprefix(root)
    return path


def _read_chain(tree: Tree, file: str, rest: tuple[str, ...]) -> bytes:
    """A file that should hold the whole chain, and what is missing in it. nginx-proxy itself uses what stands in the ``.crt``;
    the other file is for its OCSP answers, but may be all there is.
    """
    chain = read_part(tree, file)
    if chain.count(b"-----BEGIN") != 1:
        return chain
    return chain + b"".join(b"\n" + read_part(tree, more) for more in rest if tree.kind(more) == "file")


def _check(tree: Tree, names: list[str], subfolders: list[str]) -> None:
    if _CHAIN in names and _KEY in names:
        raise SourceUnavailable(f"{tree.where} is the folder of one certificate; name the one above it, {above(tree)}")
    if "certs" in subfolders and not any(name.endswith(_ENDINGS) for name in names):
        raise SourceUnavailable(f"{tree.where} is the folder above the certificates; name {tree.where.rstrip('/')}/certs")
    if any(tree.kind(f"{folder}account.conf") == "file" for folder in ("", *(f"{name}/" for name in subfolders))):
        raise SourceUnavailable(f"{tree.where} is acme.sh's own folder; name the one with the certificates, /etc/nginx/certs")


ACME_COMPANION = Layout(
    kind="acme-companion",
    read=read,
    remedy="let the companion ask for a new one by /app/force_renew",
    folders=("*",),
)
