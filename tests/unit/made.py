"""Pieces of which the unit tests build their situations: certificates, containers, targets, snapshots, facts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from controller.domain.certificate import Certificate, Trust
from controller.domain.container import Container, State
from controller.domain.observed import InstalledFile, Observed, Served
from controller.domain.snapshot import Entry, Snapshot
from controller.domain.target import Place, ProbePort, Reload, Slot, Target, TargetKey
from controller.installed import installed_leaf
from controller.policies import Facts
from controller.selection import Preferences, select
from tests.certs import Authority, Key, Pair, new_key

NOW = datetime.now(UTC).replace(microsecond=0)
ID = "0123456789abcdef" * 4
KEY = TargetKey("local", ID)
DOMAIN = "mail.example.com"
CERT, PRIVATE = PurePosixPath("/tls/cert.pem"), PurePosixPath("/tls/key.pem")
ALT_CERT, ALT_PRIVATE = PurePosixPath("/tls/alt-cert.pem"), PurePosixPath("/tls/alt-key.pem")
CHAIN, COMBINED = PurePosixPath("/tls/chain.pem"), PurePosixPath("/tls/all.pem")
PLACE = Place(Slot(), CERT, PRIVATE)
IMAPS, SMTP = ProbePort(993, "imaps"), ProbePort(25, "smtp")
RELOAD = Reload("exec", ("postfix", "reload"))


@cache
def authority() -> Authority:
    return Authority()


@cache
def rsa_key() -> Key:
    """One for all: making a new one takes a tenth of a second."""
    return new_key("rsa")


@cache
def pair(*names: str, days: float = 90, hours_old: float = 1, kind: str = "ecdsa", **_apart: str) -> Pair:
    """The same pair for the same arguments; further keyword arguments only tell two alike ones apart."""
    key, issuer = rsa_key() if kind == "rsa" else None, authority()  # these take a second on a busy machine
    age = datetime.now(UTC) - NOW + timedelta(hours=hours_old)  # the same whenever it is made
    return issuer.issue(*(names or (DOMAIN,)), days=days, age=age, key=key)


@cache
def parsed(made: Pair, trust: Trust) -> Certificate:
    why = "" if trust is Trust.PUBLIC else made.certificate.why
    return replace(made.certificate, trust=trust, why=why, root_unknown=False)


def certificate(*names: str, trust: Trust = Trust.PUBLIC, **options: Any) -> Certificate:
    """A certificate as `pair` makes it, and as trustworthy as asked for."""
    return parsed(pair(*names, **options), trust)


OLD: dict[str, Any] = {"hours_old": 48}
NEW: dict[str, Any] = {"hours_old": 1}
"""Options for a certificate and the one that renews it."""


def snapshot(*certificates: Certificate, source: str = "traefik", **options: Any) -> Snapshot:
    entries = tuple(Entry(f"le/{c.leaf.names[0]}", c) for c in certificates)
    return Snapshot(source, entries, **options)


def container(**changes: Any) -> Container:
    made = Container(ID, "mail", "mailserver:1", State.RUNNING, hostname=DOMAIN, started_at=NOW - timedelta(days=1))
    return replace(made, **changes)


def target(*domains: str, **changes: Any) -> Target:
    """A running container that wants one pair, is reloaded by a command and proved on port 993."""
    made = Target(KEY, container(), "generic", domains or (DOMAIN,), (PLACE,), reload=(RELOAD,), probe=(IMAPS,))
    return replace(made, **changes)


def file(path: PurePosixPath, content: bytes, *, uid: int = 0, gid: int = 0, mode: int = 0o644) -> InstalledFile:
    return InstalledFile(path, content, uid, gid, mode)


def installed(place: Place, held: Certificate, **options: Any) -> dict[PurePosixPath, InstalledFile | None]:
    """The files of a place as they are once a certificate was installed."""
    return {path: file(path, content, **options) for path, content in place.contents(held).items()}


def blocks_of(pem: bytes) -> list[bytes]:
    """The certificates in PEM text, each by itself."""
    return re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", pem, re.DOTALL)


def nothing(*places: Place) -> dict[PurePosixPath, InstalledFile | None]:
    """The files of places where nothing is."""
    return {path: None for place in places for path in place.paths}


def serves(held: Certificate | None, port: ProbePort = IMAPS, **options: Any) -> Served:
    """What a port answers."""
    error = "" if held else "nothing listens there"
    sent = {"chain_pem": held.fullchain_pem} if held else {}
    return Served(port, held.leaf if held else None, "network", **{"error": error, **sent, **options})


CLOSED: dict[str, Any] = {"refused": True}
"""Options of `serves` for a port where nothing listens."""


def facts(
    wanted: Certificate | Iterable[Certificate],
    files: dict[PurePosixPath, InstalledFile | None],
    *served: Served,
    on: Target | None = None,
    **observed: Any,
) -> Facts:
    """Everything that was read: what the source holds, what is installed, what is served."""
    asked = on or target()
    held = (wanted,) if isinstance(wanted, Certificate) else tuple(wanted)
    seen = Observed(files, **observed)
    there = {place: leaf for place in asked.places if (leaf := installed_leaf(place, seen))}
    selection = select(asked, {"traefik": snapshot(*held)}, NOW, preferences=Preferences(there))
    started = asked.container.started_at
    age = (NOW - started).total_seconds() if started else None
    return Facts(asked, selection, seen, served, NOW, start_grace=60.0, age=age)
