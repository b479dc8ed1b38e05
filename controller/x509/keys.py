"""Private keys: parsed strictly, and written in a form of our own, never as they were found."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from controller.domain.certificate import Leaf
from controller.domain.errors import CertificateError, EncryptedKey, MalformedPem, WeakKey

LARGEST_RSA_BITS, LARGEST_KEY_FILE = 16384, 64 * 1024
"""Bits and bytes; 16384 bits take 13 kB. Arithmetic with larger numbers would hold up everything else."""
PROTECTED = "the private key is protected by a password; store it without one"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


def load_key(pem: bytes) -> PrivateKey:
    """The private key in PEM text, as the library has it.

    Raises:
        MalformedPem, EncryptedKey, WeakKey: there is none that can be used.
    """
    if len(pem) > LARGEST_KEY_FILE:
        raise MalformedPem(f"what has {len(pem)} bytes is no private key")
    try:
        # The library's own check of RSA keys takes 0.1 s for 4096 bits, since it tests primes; see `_is_consistent`.
        key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise EncryptedKey(PROTECTED) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedPem("no private key in PEM form, or one that does not parse") from error
    if isinstance(key, rsa.RSAPrivateKey) and (key.key_size > LARGEST_RSA_BITS or not _is_consistent(key)):
        raise MalformedPem("the numbers of the private key do not fit each other; it is damaged")
    if not isinstance(key, PrivateKey):
        kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
        raise WeakKey(f"it is a key of the kind {kind}, which TLS certificates do not have; bring the key of the certificate")
    return key


def load_der_key(der: bytes) -> object:
    """A key in DER, not judged yet; each goes through `load_key` later. Raises what the library raises."""
    return serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)


def to_pkcs8(key: object) -> bytes:
    """A key in the PEM form in which certferry writes keys: PKCS#8 (RFC 5958), which every mail server reads."""
    written: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return written


def key_fits(leaf: Leaf, key_pem: bytes) -> bool:
    """Whether a PEM key belongs to a leaf; text that is no usable key does not."""
    try:
        key = load_key(key_pem)
    except CertificateError:
        return False
    return public_key_hash(key.public_key()) == leaf.public_key_hash


def public_key_hash(key: object) -> str:
    """The SHA-256 of a public key's DER (SubjectPublicKeyInfo), hex: what tells whether key and certificate belong together."""
    encoded = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(encoded).hexdigest()


def _is_consistent(key: rsa.RSAPrivateKey) -> bool:
    """Whether a key that says it belongs to a public key can sign for it (RFC 8017 §3.2)."""
    private = key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    p, q, d = private.p, private.q, private.d
    if p < 2 or q < 2 or p * q != n:
        return False
    exponents = private.dmp1 == d % (p - 1) and private.dmq1 == d % (q - 1)
    inverse = e * d % (p - 1) == 1 and e * d % (q - 1) == 1
    return exponents and inverse and private.iqmp * q % p == 1
