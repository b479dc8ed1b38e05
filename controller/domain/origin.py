"""What is known of sources beside what they hold: which held a certificate, which are gone, which the operator prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GONE_AFTER = 600.0
"""Seconds after which a source whose container or setting was removed counts as gone: a proxy that is recreated is back by
then. One that only cannot be reached is not gone."""


@dataclass(frozen=True, slots=True)
class Known:
    """All of it, as it goes into a decision."""

    held: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """The sources that held a leaf in this process and hold it no more, by its fingerprint; of installed leaves only."""
    gone: Mapping[str, float] = field(default_factory=dict, repr=False)
    """For how many seconds the container or setting of a source has been removed, by a clock that cannot jump."""
    unread: frozenset[str] = frozenset()
    """Sources that could not be read since the start, so nobody knows what they hold."""
    searching: bool = False
    """Whether proxies were not looked for yet, so there may be sources that nobody knows of."""
    order: tuple[str, ...] = ()
    """The sources that the operator listed, the preferred one first."""

    def is_gone(self, source: str) -> bool:
        """Whether it was removed long enough ago."""
        return self.gone.get(source, 0.0) >= GONE_AFTER


@dataclass(frozen=True, slots=True)
class Renewer:
    """Who should renew an installed certificate: the `sources` that hold it or held it, none where nobody knows."""

    sources: tuple[str, ...]
    first: float
    """The part of its life that is left when they should have done so; see `controller.expiry.first_word`."""
    trouble: str = ""
    """What stands in the way, where that is known."""
