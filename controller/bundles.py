"""What one file of certificates holds, whatever its form: PEM, DER or PKCS#12; and the chain above a leaf.

Beside `controller.pki` and the self-signed source the only module that knows the ``cryptography`` package.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from controller import pki
from controller.domain.errors import EncryptedKey, MalformedPem

LONGEST_CHAIN = 8
"""Certificates; real ones have two to four."""
REMEMBERED = 2**14
"""Files whose parsed content is kept, so that a folder of thousands is not parsed anew for each change."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN (?!OPENSSH )(?:[A-Z0-9 ]*PRIVATE KEY|(?:X509 )?CERTIFICATE)-----")
"""How what matters begins; keys of SSH are none of TLS."""
_CERTIFICATE = (b"CERTIFICATE", b"X509 CERTIFICATE")
_DER = (b"\x30\x77", b"\x30\x80", b"\x30\x81", b"\x30\x82", b"\x30\x83")
"""How an ASN.1 SEQUENCE of the length of a certificate, a key or PKCS#12 begins."""
_CUT_OFF = "it ends in the middle"


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A private key of a file, in PEM."""

    pem: bytes = field(repr=False)
    public_key_hash: str


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """A certificate of a file; `is_authority` when it says that it issues others (RFC 5280 §4.2.1.9)."""

    fingerprint: str
    pem: bytes = field(compare=False, repr=False)
    public_key_hash: str = field(compare=False)
    is_authority: bool = field(compare=False)
    names: tuple[str, ...] = field(compare=False)
    subject: bytes = field(compare=False, repr=False)
    issuer: bytes = field(compare=False, repr=False)
    """Both names in DER, which is quick to compare."""
    parsed: x509.Certificate = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates and keys of a file, in its order."""

    certificates: tuple[FoundCertificate, ...] = ()
    keys: tuple[FoundKey, ...] = ()


class Chains:
    """Authorities by name, to find the issuers of a certificate."""

    def __init__(self) -> None:
        self._by_subject: dict[bytes, dict[FoundCertificate, None]] = {}

    def add(self, certificate: FoundCertificate) -> None:
        """Remember one that may be an issuer; what is no authority is none."""
        if certificate.is_authority:
            self._by_subject.setdefault(certificate.subject, {})[certificate] = None

    def above(self, leaf: FoundCertificate) -> tuple[FoundCertificate, ...]:
        """The issuers above a leaf as far as they are known, the nearest first, without the root that ends it."""
        chain = [leaf]
        while len(chain) < LONGEST_CHAIN:
            last = chain[-1]
            candidates = self._by_subject.get(last.issuer, ())
            issuer = next((one for one in candidates if one not in chain and _is_issued_by(last.parsed, one.parsed)), None)
            if issuer is None or issuer.subject == issuer.issuer:
                break
            chain.append(issuer)
        return tuple(chain[1:])


@lru_cache(maxsize=REMEMBERED)
def open_bundle(data: bytes, password: bytes | None = None) -> Bundle:
    """Take a file apart; `password` is that of PKCS#12 files. What holds neither certificates nor keys is an empty bundle.

    Raises:
        MalformedPem, EncryptedKey, WeakKey: something of it cannot be used.
    """
    if _BEGIN.search(data):
        return _open_pem(data)
    return _open_der(data, password) if data.startswith(_DER) else Bundle()


@lru_cache(maxsize=REMEMBERED)
def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _open_pem(data: bytes) -> Bundle:
    certificates: list[FoundCertificate] = []
    keys: list[FoundKey] = []
    blocks = [block for block in _BLOCK.finditer(data) if _BEGIN.match(block[0])]
    if len(_BEGIN.findall(data)) > len(blocks):
        raise MalformedPem(_CUT_OFF)
    for block in blocks:
        if block[1] in _CERTIFICATE:
            certificates.append(_load_certificate(block[0].replace(b"X509 ", b"")))
        else:
            pem = block[0] + b"\n"
            keys.append(FoundKey(pem, pki.public_key_hash(pki.load_key(pem).public_key())))
    return Bundle(tuple(certificates), tuple(keys))


@pki.parsing()
def _load_certificate(pem: bytes) -> FoundCertificate:
    return _describe(x509.load_pem_x509_certificate(pem))


def _describe(certificate: x509.Certificate) -> FoundCertificate:
    return FoundCertificate(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        pem=pki.to_pem(certificate),
        public_key_hash=pki.public_key_hash_of(certificate),
        is_authority=_is_authority(certificate),
        names=pki.dns_names(certificate),
        subject=certificate.subject.public_bytes(),
        issuer=certificate.issuer.public_bytes(),
        parsed=certificate,
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


@pki.parsing()
def _open_der(data: bytes, password: bytes | None) -> Bundle:
    if _is_cut_off(data):
        raise MalformedPem(_CUT_OFF)
    with suppress(ValueError):
        return Bundle((_describe(x509.load_der_x509_certificate(data)),))
    try:
        return Bundle(keys=(_found(serialization.load_der_private_key(data, None)),))
    except TypeError as error:
        raise EncryptedKey(pki.PROTECTED) from error
    except (ValueError, UnsupportedAlgorithm):
        return _open_pkcs12(data, password)


def _is_cut_off(der: bytes) -> bool:
    """Whether it is shorter than the length that it tells in its long form (X.690 §8.1.3.5)."""
    digits = der[1] & 0x7F if der[1] & 0x80 else 0
    return digits > 0 and len(der) < 2 + digits + int.from_bytes(der[2 : 2 + digits], "big")


def _open_pkcs12(data: bytes, password: bytes | None) -> Bundle:
    try:
        key, certificate, more = pkcs12.load_key_and_certificates(data, password)
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" not in str(error).lower():
            return Bundle()
        if password is not None:
            with suppress(EncryptedKey):  # the password may be that of other files
                return _open_pkcs12(data, None)
        what = "another one than password-file holds" if password else "needed; name a file that holds it by password-file"
        raise EncryptedKey(f"its password is {what}") from error
    certificates = [_describe(one) for one in (certificate, *more) if one is not None]
    return Bundle(tuple(certificates), () if key is None else (_found(key),))


def _found(key: object) -> FoundKey:
    pem: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return FoundKey(pem, pki.public_key_hash(key.public_key()))  # type: ignore[attr-defined]
