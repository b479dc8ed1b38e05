"""Distinguished names: read, compared as RFC 5280 §7.1 says, and shown to people."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

Canonical = tuple[tuple[tuple[str, str | bytes], ...], ...]
"""A name as it is compared: for each of its parts the attributes by OID, with text in lower case and single blanks."""


def subject_of(certificate: x509.Certificate) -> x509.Name:
    """Whose certificate it is."""
    try:
        return certificate.subject
    except ValueError:
        return _by_hand(certificate, _SUBJECT)


def issuer_of(certificate: x509.Certificate) -> x509.Name:
    """Who signed it, as it says."""
    try:
        return certificate.issuer
    except ValueError:
        return _by_hand(certificate, _ISSUER)


_VERSION, _ISSUER, _SUBJECT = 0xA0, 2, 4
"""A tag, and places in a certificate from its serial number on (RFC 5280 §4.1)."""
_ENCODINGS = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""By tag; everything else OpenSSL reads as Latin-1."""


def _by_hand(certificate: x509.Certificate, place: int) -> x509.Name:
    """A name with text that the library does not read: Windows wrote umlauts as Latin-1 in a T61String."""
    [(_, content)] = _values(certificate.tbs_certificate_bytes)
    parts = [inner for tag, inner in _values(content) if tag != _VERSION]
    rdns = ([tuple(_values(pair)) for _, pair in _values(rdn)] for _, rdn in _values(parts[place]))
    return x509.Name(x509.RelativeDistinguishedName(_attribute(oid, *text) for (_, oid), text in rdn) for rdn in rdns)


def _attribute(oid: bytes, tag: int, text: bytes) -> x509.NameAttribute[str]:
    value = text.decode(_ENCODINGS.get(tag, "latin-1"), errors="replace")
    return x509.NameAttribute(_dotted(oid), value or " ", _validate=False)


def _dotted(oid: bytes) -> ObjectIdentifier:
    """X.690 §8.19."""
    numbers, number = [], 0
    for byte in oid:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    top = min(numbers[0] // 40, 2)
    return ObjectIdentifier(".".join(map(str, (top, numbers[0] - 40 * top, *numbers[1:]))))


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value in DER that was found to be sound (X.690 §8.1)."""
    position = 0
    while position < len(der):
        tag, length, begin = der[position], der[position + 1], position + 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(der[position + 2 : begin], "big")
        position = begin + length
        yield tag, der[begin:position]


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
