"""certbot, and images built around it."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from sources.recognise.certbot_folder import FOLDER
from sources.recognise.hints import image_of, inside, is_called, programs, read_flags

_NAMESPACE = "certbot"
_BUILT_AROUND = {"swag": "/config/etc/letsencrypt", "nginx-proxy-manager": str(FOLDER)}


def recognise(container: Container, _files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    namespace = image_of(container)[0]
    try:
        if image := next((name for name in _BUILT_AROUND if is_called(container, name)), None):
            return _kept(inside(container, _BUILT_AROUND[image]), f"{image} with certbot in it, by its image")
        if namespace == _NAMESPACE or "certbot" in programs(container):
            folder = read_flags(container.command).get("config-dir") or str(FOLDER)
            return _kept(inside(container, folder), f"certbot, by its {'image' if namespace == _NAMESPACE else 'command'}")
    except ValueError as error:
        return Verdict(left=f"certbot, but {error}")
    return NOTHING


def _kept(path: PurePosixPath, how: str) -> Verdict:
    return Verdict((KeptStore("certbot", path, how),))
