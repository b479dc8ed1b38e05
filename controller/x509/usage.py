"""Whether mail clients can use a certificate as a server's, whoever signed it (design §4). Pure.

Never milder than OpenSSL at the security level of Debian (2). Where this is stricter:

| refused | who refuses it |
|---|---|
| curves other than P-256, P-384, P-521 | Thunderbird (``mozilla::pkix`` checks the curve of every key) |
| RSASSA-PSS keys, DSA keys | Thunderbird knows neither |
| CA:TRUE that is not self-signed | Thunderbird (``MOZILLA_PKIX_ERROR_CA_CERT_USED_AS_END_ENTITY``) |
| the Server Gated Cryptography usage in place of serverAuth | Thunderbird, since 2016 |

What some clients refuse, and others accept, is used last: see `warnings`.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier, PublicKeyAlgorithmOID

from controller.domain.errors import CertificateError, WeakKey, WeakSignature, WrongUsage
from controller.x509.parsed import ParsedCertificate

MINIMUM_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
_BROKEN_DIGESTS = (hashes.SHA1, hashes.MD5)
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_EKU_NAMES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client authentication",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "mail signing (S/MIME)",
    ExtendedKeyUsageOID.CODE_SIGNING: "code signing",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any use, which OpenSSL and Thunderbird do not accept",
}


def refusal(leaf: ParsedCertificate) -> CertificateError | None:
    """Why mail clients refuse a leaf that is in time and for the right name; ``None`` where they do not."""
    if why := weak_key(leaf):
        return WeakKey(f"{why}; let its program make a new one: RSA with 2048 bits at least, or the curve P-256")
    if not leaf.is_root and (why := weak_signature(leaf)):
        return WeakSignature(f"{why}, which OpenSSL and Thunderbird refuse; let its CA sign it with SHA-256")
    if why := wrong_usage(leaf):
        return WrongUsage(why)
    return None


def warnings(leaf: ParsedCertificate) -> tuple[str, ...]:
    """What makes some clients refuse a leaf: it is used where there is nothing better."""
    return tuple(_warnings(leaf))


def weak_key(certificate: ParsedCertificate) -> str:
    """What is wrong with the key of any certificate of a chain; empty where nothing is."""
    try:
        key = certificate.x509.public_key()
    except Exception:
        return "its key is of an unknown kind"
    if isinstance(key, rsa.RSAPublicKey):
        if certificate.x509.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            return "its key is for RSASSA-PSS alone, which Thunderbird does not know"
        return "" if key.key_size >= MINIMUM_RSA_BITS else f"its key is too weak: RSA with {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else f"its key is on the curve {key.curve.name}, which Thunderbird refuses"
    return (
        "" if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else "its key is of a kind that TLS does not use"
    )


def weak_signature(certificate: ParsedCertificate) -> str:
    """Whether a certificate is signed with a broken digest; of a root's nobody asks."""
    try:
        digest = certificate.x509.signature_hash_algorithm
    except Exception:
        return "it is signed in a way that is not known"
    return f"it is signed with {digest.name.upper().replace('SHA1', 'SHA-1')}" if isinstance(digest, _BROKEN_DIGESTS) else ""


def is_weak(certificate: ParsedCertificate) -> bool:
    """Whether an OpenSSL server does not even start with it in its chain; nobody asks for a root's signature."""
    return bool(weak_key(certificate) or (not certificate.is_root and weak_signature(certificate)))


def allows_servers(certificate: ParsedCertificate) -> bool:
    """Whether its extended key usage, where it has one, holds serverAuth (RFC 5280 §4.2.1.12)."""
    usages = certificate.extension(x509.ExtendedKeyUsage)
    return usages is None or _SERVER in usages


def wrong_usage(leaf: ParsedCertificate) -> str:
    """Why its extensions make it no server's; empty where they do not."""
    if not allows_servers(leaf):
        usages = leaf.extension(x509.ExtendedKeyUsage) or ()
        only = " and ".join(map(_usage_name, usages))
        return f"it is not for servers but for {only}, so every client refuses it; ask its CA for a server certificate"
    if leaf.is_authority and not leaf.is_root:
        return "it is the certificate of a CA, not of a server (CA:TRUE), and Thunderbird refuses it; use the server's own"
    usage = leaf.extension(x509.KeyUsage)
    rsa_only = usage is not None and usage.key_encipherment and isinstance(leaf.x509.public_key(), rsa.RSAPublicKey)
    if usage is not None and not usage.digital_signature and not rsa_only:
        return "its key usage allows no TLS (digitalSignature is missing), so clients refuse it; ask its CA for a server's"
    return ""


def _usage_name(oid: ObjectIdentifier) -> str:
    return _EKU_NAMES.get(oid, oid.dotted_string)


def _warnings(leaf: ParsedCertificate) -> Iterator[str]:
    if isinstance(leaf.x509.public_key(), ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        yield "its key is Ed25519 or Ed448, which Thunderbird and older clients do not know; RSA or P-256 works everywhere"
    feature = leaf.extension(x509.TLSFeature)
    if feature is not None and x509.TLSFeatureType.status_request in feature:
        yield "it asks for OCSP stapling (must-staple), which mail servers do not do, so some clients refuse it"
    usage = leaf.extension(x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield "its key usage lacks digitalSignature, so clients with GnuTLS and those of Android refuse it"
