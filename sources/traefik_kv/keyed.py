"""A key-value store as a storage of sources: a tree with one file, the value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from controller.domain.errors import SourceUnavailable
from controller.domain.snapshot import Problem
from sources.layout import Kind, Tree
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

    async def get(self, key: str) -> bytes | None:
        """The value of a key now; ``None`` when it does not exist."""
        ...

    def changes(self, keys: tuple[str, ...]) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Hints that one of the keys may have changed, come or gone. It stands once the context is entered."""
        ...


@dataclass(slots=True)
class _Value:
    """Implements `sources.layout.Tree`."""

    where: str
    focus: str
    value: bytes = field(repr=False)

    def names(self, folder: str = "") -> list[str]:
        return [] if folder else [self.focus]

    def kind(self, path: str) -> Kind:
        return "file" if path == self.focus else "missing"

    def link(self, path: str) -> str:
        return ""

    def read(self, path: str) -> bytes:
        return self.value


class KeyValueStorage:
    """Implements `sources.layout.Storage`. Of several keys the first that exists counts."""

    def __init__(self, client: Client, keys: tuple[str, ...]) -> None:
        self.client, self.keys = client, keys
        self._found = False

    async def tree(self) -> Tree:
        refused: list[KeyRefused] = []
        for key in self.keys:
            try:
                value = await self.client.get(key)
            except KeyRefused as error:
                refused.append(error)
                continue
            if value is not None:
                self._found = True
                return _Value(self.client.where, key, value)
        if len(refused) == len(self.keys):
            raise refused[0]
        raise SourceUnavailable(self._explain_absence())

    def _explain_absence(self) -> str:
        if self._found:
            return f"{self.client.where}: the key {self.keys[0]} was deleted; restore it, or wait for Traefik to write it anew"
        return f"{self.client.where} has no key {self.keys[0]} (yet); correct it if Traefik's acme.storage is another one"

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        return self.client.changes(self.keys)

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
