"""certbot, images built around it, and whatever else has its folder mounted: certbot itself is often gone between two runs."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from sources.recognise.hints import image_of, inside, programs, read_flags

_NAMESPACE = "certbot"
_FOLDER = PurePosixPath("/etc/letsencrypt")
_LIVE = _FOLDER / "live"
_BUILT_AROUND = {"swag": "/config/etc/letsencrypt", "nginx-proxy-manager": str(_FOLDER)}


def recognise(container: Container, files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    namespace, image = image_of(container)
    try:
        if image in _BUILT_AROUND:
            return _kept(inside(container, _BUILT_AROUND[image]), f"{image} with certbot in it, by its image")
        if namespace == _NAMESPACE or "certbot" in programs(container):
            folder = read_flags(container.command).get("config-dir") or str(_FOLDER)
            return _kept(inside(container, folder), f"certbot, by its {'image' if namespace == _NAMESPACE else 'command'}")
    except ValueError as error:
        return Verdict(left=f"certbot, but {error}")
    return _by_mount(container, files)


def _by_mount(container: Container, files: Files) -> Verdict:
    if container.mount_of(_FOLDER) is None:
        return NOTHING
    if _LIVE not in files:
        return Verdict(wanted=(_LIVE,))
    return NOTHING if files[_LIVE] is None else _kept(_FOLDER, f"certbot's folder, mounted at {_FOLDER} and with {_LIVE} in it")


def _kept(path: PurePosixPath, how: str) -> Verdict:
    return Verdict((KeptStore("certbot", path, how),))
