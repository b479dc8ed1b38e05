"""Which kinds of sources there are, and how a URL becomes one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from controller.domain.errors import SettingsError
from controller.ports import Source
from controller.threads import look_at_all
from sources import self_signed
from sources.acme_companion import ACME_COMPANION
from sources.caddy import CADDY
from sources.certbot import CERTBOT
from sources.container import container_factory
from sources.layout import Layout
from sources.local import LocalStorage
from sources.pem_files import PEM
from sources.stored import StoredSource
from sources.surroundings import Factory, Surroundings
from sources.synology import SYNOLOGY
from sources.traefik_file import TRAEFIK
from sources.traefik_kv import consul, etcd, etcd_v2, zookeeper
from sources.traefik_kv.boltdb import BOLTDB, split_path
from sources.url import SourceUrl, nearest, parse_url

LAYOUTS: dict[str, Layout] = {
    layout.kind: layout for layout in (TRAEFIK, ACME_COMPANION, CADDY, CERTBOT, SYNOLOGY, PEM, BOLTDB)
}
"""The kinds that are stores of files."""


def _in_our_files(layout: Layout, split: Callable[[SourceUrl], SourceUrl] = lambda url: url) -> Factory:
    """Makes sources of a layout; `split` leaves only the file in the path of a URL that names more."""

    def make(name: str, url: SourceUrl, _surroundings: Surroundings) -> Source:
        url = split(url)
        path, options = url.file_path(), url.read_options(layout.options)
        if layout.shape == "file" and url.path.endswith("/"):
            raise SettingsError(f"{url} names a directory; did you mean {url}acme.json?")
        return StoredSource(name, layout, LocalStorage(path, layout, options), options)

    return make


KINDS: dict[str, Factory] = {
    **{kind: _in_our_files(layout) for kind, layout in LAYOUTS.items()},
    BOLTDB.kind: _in_our_files(BOLTDB, split_path),
    "docker": container_factory(LAYOUTS),
    "self-signed": self_signed.make,
    "consul": consul.make,
    "etcd": etcd.make,
    "etcd2": etcd_v2.make,
    "zookeeper": zookeeper.make,
}

CONVENTIONAL: list[tuple[Path, str]] = [
    # The directory alone counts, too: at the first start Traefik may create its file later.
    (Path("/traefik"), "traefik:///traefik/acme.json"),
    (Path("/traefik/acme.json"), "traefik:///traefik/acme.json"),
    (Path("/letsencrypt/acme.json"), "traefik:///letsencrypt/acme.json"),
    (Path("/etc/nginx/certs"), "acme-companion:///etc/nginx/certs"),
    (Path("/etc/letsencrypt"), "certbot:///etc/letsencrypt"),
    (Path("/data/caddy"), "caddy:///data/caddy"),
    (Path("/usr/syno/etc/certificate/_archive"), "synology:///usr/syno/etc/certificate/_archive"),
    (Path("/certs"), "pem:///certs"),
]
"""Mount points that become sources when none is configured, and as which."""


def create(url: str, surroundings: Surroundings, *, name: str | None = None) -> Source:
    """Make the source of a URL; its option ``name`` counts more than `name`, which counts more than its kind.

    Raises:
        SettingsError: an unknown kind or option, or a wrong value.
    """
    parsed = parse_url(url)
    return _make(parsed, parsed.name or name or parsed.kind, surroundings)


def create_all(urls: Iterable[str], surroundings: Surroundings) -> tuple[Source, ...]:
    """Make all sources, in order; those without a name are called after their kind, the second ``traefik-2``, and so on.

    Raises:
        SettingsError: what is wrong with any of them, all at once.
    """
    problems: list[str] = []
    parsed: list[SourceUrl] = []
    sources: list[Source] = []
    for text in urls:
        try:
            parsed.append(parse_url(text))
        except SettingsError as error:
            problems.append(str(error))
    names = Counter(url.name for url in parsed if url.name)
    problems += [f"{times} sources are called {name}; names must differ" for name, times in names.items() if times > 1]
    free = {kind: _free_names(kind, names) for kind in {url.kind for url in parsed}}
    for url in parsed:
        try:
            sources.append(_make(url, url.name or next(free[url.kind]), surroundings))
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("; ".join(problems))
    return tuple(sources)


def _is_there(path: Path) -> bool:
    """What may not be looked at is there as well: its source then says what is wrong."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def conventional(exists: Callable[[Path], bool] = _is_there) -> tuple[str, ...]:
    """The URLs of the conventional mount points that are there; what does not answer is there as well."""
    there = look_at_all([partial(exists, path) for path, _ in CONVENTIONAL])
    found = (url for (_, url), is_there in zip(CONVENTIONAL, there, strict=True) if is_there is not False)
    return tuple(dict.fromkeys(found))


def _make(url: SourceUrl, name: str, surroundings: Surroundings) -> Source:
    if url.kind not in KINDS:
        raise SettingsError(f"{url}: unknown kind of source {url.kind}; {nearest(url.kind, KINDS)}")
    return KINDS[url.kind](name, url, surroundings)


def _free_names(kind: str, taken: Collection[str]) -> Iterator[str]:
    """The kind itself, and then with a number, but what is taken."""
    names = (kind if number == 1 else f"{kind}-{number}" for number in count(1))
    return (name for name in names if name not in taken)
