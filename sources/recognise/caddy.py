"""Caddy 2 and 1: where its data folder is, by Caddyfile, environment, mounts and home folder."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from sources.pairs import label_of
from sources.recognise.config import parse_config
from sources.recognise.hints import home_of, inside, is_called, programs, read_flags

_IMAGES = ("caddy", "caddy-docker-proxy")
_COMMANDS = ("run", "docker-proxy", "start", "reverse-proxy", "file-server")
_CONFIG = "/etc/caddy/Caddyfile"
_OF_IMAGE = PurePosixPath("/data/caddy")
_STORAGE = re.compile(r"^[ \t]*storage[ \t]+([\w.]+)[ \t]*(?:\{\s*root[ \t]+(\S+)|(\{?[^\s{]\S*))?", re.MULTILINE)
"""The global option of a Caddyfile: the module, and for files the folder, on the same line or in a block."""


def recognise(container: Container, files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    if not _is_caddy(container):
        return NOTHING
    flags = read_flags(container.command)
    try:
        if "CADDYPATH" in container.environment or "conf" in flags:
            folder = container.environment.get("CADDYPATH") or f"{home_of(container)}/.caddy"
            return _kept(inside(container, folder), "Caddy 1, by its command and environment")
        config = inside(container, flags.get("config") or _CONFIG)
        return _by_config(container, config, files[config] or b"") if config in files else Verdict(wanted=(config,))
    except ValueError as error:
        return Verdict(left=f"Caddy, but {error}")


def _is_caddy(container: Container) -> bool:
    words = list(programs(container))
    runs = any(program == "caddy" and command in _COMMANDS for program, command in pairwise(words))
    return runs or is_called(container, *_IMAGES)


def _kept(path: PurePosixPath, how: str) -> Verdict:
    return Verdict((KeptStore("caddy", path, how),))


def _by_config(container: Container, config: PurePosixPath, content: bytes) -> Verdict:
    module, folder = _configured(config, content)
    if module != "file_system":
        return Verdict(left=f"Caddy that keeps its certificates in {label_of(module)}, not in files, by {config}")
    if folder:
        return _kept(inside(container, folder), f"Caddy, by the storage in {config}")
    return _by_place(container)


def _by_place(container: Container) -> Verdict:
    """Caddy's own rule, and where no environment tells, the mount of the official image."""
    if folder := container.environment.get("XDG_DATA_HOME"):
        return _kept(inside(container, f"{folder}/caddy"), "Caddy, by XDG_DATA_HOME in its environment")
    if (mount := container.mount_of(_OF_IMAGE)) and mount.destination != PurePosixPath("/"):
        return _kept(_OF_IMAGE, f"Caddy, by its mount at {mount.destination}")
    return _kept(inside(container, f"{home_of(container)}/.local/share/caddy"), "Caddy, by the home folder of its user")


def _configured(path: PurePosixPath, content: bytes) -> tuple[str, str]:
    """Module and folder of the storage; the folder is empty where Caddy chooses it.

    Raises:
        ValueError: the file cannot be parsed; says so.
    """
    if path.suffix == ".json":
        storage = parse_config(path, content).get("storage")
        module, root = (storage.get("module"), storage.get("root")) if isinstance(storage, dict) else (None, None)
        return module if isinstance(module, str) else "file_system", root if isinstance(root, str) else ""
    if found := _STORAGE.search(content.decode(errors="replace")):
        return found[1], (found[2] or found[3] or "").strip('"`')
    return "file_system", ""
