"""The layout of one docker-mailserver corrected by what was found in it: its files, and what its services answered.

What is in use now and what its start script will choose at the next start are both right after the act.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from controller.domain.container import Container, State
from controller.domain.detector import Detector
from controller.domain.errors import LabelError, TargetNotRunning
from controller.domain.observed import Observed
from controller.domain.profile import Layout
from controller.domain.target import Place, Reload, Slot
from sinks.profiles.docker_mailserver import files
from sinks.profiles.docker_mailserver.asking import Answers, Used, read
from sinks.profiles.docker_mailserver.detector import asked_detector
from sinks.profiles.docker_mailserver.settings import has_detector, letsencrypt_names

EXTRACTS = f"docker-mailserver itself, from {files.ACME_JSON}"
KEEPS_READ_ONLY = "whoever keeps these files, which are read-only here"
FIRST_MOMENTS = 5.0
"""Seconds from the container's start until its start script has surely begun."""
_REMOVE_MOUNT = f"to let certferry do it, remove the mount at {files.ACME_JSON}"


def adapt(container: Container, layout: Layout, observed: Observed) -> Layout:
    """The final layout.

    Raises:
        LabelError: nothing offers TLS.
        TargetNotRunning: that cannot be told before the start is over.
    """
    answers = _with_start(container, read(observed.answers)) if observed.answers else None
    ssl_type = container.environment.get("SSL_TYPE", "")
    if ssl_type == "letsencrypt":
        layout = _letsencrypt(container, layout, observed, answers)
    elif ssl_type == "self-signed":
        layout = _self_signed(layout, observed)
    elif ssl_type == "manual" and answers:
        layout = _manual(container, layout, observed, answers)
    elif ssl_type in ("", "snakeoil"):
        layout = _by_own_settings(ssl_type, layout, answers)
    if answers is None:
        return layout
    if not answers.starting:
        layout = _with_used(layout, answers.used)
    layout = _with_notes(layout, answers)
    return replace(layout, starting=answers.starting, detector=asked_detector(container, layout, observed, answers))


def _with_start(container: Container, answers: Answers) -> Answers:
    """In its first moments not even the start script runs."""
    young = container.age is not None and container.age < FIRST_MOMENTS
    return replace(answers, starting=answers.starting or (young and not answers.detector))


def _letsencrypt(container: Container, layout: Layout, observed: Observed, answers: Answers | None) -> Layout:
    """The directory and key that the start script would choose: the first with a chain, ``privkey.pem`` before ``key.pem``."""
    held = frozenset(path for path, file in observed.files.items() if file is not None)
    names = letsencrypt_names(container)
    name = next((name for name in names if files.letsencrypt(name).certificate in held), names[0])
    extracts = answers.acme_json if answers else _is_mounted(container, files.ACME_JSON)
    keys = [key for key in files.KEY_FILES if files.LIVE / name / key in held]
    key = keys[0] if keys else files.KEY_FILES[1 if extracts else 0]
    layout = replace(layout, places=(files.letsencrypt(name, key),))
    if not extracts:
        return layout
    if key == files.KEY_FILES[0]:
        text = f"{files.LIVE / name / key} stands before the key that docker-mailserver extracts from {files.ACME_JSON}"
        return replace(layout, notes=(*layout.notes, f"{text}, so certferry keeps both files; {_REMOVE_MOUNT}"))
    if _extracts_now(container, answers):
        note = f"the files are written by {EXTRACTS}; certferry sees that they are used; {_REMOVE_MOUNT}"
        return replace(layout, written_by=EXTRACTS, notes=(*layout.notes, note))
    note = f"docker-mailserver's change detector does not run, so certferry writes what it extracts from {files.ACME_JSON}"
    return replace(layout, notes=(*layout.notes, note))


def _extracts_now(container: Container, answers: Answers | None) -> bool:
    """Whether docker-mailserver does it by itself: its detector runs, or its start does it, now or the first time."""
    if answers:
        return answers.detector or answers.starting
    return container.state is State.CREATED or (container.state is State.PAUSED and has_detector(container))


