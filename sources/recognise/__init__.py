"""Which containers keep certificates, and where: one file for each program, tried in this order. Pure."""

from dataclasses import replace

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, Verdict
from sources.recognise import caddy, certbot, nginx_proxy, traefik

RECOGNISERS = (traefik.recognise, caddy.recognise, nginx_proxy.recognise, certbot.recognise)

LONGEST_REASON = 2000
"""Characters of why a proxy is left alone: its own words stand in it, and nobody reads more."""


def recognise(container: Container, files: Files) -> Verdict:
    """What the first recogniser says that knows the container; see `controller.domain.proxy.Recogniser`."""
    found = next((verdict for one in RECOGNISERS if (verdict := one(container, files)) != NOTHING), NOTHING)
    return found if len(found.left) <= LONGEST_REASON else replace(found, left=f"{found.left[:LONGEST_REASON]}…")
