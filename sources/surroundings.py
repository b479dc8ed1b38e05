"""What some kinds of sources need of the rest of certferry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.ports import ContainerFiles, Source, Wishes
from sources.url import SourceUrl


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``None`` where something is not to be had."""

    containers: ContainerFiles | None = None
    wishes: Wishes | None = None
    looking: bool = False
    """Nothing is to be written, not even into a folder of certferry's own."""


Factory = Callable[[str, SourceUrl, Surroundings], Source]
"""Makes the source of a name and a URL; raises `SettingsError` where the URL is wrong."""
