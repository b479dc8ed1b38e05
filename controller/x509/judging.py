"""Which chain goes with a leaf, and what a client says of it: the question of design §4.

The chain that its producer put beside a leaf is kept, in order and cleaned, when OpenSSL verifies it at the moment; else the
shortest other one that it verifies is taken. Building is `controller.x509.chains`, verifying is OpenSSL's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, pairwise

from cryptography import x509

from controller.domain.certificate import Trust
from controller.x509 import openssl
from controller.x509.chains import Path, Pool, is_signed_by, paths
from controller.x509.openssl import Fault, Refusal
from controller.x509.parsed import ParsedCertificate
from controller.x509.roots import Roots
from controller.x509.usage import is_weak, weak_key, weak_signature

MOST_VERIFIED = 20
"""Paths of one leaf that OpenSSL is asked about, for each kind of anchor."""
SELF_SIGNED_MARK = "certferry self-signed CA"
"""Part of the name of the authority that the self-signed source makes for itself."""
STAGING_MARKS = ("(staging)", "fake le ", "staging ca", "test certificate authority (staging)")
"""Lower-case parts of issuer names used by the public CAs' staging environments (Let's Encrypt, ZeroSSL)."""
_PUBLIC_POLICIES = frozenset(f"2.23.140.1.{kind}" for kind in ("1", "2.1", "2.2", "2.3"))
"""What a public authority's certificate says of how it was issued (CA/Browser Forum, Baseline Requirements 7.1.6.1)."""

_ADD_ROOT = "if it is to be trusted, name it in CERTFERRY_EXTRA_ROOTS"
_COMPLETE = "give the whole chain (fullchain.pem)"
_NO_PATH = "clients refuse its chain: OpenSSL finds no way from it to a root; get the current chain from the CA"
_SAME_NAME = "it has the name of the CA that issued it, so clients take it for self-signed; make it with another subject"
_WHY = {
    Fault.NO_ISSUER: "what issued it has another key than the one that it names (authorityKeyIdentifier)",
    Fault.EXPIRED: "it expired on {end:%Y-%m-%d}",
    Fault.NOT_YET_VALID: "it begins on {begin:%Y-%m-%d}",
    Fault.NO_AUTHORITY: "it does not say that it is a CA's (basicConstraints or keyUsage)",
    Fault.TOO_LONG: "the CA above it allows no further one (path length)",
    Fault.WRONG_PURPOSE: "its extended key usage allows no TLS servers",
    Fault.NAME_NOT_PERMITTED: "the CA above it may not issue for this name (name constraints)",
    Fault.BAD_SIGNATURE: "its signature is wrong",
    Fault.UNKNOWN_EXTENSION: "it has a critical extension that OpenSSL does not know",
}
_BY_ITS_DATES = (Fault.EXPIRED, Fault.NOT_YET_VALID)


@dataclass(frozen=True, slots=True)
class Judged:
    """The `chain` to deliver above a leaf, the nearest issuer first; who vouches for it, and `why` it is not trusted.

    `until`: at this moment a certificate that plays a part begins or ends, so that the answer may be another one.
    `root_unknown`: every signature was verified up to a root that nobody here knows.
    """

    chain: Path
    trust: Trust
    why: str = ""
    root_unknown: bool = False
    until: datetime | None = None

    @property
    def vouched(self) -> Trust:
        """Which trust it is, for people; see `Certificate.vouched`."""
        return Trust.ROOT_UNKNOWN if self.root_unknown else self.trust


