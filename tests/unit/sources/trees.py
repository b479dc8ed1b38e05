"""Small valid stores of every kind as data, to be written, damaged and renewed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sources.layout import Layout
from sources.registry import LAYOUTS
from tests.certs import Pair, acme_json
from tests.unit.sources import bolt_files


@dataclass(frozen=True)
class Link:
    """A symbolic link, as it is written."""

    to: str


Files = dict[str, bytes | Link]
"""By path below the root."""
EntryFiles = Callable[[str, Pair, int], Files]
"""What a program writes for one certificate: for a name, a pair, and how often it was renewed."""
WholeFile = Callable[..., bytes]
"""What a program writes for all its pairs together."""


@dataclass(frozen=True)
class Shape:
    """How one version of one program lays out its files; `base` is what is there without any certificate.

    Where all is in one file, `focus` is its name and `whole` its content.
    """

    name: str
    kind: str
    entry: EntryFiles
    base: Files = field(default_factory=dict)
    focus: str = ""
    whole: WholeFile = acme_json

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.kind]

    def lay_out(self, pairs: Mapping[str, Pair], renewed: int = 0) -> Store:
        """A store that holds a pair under each name."""
        if self.focus:
            return Store({self.focus: self.whole(*pairs.values())}, {name: {self.focus} for name in pairs})
        entries = {name: self.entry(name, pair, renewed) for name, pair in pairs.items()}
        files = dict(self.base)
        for entry in entries.values():
            files |= entry
        return Store(files, {name: set(entry) for name, entry in entries.items()})


@dataclass(frozen=True)
class Store:
    """All files, and which of them belong to which certificate."""

    files: Files
    parts: dict[str, set[str]]

    @property
    def paths(self) -> list[str]:
        """The files and the folders they are in, but not the root."""
        folders = {str(folder) for path in self.files for folder in Path(path).parents} - {"."}
        return sorted({*self.files, *folders})

    def untouched(self, touched: set[str]) -> set[str]:
        """The names of the certificates of which none of the paths is a part, nor a folder with a part."""
        hit = {name for name, parts in self.parts.items() for part in parts if any(_is_below(part, path) for path in touched)}
        return self.parts.keys() - hit

    def write(self, root: Path) -> None:
        """Write all of it into an existing folder."""
        for path, content in self.files.items():
            put(root / path, content)


def put(path: Path, content: bytes | Link) -> None:
    """Write a file in place, or replace a link as programs do it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.unlink(missing_ok=True)
        path.symlink_to(content.to)
    else:
        path.write_bytes(content)


def clear(folder: Path) -> None:
    """Remove everything in a folder, whatever its modes."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(0o700)
                clear(Path(entry.path))
                Path(entry.path).rmdir()
            else:
                Path(entry.path).unlink()


class _Capabilities(ctypes.Structure):
    """As the system calls ``capget`` and ``capset`` want them: a header, and two sets of 32 bits of each sort."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int), ("sets", ctypes.c_uint32 * 6))


