"""Distinguished names: compared as RFC 5280 §7.1 says, and shown to people."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

Canonical = tuple[tuple[tuple[str, str | bytes], ...], ...]
"""A name as it is compared: for each of its parts the attributes by OID, with text in lower case and single blanks."""


def canonical(name: x509.Name) -> Canonical:
    """The form in which names are compared, whatever type of string they are written in.

    As OpenSSL does it: blanks at the ends do not count, several are one, and of letters the ASCII ones have no case.
    """
    return tuple(tuple(sorted((a.oid.dotted_string, _folded(a.value)) for a in part)) for part in name.rdns)


def _folded(value: str | bytes) -> str | bytes:
    return " ".join(part for part in _ascii_lower(value).split(" ") if part) if isinstance(value, str) else value


def _ascii_lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def common_name(name: x509.Name) -> str:
    """What people call it: the common name, else all of it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[-1].value) if common else name.rfc4514_string() or "(no name)"
    return text if text.isprintable() else repr(text)[1:-1]  # for messages: whoever wrote it, it must not steer a terminal


def organisation(name: x509.Name) -> str:
    """Whose name it is: the organisation, else the common name."""
    found = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else common_name(name)
