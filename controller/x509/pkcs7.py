"""Certificates in PKCS#7 (RFC 2315), as Windows, Java and many authorities hand out chains: ``.p7b`` files, in DER or PEM."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import InvalidVersion

from controller.domain.errors import MalformedPem
from controller.threads import step

LARGEST = 4 * 2**20
"""Bytes; a chain has 10 kB, all authorities of the web 300 kB."""
_SIGNED_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
"""Its object identifier, 1.2.840.113549.1.7.2."""
_BEGIN = 24
"""Bytes in which that stands, whatever form the lengths before it have."""


def is_pkcs7(der: bytes) -> bool:
    """Whether binary data is signed data of PKCS#7."""
    return der[:1] == b"\x30" and _SIGNED_DATA in der[:_BEGIN]


def certificates_of(der: bytes) -> tuple[bytes, ...]:
    """The certificates in PEM, in the order in which they stand.

    Raises:
        MalformedPem: it is damaged, or has none.
    """
    if len(der) > LARGEST:
        raise MalformedPem(f"it is PKCS#7 of more than {LARGEST // 2**20} MiB; bring only the chain of the certificate")
    step()
    try:
        found = pkcs7.load_der_pkcs7_certificates(der)
        return tuple(certificate.public_bytes(Encoding.PEM) for certificate in found)
    except (ValueError, UnsupportedAlgorithm, InvalidVersion) as error:
        raise MalformedPem("it is PKCS#7 that is damaged, or holds no certificate") from error
