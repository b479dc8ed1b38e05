"""Which containers keep certificates, and where: one file for each program, tried in this order. Pure."""

from dataclasses import replace

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, Verdict
from sources.recognise import caddy, certbot, certbot_folder, nginx_proxy, traefik
from sources.recognise.said import as_the_operator_said

RECOGNISERS = (
    traefik.recognise,
    caddy.recognise,
    nginx_proxy.recognise,
    certbot.recognise,
    certbot_folder.recognise,
)

LONGEST_REASON = 2000
"""Characters of why a proxy is left alone: its own words stand in it, and nobody reads more."""


def recognise(container: Container, files: Files) -> Verdict:
    """What the first recogniser says that knows the container by what the operator said of it, else by anything else about it.

    See `controller.domain.proxy.Recogniser`.
    """
    said = as_the_operator_said(container)
    vouched = next((one for one in RECOGNISERS if one(said, {}) != NOTHING), None)
    if vouched:
        verdict = vouched(container, files)
        found = replace(verdict, vouched=True) if verdict != NOTHING else _recognise(container, files)
    else:
        found = _recognise(container, files)
    return found if len(found.left) <= LONGEST_REASON else replace(found, left=f"{found.left[:LONGEST_REASON]}…")


def _recognise(container: Container, files: Files) -> Verdict:
    return next((verdict for one in RECOGNISERS if (verdict := one(container, files)) != NOTHING), NOTHING)