@contextmanager
def modes_count() -> Iterator[None]:
    """File modes apply, also to root: this thread, and those that it starts in here, may not pass over them."""
    libc = ctypes.CDLL(None, use_errno=True)
    now = _Capabilities(version=0x20080522)
    sets = ctypes.byref(now, _Capabilities.sets.offset)
    libc.capget(ctypes.byref(now), sets)
    before = now.sets[0]
    now.sets[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(ctypes.byref(now), sets)
    try:
        yield
    finally:
        now.sets[0] = before
        libc.capset(ctypes.byref(now), sets)


def _is_below(part: str, path: str) -> bool:
    return part == path or part.startswith(f"{path}/")


def _leaf(pair: Pair) -> bytes:
    return pair.certificate.leaf_pem


def _rest(pair: Pair) -> bytes:
    return pair.certificate.chain_pem


def _companion(name: str, pair: Pair, _renewed: int) -> Files:
    stem = name.removeprefix("*.")
    folder = f"wildcard_{stem}" if stem != name else name
    parts: Files = {"cert.pem": _leaf(pair), "chain.pem": _rest(pair), "fullchain.pem": pair.chain, "key.pem": pair.key}
    links = {f"{stem}.crt": "fullchain.pem", f"{stem}.key": "key.pem", f"{stem}.chain.pem": "chain.pem"}
    return {
        f"{folder}/.companion": b"v2.5.0\n",
        **{f"{folder}/{file}": content for file, content in parts.items()},
        **{link: Link(f"./{folder}/{file}") for link, file in links.items()},
    }


def _beside(name: str, pair: Pair, _renewed: int) -> Files:
    stem = name.removeprefix("*.")
    return {f"{stem}.crt": pair.chain, f"{stem}.key": pair.key}


def _caddy(sites: str) -> EntryFiles:
    def entry(name: str, pair: Pair, _renewed: int) -> Files:
        safe = name.replace("*", "wildcard_")
        stem = f"{sites}/{safe}/{safe}"
        return {f"{stem}.crt": pair.chain, f"{stem}.key": pair.key, f"{stem}.json": b"{}"}

    return entry


def _certbot(name: str, pair: Pair, renewed: int) -> Files:
    name, number = name.removeprefix("*."), renewed + 1
    parts = {"cert": _leaf(pair), "privkey": pair.key, "chain": _rest(pair), "fullchain": pair.chain}
    return {
        **{f"archive/{name}/{part}{number}.pem": content for part, content in parts.items()},
        **{f"live/{name}/{part}.pem": Link(f"../../archive/{name}/{part}{number}.pem") for part in parts},
        f"live/{name}/README": b"This directory contains your keys and certificates.\n",
        f"renewal/{name}.conf": b"version = 2.1.0\n",
    }


def _synology(prefix: str) -> EntryFiles:
    def entry(name: str, pair: Pair, _renewed: int) -> Files:
        parts = {"cert": _leaf(pair), "chain": _rest(pair), "fullchain": pair.chain, "privkey": pair.key}
        return {f"{name}/{prefix}{part}.pem": content for part, content in parts.items()}

    return entry


def _bolt(*pairs: Pair) -> bytes:
    return bolt_files.store(bolt_files.account(*pairs))


def _folder(name: str, pair: Pair, _renewed: int) -> Files:
    return {f"{name}/chain": pair.chain, f"{name}/private.key": pair.key}


def _combined(name: str, pair: Pair, _renewed: int) -> Files:
    return {f"{name}.pem": pair.key + pair.chain}


_ARCHIVE: Files = {"INFO": b'{"mail.example.test" : {"desc" : "mail", "services" : []}}', "DEFAULT": b"mail.example.test\n"}
_CADDY: Files = {"instance.uuid": b"1", "locks/.keep": b""}

SHAPES = (
    Shape("traefik", "traefik", _combined, focus="acme.json"),
    Shape("companion", "acme-companion", _companion, {"dhparam.pem": b"dh", "default.crt": b"x", "default.key": b"x"}),
    Shape("nginx-proxy", "acme-companion", _beside),
    Shape("caddy", "caddy", _caddy("certificates/acme-v02.api.letsencrypt.org-directory"), _CADDY),
    Shape("caddy-v1", "caddy", _caddy("acme/acme-v02.api.letsencrypt.org/sites"), _CADDY),
    Shape("certbot", "certbot", _certbot, {"cli.ini": b"", "live/README": b"text"}),
    Shape("dsm-6", "synology", _synology(""), _ARCHIVE),
    Shape("dsm-7.3", "synology", _synology("ECC-"), _ARCHIVE),
    Shape("pem", "pem", _beside, {"README": b"text"}),
    Shape("pem-folders", "pem", _folder),
    Shape("pem-combined", "pem", _combined),
    Shape("bolt", "boltdb", _combined, focus="traefik.db", whole=_bolt),
)
