"""The official images of the known proxies. Pure.

The image that an operator chose says what a container is only where its whole repository path is one of these: ``traefik`` is
Traefik's, ``somebody/traefik`` may be anything.
"""

from __future__ import annotations

import re

REPOSITORIES = frozenset(
    {
        "traefik",
        "traefik/traefik",
        "caddy",
        "caddy/caddy",
        "lucaslorentz/caddy-docker-proxy",
        "nginxproxy/nginx-proxy",
        "nginxproxy/acme-companion",
        "nginxproxy/docker-gen",
        "nginx-proxy/nginx-proxy",  # these three in the registry of GitHub, whose organisation is called so
        "nginx-proxy/acme-companion",
        "nginx-proxy/docker-gen",
        "jwilder/nginx-proxy",
        "jwilder/docker-gen",
        "jrcs/letsencrypt-nginx-proxy-companion",
        "linuxserver/swag",
        "jc21/nginx-proxy-manager",
    }
)
"""Without registry; those of Docker's own library without ``library/``."""
NAMESPACES = frozenset({"certbot"})
"""Those whose every image is official: certbot has one for each DNS provider."""

_HOST = re.compile(r"localhost|.*[.:A-Z].*")
"""The first part of a reference is a registry, and no part of the path, where it looks like a host (distribution/reference)."""
_LIBRARY = "library/"


def is_official(image: str) -> bool:
    """Whether a reference, with any registry, tag and digest, is one of a known proxy's own images."""
    repository = repository_of(image)
    namespace, _, name = repository.partition("/")
    return repository in REPOSITORIES or (namespace in NAMESPACES and bool(name) and "/" not in name)


def repository_of(image: str) -> str:
    """The whole path of a reference, without registry, tag, digest and ``library/``."""
    path = image.partition("@")[0]
    host, slash, rest = path.partition("/")
    if slash and _HOST.fullmatch(host):
        path = rest
    folders, slash, last = path.rpartition("/")
    return f"{folders}{slash}{last.partition(':')[0]}".removeprefix(_LIBRARY)
