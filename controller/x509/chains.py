"""From a leaf to what issued it: paths through certificates of any order (RFC 4158).

Candidates are found by name, compared as RFC 5280 §7.1 says, those with the right key identifier first; a signature decides.
Which path a client accepts is for `controller.x509.judging`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from cryptography.exceptions import InvalidSignature

from controller.threads import step
from controller.x509.parsed import UNPARSABLE, Named, ParsedCertificate
from controller.x509.signatures import verify_signature
from controller.x509.usage import is_weak

LONGEST_PATH = 8
"""Certificates above a leaf; real paths have one to three."""
MOST_ISSUERS = 50
"""Authorities of one name that are tried for one certificate; there are one or two, with all renewals and cross-signs five."""
MOST_PATHS = 200
"""Paths of one leaf that are looked at."""

Path = tuple[ParsedCertificate, ...]
"""The certificates above a leaf, the nearest first."""


class Pool:
    """Certificates that may be issuers, by name, in the order in which they were added; then those of another pool."""

    def __init__(self, certificates: Iterable[ParsedCertificate] = (), others: Pool | None = None) -> None:
        self._by_subject: dict[Named, dict[ParsedCertificate, None]] = {}
        self._others = others
        self._issuers: dict[ParsedCertificate, tuple[ParsedCertificate, ...]] = {}
        for certificate in certificates:
            self.add(certificate)

    def add(self, certificate: ParsedCertificate) -> None:
        """Remember one, once."""
        self._by_subject.setdefault(certificate.subject, {})[certificate] = None
        self._issuers.clear()

    @property
    def digest(self) -> bytes:
        """Tells pools apart by content."""
        return hashlib.sha256("".join(sorted(one.fingerprint for one in self)).encode()).digest()

    def __iter__(self) -> Iterator[ParsedCertificate]:
        for named in self._by_subject.values():
            yield from named

    def named(self, subject: Named) -> tuple[ParsedCertificate, ...]:
        """Those of a name."""
        known = islice(self._by_subject.get(subject, ()), MOST_ISSUERS)
        more = self._others.named(subject) if self._others else ()
        return tuple(islice(dict.fromkeys((*known, *more)), MOST_ISSUERS))

    def issuers_of(self, certificate: ParsedCertificate) -> tuple[ParsedCertificate, ...]:
        """Whoever signed a certificate, and is not itself: the one with the right key identifier first.

        Each is asked once: many paths may go through a few authorities that sign each other.
        """
        if certificate not in self._issuers:
            candidates = sorted(self.named(certificate.issuer), key=lambda one: _other_key(certificate, one))
            self._issuers[certificate] = tuple(
                issuer for issuer in candidates if issuer != certificate and is_signed_by(certificate, issuer)
            )
        return self._issuers[certificate]


def paths(leaf: ParsedCertificate, pool: Pool) -> Iterator[Path]:
    """Every path of intermediates above a leaf, the shorter first, the empty one too; without the roots that end them."""
    waiting: deque[Path] = deque([()])
    for _ in range(MOST_PATHS):
        if not waiting:
            return
        path = waiting.popleft()
        yield path
        if len(path) < LONGEST_PATH:
            last = path[-1] if path else leaf
            met = {leaf, *path}
            issuers = (one for one in pool.issuers_of(last) if not (one in met or one.is_root or is_weak(one)))
            waiting += [(*path, issuer) for issuer in issuers]


def above(leaf: ParsedCertificate, pool: Pool) -> Path:
    """Those that may stand above a leaf, in the order in which they are met; what is foreign to it, and roots, are left out."""
    return tuple(dict.fromkeys(one for path in paths(leaf, pool) for one in path))


@lru_cache(maxsize=64)
def is_signed_by(certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Whether the key of one verifies the signature of another, whatever their names; what cannot be judged here is not."""
    step()
    try:
        verify_signature(certificate.x509, issuer.x509)
    except (InvalidSignature, *UNPARSABLE):
        return False
    return True


def _other_key(certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Whether it names another key than the candidate's as the one that signed it."""
    return None not in (certificate.issuer_key_id, issuer.key_id) and certificate.issuer_key_id != issuer.key_id
