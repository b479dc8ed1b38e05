"""The profile: what certferry knows of a mail image. Profiles are data; their definitions live in `sinks.profiles`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.detector import Detector
from controller.domain.observed import Observed
from controller.domain.target import Place, ProbePort, Reload


@dataclass(frozen=True, slots=True)
class Layout:
    """What a profile found for one container; the fields are those of `Target` with the same names.

    `places` are one, or two: the second is for a certificate of another key type; with `fill` its files must be there, if
    empty. `also` are further places for the same certificates; in an alternative slot those of the second place.
    """

    places: tuple[Place, ...] = ()
    reload: tuple[Reload, ...] = ()
    internal: tuple[Place, ...] = ()
    internal_reload: tuple[Reload, ...] = ()
    check: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    fill: bool = False
    also: tuple[Place, ...] = ()
    ask: str = field(default="", repr=False)
    beside: tuple[PurePosixPath, ...] = ()
    written_by: str = ""
    starting: bool = False
    detector: Detector | None = None


def _recognise_nothing(_container: Container) -> bool:
    return False


def _no_layout(_container: Container) -> Layout:
    return Layout()


def _no_reload(_container: Container) -> tuple[Reload, ...]:
    return ()


def _adapt_nothing(_container: Container, layout: Layout, _observed: Observed) -> Layout:
    return layout


def _host_name(container: Container) -> str:
    return container.fqdn


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of mail container.

    `recognise` tells it from image and environment; `layout` finds the paths of one container, and raises `LabelError` when
    the container's own settings leave none to write to; `adapt` corrects a layout by what was found in the container when it
    was asked (`Layout.ask`, `Layout.beside`), and raises the same; `reload` are the commands for files at other paths, given
    by labels; `host_name` is what ``certferry.domain=auto`` means.
    """

    name: str
    probe: tuple[ProbePort, ...] = ()
    recognise: Callable[[Container], bool] = _recognise_nothing
    layout: Callable[[Container], Layout] = _no_layout
    adapt: Callable[[Container, Layout, Observed], Layout] = _adapt_nothing
    reload: Callable[[Container], tuple[Reload, ...]] = _no_reload
    host_name: Callable[[Container], str] = _host_name
