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
from posixpath import dirname
from typing import cast

from pydantic import ByteSize, Field

from controller.domain.errors import CertificateError, EncryptedKey, SourceMalformed, WrongForm
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem
from controller.x509.bundles import Bundle, Bundles, FoundKey
from controller.x509.chains import Pool, above
from controller.x509.parsed import LONGEST_CHAIN, Named, ParsedCertificate
from sources.files import MIB, read_file
from sources.layout import FileOptions, Layout, Read, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.pem_leftovers import BRING, explain, is_of_no_certificate

_PASSWORD = "password-file"  # noqa: S105 -- the option, not a password
_PARTIAL = ("~", ".tmp", ".part", ".partial", ".filepart", ".swp", ".next")
"""Endings of files that are not (yet) meant: half-written, an editor's, acme.sh's next key. Those of rsync begin with a dot."""
_LONGEST = LONGEST_CHAIN - 1
"""Certificates above a leaf that count as its own chain; the others are in the pool of all."""
_DEEPER = ("certs", "keys", "private")
"""Folders below which there is one for each name: of uacme, OPNsense and others."""
_NOT_ORDERED = "bring the certificate; where one is being ordered, or an order failed, see the log of what orders it"
_ISSUED = "leave it, and bring the certificate that it signed for the host, with the key of that"
_ANEW = "make it anew with -addext subjectAltName=DNS:<name>, or ask the issuer for one that names the host"


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
    nameless: dict[ParsedCertificate, str] = field(default_factory=dict)
    """Authorities, or leaves that say so without need; with their files."""
    issuers: set[Named] = field(default_factory=set, repr=False)
    """The subjects of those who issued another certificate."""
    beside: dict[str, tuple[ParsedCertificate, ...]] = field(default_factory=dict)
    """What each of those files holds."""
    certified: set[str] = field(default_factory=set)
    """The public keys of all certificates."""
    in_focus: set[str] = field(default_factory=set)
    """The public keys that the file holds that was named."""
    others: dict[str, str] = field(default_factory=dict, repr=False)
    """Files that hold something else, which is odd only beside half a pair; and what to say of each then."""

    def add(self, path: str, bundle: Bundle) -> None:
        """Take the content of one file."""
        length = inf if path == self.focus else len(bundle.certificates)
        for key in bundle.keys:
            self.keys.setdefault(key.public_key_hash, (path, key))
        for certificate in bundle.certificates:
            if certificate.is_authority:
                self.authorities.add(certificate)
            self.certified.add(certificate.public_key_hash)
            if certificate.issuer != certificate.subject:
                self.issuers.add(certificate.issuer)
            if certificate.is_authority and not certificate.names:
                self.nameless.setdefault(certificate, path)
            elif length > self.leaves.get(certificate, ("", 0))[1]:
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
                pool.add(path, _open(tree, path, bundles, password, pool.others))
        _match(pool, contents)
    if tree.focus:
        contents.problems = [p for p in contents.problems if p.label.partition("#")[0] in (label_of(tree.focus), _PASSWORD)]
        if not (contents.pairs or contents.problems):
            text = f"{tree.focus} holds certificates of CAs only; name the file of the server's certificate, or the folder"
            contents.problems.append(Problem(label_of(tree.focus), Reason.KEY_MISMATCH, text))
    return contents


