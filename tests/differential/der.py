"""Certificates that the library refuses to make, put together by hand: of version 1, signed with SHA-1, or with another key."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.differential.keys import Key

_SEQUENCE, _BIT_STRING, _VERSION, _EXTENSIONS = 0x30, 0x03, 0xA0, 0xA3
_SHA256_WITH_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
_SHA1_WITH_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
_SHA1_WITH_ECDSA = bytes.fromhex("300906072a8648ce3d0401")


def of_version_1(certificate: x509.Certificate, issuer_key: Key) -> x509.Certificate:
    """The same without version and extensions."""
    parts = [part for part in _parts(certificate.tbs_certificate_bytes) if part[0] not in (_VERSION, _EXTENSIONS)]
    hashed = certificate.signature_hash_algorithm
    assert hashed is not None, "an Ed25519 key would need another way of signing"
    return _signed(parts, parts[1], issuer_key, hashed)


def signed_with_sha1(certificate: x509.Certificate, issuer_key: Key) -> x509.Certificate:
    """The same with a weak signature."""
    algorithm = _SHA1_WITH_RSA if isinstance(issuer_key, rsa.RSAPrivateKey) else _SHA1_WITH_ECDSA
    parts = list(_parts(certificate.tbs_certificate_bytes))
    parts[2] = algorithm  # after version and serial number
    return _signed(parts, algorithm, issuer_key, hashes.SHA1())  # noqa: S303 - clients refuse it, and so must certferry


def with_text(certificate: x509.Certificate, issuer_key: Key, old: bytes, new: bytes) -> x509.Certificate:
    """The same with other bytes of the same number somewhere in it, as for a text that the library cannot write."""
    assert len(old) == len(new), "the lengths around them stay"
    parts = list(_parts(certificate.tbs_certificate_bytes.replace(old, new)))
    hashed = certificate.signature_hash_algorithm
    assert hashed is not None, "an Ed25519 key would need another way of signing"
    return _signed(parts, parts[2], issuer_key, hashed)


def with_key(certificate: x509.Certificate, own_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The same of another key, signed by itself; everything else to the byte."""
    parts = list(_parts(certificate.tbs_certificate_bytes))
    first = 1 if parts[0][0] == _VERSION else 0
    parts[first + 1] = _SHA256_WITH_ECDSA
    parts[first + 5] = own_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _signed(parts, _SHA256_WITH_ECDSA, own_key, hashes.SHA256())


def _signed(parts: list[bytes], algorithm: bytes, key: Key, hashed: hashes.HashAlgorithm) -> x509.Certificate:
    tbs = _tlv(_SEQUENCE, b"".join(parts))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(tbs, padding.PKCS1v15(), hashed)
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signature = key.sign(tbs, ec.ECDSA(hashed))
    return x509.load_der_x509_certificate(_tlv(_SEQUENCE, tbs + algorithm + _tlv(_BIT_STRING, b"\0" + signature)))


def _parts(sequence: bytes) -> Iterator[bytes]:
    position, end = _header(sequence, 0), len(sequence)
    while position < end:
        inside = _header(sequence, position)
        following = inside + _length(sequence, position)
        yield sequence[position:following]
        position = following


def _header(der: bytes, position: int) -> int:
    """Where the content of the value at a position begins."""
    return position + 2 + (der[position + 1] & 0x7F if der[position + 1] & 0x80 else 0)


def _length(der: bytes, position: int) -> int:
    if der[position + 1] & 0x80:
        return int.from_bytes(der[position + 2 : _header(der, position)], "big")
    return der[position + 1]


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
