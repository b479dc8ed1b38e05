"""A throw-away certificate authority for tests, demo and benchmark: fast keys, any dates, any mistake one asks for."""

from __future__ import annotations

import base64
import gzip
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from controller.domain.certificate import Certificate
from controller.x509.pairs import parse_certificate

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
"""What an authority's certificate must say of itself (RFC 5280 §4.2.1.3)."""


def new_key(kind: str = "ecdsa", bits: int = 2048) -> Key:
    """A private key: ``ecdsa`` (P-256) or ``rsa``."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, bits)


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    """PKCS#8 PEM, encrypted when a password is given."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@dataclass(frozen=True)
class Pair:
    """What a source would hold: the chain (leaf first) and the key, both PEM."""

    chain: bytes
    key: bytes

    @property
    def certificate(self) -> Certificate:
        return certificate_of(self.chain, self.key)


def certificate_of(chain: bytes, key: bytes) -> Certificate:
    """What certferry makes of a chain and a key in PEM now."""
    return parse_certificate(chain, key, datetime.now(UTC))


class Authority:
    """A root and an intermediate that issue leaves; of the same `organisation` there may be several."""

    def __init__(self, name: str = "certferry test CA", *, organisation: str = "") -> None:
        self._root_key, self._key = new_key(), new_key()
        self.root = self._sign(f"{name} root", self._root_key, f"{name} root", self._root_key, authority=True)
        self.intermediate = self._sign(
            name, self._key, f"{name} root", self._root_key, authority=True, organisation=organisation
        )
        self._name, self._organisation = name, organisation

    def issue(
        self,
        *names: str,
        days: float = 90,
        age: timedelta = timedelta(hours=1),
        kind: str = "ecdsa",
        bits: int = 2048,
        key: Key | None = None,
        san: bool = True,
    ) -> Pair:
        """A leaf for DNS names, begun `age` ago and ending `days` after that."""
        key = key or new_key(kind, bits)
        leaf = self._sign(
            names[0],
            key,
            self._name,
            self._key,
            names=names if san else (),
            days=days,
            age=age,
            issuer_organisation=self._organisation,
        )
        return Pair(self._pem(leaf) + self._pem(self.intermediate), key_pem(key))

    @property
    def root_pem(self) -> bytes:
        return self._pem(self.root)

    @property
    def intermediate_pem(self) -> bytes:
        return self._pem(self.intermediate)

    @staticmethod
    def _pem(certificate: x509.Certificate) -> bytes:
        return certificate.public_bytes(serialization.Encoding.PEM)

    @staticmethod
    def _sign(
        subject: str,
        key: Key,
        issuer: str,
        issuer_key: Key,
        *,
        names: tuple[str, ...] = (),
        days: float = 3650,
        age: timedelta = timedelta(hours=1),
        authority: bool = False,
        organisation: str = "",
        issuer_organisation: str = "",
    ) -> x509.Certificate:
        begin = datetime.now(UTC) - (timedelta(days=365) if authority else age)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject, organisation))
            .issuer_name(_name(issuer, issuer_organisation))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if authority:
            builder = builder.add_extension(_SIGNS, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str, organisation: str) -> x509.Name:
    said = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*said, x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def self_signed(*names: str, days: float = 90, age: timedelta = timedelta(hours=1)) -> Pair:
    """A leaf that vouches for itself."""
    key = new_key()
    leaf = Authority._sign(names[0], key, names[0], key, names=names, days=days, age=age)
    return Pair(Authority._pem(leaf), key_pem(key))


def acme_json(*pairs: Pair, resolver: str = "le", main: str = "") -> bytes:
    """Pairs as Traefik v2 and v3 write them into ``acme.json``; `main` labels those that do not parse."""
    entries = [
        {
            "domain": {"main": main or pair.certificate.leaf.names[0]},
            "certificate": base64.b64encode(pair.chain).decode(),
            "key": base64.b64encode(pair.key).decode(),
            "Store": "default",
        }
        for pair in pairs
    ]
    return json.dumps({resolver: {"Account": None, "Certificates": entries or None}}, indent=2).encode()


def traefik_v1_account(*pairs: Pair) -> bytes:
    """Pairs as Traefik v1 writes them into a key-value store: its older layout, as gzip."""
    certificates = [
        {
            "Domains": {"Main": (name := pair.certificate.leaf.names[0]), "SANs": None},
            "Certificate": {
                "Domain": name,
                "PrivateKey": base64.b64encode(pair.key).decode(),
                "Certificate": base64.b64encode(pair.chain).decode(),
            },
        }
        for pair in pairs
    ]
    account = {"Email": "admin@example.test", "DomainsCertificate": {"Certs": certificates}, "ChallengeCerts": {}}
    return gzip.compress(json.dumps(account).encode())
