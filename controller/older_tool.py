"""The environment of the older tool, mailserver-traefik, read as settings so that its users change nothing.

Its label is `controller.labels`' business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller import older_tool_stores
from controller.threads import look_at_all

MOUNT = "tmp/traefik"
"""Where its documentation mounts ``acme.json``: as a directory around the file, or (in its examples) as the file itself."""
SHORTEST, NEVER = 1.0, 365 * 86400.0
"""The range of ``CERTFERRY_RESYNC``, in seconds."""
NAMES = frozenset({"CERTS_SOURCE", "TRAEFIK_VERSION", "DOMAINS", "PUSH_PERIOD", "KV_ENDPOINTS"})
"""Any of them tells that this environment was made for the older tool."""
_VERBATIM = frozenset({"KV_USERNAME", "KV_PASSWORD"})
"""Blanks around them may belong to them."""
_KINDS = ", ".join(("file", *older_tool_stores.KINDS))
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Translation:
    """Settings by field, a line for each variable that was understood, and one for each that cannot be."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self.notes)


def translate(environ: Mapping[str, str], *, given: Collection[str], root: Path) -> Translation:
    """Translate what is there of the older tool's variables; fields already `given` by certferry's own win."""
    variables = {name: value if name in _VERBATIM else value.strip() for name, value in environ.items() if value.strip()}
    translation = Translation()
    if not variables.keys() & NAMES:
        return translation
    _translate_source(variables, translation, given=given, root=root)
    _translate_period(variables, translation, given=given)
    _tell_not_needed(variables, translation)
    return translation


def _translate_source(variables: Mapping[str, str], translation: Translation, *, given: Collection[str], root: Path) -> None:
    kind = variables.get("CERTS_SOURCE", "file").lower()
    if "sources" in given:
        _tell_ignored(variables, translation)
    elif kind == "file":
        _translate_file(variables, translation, given=given, root=root)
    elif kind in older_tool_stores.KINDS:
        _translate_store(kind, variables, translation, given=given)
    else:
        translation.problems.append(f"CERTS_SOURCE={variables['CERTS_SOURCE']!r}: expected one of {_KINDS}")


def _translate_file(variables: Mapping[str, str], translation: Translation, *, given: Collection[str], root: Path) -> None:
    (is_file,) = look_at_all([(root / MOUNT).is_file])
    url = f"traefik:///{MOUNT}" if is_file else f"traefik:///{MOUNT}/acme.json"
    named = variables.get("CERTS_SOURCE")
    said = f"CERTS_SOURCE={named}" if named else "CERTS_SOURCE (not set, so file)"
    _set_source(url, f'{said} is read as CERTFERRY_SOURCES="{url}"', translation, given=given)
    if unused := sorted(filter(older_tool_stores.is_of_store, variables)):
        translation.notes.append(f"{', '.join(unused)}: not needed where CERTS_SOURCE is file")


def _translate_store(kind: str, variables: Mapping[str, str], translation: Translation, *, given: Collection[str]) -> None:
    store = older_tool_stores.read_store(kind, variables)
    if store.problems:
        translation.problems += store.problems
        return
    said = f"CERTS_SOURCE={kind} with {', '.join(sorted(store.names))}"
    _set_source(store.url, f'{said} is read as CERTFERRY_SOURCES="{store.shown}"', translation, given=given)
    translation.notes += store.notes


def _set_source(url: str, note: str, translation: Translation, *, given: Collection[str]) -> None:
    translation.values["sources"] = url
    if "discover" not in given:  # that tool looked nowhere else
        translation.values["discover"] = "off"
        note += " CERTFERRY_DISCOVER=off"
    translation.notes.append(note)


def _tell_ignored(variables: Mapping[str, str], translation: Translation) -> None:
    if "CERTS_SOURCE" in variables:
        translation.notes.append(f"CERTS_SOURCE={variables['CERTS_SOURCE']} is ignored: CERTFERRY_SOURCES wins")
    if stores := sorted(filter(older_tool_stores.is_of_store, variables)):
        translation.notes.append(f"{', '.join(stores)}: ignored, because CERTFERRY_SOURCES wins")


def _tell_not_needed(variables: Mapping[str, str], translation: Translation) -> None:
    in_store = variables.get("CERTS_SOURCE", "file").lower() in older_tool_stores.KINDS
    for name, why in {
        "TRAEFIK_VERSION": f"the content of {'the store' if in_store else 'acme.json'} tells the version",
        "DOMAINS": "the label of each mail container says its domain",
        "INITIAL_TIMEOUT": "a store that is not there yet is waited for",
        "SSL_DEST": "nothing is unpacked on the way",
    }.items():
        if name in variables:
            translation.notes.append(f"{name}={variables[name]} is not needed: {why}")


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
