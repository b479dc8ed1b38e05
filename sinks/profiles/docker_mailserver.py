"""docker-mailserver: Postfix and Dovecot under supervisord.

At its start it copies the pair of ``SSL_TYPE=manual`` to a directory of its own, which the services read; with
``letsencrypt`` they read ``/etc/letsencrypt/live`` itself. Since 10.5 a change detector compares the originals every
``DMS_CONFIG_POLL`` seconds, copies and reloads: then certferry writes the originals and leaves the reload to it
(docker-mailserver's documentation, "SSL/TLS" and "Environment"; its CHANGELOG, 10.2, 10.5, 12.0, 15.1).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.errors import LabelError
from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.profile import Layout, Profile
from controller.domain.target import Place, Reload, Slot

TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
NEWEST = (999, 0)
INTERNAL_PATHS_SINCE, DETECTOR_SINCE, DETECTOR_WITHOUT_FILES_SINCE = (10, 2), (10, 5), (16, 0)

LONGEST_PATIENCE = 60.0
"""Seconds; a detector that looks more rarely is not waited for, since certferry can do its work."""

DOVECOT = Reload("exec", ("doveadm", "reload"))
POSTFIX = Reload("exec", ("postfix", "reload"))


def recognise(container: Container) -> bool:
    """By the name of the image's repository, or its title label."""
    repository = container.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return repository == "docker-mailserver" or container.all_labels.get(TITLE) == "docker-mailserver"


def reload(container: Container) -> tuple[Reload, ...]:
    """Dovecot first: Postfix asks its socket for SASL, and throttles a submission service that found it away."""
    return (POSTFIX,) if container.environment.get("SMTP_ONLY") == "1" else (DOVECOT, POSTFIX)


def host_name(container: Container) -> str:
    """``OVERRIDE_HOSTNAME``, or what the container is called."""
    return container.own_environment.get("OVERRIDE_HOSTNAME") or container.fqdn


def layout(container: Container) -> Layout:
    """Where the pair goes, by ``SSL_TYPE``."""
    ssl_type = container.environment.get("SSL_TYPE", "")
    if ssl_type == "manual":
        return _manual(container)
    if ssl_type == "letsencrypt":
        return _letsencrypt(container)
    shown = f"SSL_TYPE={ssl_type}" if ssl_type else "SSL_TYPE is not set, so docker-mailserver offers no TLS"
    raise LabelError((f"{shown}: set SSL_TYPE=manual, SSL_CERT_PATH and SSL_KEY_PATH in the container's environment",))


def _manual(container: Container) -> Layout:
    originals = _originals(container)
    internal = _internal(version(container), count=len(originals))
    if _writable(container, originals):
        return Layout(places=originals, reload=(_noticed(container),), internal=internal, internal_reload=reload(container))
    note = "the originals are on a read-only mount: only the copies inside are renewed; a new container starts with the old"
    return Layout(places=internal, reload=reload(container), notes=(note,))


def _letsencrypt(container: Container) -> Layout:
    directory = PurePosixPath("/etc/letsencrypt/live") / letsencrypt_name(container)
    place = Place(Slot(), directory / "fullchain.pem", directory / "privkey.pem")
    return Layout(places=(place,), reload=(_noticed(container),), internal_reload=reload(container))


def letsencrypt_name(container: Container) -> str:
    """The directory below ``live``: ``SSL_DOMAIN`` without ``*.``, else the container's host name."""
    name = container.environment.get("SSL_DOMAIN", "").removeprefix("*.") or host_name(container)
    if not name:
        raise LabelError(("SSL_TYPE=letsencrypt needs a host name: set `hostname:` or SSL_DOMAIN",))
    return name


def version(container: Container) -> tuple[int, int]:
    """Major and minor version from the environment, the image's label or tag; unknown (``edge``, ``latest``) is the newest.

    The environment comes first, since an image made from docker-mailserver's may have a version of its own on its label.
    """
    tag = container.image.rpartition(":")[2]
    for text in (container.environment.get("DMS_RELEASE", ""), container.all_labels.get(VERSION, ""), tag):
        if found := re.match(r"v?(\d+)(?:\.(\d+))?(?:\.\d+)?$", text):
            return int(found[1]), int(found[2] or 0)
    return NEWEST


def _originals(container: Container) -> tuple[Place, ...]:
    places = []
    problems = []
    for prefix in ("SSL", "SSL_ALT"):
        names = (f"{prefix}_CERT_PATH", f"{prefix}_KEY_PATH")
        certificate, key = (container.environment.get(name, "") for name in names)
        if certificate and certificate == key:
            places.append(Place(Slot(), combined=PurePosixPath(certificate)))
        elif certificate and key:
            places.append(Place(Slot(), PurePosixPath(certificate), PurePosixPath(key)))
        elif certificate or key or prefix == "SSL":
            problems.append(f"SSL_TYPE=manual needs {names[0]} and {names[1]} in the container's environment")
    problems += [
        f"{path} in the container's environment is not an absolute path"
        for p in places
        for path in p.paths
        if not path.is_absolute()
    ]
    if problems:
        raise LabelError(tuple(problems))
    return tuple(places)


def _internal(running: tuple[int, int], *, count: int) -> tuple[Place, ...]:
    directory = PurePosixPath("/etc/dms/tls" if running >= INTERNAL_PATHS_SINCE else "/etc/postfix/ssl")
    pairs = (("cert", "key"), ("fallback_cert", "fallback_key"))
    return tuple(Place(Slot(), directory / certificate, directory / key) for certificate, key in pairs[:count])


def _writable(container: Container, places: tuple[Place, ...]) -> bool:
    mounts = [container.mount_of(path) for place in places for path in place.paths]
    return all(mount.writable if mount else not container.read_only_root for mount in mounts)


def _noticed(container: Container) -> Reload:
    """The change detector: it looks every ``DMS_CONFIG_POLL`` seconds, and may be starting or at work on another change."""
    poll = container.environment.get("DMS_CONFIG_POLL", "")
    seconds = float(poll) if re.fullmatch(r"\d+(\.\d+)?", poll) else 2.0
    return Reload("self", patience=min(12.0 + 4 * seconds, LONGEST_PATIENCE) if _has_detector(container) else 0.0)


def _has_detector(container: Container) -> bool:
    """Before 10.5 it did not look at certificates; up to 15 it runs only where accounts are kept in files."""
    running = version(container)
    by_files = container.environment.get("ACCOUNT_PROVISIONER", "FILE") in ("", "FILE")
    return running >= DETECTOR_SINCE and (by_files or running >= DETECTOR_WITHOUT_FILES_SINCE)


DOCKER_MAILSERVER = Profile(
    name="docker-mailserver",
    probe=STANDARD_PORTS,
    recognise=recognise,
    layout=layout,
    reload=reload,
    host_name=host_name,
)