def _manual(container: Container, layout: Layout, observed: Observed, answers: Answers) -> Layout:
    """Read-only originals that another has just replaced are about to be copied by the detector: it must not be done twice."""
    originals = files.manual(container)
    if layout.internal or not _has_news(
        asked_detector(container, replace(layout, places=originals), observed, answers), observed
    ):
        return layout
    return Layout(
        places=originals,
        reload=(Reload("self"),),
        internal=layout.places,
        internal_reload=layout.reload,
        ask=layout.ask,
        written_by=KEEPS_READ_ONLY,
        fill=layout.fill,
    )


def _has_news(detector: Detector, observed: Observed) -> bool:
    """Whether files that it looks at are there as it has not seen them."""
    there = {path for path in detector.watched if observed.files.get(path)}
    return bool(detector.patience and there - detector.seen)


def _is_mounted(container: Container, path: PurePosixPath) -> bool:
    mount = container.mount_of(path)
    return mount is not None and mount.destination == path


def _self_signed(layout: Layout, observed: Observed) -> Layout:
    """Its authority's file, too, without which it does not start: where it is missing, or is certferry's own already."""
    chain, authority = layout.places[0].certificate, files.authority(files.CONFIG_TLS)
    present, ours = observed.files.get(authority), observed.files.get(chain) if chain else None
    if not layout.internal or (present and not (ours and ours.content == present.content)):
        return layout
    return replace(layout, also=(*layout.also, Place(Slot(), certificate=authority)))


def _by_own_settings(ssl_type: str, layout: Layout, answers: Answers | None) -> Layout:
    """No ``SSL_TYPE`` that names files: the operator's own settings of the services may do so."""
    said = f"SSL_TYPE={ssl_type}" if ssl_type else "SSL_TYPE is not set"
    if answers is None:
        raise LabelError((f"{said}: which files its services use can be asked only while it runs",))
    used = [each for each in answers.used if not _is_shipped(each)]
    if not used and answers.starting:
        raise TargetNotRunning(f"{said}, and docker-mailserver is still starting: which files it uses is asked when it is up")
    if not used and not answers.told:
        raise TargetNotRunning(f"{said}, and neither Postfix nor Dovecot says which files it uses: they are asked again")
    if not used and answers.inline:
        raise LabelError((f"{said}, and {', '.join(answers.inline)} holds no path; name files there to have them renewed",))
    if not used:
        remedy = "set SSL_TYPE=manual, SSL_CERT_PATH and SSL_KEY_PATH in the container's environment"
        raise LabelError((f"{said}, so docker-mailserver offers no TLS of its own: {remedy}",))
    first, *others = sorted(used, key=lambda each: each.alternative)
    second = [each for each in others if each.alternative and not first.alternative][:1]
    return replace(layout, places=tuple(_place(each) for each in (first, *second)))


def _with_used(layout: Layout, used: tuple[Used, ...]) -> Layout:
    """What services use beside what the start script set up."""
    known = {_files_of(place) for place in (*layout.places, *layout.internal, *layout.also)}
    also, notes = list(layout.also), list(layout.notes)
    for each in used:
        place = _place(each)
        if _files_of(place) not in known and not _is_shipped(each):
            known.add(_files_of(place))
            also.append(place)
            notes.append(f"{each.service} is set to use {each.certificate}: it gets the certificate there, too")
    return replace(layout, also=tuple(also), notes=tuple(notes))


def _with_notes(layout: Layout, answers: Answers) -> Layout:
    notes = [f"{name} of Dovecot holds no path; it cannot be renewed there" for name in answers.inline]
    notes += [f"{name} names certificates for single names: certferry does not renew those" for name in answers.by_name]
    return replace(layout, notes=(*layout.notes, *notes))


def _files_of(place: Place) -> frozenset[PurePosixPath]:
    return frozenset(place.paths)


def _place(used: Used) -> Place:
    slot = Slot(alternative=used.alternative)
    if used.key == used.certificate:
        return Place(slot, combined=used.key)
    return Place(slot, used.certificate, used.key, used.chain)


def _is_shipped(used: Used) -> bool:
    """Debian's snakeoil pair and Dovecot's own, which stand in every image's configuration."""
    return "ssl-cert-snakeoil" in used.certificate.name or used.certificate == PurePosixPath("/etc/dovecot/private/dovecot.pem")
