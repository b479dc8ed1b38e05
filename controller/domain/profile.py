"""The profile: what certferry knows of a mail image. Profiles are data; their definitions live in `sinks.profiles`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from controller.domain.container import Container
from controller.domain.target import Place, ProbePort, Reload


@dataclass(frozen=True, slots=True)
class Layout:
    """What a profile found for one container; the fields are those of `Target` with the same names.

    A layout has one place, or two: the second is for a certificate of another key type.
    """

    places: tuple[Place, ...] = ()
    reload: tuple[Reload, ...] = ()
    internal: tuple[Place, ...] = ()
    internal_reload: tuple[Reload, ...] = ()
    check: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()


def _recognise_nothing(_container: Container) -> bool:
    return False


def _no_layout(_container: Container) -> Layout:
    return Layout()


def _no_reload(_container: Container) -> tuple[Reload, ...]:
    return ()


def _host_name(container: Container) -> str:
    return container.fqdn


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of mail container.

    `recognise` tells it from image and environment; `layout` finds the paths of one container, and raises `LabelError` when
    the container's own settings leave none to write to; `reload` are the commands for files at other paths, given by labels;
    `host_name` is what ``certferry.domain=auto`` means.
    """

    name: str
    probe: tuple[ProbePort, ...] = ()
    recognise: Callable[[Container], bool] = _recognise_nothing
    layout: Callable[[Container], Layout] = _no_layout
    reload: Callable[[Container], tuple[Reload, ...]] = _no_reload
    host_name: Callable[[Container], str] = _host_name
