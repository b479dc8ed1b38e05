"""What stands in the stores of proxies: Traefik's file, its values in key-value stores, etcd's answers, BoltDB, DSM's INFO."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

from sources import synology, traefik_store
from sources.pairs import Contents
from sources.traefik_kv import account, bolt_pages, etcd_messages
from tests.fuzz.files import pair
from tests.fuzz.target import Target
from tests.unit.sources.bolt_files import Builder

LIMIT = 2**20
"""Bytes that a value may unpack to."""


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def acme_documents() -> Iterator[dict[str, Any]]:
    """A store as each age of Traefik writes it."""
    certificate, key = _encoded(pair().chain), _encoded(pair().key)
    entry = {"domain": {"main": "mail.example.com", "sans": None}, "certificate": certificate, "key": key, "Store": "default"}
    yield {"le": {"Account": {"Email": "a@example.com"}, "Certificates": [entry]}, "empty": {"Certificates": None}}
    yield {"Account": {}, "Certificates": [{"Domain": {"Main": "x"}, "Certificate": certificate, "Key": key}]}
    older = {"Domains": {"Main": "x"}, "Certificate": {"Certificate": certificate, "PrivateKey": key}}
    yield {"DomainsCertificate": {"Certs": [older]}, "Registration": None}


def acme_seeds() -> Iterator[bytes]:
    return (json.dumps(document).encode() for document in acme_documents())


def value_seeds() -> Iterator[bytes]:
    for seed in acme_seeds():
        yield seed
        yield gzip.compress(seed, mtime=0)
        yield base64.b64encode(seed)


def message_seeds() -> Iterator[bytes]:
    yield b'{"header":{"revision":"7"},"kvs":[{"key":"YQ==","value":"YQ=="}],"count":"1"}'
    yield b'{"result":{"header":{"revision":"7"},"created":true}}\n{"result":{"events":[{"kv":{"key":"YQ=="}}]}}\n'


def bolt_seeds() -> Iterator[bytes]:
    for inline in (False, True):
        yield Builder(inline=inline).build({b"traefik": {b"key": b"value", b"other": b"more"}})


class _Chunks:
    """Implements `sources.traefik_kv.etcd_messages.Chunks`: some bytes, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._left = [data[at : at + 512] for at in range(0, len(data), 512)]

    async def readany(self) -> bytes:
        return self._left.pop(0) if self._left else b""


async def _never() -> None:
    raise AssertionError("nothing was silent")


def _messages(data: bytes) -> None:
    async def read() -> None:
        async for message in etcd_messages.messages(_Chunks(data), limit=LIMIT, every=60.0, idle=_never):
            for field in (*message.values(), *etcd_messages.fields(message.get("result")).values()):
                etcd_messages.said(field)

    asyncio.run(read())


class InfoTree:
    """Implements `sources.layout.Tree`: an archive of DSM with nothing in it but INFO and DEFAULT."""

    where, focus = "/archive", ""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def names(self, folder: str = "") -> list[str]:
        return [] if folder else ["DEFAULT", "INFO", "abcdef"]

    def kind(self, path: str) -> Any:
        return {"": "folder", "abcdef": "folder", "INFO": "file", "DEFAULT": "file"}.get(path, "missing")

    def link(self, path: str) -> str:
        return ""

    def read(self, path: str) -> bytes:
        return self._data


def _info(data: bytes) -> Contents:
    return synology.read(InfoTree(data), synology.SYNOLOGY.options())


TARGETS = (
    Target("acme-json", lambda data: traefik_store.read_store(data, where="acme.json"), acme_seeds),
    Target("kv-value", lambda data: account.read_value(data, where="the key", limit=LIMIT), value_seeds),
    Target("etcd-messages", _messages, message_seeds, (ValueError,)),
    Target("boltdb", lambda data: bolt_pages.find_value(data, b"traefik", b"key", where="a.db"), bolt_seeds),
    Target("synology-info", _info, lambda: [b'{"abcdef":{"desc":"mail","services":[{"subscriber":"smtp"}]}}']),
)
