"""OpenSSL's own verdict on a chain: the one place that talks to pyOpenSSL.

OpenSSL is what most mail servers and many clients verify with, so what it refuses is refused here (`X509_verify_cert`(3)).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from functools import lru_cache

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL.crypto import X509, Error, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from controller.x509.parsed import ParsedCertificate, parsed


class Fault(Enum):
    """What OpenSSL finds wrong with a chain, as far as it makes a difference here."""

    NO_ISSUER = auto()
    UNTRUSTED_ROOT = auto()
    EXPIRED = auto()
    NOT_YET_VALID = auto()
    NO_AUTHORITY = auto()
    TOO_LONG = auto()
    WRONG_PURPOSE = auto()
    NAME_NOT_PERMITTED = auto()
    BAD_SIGNATURE = auto()
    UNKNOWN_EXTENSION = auto()
    OTHER = auto()


_FAULTS = {
    2: Fault.NO_ISSUER,
    20: Fault.NO_ISSUER,
    21: Fault.NO_ISSUER,
    18: Fault.UNTRUSTED_ROOT,
    19: Fault.UNTRUSTED_ROOT,
    10: Fault.EXPIRED,
    9: Fault.NOT_YET_VALID,
    79: Fault.NO_AUTHORITY,
    32: Fault.NO_AUTHORITY,
    25: Fault.TOO_LONG,
    26: Fault.WRONG_PURPOSE,
    47: Fault.NAME_NOT_PERMITTED,
    48: Fault.NAME_NOT_PERMITTED,
    7: Fault.BAD_SIGNATURE,
    34: Fault.UNKNOWN_EXTENSION,
}
"""By number (``x509_vfy.h``)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why OpenSSL refuses a chain, and because of which of its certificates."""

    fault: Fault
    certificate: ParsedCertificate


def verify(
    leaf: ParsedCertificate,
    chain: Sequence[ParsedCertificate],
    anchors: Iterable[ParsedCertificate],
    moment: datetime,
    *,
    partial: bool = False,
) -> Refusal | None:
    """Why OpenSSL finds no chain from a leaf to one of the anchors at a moment; ``None`` where it does.

    For a TLS server; host names are not judged. `partial`: an anchor need not be a root.
    """
    store = X509Store()
    # pyOpenSSL has no method for the purpose (X509_STORE_set_purpose(3)); without one any EKU of an authority would do.
    Binding.lib.X509_STORE_set_purpose(store._store, Binding.lib.X509_PURPOSE_SSL_SERVER)
    store.set_time(moment.astimezone(UTC).replace(tzinfo=None))
    if partial:
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    try:
        for anchor in anchors:
            store.add_cert(_converted(anchor))
        X509StoreContext(store, _converted(leaf), list(map(_converted, chain))).verify_certificate()
    except X509StoreContextError as error:
        return Refusal(_FAULTS.get(error.errors[0], Fault.OTHER), parsed(error.certificate.to_cryptography()))
    except Error:  # a certificate that this library takes and OpenSSL does not
        return Refusal(Fault.OTHER, leaf)
    return None


@lru_cache(maxsize=32)
def _converted(certificate: ParsedCertificate) -> X509:
    return X509.from_cryptography(certificate.x509)
