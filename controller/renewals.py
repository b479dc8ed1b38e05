"""When sources renewed what they hold, as seen in this process: state in memory, of bounded size."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from controller.domain.certificate import KeyType, Leaf
from controller.domain.recent import Recent
from controller.domain.snapshot import Entry, Snapshot
from controller.expiry import HABIT, part_left

CERTIFICATES = 10_000
"""Certificates whose renewals are remembered."""

DUE = 0.6
"""What is replaced with more of its life left was not due: it was revoked, or asked for with other names. Half of it is what
some leave of a life of some days."""

ALIKE = 0.1
"""By this part two lives may differ that count as the same: who renews at 30 days of 90 may do so at 10 days of 64."""


class _Key(NamedTuple):
    source: str
    names: frozenset[str]
    key_type: KeyType


class _Seen(NamedTuple):
    life: float
    """Seconds."""
    left: float


class Renewals:
    """Told by whoever follows the sources."""

    def __init__(self) -> None:
        self._seen: Recent[_Key, tuple[_Seen, ...]] = Recent(CERTIFICATES)

    def changed(self, before: Snapshot, after: Snapshot, now: datetime) -> None:
        """A source was read: of what is new, when it took the place of what was there; not before it begins, however wrong the
        clock is."""
        known = {entry.certificate.fingerprint for entry in before.entries}
        for leaf in {e.certificate.fingerprint: e.certificate.leaf for e in after.entries}.values():
            if leaf.fingerprint in known or (old := _replaced_by(leaf, before)) is None:
                continue
            if (left := part_left(old, max(leaf.not_before, now))) <= DUE:
                key = _key(after.source, leaf)
                self._seen.put(key, (*(self._seen.get(key) or ()), _Seen(_life(old), left))[-2 * HABIT :])

    def seen(self, source: str, leaf: Leaf) -> tuple[float, ...]:
        """The parts of their lives that were left when the source renewed such certificates, the last one at the end."""
        seen, life = self._seen.get(_key(source, leaf)) or (), _life(leaf)
        return tuple(one.left for one in seen if abs(one.life - life) <= ALIKE * life)


def _replaced_by(leaf: Leaf, before: Snapshot) -> Leaf | None:
    """The newest of those for the same names that were there; ``None`` where it is not older: then it was put back."""
    held: tuple[Entry, ...] = before.by_name.get(leaf.names[0], ()) if leaf.names else ()
    key = _key("", leaf)
    alike = [entry.certificate.leaf for entry in held if _key("", entry.certificate.leaf) == key]
    newest = max(alike, key=lambda one: one.not_before, default=None)
    return newest if newest and newest.not_before < leaf.not_before else None


def _key(source: str, leaf: Leaf) -> _Key:
    return _Key(source, frozenset(leaf.names), leaf.key_type)


def _life(leaf: Leaf) -> float:
    return (leaf.not_after - leaf.not_before).total_seconds()
