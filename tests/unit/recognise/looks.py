"""Containers as the recognisers meet them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from controller.domain.container import Container, Mount, State
from controller.domain.proxy import Files, Verdict
from sources.recognise import recognise


def container(image: str = "debian:12", *command: str, mounts: tuple[str, ...] = (), **changes: Any) -> Container:
    """One with volumes mounted at some places; command and environment are the operator's unless it is said otherwise."""
    volumes = tuple(Mount("volume", f"volume-{at.strip('/').replace('/', '-')}", PurePosixPath(at), True) for at in mounts)
    own = {"own_command": command, "own_environment": changes.get("environment", {}), "mounts": volumes}
    return Container("c" * 64, "proxy", image, State.RUNNING, command=command, **{**own, **changes})


def bind(at: str, *, kind: str = "bind") -> Mount:
    """A folder of the host at some place."""
    return Mount(kind, f"/srv{at}", PurePosixPath(at), True)


def baked(image: str = "evil/image", *command: str, **changes: Any) -> Container:
    """A container that its operator only started: all that is known of it comes from its image."""
    return replace(container(image, *command, **changes), own_command=(), own_environment={}, labels={})


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
