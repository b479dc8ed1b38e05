"""A container, its labels and its profile together make a target. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from controller.domain.certificate import KeyType
from controller.domain.container import Container
from controller.domain.errors import LabelError
from controller.domain.profile import Layout, Profile
from controller.domain.target import Place, Slot, Target, TargetKey
from controller.labels import LabelSpec

_NO_RELOAD = "nothing makes the services use new files: set {prefix}reload, to none if they notice by themselves"


def recognise(container: Container, profiles: Iterable[Profile], default: Profile) -> Profile:
    """The first profile that knows the container."""
    return next((profile for profile in profiles if profile.recognise(container)), default)


def build_target(key: TargetKey, container: Container, spec: LabelSpec, profile: Profile, *, prefix: str) -> Target:
    """What is wanted of a container; labels come before the profile.

    Raises:
        LabelError: labels and profile together leave a question open, each with its remedy.
    """
    by_labels = _places_by_labels(spec, prefix)
    layout = Layout(places=by_labels, reload=profile.reload(container)) if by_labels else profile.layout(container)
    if not layout.places:
        raise LabelError((f"{prefix}cert-path and {prefix}key-path are missing: the profile {profile.name} knows no paths",))
    places = _with_slots(layout.places, spec, prefix)
    probe = profile.probe if spec.probe is None else () if spec.probe == "off" else spec.probe
    return Target(
        key=key,
        container=container,
        profile=profile.name,
        domains=_own_name(container, profile, prefix) if spec.auto else spec.domains,
        places=places,
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


def _with_slots(places: tuple[Place, ...], spec: LabelSpec, prefix: str) -> tuple[Place, ...]:
    """Say which certificate goes where. A second place takes the other key type; it is a must only for ``both``."""
    both = spec.key_type == "both"
    if both and len(places) < 2:
        raise LabelError((f"{prefix}key-type=both needs a second place: set {prefix}alt-cert-path and {prefix}alt-key-path",))
    first = {"rsa": KeyType.RSA, "ecdsa": KeyType.ECDSA, "both": KeyType.ECDSA}.get(spec.key_type)
    second = Slot(KeyType.RSA) if both else Slot(alternative=True, optional=True)
    slots = (Slot(first), *(second for _ in places[1:]))
    if spec.key_type in ("rsa", "ecdsa"):
        return (_in(places[0], slots[0]),)
    return tuple(_in(place, slot) for place, slot in zip(places, slots, strict=True))


def _in(place: Place, slot: Slot) -> Place:
    return Place(slot, place.certificate, place.key, place.chain, place.combined)


def _own_name(container: Container, profile: Profile, prefix: str) -> tuple[str, ...]:
    name = profile.host_name(container).lower().rstrip(".")
    if not name or re.fullmatch(r"[0-9a-f]{12}", name):
        raise LabelError(
            (f"{prefix}domain=auto: the container has no host name of its own; set `hostname:` or name the domain",)
        )
    return (name,)
