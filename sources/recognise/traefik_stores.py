"""The key-value stores in which Traefik 1 keeps its certificates: the URL of each as a source, as far as it can be told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sources.traefik_kv.account import DEFAULT_KEY, object_key

KINDS = {"consul": "8500", "etcd": "2379", "zookeeper": "2181", "boltdb": ""}
"""Its sections by their rank where several are there, and the usual port of each."""
_ENDPOINT = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
LONGEST = 2000
"""Characters of what an operator wrote that go into the URL; host names have at most 253."""
_LOOPBACK = re.compile(r"(?i)localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1?]")
_YES = ("", "true", "1")
"""What an option that is on holds; the first is one without a value."""


def url_of(kind: str, section: Mapping[str, Any], storage: str) -> str:
    """The URL for ``CERTFERRY_SOURCES``, with the names of what cannot be told in angle brackets.

    What leads to Traefik's own loopback leads nowhere from here, and paths of its TLS files are those of its container.
    """
    key = (storage or DEFAULT_KEY).strip("/")
    if kind == "boltdb":
        path = str(section.get("endpoint") or "")
        file = f"/{quote(path.lstrip('/'))}" if "/" in path else "/<path>"
        return f"boltdb://{file}?key={quote(object_key(key))}&bucket=traefik"
    endpoints = [part.strip() for part in str(section.get("endpoint") or "")[:LONGEST].split(",")]
    tls = "tls" in section or any(endpoint.startswith("https://") for endpoint in endpoints)
    hosts = ",".join(dict.fromkeys(_host(endpoint, KINDS[kind]) for endpoint in endpoints))
    scheme = "etcd2" if kind == "etcd" and not _is_on(section.get("useapiv3")) else kind
    options = "&".join(_options(section, tls=tls))
    return f"{scheme}://{hosts}/{quote(key)}{'?' if options else ''}{options}"


def _host(endpoint: str, port: str) -> str:
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or _LOOPBACK.fullmatch(found[2]):
        return f"<host>:{found[3] if found and found[3] else port}"
    return f"{found[2]}:{found[3] or port}"


def _options(section: Mapping[str, Any], *, tls: bool) -> Iterator[str]:
    """Never with a password: whoever sees this message need not be who may see that."""
    if user := section.get("username"):
        yield f"user={quote(str(user), safe='')}"
    if section.get("password"):
        yield "password=<password>"
    if tls:
        yield "tls=on"


def _is_on(value: object) -> bool:
    return value is not None and str(value).lower() in _YES
