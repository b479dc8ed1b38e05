"""Would a mail client accept what a port hands out as the server that it asked for? Pure.

Each of its questions is answered by itself. The answers are never milder than those of ``openssl s_client`` with Debian's
security level; where they are stricter, the tests name the client that refuses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.domain.certificate import Trust
from controller.domain.errors import MalformedPem
from controller.domain.observed import Served
from controller.probe.network import sni_of
from controller.x509 import usage
from controller.x509.hostnames import covers
from controller.x509.judging import Judged, as_sent, say
from controller.x509.judging import judge as judge_chain
from controller.x509.openssl import Fault
from controller.x509.parsed import ParsedCertificate, parse_all
from controller.x509.roots import Roots, trusted_roots

NAMES_TOLD = 20

_ODD_PATH = "OpenSSL finds another path in what is sent, and refuses it; send the leaf and its intermediates only"
_ONLY_THE_ROOT = (Fault.NO_ISSUER, Fault.UNTRUSTED_ROOT)
_BAD_CHAIN = (Trust.REFUSED, Trust.INCOMPLETE)


class Judgement(StrEnum):
    """What a client asks of a certificate."""

    NAME = "name"
    DATES = "dates"
    CHAIN = "chain"
    TRUST = "trust"
    USAGE = "usage"
    KEY = "key"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say about a port. `days_left` is negative when its certificate has ended; no problems is good.

    `found` has a sentence for each judgement that is not good; `warnings` are what only some clients mind; `error` is why there
    is no certificate.
    """

    trust: Trust | None = None
    days_left: float | None = None
    found: dict[Judgement, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why a client refuses it."""
        return (self.error,) if self.error else tuple(self.found.values())


def judge(served: Served, name: str, now: datetime, roots: Roots | None = None) -> Verdict:
    """What a client says that calls the server `name`, a host name or an address, and trusts these `roots`: the system's, and
    those that the operator added."""
    if served.leaf is None:
        return Verdict(error=served.error)
    days_left = (served.leaf.not_after - now).total_seconds() / 86400
    try:
        leaf, *behind = parse_all(served.chain_pem)
    except MalformedPem as error:
        return Verdict(None, days_left, {Judgement.CHAIN: f"the chain holds something else: {error}"})
    trust, answers = _answers(leaf, behind, name, now, roots or trusted_roots())
    found = {judgement: text for judgement, text in answers if text}
    return Verdict(trust, days_left, found, () if Judgement.USAGE in found else usage.warnings(leaf))


def _answers(
    leaf: ParsedCertificate, behind: Sequence[ParsedCertificate], name: str, now: datetime, roots: Roots
) -> tuple[Trust, tuple[tuple[Judgement, str], ...]]:
    judged = judge_chain(leaf, behind, roots, now)
    chain = _chain(judged, leaf, behind, now, roots)
    wrong_usage = usage.wrong_usage(leaf)
    return judged.vouched, (
        (Judgement.NAME, _name(leaf, name)),
        (Judgement.DATES, _dates(leaf, now)),
        (Judgement.CHAIN, "" if wrong_usage and judged.trust is Trust.REFUSED else chain),  # that is what is refused then
        (Judgement.TRUST, "" if chain else judged.why),
        (Judgement.USAGE, wrong_usage),
        (Judgement.KEY, usage.weak_key(leaf)),
        (Judgement.SIGNATURE, "" if leaf.is_root else usage.weak_signature(leaf)),
    )


def _chain(judged: Judged, leaf: ParsedCertificate, behind: Sequence[ParsedCertificate], now: datetime, roots: Roots) -> str:
    if judged.trust in _BAD_CHAIN:
        return judged.why
    refused = as_sent(leaf, behind, roots, now)
    if judged.trust is Trust.PUBLIC:
        return _ODD_PATH if refused or _meets_a_weak_one(judged.chain, behind) else ""
    return say(refused) if refused and refused.fault not in _ONLY_THE_ROOT else ""


def _meets_a_weak_one(chain: Sequence[ParsedCertificate], behind: Sequence[ParsedCertificate]) -> bool:
    """Whether something weak with the name and key of an intermediate was sent before it: OpenSSL takes the first."""
    for right in chain:
        alike = (one for one in behind if (one.subject, one.public_key_hash) == (right.subject, right.public_key_hash))
        first = next(alike, right)
        if usage.weak_key(first) or usage.weak_signature(first):
            return True
    return False


def _dates(leaf: ParsedCertificate, now: datetime) -> str:
    if now > leaf.not_after:
        return f"it ended on {leaf.not_after:%Y-%m-%d}"
    return f"it begins on {leaf.not_before:%Y-%m-%d}" if now < leaf.not_before else ""


def _name(leaf: ParsedCertificate, name: str) -> str:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        named = covers(frozenset(leaf.names), sni_of(name) or name)
    else:
        named = address in leaf.addresses
    return "" if named else f"it does not name {name}, but {_some([*leaf.names, *map(str, leaf.addresses)])}"


def _some(names: Sequence[str]) -> str:
    """A certificate may hold thousands."""
    return ", ".join(_told(names)) or "nothing"


def _told(names: Sequence[str]) -> Iterator[str]:
    yield from names[:NAMES_TOLD]
    if len(names) > NAMES_TOLD:
        yield f"{len(names) - NAMES_TOLD} more"
