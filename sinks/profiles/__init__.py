"""The profiles certferry knows, first match first. Adding one: a module here and its line in `PROFILES`."""

from __future__ import annotations

from controller.domain.profile import Profile
from sinks.profiles.docker_mailserver import DOCKER_MAILSERVER
from sinks.profiles.generic import GENERIC

PROFILES: tuple[Profile, ...] = (DOCKER_MAILSERVER, GENERIC)
DEFAULT = GENERIC
OLDER = DOCKER_MAILSERVER
"""What the older tool, mailserver-traefik, took every container for."""
