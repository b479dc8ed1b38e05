"""What one file of certificates holds, whatever its form: PEM, DER or PKCS#12; and the chain above a leaf.

Beside `controller.x509.pki` and the self-signed source the only module that knows the ``cryptography`` package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from controller.domain.errors import CertificateError, EncryptedKey, MalformedPem
from controller.threads import step
from controller.x509 import pki
from controller.x509.blocks import CUT_OFF, blocks, has_blocks
from controller.x509.pkcs12 import Opener

LONGEST_CHAIN = 8
"""Certificates; real ones have two to four."""
MOST_ISSUERS = 50
"""Authorities of one name that are tried for one certificate; there are one or two, with all renewals and cross-signs five."""
REMEMBERED = 32 * 2**20
"""Bytes of all files of a source whose parsed content is kept: a folder of thousands is not parsed anew for each change."""

_DER = (b"\x30\x77", b"\x30\x80", b"\x30\x81", b"\x30\x82", b"\x30\x83")
"""How an ASN.1 SEQUENCE of the length of a certificate, a key or PKCS#12 begins."""


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


Issued = dict[tuple[str, str], bool]
"""Whether one certificate was issued by another, by both fingerprints."""


class Chains:
    """Authorities by name, to find the issuers of a certificate. `before` is the `issued` of the last time."""

    def __init__(self, before: Issued | None = None) -> None:
        self._by_subject: dict[bytes, dict[FoundCertificate, None]] = {}
        self._before = before or {}
        self.issued: Issued = {}

    def add(self, certificate: FoundCertificate) -> None:
        """Remember one that may be an issuer; what is no authority is none."""
        if certificate.is_authority:
            self._by_subject.setdefault(certificate.subject, {})[certificate] = None

    def above(self, leaf: FoundCertificate) -> tuple[FoundCertificate, ...]:
        """The issuers above a leaf as far as they are known, the nearest first, without the root that ends it."""
        chain = [leaf]
        while len(chain) < LONGEST_CHAIN:
            last = chain[-1]
            candidates = islice(self._by_subject.get(last.issuer, ()), MOST_ISSUERS)
            issuer = next((one for one in candidates if one not in chain and self._is_issued_by(last, one)), None)
            if issuer is None or issuer.subject == issuer.issuer:
                break
            chain.append(issuer)
        return tuple(chain[1:])

    def _is_issued_by(self, certificate: FoundCertificate, issuer: FoundCertificate) -> bool:
        pair = certificate.fingerprint, issuer.fingerprint
        known = self._before.get(pair)
        if known is None:
            step()
            known = _is_issued_by(certificate.parsed, issuer.parsed)
        self.issued[pair] = known
        return known


@dataclass(slots=True)
class _Known:
    """What became of a file of so many bytes: its content, or the error that it led to."""

    size: int
    bundle: Bundle = field(repr=False)
    error: type[CertificateError] | None = None
    message: str = ""


class Bundles:
    """The files of one source, by the digest of what they hold: what was met at the last reading is not parsed again.

    Nothing is kept longer than one reading needs it, and no more than `REMEMBERED` bytes of files; nothing is shared between
    sources. Used by the source's own thread alone.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._met: dict[bytes, _Known] = {}
        self._size = 0
        self._opener = Opener()
        self._issued: Issued = {}

    @contextmanager
    def reading(self) -> Iterator[Chains]:
        """One reading of all files; what it does not meet is forgotten, unless it fails and there is room for both."""
        self._met, self._size = {}, 0
        chains = Chains(self._issued)
        try:
            with self._opener:
                yield chains
        except BaseException:
            both = self._known | self._met
            self._known = both if sum(known.size for known in both.values()) <= REMEMBERED else self._met
            raise
        self._known, self._issued = self._met, chains.issued

    def open(self, data: bytes, password: bytes | None = None) -> Bundle:
        """As `open_bundle`."""
        digest = hashlib.sha256(b"%d:" % len(password or b"") + (password or b"") + data).digest()
        known = self._met.get(digest) or self._known.get(digest) or self._judge(data, password)
        if digest not in self._met and self._size + known.size <= REMEMBERED:
            self._met[digest] = known
            self._size += known.size
        if known.error:
            raise known.error(known.message)
        return known.bundle

    def _judge(self, data: bytes, password: bytes | None) -> _Known:
        step()
        try:
            bundle = _open(data, password, self._opener)
        except CertificateError as error:  # not kept itself: it holds on to what was read
            return _Known(0, Bundle(), type(error), str(error))
        return _Known(len(data) if bundle != Bundle() else 0, bundle)


def open_bundle(data: bytes, password: bytes | None = None) -> Bundle:
    """Take a file apart; `password` is that of PKCS#12 files. What holds neither certificates nor keys is an empty bundle.

    Raises:
        MalformedPem, EncryptedKey, WeakKey: something of it cannot be used.
    """
    with Opener() as opener:
        return _open(data, password, opener)


def _open(data: bytes, password: bytes | None, opener: Opener) -> Bundle:
    if has_blocks(data):
        return _open_pem(data)
    return _open_der(data, password, opener) if data.startswith(_DER) else Bundle()


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _open_pem(data: bytes) -> Bundle:
    certificates: list[FoundCertificate] = []
    keys: list[FoundKey] = []
    for block in blocks(data):
        step()
        if block.is_certificate:
            certificates.append(_load_certificate(block.pem.replace(b"X509 ", b"")))
        else:
            pem = block.pem + b"\n"
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
def _open_der(data: bytes, password: bytes | None, opener: Opener) -> Bundle:
    if _is_cut_off(data):
        raise MalformedPem(CUT_OFF)
    with suppress(ValueError):
        return Bundle((_describe(x509.load_der_x509_certificate(data)),))
    try:
        return Bundle(keys=(_found(_load_key(data)),))
    except TypeError as error:
        raise EncryptedKey(pki.PROTECTED) from error
    except (ValueError, UnsupportedAlgorithm):
        return _open_pkcs12(data, password, opener)


def _is_cut_off(der: bytes) -> bool:
    """Whether it is shorter than the length that it tells in its long form (X.690 §8.1.3.5)."""
    digits = der[1] & 0x7F if der[1] & 0x80 else 0
    return digits > 0 and len(der) < 2 + digits + int.from_bytes(der[2 : 2 + digits], "big")


def _open_pkcs12(data: bytes, password: bytes | None, opener: Opener) -> Bundle:
    opened = opener.open(data, password)
    if opened is None:
        return Bundle()
    if opened.is_protected:
        what = "another one than password-file holds" if password else "needed; name a file that holds it by password-file"
        raise EncryptedKey(f"its password is {what}")
    certificates = tuple(_describe(x509.load_der_x509_certificate(one)) for one in opened.certificates)
    return Bundle(certificates, (_found(_load_key(opened.key)),) if opened.key else ())


def _load_key(der: bytes) -> object:
    """The library's own check of RSA keys takes 0.1 s for 4096 bits; see `pki.load_key`, which each key goes through later."""
    return serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)


def _found(key: object) -> FoundKey:
    pem: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return FoundKey(pem, pki.public_key_hash(key.public_key()))  # type: ignore[attr-defined]
