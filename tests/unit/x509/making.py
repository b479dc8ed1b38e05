"""Certificates of any kind for tests of chains: each is made by a call, with the mistakes one asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.x509.parsed import ParsedCertificate, parsed

NAME = "mail.example.com"
NOW = datetime.now(UTC).replace(microsecond=0)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """One of some keys that are made once."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Made:
    """A certificate, and the key that it is for."""

    certificate: ParsedCertificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.pem


def name(common: str, organisation: str = "", kind: Any = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    common_name = (
        x509.NameAttribute(NameOID.COMMON_NAME, common, kind) if kind else x509.NameAttribute(NameOID.COMMON_NAME, common)
    )
    return x509.Name([*attributes, common_name])


def make(
    subject: x509.Name,
    issuer: Made | None = None,
    *,
    own: Any = None,
    days: tuple[float, float] = (-10, 80),
    ca: bool | None = None,
    path_length: int | None = None,
    names: Sequence[str] = (),
    usages: Sequence[Any] = (),
    signs: bool | None = None,
    issuer_name: x509.Name | None = None,
    key_ids: bool = True,
    more: Sequence[tuple[Any, bool]] = (),
) -> Made:
    """A certificate of `subject`; it signs itself without `issuer`. `days` are its first and last one from now."""
    own = own or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else own
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (issuer.certificate.x509.subject if issuer else subject))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if signs is not None:
        builder = builder.add_extension(key_usage(digital_signature=True, key_cert_sign=signs), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if key_ids:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(parsed(builder.sign(signer, algorithm)), own)


def key_usage(**allowed: bool) -> x509.KeyUsage:
    """RFC 5280 §4.2.1.3; what is not named is not allowed."""
    every = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**(every | allowed))


def root(common: str = "Root", **options: Any) -> Made:
    given: dict[str, Any] = {"days": (-3000, 3000), **options}
    return make(name(common, "Pub"), ca=True, **given)


def intermediate(issuer: Made, common: str = "R1", **options: Any) -> Made:
    given: dict[str, Any] = {"days": (-300, 300), "ca": True, **options}
    return make(name(common, "Pub"), issuer, **given)


def leaf(issuer: Made | None, **options: Any) -> Made:
    given: dict[str, Any] = {"names": (NAME,), "usages": (SERVER,), "own": key(), "ca": False, **options}
    return make(name(NAME), issuer, **given)
