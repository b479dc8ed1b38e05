"""Where docker-mailserver keeps pairs, by ``SSL_TYPE``: ``_setup_ssl`` in ``target/scripts/helpers/ssl.sh``."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.errors import LabelError
from controller.domain.target import Place, Slot
from sinks.profiles.docker_mailserver.settings import INTERNAL_PATHS_SINCE, host_name, letsencrypt_names, version

LIVE = PurePosixPath("/etc/letsencrypt/live")
ACME_JSON = PurePosixPath("/etc/letsencrypt/acme.json")
"""Of it docker-mailserver extracts a pair by itself, to ``key.pem`` and ``fullchain.pem``."""
CONFIG_TLS = PurePosixPath("/tmp/docker-mailserver/ssl")  # noqa: S108 -- docker-mailserver's configuration volume
CHAIN_FILE, KEY_FILES = "fullchain.pem", ("privkey.pem", "key.pem")
"""The key files in the order in which it looks for them."""


def manual(container: Container) -> tuple[Place, ...]:
    """The originals of ``SSL_TYPE=manual``: one pair or two.

    Raises:
        LabelError: the paths are missing or not absolute.
    """
    places = []
    problems = []
    for prefix in ("SSL", "SSL_ALT"):
        names = (f"{prefix}_CERT_PATH", f"{prefix}_KEY_PATH")
        certificate, key = (container.environment.get(name, "") for name in names)
        if certificate and certificate == key:
            places.append(Place(Slot(), combined=PurePosixPath(certificate)))
        elif certificate and key:
            places.append(Place(Slot(), PurePosixPath(certificate), PurePosixPath(key)))
        elif prefix == "SSL":
            problems.append(f"SSL_TYPE=manual needs {names[0]} and {names[1]} in the container's environment")
    if len(places) > 1 and set(places[0].paths) & set(places[1].paths):
        problems.append(
            "SSL_ALT_CERT_PATH and SSL_ALT_KEY_PATH in the container's environment name files of the first pair, too:"
            " name others, or remove both"
        )
    problems += [
        f"{path} in the container's environment is not an absolute path"
        for p in places
        for path in p.paths
        if not path.is_absolute()
    ]
    if problems:
        raise LabelError(tuple(problems))
    return tuple(places)


def half_alternative(container: Container) -> str:
    """Of ``SSL_ALT_*`` the one that is set without the other, so that docker-mailserver passes over both; empty where none."""
    given = [name for name in ("SSL_ALT_CERT_PATH", "SSL_ALT_KEY_PATH") if container.environment.get(name)]
    return given[0] if len(given) == 1 else ""


def manual_names(container: Container) -> list[str]:
    """The paths of ``SSL_TYPE=manual`` as they are written, which is how the change detector knows them."""
    names = (container.environment.get(f"SSL_{name}_PATH", "") for name in ("CERT", "KEY", "ALT_CERT", "ALT_KEY"))
    return [name for name in names if name]


def manual_copies(container: Container, count: int) -> tuple[Place, ...]:
    """The copies that the services read."""
    directory = PurePosixPath("/etc/dms/tls" if version(container) >= INTERNAL_PATHS_SINCE else "/etc/postfix/ssl")
    pairs = (("cert", "key"), ("fallback_cert", "fallback_key"))
    return tuple(Place(Slot(), directory / certificate, directory / key) for certificate, key in pairs[:count])


def self_signed(container: Container, directory: PurePosixPath) -> Place:
    """The pair of ``SSL_TYPE=self-signed`` in the configuration or among the copies."""
    name = needed_host_name(container)
    return Place(Slot(), directory / f"{name}-cert.pem", directory / f"{name}-key.pem")


def custom(container: Container, directory: PurePosixPath) -> Place:
    """The one file of ``SSL_TYPE=custom`` in the configuration or among the copies."""
    return Place(Slot(), combined=directory / f"{needed_host_name(container)}-full.pem")


def authority(directory: PurePosixPath) -> PurePosixPath:
    """The file of its authority, without which ``SSL_TYPE=self-signed`` does not start."""
    return directory / "demoCA/cacert.pem"


def letsencrypt(name: str, key: str = KEY_FILES[0]) -> Place:
    """The pair in a directory below ``live``."""
    return Place(Slot(), LIVE / name / CHAIN_FILE, LIVE / name / key)


def letsencrypt_candidates(container: Container) -> tuple[PurePosixPath, ...]:
    """Every file by which ``SSL_TYPE=letsencrypt`` finds its pair."""
    return tuple(LIVE / name / file for name in letsencrypt_names(container) for file in (CHAIN_FILE, *KEY_FILES))


def needed_host_name(container: Container) -> str:
    """The host name.

    Raises:
        LabelError: there is none.
    """
    name = host_name(container)
    if not name:
        raise LabelError(("docker-mailserver needs a host name: set `hostname:` or OVERRIDE_HOSTNAME",))
    return name
