"""A container, its labels and its profile together make a target. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from controller.domain.certificate import KeyType
from controller.domain.container import Container
from controller.domain.errors import LabelError
from controller.domain.observed import Observed
from controller.domain.profile import Layout, Profile
from controller.domain.target import Place, Slot, Target, TargetKey
from controller.labels import LabelSpec

_NO_RELOAD = "nothing makes the services use new files: set {prefix}reload, to none if they notice by themselves"


def recognise(container: Container, profiles: Iterable[Profile], default: Profile) -> Profile:
    """The first profile that knows the container."""
    return next((profile for profile in profiles if profile.recognise(container)), default)


def build_target(
    key: TargetKey,
    container: Container,
    spec: LabelSpec,
    profile: Profile,
    *,
    prefix: str,
    observed: Observed | None = None,
) -> Target:
    """What is wanted of a container; labels come before the profile. It is right at once, or once it was `observed`.

    Raises:
        LabelError: labels and profile together leave a question open, each with its remedy.
    """
    by_labels = _places_by_labels(spec, prefix)
    layout = Layout(places=by_labels, reload=profile.reload(container)) if by_labels else profile.layout(container)
    if observed is not None and not by_labels:
        layout = profile.adapt(container, layout, observed)
    if not layout.places and (observed or not layout.ask):
        why = f"{prefix}cert-path and {prefix}key-path are missing: the profile {profile.name} knows no paths"
        remedy = (
            ""
            if spec.profile
            else f"; where it is a docker-mailserver of your own build, set {prefix}profile=docker-mailserver"
        )
        raise LabelError((f"{why}{remedy}",))
    places = _with_slots(layout, spec, prefix)
    probe = profile.probe if spec.probe is None else () if spec.probe == "off" else spec.probe
    return Target(
        key=key,
        container=container,
        profile=profile.name,
        domains=_own_name(container, profile, prefix) if spec.auto else spec.domains,
        places=(*places, *_also(layout, places)),
        reload=layout.reload if spec.reload is None else spec.reload,
        internal=layout.internal[: len(places)] if spec.reload is None else (),
        internal_reload=layout.internal_reload if spec.reload is None else (),
        check=layout.check if spec.check is None else spec.check,
        probe=probe,
        probe_required=isinstance(spec.probe, tuple),
        sources=spec.sources,
        owner=spec.owner,
        mode=spec.mode,
        user=spec.user,
        allow_untrusted=spec.allow_untrusted,
        paused_by=f"{prefix}pause=true" if spec.pause else "",
        notes=layout.notes if layout.reload or spec.reload is not None else (*layout.notes, _NO_RELOAD.format(prefix=prefix)),
        ask=layout.ask,
        beside=layout.beside,
        written_by=layout.written_by,
        starting=layout.starting,
        detector=layout.detector,
    )


def _places_by_labels(spec: LabelSpec, prefix: str) -> tuple[Place, ...]:
    places = []
    if spec.cert_path or spec.combined_path:
        places.append(Place(Slot(), spec.cert_path, spec.key_path, spec.chain_path, spec.combined_path))
    if spec.alt_cert_path:
        if not places:
            raise LabelError((f"{prefix}alt-cert-path needs {prefix}cert-path and {prefix}key-path beside it",))
        places.append(Place(Slot(), spec.alt_cert_path, spec.alt_key_path))
    return tuple(places)


def _with_slots(layout: Layout, spec: LabelSpec, prefix: str) -> tuple[Place, ...]:
    """Say which certificate goes where. A second place takes the other key type; it is a must only for ``both``."""
    both, places = spec.key_type == "both", layout.places
    if both and len(places) < 2:
        raise LabelError((f"{prefix}key-type=both needs a second place: set {prefix}alt-cert-path and {prefix}alt-key-path",))
    first = {"rsa": KeyType.RSA, "ecdsa": KeyType.ECDSA, "both": KeyType.ECDSA}.get(spec.key_type)
    second = Slot(KeyType.RSA) if both else Slot(alternative=True, optional=True, fill=layout.fill)
    if spec.key_type in ("rsa", "ecdsa"):
        if not layout.fill:
            return tuple(_in(place, Slot(first)) for place in places[:1])
        second = replace(second, key_type=first)  # no certificate is of the first's type and of another
    slots = (Slot(first), *(second for _ in places[1:]))
    return tuple(_in(place, slot) for place, slot in zip(places, slots, strict=False))


def _also(layout: Layout, places: tuple[Place, ...]) -> tuple[Place, ...]:
    """Further places: in an alternative slot for what the second place gets, if there is one, else for what the first gets."""
    first = tuple(_in(place, places[0].slot) for place in layout.also if not place.slot.alternative)
    return (*first, *(_in(place, second.slot) for second in places[1:] for place in layout.also if place.slot.alternative))


def _in(place: Place, slot: Slot) -> Place:
    return Place(slot, place.certificate, place.key, place.chain, place.combined)


def _own_name(container: Container, profile: Profile, prefix: str) -> tuple[str, ...]:
    name = profile.host_name(container).lower().rstrip(".")
    if not name or re.fullmatch(r"[0-9a-f]{12}", name):
        raise LabelError(
            (f"{prefix}domain=auto: the container has no host name of its own; set `hostname:` or name the domain",)
        )
    return (name,)
