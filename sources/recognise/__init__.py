"""Which containers keep certificates, and where: one file for each program, tried in this order. Pure."""

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, Verdict
from sources.recognise import caddy, certbot, nginx_proxy, traefik

RECOGNISERS = (traefik.recognise, caddy.recognise, nginx_proxy.recognise, certbot.recognise)


def recognise(container: Container, files: Files) -> Verdict:
    """What the first recogniser says that knows the container; see `controller.domain.proxy.Recogniser`."""
    return next((verdict for one in RECOGNISERS if (verdict := one(container, files)) != NOTHING), NOTHING)
