"""Certificates with any mistake. Those that the library would not make are made right, then changed and signed anew."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.certs import Pair

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
Change = Callable[[list[bytes]], list[bytes]]
"""Of the elements of a TBSCertificate (RFC 5280 §4.1), each in DER."""

NOW = datetime.now(UTC).replace(microsecond=0)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
SIGNS = frozenset({"digital_signature", "key_cert_sign", "crl_sign"})
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_CURVES: dict[str, ec.EllipticCurve] = {
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "p224": ec.SECP224R1(),
    "secp256k1": ec.SECP256K1(),
    "brainpool": ec.BrainpoolP256R1(),
}
_SHA1 = {
    "ecdsa": bytes.fromhex("300906072a8648ce3d0401"),
    "rsa": bytes.fromhex("300d06092a864886f70d0101050500"),
}
_SHA256 = {
    "ecdsa": bytes.fromhex("300a06082a8648ce3d040302"),
    "rsa": bytes.fromhex("300d06092a864886f70d01010b0500"),
}
_PSS = bytes.fromhex("300b06092a864886f70d01010a")
"""AlgorithmIdentifier of a key that is for RSASSA-PSS alone, without parameters (RFC 4055 §1.2)."""


@cache
def key_of(kind: str, number: int = 0) -> Key:
    """A key of a kind, the same for the same number: ``p256``, ``rsa2048``, ``ed25519`` …"""
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


@dataclass(frozen=True)
class Made:
    """One certificate, its key, and its name as it is written."""

    der: bytes = field(repr=False)
    key: Key = field(repr=False)
    subject: x509.Name

    @property
    def pem(self) -> bytes:
        return pem_of(self.der)

    @property
    def key_pem(self) -> bytes:
        key = self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _armour("PRIVATE KEY", _with_pss(key, 1) if _PSS in self.der else key)

    def with_chain(self, *chain: Made) -> Pair:
        """What a server sends: this, and then the `chain`."""
        return Pair(b"".join(one.pem for one in (self, *chain)), self.key_pem)


def make(
    common: str,
    issuer: Made | None = None,
    *,
    kind: str = "p256",
    number: int = 0,
    names: Sequence[str] = (),
    authority: bool | None = None,
    path_length: int | None = None,
    usage: Collection[str] | None = None,
    extended: Sequence[ObjectIdentifier] | None = None,
    begin: timedelta = timedelta(days=-1),
    days: float = 90,
    key_id: bool = True,
    issuer_key_id: bytes | bool = True,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    subject: x509.Name | None = None,
    issuer_name: x509.Name | None = None,
    change: Change | None = None,
    sha1: bool = False,
) -> Made:
    """One that its issuer signed, or itself; `authority` and `usage` are left out where they are ``None``."""
    key = key_of(kind, number)
    signer = issuer.key if issuer else key
    own = subject if subject is not None else named(common)
    begins = NOW + begin
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer_name or (issuer.subject if issuer else own))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(x509.KeyUsage(**{one: one in usage for one in _USAGES}), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if issuer_key_id is True:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    elif issuer_key_id:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key_id, None, None), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general(n) for n in names]), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    plain = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    der = builder.sign(signer, None if plain else hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return Made(_changed(der, signer, change, sha1=sha1) if change or sha1 else der, key, own)


def named(common: str, **types: object) -> x509.Name:
    """A name; of `types` the string type of the common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64], **types)])  # type: ignore[arg-type]


def general(name: str) -> x509.GeneralName:
    """A subjectAltName: an address where it is one; ``dns:`` before it makes a name of it all the same."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.removeprefix("dns:"))


def version_1(elements: list[bytes]) -> list[bytes]:
    """Without version and extensions (RFC 5280 §4.1.2.1)."""
    return [one for one in elements if one[0] not in (0xA0, 0xA3)]


def with_serial(number: bytes) -> Change:
    """With a serial number of any size, big-endian."""
    return lambda elements: [elements[0], tlv(0x02, number), *elements[2:]]


def for_pss_alone(elements: list[bytes]) -> list[bytes]:
    """The RSA key is said to be for RSASSA-PSS alone."""
    return [*elements[:6], _with_pss(elements[6], 0), *elements[7:]]


def tampered(made: Made) -> Made:
    """The same with another signature."""
    return Made(made.der[:-4] + bytes(byte ^ 1 for byte in made.der[-4:]), made.key, made.subject)


def pem_of(der: bytes) -> bytes:
    return _armour("CERTIFICATE", der)


def _armour(what: str, der: bytes) -> bytes:
    return f"-----BEGIN {what}-----\n".encode() + base64.encodebytes(der) + f"-----END {what}-----\n".encode()


def _changed(der: bytes, signer: Key, change: Change | None, *, sha1: bool) -> bytes:
    tbs, algorithm, _ = split(inside(der))
    kind = "rsa" if isinstance(signer, rsa.RSAPrivateKey) else "ecdsa"
    elements = split(inside(tbs))
    if change:
        elements = change(elements)
    if sha1:
        algorithm = _SHA1[kind]
        elements = [algorithm if one == _SHA256[kind] else one for one in elements]
    signed = tlv(0x30, b"".join(elements))
    digest = hashes.SHA1() if sha1 else hashes.SHA256()  # noqa: S303 -- that is the mistake
    if isinstance(signer, rsa.RSAPrivateKey):
        signature = signer.sign(signed, padding.PKCS1v15(), digest)
    else:
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        signature = signer.sign(signed, ec.ECDSA(digest))
    return tlv(0x30, signed + algorithm + tlv(0x03, b"\0" + signature))


def _with_pss(der: bytes, position: int) -> bytes:
    elements = split(inside(der))
    return tlv(0x30, b"".join([*elements[:position], _PSS, *elements[position + 1 :]]))


def tlv(tag: int, content: bytes) -> bytes:
    """One element in DER."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8]) + _bytes(size)
    return bytes([tag]) + length + content


def split(content: bytes) -> list[bytes]:
    """The elements that follow each other in DER, each with its header."""
    found = []
    while content:
        size = _header(content)[1]
        found.append(content[:size])
        content = content[size:]
    return found


def inside(element: bytes) -> bytes:
    """What one element holds."""
    header, size = _header(element)
    return element[header:size]


def _header(element: bytes) -> tuple[int, int]:
    """Bytes of the header, and of the whole element."""
    first = element[1]
    if first < 128:
        return 2, 2 + first
    more = first & 0x7F
    return 2 + more, 2 + more + int.from_bytes(element[2 : 2 + more], "big")


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
