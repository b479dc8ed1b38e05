"""How proxies are set up: their configuration files, command lines and environments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from controller.domain.container import Container, State
from sources.recognise import recognise
from tests.fuzz.target import Target

_TRAEFIK_YAML = b"""certificatesResolvers:
  le: &le
    acme: {email: a@example.com, storage: /letsencrypt/acme.json, httpChallenge: {entryPoint: web}}
  other:
    acme:
      <<: *le
"""
_TRAEFIK_TOML = b"""[certificatesResolvers.le.acme]
storage = "/letsencrypt/acme.json"
[acme]
storage = "traefik/acme/account"
[consul]
endpoint = "consul:8500"
"""
_CADDYFILES = (
    b"{\n\tstorage file_system /mnt/caddy\n}\nexample.com",
    b"{\n  storage file_system {\n    root /mnt/caddy\n  }\n}\n",
    b"{\n storage redis {\n host r\n }\n}",
)


def container(image: str, *command: str, environment: dict[str, str] | None = None) -> Container:
    """A running one without mounts."""
    return Container("c" * 64, "proxy", image, State.RUNNING, command=command, environment=environment or {})


def _configured(image: str, path: str, *command: str) -> Callable[[bytes], object]:
    """Recognise a container of this image whose file at `path` holds the input."""
    looked_at, at = container(image, *command), PurePosixPath(path)
    traefik = {PurePosixPath(f"/etc/traefik/traefik.{ending}"): None for ending in ("toml", "yaml", "yml")}
    return lambda data: recognise(looked_at, {**traefik, at: data})


def _started(data: bytes) -> None:
    """Arguments, and after two line ends an environment; one a line."""
    arguments, _, variables = data.decode(errors="replace").partition("\n\n")
    environment = dict(line.partition("=")[::2] for line in variables.split("\n"))
    traefik = {PurePosixPath(f"/etc/traefik/traefik.{ending}"): None for ending in ("toml", "yaml", "yml")}
    for image in ("traefik:3", "caddy:2", "certbot/certbot", "mine"):
        recognise(container(image, *arguments.split("\n"), environment=environment), traefik)


TARGETS = (
    Target("traefik-yaml", _configured("traefik:3", "/etc/traefik/traefik.yaml"), lambda: [_TRAEFIK_YAML]),
    Target("traefik-toml", _configured("traefik:1.7", "/etc/traefik/traefik.toml"), lambda: [_TRAEFIK_TOML]),
    Target("caddyfile", _configured("caddy:2", "/etc/caddy/Caddyfile"), lambda: _CADDYFILES),
    Target(
        "caddy-json",
        _configured("caddy:2", "/c.json", "caddy", "run", "--config", "/c.json"),
        lambda: [b'{"storage": {"module": "file_system", "root": "/mnt/caddy"}}'],
    ),
    Target(
        "proxy-start",
        _started,
        lambda: [
            b"--certificatesresolvers.le.acme.storage=/le/acme.json\n\nTRAEFIK_CERTIFICATESRESOLVERS_LE_ACME_STORAGE=/a.json",
            b"caddy\nrun\n--config\n/etc/caddy/Caddyfile\n\nXDG_DATA_HOME=/data",
            b"/bin/sh\n-c\ntrap exit TERM; while :; do certbot renew; sleep 12h; done",
        ],
    ),
)
