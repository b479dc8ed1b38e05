"""What one file of certificates holds, whatever its form: PEM, DER or PKCS#12."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from controller.domain.errors import CertificateError, EncryptedKey, MalformedPem
from controller.threads import step
from controller.x509 import pkcs7
from controller.x509.keys import PROTECTED, load_der_key, load_key, public_key_hash, to_pkcs8
from controller.x509.parsed import ParsedCertificate, parse_der, parsed, parsing
from controller.x509.pkcs12 import Opener
from controller.x509.text import CUT_OFF, Block, blocks

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
class Bundle:
    """The certificates and keys of a file, in its order."""

    certificates: tuple[ParsedCertificate, ...] = ()
    keys: tuple[FoundKey, ...] = ()


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

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One reading of all files; what it does not meet is forgotten, unless it fails and there is room for both."""
        self._met, self._size = {}, 0
        try:
            with self._opener:
                yield
        except BaseException:
            both = self._known | self._met
            self._known = both if sum(known.size for known in both.values()) <= REMEMBERED else self._met
            raise
        self._known = self._met

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
    if found := list(blocks(data)):
        return _open_pem(found)
    if pkcs7.is_pkcs7(data):
        return _open_pem([Block(is_certificate=True, pem=pem) for pem in pkcs7.certificates_of(data)])
    return _open_der(data, password, opener) if data.startswith(_DER) else Bundle()


def _open_pem(found: Iterable[Block]) -> Bundle:
    certificates: list[ParsedCertificate] = []
    keys: list[FoundKey] = []
    for block in found:
        step()
        if block.is_certificate:
            certificates.append(_load_certificate(block.pem))
        else:
            keys.append(_found(load_key(block.pem)))
    return Bundle(tuple(certificates), tuple(keys))


def _load_certificate(pem: bytes) -> ParsedCertificate:
    with parsing():
        found = parsed(x509.load_pem_x509_certificate(pem))
    found.names  # noqa: B018 -- raises here, where the file is known
    return found


def _open_der(data: bytes, password: bytes | None, opener: Opener) -> Bundle:
    if _is_cut_off(data):
        raise MalformedPem(CUT_OFF)
    with suppress(MalformedPem):
        return Bundle((parse_der(data),))
    try:
        return Bundle(keys=(_found(load_der_key(data)),))
    except TypeError as error:
        raise EncryptedKey(PROTECTED) from error
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
    certificates = tuple(parse_der(one) for one in opened.certificates)
    return Bundle(certificates, (_found(load_der_key(opened.key)),) if opened.key else ())


def _found(key: object) -> FoundKey:
    return FoundKey(to_pkcs8(key), public_key_hash(key.public_key()))  # type: ignore[attr-defined]
