"""The authority of certferry's own that signs stand-ins.

Beside `controller.x509` the only place that knows the ``cryptography`` package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.domain.certificate import KeyType
from controller.x509.judging import SELF_SIGNED_MARK
from controller.x509.leaves import parse_leaf

LIFE = timedelta(days=3650)
"""How long an authority lasts."""
_SLACK = timedelta(hours=1)
"""Certificates begin so long ago, for clocks that are behind."""
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Authority:
    """A root that signs leaves itself. `pem` is its certificate, `key_pem` its key (PKCS#8)."""

    pem: bytes
    key_pem: bytes = field(repr=False)

    @classmethod
    def make(cls, now: datetime) -> Authority:
        """A new one, under a name that no other has."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"{SELF_SIGNED_MARK} {token_hex(4)}")
        builder = (
            _builder(name, name, key.public_key(), now, LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))

    @property
    def not_after(self) -> datetime:
        """When it ends."""
        return self._certificate.not_valid_after_utc

    @property
    def name(self) -> str:
        return parse_leaf(self.pem).subject

    def issue(self, names: tuple[str, ...], key_type: KeyType | None, now: datetime, life: timedelta) -> tuple[bytes, bytes]:
        """A leaf for DNS names, and its key, both in PEM; ECDSA (P-256) where any key type will do. It ends with the authority.

        Raises:
            ValueError: a name that a certificate cannot hold.
        """
        key = _new_key(key_type)
        builder = (
            _builder(_name(names[0][:64]), self._certificate.subject, key.public_key(), now, min(life, self.not_after - now))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return _pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key)

    @property
    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.pem)

    @property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 -- `make` makes no other
        return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    begin = now.astimezone(UTC).replace(microsecond=0) - _SLACK
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _SLACK + life)
    )


def _new_key(key_type: KeyType | None) -> _Key:
    return rsa.generate_private_key(65537, 2048) if key_type is KeyType.RSA else ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """RFC 5280 §4.2.1.3."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
