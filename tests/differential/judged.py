"""What certferry says of a world, through the same doors as for every source and container."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from unittest.mock import patch

from cryptography import x509

from controller.domain.certificate import Certificate, Trust
from controller.domain.errors import CertificateError
from controller.domain.observed import Served
from controller.probe.verdict import judge as probe_judge
from controller.selection import select
from controller.x509 import pairs
from controller.x509.chains import Pool
from controller.x509.judging import judge as judge_chain
from controller.x509.parsed import parsed
from controller.x509.roots import Roots
from tests.differential.plans import host_of
from tests.differential.worlds import NOW, World, pem
from tests.unit.made import IMAPS, snapshot, target


@dataclass(frozen=True)
class Verdict:
    """What is delivered, whether it is trusted, and why not; or why it is refused."""

    is_usable: bool
    why: str
    trust: Trust | None = None
    delivered: Sequence[x509.Certificate] = field(default=(), repr=False)
    key_pem: bytes = field(default=b"", repr=False)
    until: datetime | None = None


def judge(world: World, moment: datetime = NOW) -> Verdict:
    """Make a pair of what the producer wrote and of what lies beside it, and choose it for a container."""
    try:
        with _trusting(world.roots):
            made = pairs.parse_certificate(pem(world.own), world.key_pem, moment, Pool(map(parsed, world.pool)))
    except CertificateError as error:
        return Verdict(False, str(error))
    delivered = x509.load_pem_x509_certificates(made.fullchain_pem)
    lost = _lost(made, host_of(world.plan.leaf.names))
    return Verdict(not lost, lost or made.why, made.trust, delivered, made.key_pem, made.until)


def trust_of(chain: Sequence[x509.Certificate], roots: Roots) -> Verdict:
    """What is said of a chain, leaf first, by some roots."""
    leaf, *above = map(parsed, chain)
    judged = judge_chain(leaf, above, roots, NOW)
    return Verdict(True, judged.why, judged.trust, [one.x509 for one in (leaf, *judged.chain)])


def problems_of_a_port(world: World, sent: Sequence[x509.Certificate], name: str) -> tuple[str, ...]:
    """What `certferry probe` says of a port that hands these out, leaf first."""
    try:
        served = Served(IMAPS, parsed(world.leaf).leaf, "network", chain_pem=pem(sent))
    except CertificateError as error:
        return (str(error),)
    return probe_judge(served, name, NOW, Roots.of(map(parsed, world.roots))).problems


def _lost(made: Certificate, host: str) -> str:
    """Why it is not chosen for a container that wants this name, or any if there is none."""
    if not host:
        return "no client accepts any of its names"
    chosen = select(target(host), {"pem": snapshot(made, source="pem")}, NOW)
    return chosen.finding.message if chosen.finding else ""


@contextmanager
def _trusting(roots: Sequence[x509.Certificate]) -> Iterator[None]:
    known = Roots.of(map(parsed, roots))
    with patch.object(pairs, "trusted_roots", lambda: known):
        yield
