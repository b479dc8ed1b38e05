"""Files of your own, under any names: certificates and keys are matched by their public key, chains by who issued whom.

It is the drop folder for what another host brings, too: what rsync, scp and editors write beside the real files is passed over,
and half a pair is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import cast

from pydantic import ByteSize, Field

from controller.domain.errors import CertificateError, SourceMalformed
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem
from controller.x509.bundles import Bundle, Bundles, FoundKey
from controller.x509.chains import Pool, above
from controller.x509.parsed import ParsedCertificate
from sources.files import MIB, read_file
from sources.layout import FileOptions, Layout, Read, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of

_PASSWORD = "password-file"  # noqa: S105 -- the option, not a password
_PARTIAL = ("~", ".tmp", ".part", ".partial", ".filepart", ".swp", ".next")
"""Endings of files that are not (yet) meant: half-written, an editor's, acme.sh's next key. Those of rsync begin with a dot."""
_NEVER_EMPTY = (".pem", ".crt", ".cer", ".der", ".key")
"""Endings of files that are being written while they are empty; others may well be empty for good."""
_PKCS12 = (".p12", ".pfx")


class PemOptions(FileOptions):
    """Query options."""

    max_size: ByteSize = Field(default=ByteSize(4 * MIB), gt=0)
    """Refuse to read a larger file."""
    password_file: Path | None = None
    """A file that holds the password of PKCS#12 files."""


@dataclass(slots=True)
class _Pool:
    """Everything that all files hold; of several that hold the same key, the first counts."""

    focus: str
    authorities: Pool = field(default_factory=Pool)
    keys: dict[str, tuple[str, FoundKey]] = field(default_factory=dict)
    leaves: dict[ParsedCertificate, tuple[str, float]] = field(default_factory=dict)
    """What may be a leaf, with the file that shows most of its chain, and how many certificates that file has."""
    beside: dict[str, tuple[ParsedCertificate, ...]] = field(default_factory=dict)
    """What each of those files holds."""
    certified: set[str] = field(default_factory=set)
    """The public keys of all certificates."""
    in_focus: set[str] = field(default_factory=set)
    """The public keys that the file holds that was named."""

    def add(self, path: str, bundle: Bundle) -> None:
        """Take the content of one file."""
        length = inf if path == self.focus else len(bundle.certificates)
        for key in bundle.keys:
            self.keys.setdefault(key.public_key_hash, (path, key))
        for certificate in bundle.certificates:
            if certificate.is_authority:
                self.authorities.add(certificate)
            self.certified.add(certificate.public_key_hash)
            if length > self.leaves.get(certificate, ("", 0))[1] and (certificate.names or not certificate.is_authority):
                self.leaves[certificate] = (path, length)
                self.beside[path] = bundle.certificates
        if path == self.focus:
            self.in_focus = {key.public_key_hash for key in bundle.keys} | {c.public_key_hash for c in bundle.certificates}


def reader() -> Read:
    """What reads one source, and remembers until its next reading what its files hold."""
    return partial(_read, Bundles())


def read(tree: Tree, options: StoreOptions) -> Contents:
    """Every pair, each once, wherever its parts stand.

    Raises:
        SourceUnavailable: the folder, or the file that was named, cannot be read.
    """
    return _read(Bundles(), tree, options)


def _read(bundles: Bundles, tree: Tree, options: StoreOptions) -> Contents:
    if tree.focus:
        tree.read(tree.focus)  # what is wrong with it is wrong with the source
    contents = Contents(blank=not tree.names())
    password = _read_password(cast(PemOptions, options), contents)
    with bundles.reading():
        pool = _Pool(tree.focus)
        for path in _files(tree, contents):
            with contents.entry(label_of(path)):
                pool.add(path, _open(tree, path, bundles, password))
        _match(pool, contents)
    if tree.focus:
        contents.problems = [p for p in contents.problems if p.label.partition("#")[0] in (label_of(tree.focus), _PASSWORD)]
    return contents


def _match(pool: _Pool, contents: Contents) -> None:
    """Put the pairs together, and tell what is left over."""
    contents.authorities = pool.authorities
    per_file = Counter(path for path, _ in pool.leaves.values())
    paths = {
        leaf: above(leaf, pool.beside[path]) for leaf, (path, _) in pool.leaves.items() if leaf.public_key_hash in pool.keys
    }
    issuers = {issuer for path in paths.values() for issuer in path}
    for leaf, (path, _) in pool.leaves.items():
        if pool.focus and leaf.public_key_hash not in pool.in_focus:
            continue
        label = label_of(path if per_file[path] == 1 else f"{path}#{leaf.fingerprint[:12]}")
        if leaf in paths:
            chain = b"".join(certificate.pem for certificate in (leaf, *paths[leaf]))
            contents.pairs.append(RawPair(label, chain, pool.keys[leaf.public_key_hash][1].pem))
        elif not leaf.is_authority and leaf not in issuers:
            text = (
                f"{path} is a certificate without key: none of the files holds the key that fits; bring it, or remove this one"
            )
            contents.problems.append(Problem(label, Reason.KEY_MISMATCH, text))
    for path, key in pool.keys.values():
        if key.public_key_hash not in pool.certified:
            text = f"{path} is a key without certificate: none of the files holds one for it; bring it, or remove the key"
            contents.problems.append(Problem(label_of(path), Reason.KEY_MISMATCH, text))


def _files(tree: Tree, contents: Contents) -> Iterator[str]:
    """The files of the folder and of those directly below it; only of the folder when one file was named."""
    below: list[str] = []
    for name in (name for name in tree.names() if _may_hold(name) or name == tree.focus):
        if tree.kind(name) == "folder":
            below.append(name)
        else:
            yield name
    for folder in () if tree.focus else below:
        with contents.entry(label_of(folder)):
            paths = [f"{folder}/{name}" for name in filter(_may_hold, tree.names(folder))]
            yield from (path for path in paths if tree.kind(path) != "folder")


def _may_hold(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(_PARTIAL)


def _open(tree: Tree, path: str, bundles: Bundles, password: bytes | None) -> Bundle:
    data = tree.read(path)
    if not data and path.lower().endswith(_NEVER_EMPTY + _PKCS12):
        raise SourceMalformed(f"{path} is empty; bring it again, or remove it")
    try:
        bundle = bundles.open(data, password)
    except CertificateError as error:
        raise SourceMalformed(f"{path}: {error}") from error
    if bundle == Bundle() and (path == tree.focus or path.lower().endswith(_PKCS12)):
        raise SourceMalformed(f"{path} holds neither a certificate nor a key; bring the right file, or correct the path")
    return bundle


def _read_password(options: PemOptions, contents: Contents) -> bytes | None:
    if options.password_file is None:
        return None
    with contents.entry(_PASSWORD):
        return read_file(options.password_file, limit=MIB).rstrip(b"\r\n")
    return None


PEM = Layout(
    kind="pem",
    read=read,
    reader=reader,
    remedy="bring the right file",
    shape="either",
    folders=("*",),
    patience=10.0,
    quiet=0.05,
    options=PemOptions,
)
