"""One certificate, parsed once, with the facts that matter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ExtensionType

from controller.domain.certificate import KeyType, Leaf
from controller.domain.errors import MalformedPem
from controller.x509.distinguished_names import Canonical, canonical, common_name, issuer_of, organisation, subject_of
from controller.x509.keys import public_key_hash
from controller.x509.signatures import verify_signature

LARGEST_CHAIN_FILE, LONGEST_CHAIN, MOST_NAMES = 2**20, 20, 5000
"""Bytes and certificates of a chain, host names of a certificate. Real chains have two to four certificates of 2 kB each, six
at most; public authorities put 100 to 2,000 names into one.
"""

# Odd serial numbers and the like are the issuer's business. Said once, when this module is loaded: to say it anew around each
# call is nothing for threads, which put back each other's filters until the last one stays for ever.
warnings.filterwarnings("ignore", module=r"(controller\.x509|OpenSSL)\.")

UNPARSABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    KeyError,  # a TLS feature without a name (RFC 7633)
)

IPAddress = IPv4Address | IPv6Address

Named = Canonical | str
"""A name as it is compared."""

E = TypeVar("E", bound=ExtensionType)
T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def parsing() -> Iterator[None]:
    """The library parses late: a malformed field is found wherever it is first looked at, and each has its own exception."""
    try:
        yield
    except UNPARSABLE as error:
        raise MalformedPem("a certificate that does not parse; it is damaged") from error


@dataclass(frozen=True)
class ParsedCertificate:
    """One certificate; two are the same when their DER is. What a foreign field does not tell counts as not said."""

    fingerprint: str
    """SHA-256 of its DER, hex."""
    x509: x509.Certificate = field(compare=False, repr=False)

    @cached_property
    def pem(self) -> bytes:
        """PEM with a line end."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def subject(self) -> Named:
        """Its name as names are compared; one that no other has where it does not parse."""
        return _fact(lambda: canonical(subject_of(self.x509)), f"the subject of {self.fingerprint}")

    @cached_property
    def issuer(self) -> Named:
        """The name of its issuer, likewise."""
        return _fact(lambda: canonical(issuer_of(self.x509)), f"the issuer of {self.fingerprint}")

    @cached_property
    def shown(self) -> str:
        """What people call it."""
        return _fact(lambda: common_name(subject_of(self.x509)), "(no name)")

    @cached_property
    def issuer_shown(self) -> str:
        """What people call its issuer."""
        return _fact(lambda: common_name(issuer_of(self.x509)), "(no name)")

    @cached_property
    def issuer_organisation(self) -> str:
        """Whose authority its issuer is."""
        return _fact(lambda: organisation(issuer_of(self.x509)), "")

    @cached_property
    def issuer_spelled(self) -> str:
        """All of its issuer's name, in lower case."""
        return _fact(lambda: issuer_of(self.x509).rfc4514_string().lower(), "")

    @property
    def is_self_issued(self) -> bool:
        """Subject and issuer are the same: a root, or a self-signed leaf."""
        return self.subject == self.issuer

    @cached_property
    def is_root(self) -> bool:
        """It signed itself; a CA signs its own next key under its own name too, but by the key before (RFC 4210 §4.4)."""
        if not self.is_self_issued:
            return False
        try:
            verify_signature(self.x509, self.x509)
        except InvalidSignature:
            return False
        except UNPARSABLE:
            return True  # of a kind that is not known any more, as of very old roots
        return True

    @cached_property
    def public_key_hash(self) -> str:
        """See `controller.x509.keys`; empty where its key is of no known kind."""
        return _fact(lambda: public_key_hash(self.x509.public_key()), "")

    @cached_property
    def is_authority(self) -> bool:
        """It says that it issues others (RFC 5280 §4.2.1.9)."""
        found = self.extension(x509.BasicConstraints)
        return found is not None and found.ca

    @cached_property
    def key_id(self) -> bytes | None:
        """Its subjectKeyIdentifier."""
        found = self.extension(x509.SubjectKeyIdentifier)
        return found.digest if found else None

    @cached_property
    def issuer_key_id(self) -> bytes | None:
        """The identifier of the key that signed it, as it says."""
        found = self.extension(x509.AuthorityKeyIdentifier)
        return found.key_identifier if found else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The DNS names of the subjectAltName, in lower case.

        Raises:
            MalformedPem: there are too many, or it does not parse.
        """
        with parsing():
            return dns_names(self.x509)

    @cached_property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The IP addresses of the subjectAltName."""
        found = self.extension(x509.SubjectAlternativeName)
        values = found.get_values_for_type(x509.IPAddress) if found else ()
        return tuple(value for value in values if isinstance(value, IPAddress))

    @property
    def has_addresses(self) -> bool:
        """It is for IP addresses, perhaps beside names."""
        return bool(self.addresses)

    @property
    def not_before(self) -> datetime:
        return self.x509.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.x509.not_valid_after_utc

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether it has begun and not ended."""
        return self.not_before <= moment <= self.not_after

    def extension(self, kind: type[E]) -> E | None:
        """What an extension says; ``None`` where it is missing, or one of them does not parse."""
        found = self._extensions.get(kind)
        return found if isinstance(found, kind) else None

    @cached_property
    def _extensions(self) -> dict[type[ExtensionType], ExtensionType]:
        return _fact(lambda: {type(one.value): one.value for one in self.x509.extensions}, {})

    @cached_property
    def leaf(self) -> Leaf:
        """Its facts as a leaf.

        Raises:
            MalformedPem: something of it does not parse.
        """
        with parsing():
            return _describe(self)


def parse_all(pem: bytes) -> tuple[ParsedCertificate, ...]:
    """Every certificate in PEM text, in its order.

    Raises:
        MalformedPem: there is none, one does not parse or is cut off, or there are too many.
    """
    if len(pem) > LARGEST_CHAIN_FILE:
        raise MalformedPem(f"what has {len(pem)} bytes is no chain of certificates")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise MalformedPem("no certificate in PEM form, or one that does not parse") from error
    if len(chain) < pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise MalformedPem("a certificate in PEM form is cut off")
    if len(chain) > LONGEST_CHAIN:
        raise MalformedPem(f"a chain of {len(chain)} certificates; real ones have two to four")
    with parsing():
        return tuple(map(parsed, chain))


def parse_der(der: bytes) -> ParsedCertificate:
    """One certificate in DER.

    Raises:
        MalformedPem: it does not parse.
    """
    with parsing():
        return parsed(x509.load_der_x509_certificate(der))


@lru_cache(maxsize=32)
def parsed(certificate: x509.Certificate) -> ParsedCertificate:
    """The same, with its facts; authorities are met again and again."""
    return ParsedCertificate(certificate.fingerprint(hashes.SHA256()).hex(), certificate)


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of the subjectAltName, in lower case; raises what the library raises."""
    extension = _extension(certificate, x509.SubjectAlternativeName)
    if extension is None:
        return ()
    names = (name.lower() for name in extension.get_values_for_type(x509.DNSName))
    found = tuple(dict.fromkeys(name for name in names if name.isprintable()))
    if len(found) > MOST_NAMES:
        raise MalformedPem(f"the certificate names {len(found)} hosts; more than {MOST_NAMES} are not read")
    return found


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _fact(find: Callable[[], T], unknown: U) -> T | U:
    try:
        return find()
    except UNPARSABLE:
        return unknown


def _describe(certificate: ParsedCertificate) -> Leaf:
    key = certificate.x509.public_key()
    key_type, bits = _key_kind(key)
    return Leaf(
        fingerprint=certificate.fingerprint,
        names=certificate.names,
        subject=common_name(subject_of(certificate.x509)),
        issuer=common_name(issuer_of(certificate.x509)),
        organisation=organisation(issuer_of(certificate.x509)),
        serial=certificate.x509.serial_number,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        key_type=key_type,
        key_bits=bits,
        public_key_hash=public_key_hash(key),
    )


def _key_kind(key: object) -> tuple[KeyType, int]:
    if isinstance(key, rsa.RSAPublicKey):
        return KeyType.RSA, key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyType.ECDSA, key.key_size
    return KeyType.OTHER, 256
