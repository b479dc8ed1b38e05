"""The roots of this system with keys of our own, so that leaves can be signed by them: whom do clients trust, and whom we?"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.differential import der
from tests.differential.keys import key, key_pem
from tests.differential.plans import WANTED
from tests.differential.worlds import NOW, pem

_LEAF_KEY, _INTERMEDIATE_KEY, _FIRST_ROOT_KEY = 10_001, 10_002, 10_003
_END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Clone:
    """A root as this system has it, but of a key of ours."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def name(self) -> str:
        """As people know it."""
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
            if told := self.certificate.subject.get_attributes_for_oid(kind):
                return str(told[0].value)
        return self.certificate.subject.rfc4514_string()

    @property
    def is_valid(self) -> bool:
        return self.certificate.not_valid_before_utc <= NOW < self.certificate.not_valid_after_utc


def system_bundle() -> Path:
    """Where this system keeps its roots; a variable that tells another place does not count."""
    paths = ssl.get_default_verify_paths()
    candidates = (paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
    return next(Path(path) for path in candidates if Path(path).is_file())


@cache
def clones() -> tuple[Clone, ...]:
    """One of each root of this system."""
    return tuple(_clones())


def leaf_of(clone: Clone) -> list[x509.Certificate]:
    """A leaf that a root signed itself."""
    return [_signed("leaf", _LEAF_KEY, clone.certificate, clone.key, authority=False)]


def chain_of(clone: Clone) -> list[x509.Certificate]:
    """A leaf and the intermediate that a root signed."""
    above = _signed("intermediate", _INTERMEDIATE_KEY, clone.certificate, clone.key, authority=True)
    return [_signed("leaf", _LEAF_KEY, above, _ec(_INTERMEDIATE_KEY), authority=False), above]


def leaf_key_pem() -> bytes:
    """The key of all these leaves."""
    return key_pem("p256", _LEAF_KEY)


@cache
def roots_pem() -> str:
    """All clones, as a bundle."""
    return pem([clone.certificate for clone in clones()]).decode()


def _clones() -> Iterator[Clone]:
    originals = [x509.load_pem_x509_certificate(block + _END) for block in system_bundle().read_bytes().split(_END)[:-1]]
    numbers: dict[bytes, int] = {}  # a root that was issued anew has the key of the old one
    for original in originals:
        number = numbers.setdefault(_public_key(original), len(numbers))
        yield Clone(der.with_key(original, _ec(_FIRST_ROOT_KEY + number)), _ec(_FIRST_ROOT_KEY + number))


def _public_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ec(number: int) -> ec.EllipticCurvePrivateKey:
    made = key("p256", number)
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    return made


def _signed(
    subject: str, own: int, issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer.subject)
        .public_key(_ec(own).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=60))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(_ec(own).public_key()), False)
        .add_extension(_identifier_of(issuer, issuer_key), False)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(WANTED)]), False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _identifier_of(issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    """As the issuer calls its key, which is after the original's key."""
    try:
        told = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(told)
