"""Where the pair goes by the environment alone, before the container was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.errors import LabelError
from controller.domain.printable import printable
from controller.domain.profile import Layout
from controller.domain.target import Place, Reload
from sinks.profiles.docker_mailserver import files
from sinks.profiles.docker_mailserver.asking import ask
from sinks.profiles.docker_mailserver.settings import (
    given_by_file,
    has_detector,
    letsencrypt_names,
    poll,
)

DOVECOT = Reload("exec", ("doveadm", "reload"))
POSTFIX = Reload("exec", ("postfix", "reload"))

LONGEST_POLL = 120.0
"""Seconds; a detector that looks more rarely is not waited for, since certferry can do its work."""
HANDLING = 18.0
"""Seconds that the detector may take for a change beside its pause: it waits for its lock, and may be at work on another."""

_TYPES = ("manual", "letsencrypt", "self-signed", "custom")
_NEEDED = {
    "manual": ("SSL_CERT_PATH", "SSL_KEY_PATH", "SSL_ALT_CERT_PATH", "SSL_ALT_KEY_PATH"),
    "letsencrypt": ("SSL_DOMAIN", "OVERRIDE_HOSTNAME"),
    "self-signed": ("OVERRIDE_HOSTNAME",),
    "custom": ("OVERRIDE_HOSTNAME",),
}
"""The settings that say which files a type uses."""
_ONLY_COPIES = "the originals are on a read-only mount: only the copies inside are renewed; a new container starts with the old"


def reload(container: Container) -> tuple[Reload, ...]:
    """Dovecot first: Postfix asks its socket for SASL, and throttles a submission service that found it away."""
    return (POSTFIX,) if container.environment.get("SMTP_ONLY") == "1" else (DOVECOT, POSTFIX)


def patience(seconds: float) -> float:
    """How long a detector is waited for that looks every so many seconds."""
    return seconds + HANDLING if seconds <= LONGEST_POLL else 0.0


def layout(container: Container) -> Layout:
    """Where the pair goes, by ``SSL_TYPE``; to be adapted once the container was asked."""
    ssl_type = container.environment.get("SSL_TYPE", "")
    if unread := given_by_file(container, ("SSL_TYPE", *_NEEDED.get(ssl_type, ()))):
        raise LabelError(
            tuple(f"{name}__FILE is set, and certferry does not read that file: set {name} itself" for name in unread)
        )
    by_type: dict[str, Callable[[Container], Layout]] = {
        "manual": _manual,
        "letsencrypt": _letsencrypt,
        "self-signed": _self_signed,
        "custom": _custom,
        "snakeoil": _asked,
        "": _asked,
    }
    if ssl_type not in by_type:
        nearest = get_close_matches(ssl_type[:80].strip().lower(), _TYPES, n=1, cutoff=0.0)[0]
        shown = printable(ssl_type[:80])
        shown = shown if shown == shown.strip() else f"{shown!r}"
        raise LabelError((f"SSL_TYPE={shown} in the container's environment: unknown; the nearest known is {nearest}",))
    found = by_type[ssl_type](container)
    paths = [str(path) for place in found.places for path in (*place.paths, *found.beside)]
    return replace(found, ask=ask((*paths, *(files.manual_names(container) if ssl_type == "manual" else ()))))


def _manual(container: Container) -> Layout:
    originals = files.manual(container)
    copies = files.manual_copies(container, len(originals))
    found = _copied(container, originals, copies, by_detector=True)
    half = files.half_alternative(container)
    notes = (f"{half} is set without its other half, so docker-mailserver passes over it",) if half else ()
    return replace(found, fill=len(originals) > 1, notes=(*found.notes, *notes))


def _self_signed(container: Container) -> Layout:
    original, copy = (files.self_signed(container, directory) for directory in (files.CONFIG_TLS, _inside(container)))
    found = _copied(container, (original,), (copy,), by_detector=False)
    return replace(found, beside=(files.authority(files.CONFIG_TLS), *(path for path in original.paths)))


def _custom(container: Container) -> Layout:
    original, copy = (files.custom(container, directory) for directory in (files.CONFIG_TLS, _inside(container)))
    return _copied(container, (original,), (copy,), by_detector=False)


def _inside(container: Container) -> PurePosixPath:
    (copies,) = files.manual_copies(container, 1)
    return copies.paths[0].parent


def _copied(container: Container, originals: tuple[Place, ...], copies: tuple[Place, ...], *, by_detector: bool) -> Layout:
    """Originals of which the services use copies: made at the start, and by the detector if it looks at these."""
    if not _writable(container, originals):
        beside = tuple(path for place in originals for path in place.paths)
        return Layout(places=copies, reload=reload(container), notes=(_ONLY_COPIES,), beside=beside)
    noticed = _noticed(container) if by_detector else Reload("self")
    return Layout(places=originals, reload=(noticed,), internal=copies, internal_reload=reload(container))


def _letsencrypt(container: Container) -> Layout:
    names = letsencrypt_names(container)
    if not names:
        raise LabelError(("SSL_TYPE=letsencrypt needs a host name: set `hostname:` or SSL_DOMAIN",))
    return Layout(
        places=(files.letsencrypt(names[0]),),
        reload=(_noticed(container),),
        internal_reload=reload(container),
        beside=files.letsencrypt_candidates(container),
    )


def _asked(container: Container) -> Layout:
    """No files of its own: what the operator's own settings name is found when the container is asked."""
    return Layout(reload=reload(container))


def _writable(container: Container, places: Iterable[Place]) -> bool:
    mounts = [container.mount_of(path) for place in places for path in place.paths]
    return all(mount.writable if mount else not container.read_only_root for mount in mounts)


def _noticed(container: Container) -> Reload:
    """The change detector, as far as the environment tells of it."""
    seconds = poll(container.environment.get("DMS_CONFIG_POLL", ""))
    return Reload("self", patience=patience(seconds) if has_detector(container) else 0.0)
