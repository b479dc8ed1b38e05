"""nginx-proxy, its template generator and acme-companion, under their present and former names: the folder that they share."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from sources.pairs import label_of
from sources.recognise.hints import image_of, is_called

_NAMESPACE = "nginxproxy"
_IMAGES = ("nginx-proxy", "acme-companion", "docker-gen", "letsencrypt-nginx-proxy-companion")
_LABELS = ("com.github.jrcs.letsencrypt_nginx_proxy_companion.", "com.github.nginx-proxy.")
_VARIABLES = ("NGINX_PROXY_CONTAINER", "NGINX_DOCKER_GEN_CONTAINER", "ACME_POST_HOOK")
_CERTS = PurePosixPath("/etc/nginx/certs")


def recognise(container: Container, _files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    if (hint := _hint(container)) is None:
        return NOTHING
    if container.mount_of(_CERTS) is None:
        return Verdict(left=f"nginx-proxy, by {hint}, but nothing is mounted at {_CERTS}: it keeps no certificates")
    return Verdict(
        (KeptStore("acme-companion", _CERTS, f"nginx-proxy with acme-companion, by {hint} and its mount at {_CERTS}"),)
    )


def _hint(container: Container) -> str | None:
    if image_of(container)[0] == _NAMESPACE or is_called(container, *_IMAGES):
        return "its image"
    if label := next((label for label in sorted(container.labels) if label.startswith(_LABELS)), None):
        return f"its label {label_of(label)}"
    variable = next((name for name in _VARIABLES if name in container.environment), None)
    return f"{variable} in its environment" if variable else None
