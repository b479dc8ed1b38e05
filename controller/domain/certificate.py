"""The certificate: a leaf, its intermediates in order and the private key, parsed once.

Objects are made by `controller.x509`, which does the parsing and the checks; here is only what they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cached_property


class KeyType(StrEnum):
    """The family of the leaf's public key."""

    RSA = "rsa"
    ECDSA = "ecdsa"
    OTHER = "other"


class Trust(IntEnum):
    """Who vouches for a certificate, as a client sees it; higher replaces lower, never the other way round."""

    SELF_SIGNED = 0
    STAGING = 1
    REFUSED = 2
    """Its chain is invalid whoever has its root: an intermediate has ended, or may not issue it."""
    INCOMPLETE = 3
    """What issued it is neither beside it nor a known root: the intermediate is missing."""
    PRIVATE = 4
    ROOT_UNKNOWN = 5
    """A public authority issued it, by a root that this system does not have."""
    PUBLIC = 6
    """It leads to a root of this system, or to one that the operator added."""

    @property
    def called(self) -> str:
        """As commands, conditions, metrics and documentation name it: a CamelCase constant, as of reasons."""
        return _CALLED[self]


_CALLED = {
    Trust.SELF_SIGNED: "SelfSigned",
    Trust.STAGING: "Staging",
    Trust.REFUSED: "ChainRefused",
    Trust.INCOMPLETE: "ChainIncomplete",
    Trust.PRIVATE: "PrivateRoot",
    Trust.ROOT_UNKNOWN: "RootUnknown",
    Trust.PUBLIC: "Trusted",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """The public facts of one end-entity certificate.

    `names` are the DNS names of the subjectAltName in lower case; `fingerprint` is the SHA-256 of the DER in hex. An authority
    changes its intermediates and keeps its `organisation`, which is the issuer's name where it tells none.
    """

    fingerprint: str
    names: tuple[str, ...]
    subject: str
    issuer: str
    organisation: str
    serial: int
    not_before: datetime
    not_after: datetime
    key_type: KeyType
    key_bits: int
    public_key_hash: str

    @property
    def late(self) -> datetime:
        """When a fifth of its life is left: whoever renews it should have done so."""
        return self.not_after - (self.not_after - self.not_before) / 5

    @property
    def short(self) -> str:
        """The first 12 digits of the fingerprint, as people see it."""
        return self.fingerprint[:12]


@dataclass(frozen=True)
class Certificate:
    """A leaf with its chain and private key, known to fit.

    `leaf_pem` and `chain_pem` are normalised PEM (``chain_pem`` may be empty), `key_pem` is PKCS#8, in a form of our own.
    """

    leaf: Leaf
    leaf_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    trust: Trust = Trust.PRIVATE
    why: str = ""
    """What a client says where it does not trust it."""
    warnings: tuple[str, ...] = ()
    """Why some clients refuse it, so that it is used where there is nothing better."""
    root_unknown: bool = False
    """Every signature was verified up to a root that nobody here knows."""
    until: datetime | None = None
    """When a certificate above it begins or ends, so that the answers may be others."""

    @cached_property
    def fullchain_pem(self) -> bytes:
        """Leaf first, then the intermediates: what every mail server wants in its certificate file."""
        return self.leaf_pem + self.chain_pem

    @cached_property
    def combined_pem(self) -> bytes:
        """Key, leaf and chain in one file, the order Postfix documents for ``smtpd_tls_chain_files``."""
        return self.key_pem + self.fullchain_pem

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that is delivered of it, hex: another key form or chain makes it another one."""
        return hashlib.sha256(self.combined_pem).hexdigest()

    @property
    def vouched(self) -> Trust:
        """Which trust it is, for people: whether a root that nobody here knows is private or new, nobody can say."""
        return Trust.ROOT_UNKNOWN if self.root_unknown else self.trust

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf's DER, hex."""
        return self.leaf.fingerprint