def _match(pool: _Pool, contents: Contents) -> None:
    """Put the pairs together, and tell what is left over."""
    for certificate in pool.leaves:  # of a CA that does not say so: what OpenSSL makes without extensions
        if certificate.subject in pool.issuers and certificate.public_key_hash not in pool.keys:
            pool.authorities.add(certificate)
    contents.authorities = pool.authorities
    per_file = Counter(path for path, _ in pool.leaves.values())
    halves: set[str] = set()
    beside = {path: Pool(certificates) for path, certificates in pool.beside.items()}
    paths = {
        leaf: above(leaf, beside[path])[:_LONGEST]
        for leaf, (path, _) in pool.leaves.items()
        if leaf.public_key_hash in pool.keys
    }
    issuers = {issuer for path in paths.values() for issuer in path} | set(pool.authorities)
    for leaf, (path, _) in pool.leaves.items():
        if pool.focus and leaf.public_key_hash not in pool.in_focus:
            continue
        label = label_of(path if per_file[path] == 1 else f"{path}#{leaf.fingerprint[:12]}")
        if leaf in paths:
            files = (path, pool.keys[leaf.public_key_hash][0])
            chain = b"".join(certificate.pem for certificate in (leaf, *paths[leaf]))
            contents.pairs.append(RawPair(label, chain, pool.keys[leaf.public_key_hash][1].pem, files=files))
        elif not leaf.is_authority and leaf not in issuers:
            text = f"{path} is a certificate without key: none of the files holds the key that fits; bring the key"
            contents.problems.append(Problem(label, Reason.KEY_MISMATCH, text))
            halves.add(path)
    _tell_nameless(pool, contents)
    _tell_others(pool, contents, halves | _tell_keys(pool, contents))


def _tell_keys(pool: _Pool, contents: Contents) -> set[str]:
    """Tell the keys without certificate that may be those of a host; their files."""
    files = {path for path, _ in pool.keys.values()}
    alone = (path for path, key in pool.keys.values() if key.public_key_hash not in pool.certified)
    told = dict.fromkeys(path for path in alone if path == pool.focus or not is_of_no_certificate(path, files))
    for path in told:
        text = f"{path} is a key without certificate: none of the files holds one for it; {_NOT_ORDERED}"
        contents.problems.append(Problem(label_of(path), Reason.KEY_MISMATCH, text))
    return set(told)


def _tell_others(pool: _Pool, contents: Contents, halves: set[str]) -> None:
    """Tell the files of something else that lie beside half a pair."""
    folders = {dirname(half) for half in halves}
    for path, text in pool.others.items():
        if dirname(path) in folders:
            contents.problems.append(Problem(label_of(path), Reason.SOURCE_MALFORMED, text))


def _tell_nameless(pool: _Pool, contents: Contents) -> None:
    """Those that were meant to be a leaf: with their key here, and without anything that they issued."""
    for certificate, path in pool.nameless.items():
        if certificate.public_key_hash in pool.keys and certificate.subject not in pool.issuers:
            whose = f"; where it is your CA's own, {_ISSUED}" if certificate.is_authority else ""
            text = f"{path} names no host in its subjectAltName, and clients look at nothing else; {_ANEW}{whose}"
            contents.problems.append(Problem(label_of(path), Reason.NAME_MISMATCH, text))


def _files(tree: Tree, contents: Contents) -> Iterator[str]:
    """The files of the folder and of those directly below it, or one deeper; only of the folder when one file was named."""
    below: list[str] = []
    for name in (name for name in tree.names() if _may_hold(name) or name == tree.focus):
        if tree.kind(name) == "folder":
            below.append(name)
        else:
            yield name
    for folder in () if tree.focus else below:
        with contents.entry(label_of(folder)):
            paths = [f"{folder}/{name}" for name in filter(_may_hold, tree.names(folder))]
            kinds = {path: tree.kind(path) for path in paths}
            yield from (path for path in paths if kinds[path] != "folder")
            for deeper in (path for path in paths if kinds[path] == "folder" and folder in _DEEPER):
                with contents.entry(label_of(deeper)):
                    inside = [f"{deeper}/{name}" for name in filter(_may_hold, tree.names(deeper))]
                    yield from (path for path in inside if tree.kind(path) != "folder")


def _may_hold(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(_PARTIAL)


def _open(tree: Tree, path: str, bundles: Bundles, password: bytes | None, others: dict[str, str]) -> Bundle:
    data = tree.read(path)
    try:
        bundle = bundles.open(data, password)
    except (EncryptedKey, WrongForm) as error:
        raise SourceMalformed(f"{path}: {error}") from error
    except CertificateError as error:
        raise SourceMalformed(f"{path}: {error}; {BRING}") from error
    if bundle == Bundle() and (odd := explain(tree, path, data)):
        others[path] = odd
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
    remedy=BRING,
    shape="either",
    folders=("*", *(f"{folder}/*" for folder in _DEEPER)),
    patience=10.0,
    quiet=0.05,
    options=PemOptions,
)
