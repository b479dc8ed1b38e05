"""Containers as the recognisers meet them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from controller.domain.container import Container, Mount, State
from controller.domain.proxy import Files, Verdict
from sources.recognise import recognise


def container(image: str = "debian:12", *command: str, mounts: tuple[str, ...] = (), **changes: Any) -> Container:
    """One with volumes mounted at some places."""
    volumes = tuple(Mount("volume", f"volume-{at.strip('/').replace('/', '-')}", PurePosixPath(at), True) for at in mounts)
    return Container("c" * 64, "proxy", image, State.RUNNING, command=command, mounts=volumes, **changes)


def judge(looked_at: Container, files: dict[str, bytes] | None = None) -> Verdict:
    """The last word, when every file that is asked for was read."""
    stored = {PurePosixPath(path): content for path, content in (files or {}).items()}
    read: Files = {}
    while (verdict := recognise(looked_at, read)).wanted:
        assert not set(verdict.wanted) <= read.keys(), "asked twice for the same"
        read = {**read, **{path: stored.get(path) for path in verdict.wanted}}
    return verdict


def stores(verdict: Verdict) -> list[str]:
    assert not verdict.left
    return [f"{store.kind} {store.path}" for store in verdict.stores]
