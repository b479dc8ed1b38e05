"""The environment of the older tool, mailserver-traefik, read as settings so that its users change nothing.

Its label is `controller.labels`' business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOUNT = "tmp/traefik"
"""Where its documentation mounts ``acme.json``: as a directory around the file, or (in its examples) as the file itself."""
SHORTEST, NEVER = 1.0, 365 * 86400.0
"""The range of ``CERTFERRY_RESYNC``, in seconds."""
NAMES = frozenset({"CERTS_SOURCE", "TRAEFIK_VERSION", "DOMAINS", "PUSH_PERIOD", "KV_ENDPOINTS"})
"""Any of them tells that this environment was made for the older tool."""
KEY_VALUE_STORES = ("consul", "etcd", "etcdv3", "zookeeper", "boltdb")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Translation:
    """Settings by field, a line for each variable that was understood, and one for each that cannot be."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self.notes)


def translate(environ: Mapping[str, str], *, given: Collection[str], root: Path) -> Translation:
    """Translate what is there of the older tool's variables; fields already `given` by certferry's own win."""
    variables = {name: value.strip() for name, value in environ.items() if value.strip()}
    translation = Translation()
    if not variables.keys() & NAMES:
        return translation
    _translate_source(variables, translation, given=given, root=root)
    _translate_period(variables, translation, given=given)
    if "TRAEFIK_VERSION" in variables:
        translation.notes.append(
            f"TRAEFIK_VERSION={variables['TRAEFIK_VERSION']} is not needed: the content of acme.json tells the version"
        )
    if "DOMAINS" in variables:
        translation.notes.append(
            f"DOMAINS={variables['DOMAINS']} is not needed: the label of each mail container says its domain"
        )
    return translation


def _translate_source(variables: Mapping[str, str], translation: Translation, *, given: Collection[str], root: Path) -> None:
    kind = variables.get("CERTS_SOURCE", "file")
    said = f"CERTS_SOURCE={kind}" if "CERTS_SOURCE" in variables else "CERTS_SOURCE (not set, so file)"
    if "sources" in given:
        if "CERTS_SOURCE" in variables:
            translation.notes.append(f"{said} is ignored: CERTFERRY_SOURCES wins")
        return
    if kind.lower() in KEY_VALUE_STORES:
        translation.problems.append(
            f"CERTS_SOURCE={kind!r}: this version reads file stores only; expected file, or the URL of one in CERTFERRY_SOURCES"
        )
        return
    if kind.lower() != "file":
        translation.problems.append(f"CERTS_SOURCE={kind!r}: expected file")
        return
    path = f"/{MOUNT}" if (root / MOUNT).is_file() else f"/{MOUNT}/acme.json"
    translation.values["sources"] = f"traefik://{path}"
    discover = "" if "discover" in given else " CERTFERRY_DISCOVER=off"  # that tool looked nowhere else
    if discover:
        translation.values["discover"] = "off"
    translation.notes.append(f'{said} is read as CERTFERRY_SOURCES="traefik://{path}"{discover}')
    if unused := sorted(name for name in variables if name.startswith("KV_")):
        translation.notes.append(f"{', '.join(unused)}: not needed where CERTS_SOURCE is file")


def _translate_period(variables: Mapping[str, str], translation: Translation, *, given: Collection[str]) -> None:
    period = variables.get("PUSH_PERIOD")
    if period is None:
        return
    if "resync" in given:
        translation.notes.append(f"PUSH_PERIOD={period} is ignored: CERTFERRY_RESYNC wins")
        return
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{0,9})?)([smhd]?)", period)
    if found is None:
        translation.problems.append(f"PUSH_PERIOD={period!r}: expected 15m, 900 (seconds), 2h, 1d, or 0")
        return
    seconds = float(found[1]) * _UNITS[found[2]]
    translation.values["resync"] = min(max(seconds, SHORTEST), NEVER) if seconds else NEVER
    meaning = (period if found[2] else f"{period}s") if seconds else "365d, which is as good as never"
    translation.notes.append(f"PUSH_PERIOD={period} is read as CERTFERRY_RESYNC={meaning}")
