"""What stands at a target's paths now, understood once. Pure."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath

from controller.domain.certificate import Certificate, Leaf, Trust
from controller.domain.errors import MalformedPem
from controller.domain.observed import Observed
from controller.domain.target import Place, Target
from controller.x509.chains import Pool, above, is_signed_by
from controller.x509.judging import Judged, as_sent, judge
from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf
from controller.x509.parsed import ParsedCertificate, parse_all
from controller.x509.roots import trusted_roots
from controller.x509.text import count_legible, is_legible
from controller.x509.usage import warnings


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
        self._judged: dict[datetime, Judged] = {}
        self._files = observed.files
        self._place = place

    @cached_property
    def leaf(self) -> Leaf | None:
        try:
            return parse_leaf(self._certificate) if self._certificate else None
        except MalformedPem:
            return None

    def trust(self, moment: datetime) -> Trust:
        """Who vouches for it, as a client sees it at a moment."""
        judged = self._judge(moment)
        return judged.trust if judged else Trust.SELF_SIGNED  # no client gets beyond a chain that does not parse

    def _judge(self, moment: datetime) -> Judged | None:
        if not self._all:
            return None
        if moment not in self._judged:
            self._judged[moment] = judge(self._all[0], self._all[1:], trusted_roots(), moment)
        return self._judged[moment]

    @cached_property
    def _all(self) -> tuple[ParsedCertificate, ...]:
        """The leaf, and what stands beside it; nothing where something of that does not parse."""
        try:
            return parse_all(self._text)
        except MalformedPem:
            return ()

    @property
    def _text(self) -> bytes:
        return self._certificate + b"\n" + self._content(self._place.chain)

    @property
    def is_there(self) -> bool:
        """Whether there are a certificate and a key, of whatever worth."""
        return bool(self._certificate and self._key)

    @cached_property
    def key_fits(self) -> bool:
        return self.leaf is not None and bool(self._key) and is_legible(self._key) and key_fits(self.leaf, self._key)

    def means(self, certificate: Certificate, moment: datetime) -> bool:
        """Whether it is the same certificate and key, in whatever form they are written, with a chain that is as good.

        That is one which has all of the other's in its order, or which clients accept at the moment; but none in which they
        lose their way between what belongs to it and what does not.
        """
        if self.leaf is None or self.leaf.fingerprint != certificate.fingerprint or not self.key_fits:
            return False
        wanted, there = parse_all(certificate.fullchain_pem), tuple(dict.fromkeys(self._all))
        if count_legible(self._text) < len(self._all):
            return False
        if there == wanted:
            return True
        has_all = tuple(one for one in there if one in wanted) == wanted
        if self.trust(moment) is not Trust.PUBLIC:
            return has_all
        accepted = as_sent(self._all[0], self._all[1:], trusted_roots(), moment) is None
        return accepted and (has_all or certificate.trust is Trust.PUBLIC)

    @property
    def above(self) -> tuple[ParsedCertificate, ...]:
        """Whatever stands beside its leaf."""
        return self._all[1:]

    @cached_property
    def chain_pem(self) -> bytes:
        """The certificates above its leaf as they stand in its files, without roots and what is foreign to it."""
        if not self._all:
            return b""
        belongs = above(self._all[0], Pool(self._all[1:]))
        return b"".join(one.pem for one in dict.fromkeys(self._all[1:]) if one in belongs)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Why some clients refuse it, whoever vouches for it."""
        return warnings(self._all[0]) if self._all else ()

    def has_issuer_of(self, certificate: Certificate) -> bool:
        """Whether the same authority signed it: what signed the other did, or both say so by the identifier of its key."""
        if certificate.leaf_pem not in self._issuers:
            self._issuers[certificate.leaf_pem] = bool(self._all) and _same_issuer(self._all[0], certificate)
        return self._issuers[certificate.leaf_pem]

    @property
    def _key(self) -> bytes:
        return self._content(self._place.key or self._place.combined)

    @property
    def _certificate(self) -> bytes:
        return self._content(self._place.certificate or self._place.combined)

    def _content(self, path: PurePosixPath | None) -> bytes:
        file = self._files.get(path) if path else None
        return file.content if file else b""


def _same_issuer(leaf: ParsedCertificate, certificate: Certificate) -> bool:
    other, *chain = parse_all(certificate.fullchain_pem)
    if chain and leaf.issuer == chain[0].subject and is_signed_by(leaf, chain[0]):
        return True
    return leaf.issuer == other.issuer and leaf.issuer_key_id == other.issuer_key_id is not None
