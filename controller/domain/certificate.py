"""The certificate: a leaf, its intermediates in order and the private key, parsed once.

Objects are made by `controller.x509.pki`, which does the parsing and the checks; here is only what they are.
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
    """Who vouches for a certificate; higher replaces lower, never the other way round."""

    SELF_SIGNED = 0
    STAGING = 1
    PRIVATE = 2
    PUBLIC = 3

    @property
    def word(self) -> str:
        """As a sentence says it."""
        return self.name.lower().replace("_", "-")


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

    `leaf_pem` and `chain_pem` are normalised PEM (``chain_pem`` may be empty); `key_pem` is the key as the source wrote it.
    """

    leaf: Leaf
    leaf_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    trust: Trust = Trust.PRIVATE

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
    def fingerprint(self) -> str:
        """SHA-256 of the leaf's DER, hex."""
        return self.leaf.fingerprint