@dataclass(frozen=True)
class _Question:
    """One leaf at one moment."""

    leaf: ParsedCertificate
    roots: Roots
    moment: datetime

    def trusted(self, candidates: Iterable[Path]) -> Path | None:
        """The first path that a client with these roots accepts."""
        return self._first((path, self.roots.for_path(self.leaf, path)) for path in candidates)

    def private(self, candidates: Iterable[Path], beside: Pool) -> Path | None:
        """The first that a client accepts that has a root which lies beside the leaf.

        One root at a time: of several with one name OpenSSL looks at the first alone.
        """
        return self._first((path, (root,)) for path in candidates for root in self.roots_of(path, beside))

    def roots_of(self, path: Path, beside: Pool) -> list[ParsedCertificate]:
        """What lies beside the leaf and may end a path."""
        return [one for one in beside.named((self.leaf, *path)[-1].issuer) if one.is_root and not weak_key(one)]

    def up_to(self, candidates: Iterable[Path], beside: Pool) -> Path | None:
        """The first that ends where no issuer is at hand, and of which everything but its root can be verified.

        Not one of whose root a known one has the name, and is no good.
        """
        candidates = tuple(candidates)
        begun = {path[:-1] for path in candidates}
        whole = (path for path in candidates if path and path not in begun and not self.weak_issuer(path, beside))
        return self._first(((path, path[-1:]) for path in whole if not self._has_bad_root(path)), partial=True)

    def weak_issuer(self, path: Path, beside: Pool) -> ParsedCertificate | None:
        """What was left out above a path, because a server would not start with it; a root always is."""
        last = (self.leaf, *path)[-1]
        weak = (one for one in beside.named(last.issuer) if is_weak(one) and not one.is_root)
        return next((one for one in weak if is_signed_by(last, one)), None)

    def _has_bad_root(self, path: Path) -> bool:
        if not self.roots.pool.named(path[-1].issuer):
            return False
        found = self.verify(path, self.roots.for_path(self.leaf, path))
        return found is not None and found.fault is not Fault.NO_ISSUER

    def _first(self, candidates: Iterable[tuple[Path, Sequence[ParsedCertificate]]], *, partial: bool = False) -> Path | None:
        """The first of several paths with their anchors; those without any are passed over."""
        likely = ((path, known) for path, known in candidates if known)
        for path, known in islice(likely, MOST_VERIFIED):
            if self.verify(path, known, partial=partial) is None:
                return path
        return None

    def verify(self, path: Path, anchors: Sequence[ParsedCertificate], *, partial: bool = False) -> Refusal | None:
        """Why a client refuses a path."""
        return openssl.verify(self.leaf, path, anchors, self.moment, partial=partial)


def judge(
    leaf: ParsedCertificate,
    own: Sequence[ParsedCertificate],
    roots: Roots,
    moment: datetime,
    pool: Pool | None = None,
) -> Judged:
    """Judge a leaf with the certificates beside it, and with those of a `pool` that may be its issuers as well.

    An ended leaf is judged as it was at its end, one that has not begun as it will be: its own dates are told elsewhere.
    """
    question = _Question(leaf, roots, min(max(moment, leaf.not_before), leaf.not_after))
    if _is_in_order(leaf, own) and question.trusted(_in_time([tuple(own)], question.moment)):
        return Judged(tuple(own), Trust.PUBLIC, until=_next_change(leaf, [tuple(own)], [roots.pool], moment))
    beside = Pool(one for one in own if one != leaf)
    everything = beside if pool is None else Pool(beside, pool)
    theirs = list(paths(leaf, beside))
    all_paths = theirs if pool is None else list(paths(leaf, everything))
    others = [] if pool is None else _in_time(all_paths, question.moment)
    judged = _judge(question, _longest_first(theirs, question.moment), others, everything)
    if judged is None:
        judged = _refused(question, max(theirs, key=len) or max(all_paths, key=len), everything)
    if judged.trust is not Trust.PUBLIC and (weak := question.weak_issuer(judged.chain, everything)):
        judged = replace(judged, trust=Trust.REFUSED, why=_with_remedy(Refusal(Fault.OTHER, weak)), root_unknown=False)
    return replace(_with_mark(leaf, judged), until=_next_change(leaf, all_paths, [roots.pool, everything], moment))


def as_sent(leaf: ParsedCertificate, behind: Sequence[ParsedCertificate], roots: Roots, moment: datetime) -> Refusal | None:
    """Why OpenSSL refuses what it finds in all that is sent, as clients find it: of several paths it tries the first alone."""
    return openssl.verify(leaf, behind, roots.for_path(leaf, behind), min(max(moment, leaf.not_before), leaf.not_after))


def _is_in_order(leaf: ParsedCertificate, own: Sequence[ParsedCertificate]) -> bool:
    """Whether what stands beside a leaf is its chain and nothing else, as almost always; its own signature OpenSSL verifies."""
    if not own or leaf.issuer != own[0].subject or leaf.issuer_key_id is None or leaf.issuer_key_id != own[0].key_id:
        return False
    links = all(one.issuer == issuer.subject and is_signed_by(one, issuer) for one, issuer in pairwise(own))
    return links and len({leaf, *own}) == len(own) + 1 and not any(one.is_root or is_weak(one) for one in own)


def _judge(question: _Question, theirs: Sequence[Path], others: Sequence[Path], everything: Pool) -> Judged | None:
    """By the best path that is valid; ``None`` where none is."""
    if (found := question.trusted(theirs)) is not None or (found := question.trusted(others)) is not None:
        return Judged(found, Trust.PUBLIC)
    if (found := question.private(theirs, everything)) is not None or (
        found := question.private(others, everything)
    ) is not None:
        if found and _is_public(question, found):  # as it is once installed, without its root; a renewal must be no less
            return _root_unknown(question, found)
        return Judged(found, Trust.PRIVATE, _private((question.leaf, *found)[-1].issuer_shown))
    if found := question.up_to(theirs, everything) or question.up_to(others, everything):
        return _root_unknown(question, found)
    return None


