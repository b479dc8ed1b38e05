"""What stands at a target's paths now, understood once. Pure."""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath

from controller.domain.certificate import Certificate, Leaf, Trust
from controller.domain.errors import CertificateError, MalformedPem
from controller.domain.observed import Observed
from controller.domain.target import Place, Target
from controller.x509 import pki


def installed_leaf(place: Place, observed: Observed) -> Leaf | None:
    """The leaf that stands in a place's certificate file; ``None`` where none does, or something that does not parse."""
    return pair_in(place, observed).leaf


def installed_fingerprints(target: Target, observed: Observed) -> list[str]:
    """Of all leaves that stand in the target's places."""
    return [leaf.fingerprint for place in target.places if (leaf := installed_leaf(place, observed))]


def pair_in(place: Place, observed: Observed) -> InstalledPair:
    """What stands in a place, parsed once however often it is asked for: as often as there are candidates."""
    if place not in observed.understood:
        observed.understood[place] = InstalledPair(place, observed)
    found: InstalledPair = observed.understood[place]
    return found


class InstalledPair:
    """The pair that stands in a place, each fact found out when it is first asked for. It lives as long as the `Observed`."""

    def __init__(self, place: Place, observed: Observed) -> None:
        self._issuers: dict[bytes, bool] = {}
        self._files = observed.files
        self._place = place

    @cached_property
    def leaf(self) -> Leaf | None:
        try:
            return pki.parse_leaf(self._certificate) if self._certificate else None
        except MalformedPem:
            return None

    @cached_property
    def trust(self) -> Trust:
        try:
            return pki.trust_of(self._certificate + b"\n" + self._content(self._place.chain))
        except MalformedPem:
            return Trust.SELF_SIGNED  # no client gets beyond a chain that does not parse

    @property
    def is_there(self) -> bool:
        """Whether there are a certificate and a key, of whatever worth."""
        return bool(self._certificate and self._key)

    @cached_property
    def key_fits(self) -> bool:
        return self.leaf is not None and bool(self._key) and pki.key_fits(self.leaf, self._key)

    def means(self, certificate: Certificate) -> bool:
        """Whether it is the same certificate, chain and key, in whatever form they are written."""
        if self.leaf is None or self.leaf.fingerprint != certificate.fingerprint or self.whole is None:
            return False
        return self.whole.fullchain_pem == certificate.fullchain_pem

    @property
    def chain_pem(self) -> bytes:
        """Its intermediates; nothing where the pair does not parse or fit."""
        return self.whole.chain_pem if self.whole else b""

    @cached_property
    def whole(self) -> Certificate | None:
        """The certificate with chain and key; ``None`` where they do not parse or fit."""
        try:
            return pki.parse_certificate(self._certificate + b"\n" + self._content(self._place.chain), self._key)
        except CertificateError:
            return None

    def is_issued_by(self, chain: bytes) -> bool:
        """Whether the first certificate of a chain signed the leaf."""
        if chain not in self._issuers:
            self._issuers[chain] = pki.is_issued_by(self._certificate, chain)
        return self._issuers[chain]

    @property
    def _key(self) -> bytes:
        return self._content(self._place.key or self._place.combined)

    @property
    def _certificate(self) -> bytes:
        return self._content(self._place.certificate or self._place.combined)

    def _content(self, path: PurePosixPath | None) -> bytes:
        file = self._files.get(path) if path else None
        return file.content if file else b""
