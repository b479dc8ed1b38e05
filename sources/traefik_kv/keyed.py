"""A key-value store as a storage of sources: a tree with one file, the value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from controller.domain.errors import SourceUnavailable
from controller.domain.snapshot import Problem
from controller.threads import OwnThread
from sources.layout import Kind, Tree
from sources.pairs import printable
from sources.stored import StoredSource
from sources.traefik_kv.account import ACCOUNT
from sources.traefik_kv.network import NetworkOptions

log = structlog.get_logger()


class KeyRefused(SourceUnavailable):
    """The store answers, but who asks may not read this key."""


class Client(Protocol):
    """One kind of store. Both methods raise `SourceUnavailable` where it cannot be reached or refuses, and say which."""

    where: str
    """The store as the operator calls it, for messages."""
    thread: OwnThread
    """Where everything of this source happens that may block, or takes long."""

    async def get(self, key: str) -> bytes | None:
        """The value of a key now; ``None`` when it does not exist."""
        ...

    def changes(self, keys: tuple[str, ...]) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Hints that one of the keys may have changed, come or gone. It stands once the context is entered."""
        ...


@dataclass(slots=True)
class _Value:
    """Implements `sources.layout.Tree`: the root itself is the value."""

    where: str
    value: bytes = field(repr=False)
    focus: str = ""

    def names(self, folder: str = "") -> list[str]:
        return []

    def kind(self, path: str) -> Kind:
        return "missing" if path else "file"

    def link(self, path: str) -> str:
        return ""

    def read(self, path: str) -> bytes:
        return self.value


class KeyValueStorage:
    """Implements `sources.layout.Storage`. Of several keys the first that exists counts; messages name the one found last."""

    def __init__(self, client: Client, keys: tuple[str, ...]) -> None:
        self.client, self.keys, self.thread = client, keys, client.thread
        self._latest = keys[0]
        self._found = False

    async def tree(self) -> Tree:
        refused: dict[str, KeyRefused] = {}
        for key in self.keys:
            try:
                value = await self.client.get(key)
            except KeyRefused as error:
                refused[key] = error
                continue
            if value is not None:
                self._latest, self._found = key, True
                return _Value(printable(f"{self.client.where}, key {key}"), value)
        # Only the key that should be there tells why it is not: another spelling may well be refused.
        raise refused.get(self._latest) or SourceUnavailable(printable(self._explain_absence()))

    def _explain_absence(self) -> str:
        where, key = self.client.where, self._latest
        if self._found:
            return f"{where}: the key {key} was deleted; restore it, or wait for Traefik to write it anew"
        return f"{where} has no key {key} (yet); correct it if Traefik's acme.storage is another one"

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        return self.client.changes(self.keys)

    def forget(self) -> None:
        """Nothing is kept."""

    def problems(self) -> tuple[Problem, ...]:
        return ()


def account_source(name: str, client: Client, keys: tuple[str, ...], options: NetworkOptions) -> StoredSource:
    """The source of an account that a store keeps under one of the keys."""
    if options.tls_insecure_skip_verify:
        log.warning(
            "source.unverified",
            source=name,
            message=f"{client.where} is believed whoever it is (tls-insecure-skip-verify); better name its authority by tls-ca",
        )
    return StoredSource(name, ACCOUNT, KeyValueStorage(client, keys), options)