def _longest_first(candidates: Iterable[Path], moment: datetime) -> list[Path]:
    return sorted(_in_time(candidates, moment), key=len, reverse=True)


def _in_time(candidates: Iterable[Path], moment: datetime) -> list[Path]:
    return [path for path in candidates if all(one.is_valid_at(moment) for one in path)]


def _next_change(
    leaf: ParsedCertificate, candidates: Iterable[Path], ends: Sequence[Pool], moment: datetime
) -> datetime | None:
    """When the next certificate above the leaf begins or ends, one of the roots that may end a path included."""
    above = {one for path in candidates for one in path}
    issuers = {leaf.issuer, *(one.issuer for one in above)}
    above.update(root for pool in ends for name in issuers for root in pool.named(name))
    return min((edge for one in above for edge in (one.not_before, one.not_after) if edge > moment), default=None)


def _root_unknown(question: _Question, path: Path) -> Judged:
    """All but the root was verified."""
    name = path[-1].issuer_shown
    public = _is_public(question, path)
    newer = "it may be newer than they are, or no root and missing in the chain"
    which = newer if public else "it is a private CA's, or newer than they are"
    why = f"its root {name} is not among this system's trusted roots: {which}; {_ADD_ROOT}"
    return Judged(path, Trust.ROOT_UNKNOWN if public else Trust.PRIVATE, why, root_unknown=True)


def _private(root: str) -> str:
    return f"its root {root} is not among this system's trusted roots, so only clients that have it accept this; {_ADD_ROOT}"


def _refused(question: _Question, path: Path, everything: Pool) -> Judged:
    """No path is valid: the producer's chain is delivered all the same, and this is what a client says of it."""
    anchors = question.roots.for_path(question.leaf, path) or question.roots_of(path, everything) or path[-1:]
    found = question.verify(path, anchors, partial=True) if anchors else Refusal(Fault.NO_ISSUER, question.leaf)
    if path or found is None or found.fault is not Fault.NO_ISSUER:
        return Judged(path, Trust.REFUSED, _with_remedy(found) if found else _NO_PATH)
    name = question.leaf.issuer_shown
    if _is_public(question, path):
        return Judged(path, Trust.INCOMPLETE, f"the chain is incomplete: the intermediate {name} is missing; {_COMPLETE}")
    why = f"the chain is incomplete: {name}, which issued it, is neither beside it nor among this system's trusted roots"
    return Judged(path, Trust.INCOMPLETE, f"{why}; {_COMPLETE}, or name {name} in CERTFERRY_EXTRA_ROOTS if it is a root")


def _is_public(question: _Question, path: Path) -> bool:
    """Whether a public authority issued it, by all that can be seen: it was logged, it says so, or its CA has a known root."""
    leaf = question.leaf
    logged = leaf.extension(x509.PrecertificateSignedCertificateTimestamps) is not None
    policies = leaf.extension(x509.CertificatePolicies) or ()
    said = any(policy.policy_identifier.dotted_string in _PUBLIC_POLICIES for policy in policies)
    return logged or said or any(one.issuer_organisation in question.roots.organisations for one in (leaf, *path))


def _with_mark(leaf: ParsedCertificate, judged: Judged) -> Judged:
    """What some names say comes before everything else, but for the roots of this system."""
    if judged.trust is Trust.PUBLIC:
        return judged
    issuers = [one.issuer_shown for one in (leaf, *judged.chain)]
    if leaf.is_self_issued and not leaf.is_root:
        return replace(judged, why=_SAME_NAME) if judged.trust is Trust.REFUSED else judged
    if leaf.is_root:
        return replace(judged, trust=Trust.SELF_SIGNED, why="it is self-signed, so clients refuse it", root_unknown=False)
    if SELF_SIGNED_MARK in issuers[0]:
        why = "certferry's own CA signed it, so clients that do not have that CA refuse it"
        return replace(judged, trust=Trust.SELF_SIGNED, why=why, root_unknown=False)
    if any(mark in one.issuer_spelled for one in (leaf, *judged.chain) for mark in STAGING_MARKS):
        why = f"{issuers[0]} belongs to a staging CA, which is for tests: every client refuses it"
        return replace(judged, trust=Trust.STAGING, why=why, root_unknown=False)
    return judged


def _with_remedy(refusal: Refusal) -> str:
    """What a client says, and what helps."""
    remedy = "get the current chain from the CA" if refusal.fault in _BY_ITS_DATES else "have the CA issue it anew"
    return f"{say(refusal)}; {remedy}"


def say(refusal: Refusal) -> str:
    """What a client says of a chain that OpenSSL refuses."""
    one = refusal.certificate
    text = _WHY.get(refusal.fault, "") or weak_key(one) or weak_signature(one) or "OpenSSL does not accept it"
    return f"clients refuse its chain because of {one.shown}: {text.format(begin=one.not_before, end=one.not_after)}"
