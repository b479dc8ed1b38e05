"""Whether the key of one certificate signed another."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa


def verify_signature(signed: x509.Certificate, issuer: x509.Certificate) -> None:
    """Verify a signature, whatever the names.

    Raises:
        InvalidSignature: another key made it.
        UnsupportedAlgorithm, ValueError, TypeError: it cannot be judged here.
    """
    key, digest, how = issuer.public_key(), signed.signature_hash_algorithm, signed.signature_algorithm_parameters
    signature, content = signed.signature, signed.tbs_certificate_bytes
    if isinstance(key, rsa.RSAPublicKey) and isinstance(how, padding.PKCS1v15 | padding.PSS) and digest:
        key.verify(signature, content, how, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA | None) and digest:  # of SHA-1 how is None
        key.verify(signature, content, ec.ECDSA(digest))
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, content)
    else:
        raise InvalidSignature("a key of another kind than the signature")
