"""What docker-mailserver makes of its environment: names, version, whether its change detector is there.

Facts: ``target/scripts/helpers/dns.sh`` and ``ssl.sh`` of its repository; its CHANGELOG, 10.2, 10.5, 15.1, "Unreleased".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from controller.domain.container import Container

TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
NEWEST = (999, 0)
INTERNAL_PATHS_SINCE, DETECTOR_SINCE, DETECTOR_WITHOUT_FILES_SINCE = (10, 2), (10, 5), (16, 0)

POLL = 2.0
"""Seconds between two looks of the detector where ``DMS_CONFIG_POLL`` (since 15.1) says nothing else."""


def recognise(container: Container) -> bool:
    """By the name of the image's repository, or its title label."""
    repository = container.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return repository == "docker-mailserver" or container.all_labels.get(TITLE) == "docker-mailserver"


def host_name(container: Container) -> str:
    """What its start script calls it: ``OVERRIDE_HOSTNAME``, or what the container is called."""
    return container.environment.get("OVERRIDE_HOSTNAME") or container.fqdn


def own_host_name(container: Container) -> str:
    """The same by the operator's word alone: an image must not say for which name it wants a certificate."""
    return container.own_environment.get("OVERRIDE_HOSTNAME") or container.fqdn


def domain_name(container: Container) -> str:
    """The host name without its first part where it has more than two, else ``DOMAINNAME`` or the host name."""
    name = host_name(container)
    return name.partition(".")[2] if name.count(".") > 1 else container.environment.get("DOMAINNAME") or name


def letsencrypt_names(container: Container) -> tuple[str, ...]:
    """The directories below ``live`` that it tries, in its order."""
    ours = container.environment.get("SSL_DOMAIN", "").removeprefix("*.")
    return tuple(dict.fromkeys(name for name in (ours, host_name(container), domain_name(container)) if name))


def version(container: Container) -> tuple[int, int]:
    """Major and minor version from the environment, the image's label or tag; unknown (``edge``, ``latest``) is the newest.

    The environment comes first, since an image made from docker-mailserver's may have a version of its own on its label.
    """
    tag = container.image.rpartition(":")[2]
    for text in (container.environment.get("DMS_RELEASE", ""), container.all_labels.get(VERSION, ""), tag):
        if found := re.match(r"v?(\d+)(?:\.(\d+))?(?:\.\d+)?$", text):
            return int(found[1]), int(found[2] or 0)
    return NEWEST


def has_detector(container: Container) -> bool:
    """Before 10.5 it did not look at certificates; up to 15 it runs only where accounts are kept in files."""
    running = version(container)
    by_files = container.environment.get("ACCOUNT_PROVISIONER", "FILE") in ("", "FILE")
    return running >= DETECTOR_SINCE and (by_files or running >= DETECTOR_WITHOUT_FILES_SINCE)


def poll(text: str) -> float:
    """Seconds of a value of ``DMS_CONFIG_POLL``, which is handed to sleep(1); with one that this refuses there is no pause."""
    if found := re.fullmatch(r"(\d{1,6}(?:\.\d{0,6})?)([smhd]?)", text):
        return float(found[1]) * _UNITS[found[2]]
    return math.inf if text in ("inf", "infinity") else POLL


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def given_by_file(container: Container, names: Iterable[str]) -> list[str]:
    """Those settings that are not set but by a file in the container, as ``<name>__FILE`` says."""
    environment = container.environment
    return [name for name in names if environment.get(f"{name}__FILE") and not environment.get(name)]
