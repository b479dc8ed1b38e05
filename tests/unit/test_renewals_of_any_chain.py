"""Whatever chain a program puts beside its leaf, the next one of the same kind replaces it, and then nothing is done.

In a container the chain lies without its root, so it is judged by less than in the source; were it trusted more for that, each
renewal would be refused until the installed pair has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from controller.domain.certificate import Certificate, Trust
from controller.x509.parsed import parse_all
from controller.x509.roots import Roots
from tests.odd_certificates import SIGNS, Made, make
from tests.unit.made import CERT, DOMAIN
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import virtually

POLICY = [(x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.140.1.2.1"), None)]), False)]
AGES = (timedelta(hours=-48), timedelta(hours=-2))


def authority(common: str, issuer: Made | None = None, **options: Any) -> Made:
    given: dict[str, Any] = {"authority": True, "usage": SIGNS, "begin": timedelta(days=-300), "days": 900.0}
    given["number"] = sum(common.encode())
    return make(common, issuer, **given | options)


KNOWN = authority("Known root")
ROOT, WEAK = authority("Renewed root"), authority("Weak root", kind="rsa1024")
CA, UNDER_WEAK = authority("Renewed CA", ROOT), authority("Under weak", WEAK)
ENDED = authority("Ended CA", ROOT, days=100.0)
BARE = make("Bare CA", ROOT, number=11, days=900, begin=timedelta(days=-300))
SHA1, P224 = authority("SHA-1 CA", ROOT, sha1=True), authority("P-224 CA", ROOT, kind="p224")
BELOW_SHA1 = authority("Below SHA-1", SHA1)
STAGING = authority("(STAGING) Renewed CA", ROOT)
SAME = authority(DOMAIN)
OF_KNOWN = authority("Public CA", KNOWN)


def two(issuer: Made | None, *behind: Made, **options: Any) -> tuple[Certificate, Certificate]:
    old, new = (make(DOMAIN, issuer, names=[DOMAIN], number=12, begin=age, **options).with_chain(*behind) for age in AGES)
    return old.certificate, new.certificate


KINDS: dict[str, Callable[[], tuple[Certificate, Certificate]]] = {
    "public": lambda: two(OF_KNOWN, OF_KNOWN),
    "public with its root": lambda: two(OF_KNOWN, OF_KNOWN, KNOWN),
    "public without its chain": lambda: two(OF_KNOWN),
    "of an unknown root": lambda: two(CA, CA, more=POLICY),
    "of an unknown root that lies beside it": lambda: two(CA, CA, ROOT, more=POLICY),
    "private": lambda: two(CA, CA),
    "private with its root": lambda: two(CA, CA, ROOT),
    "signed by a root beside it": lambda: two(ROOT, ROOT),
    "signed by a root": lambda: two(ROOT),
    "of a weak root beside it": lambda: two(UNDER_WEAK, UNDER_WEAK, WEAK),
    "signed by a weak root beside it": lambda: two(WEAK, WEAK),
    "an ended intermediate": lambda: two(ENDED, ENDED, ROOT),
    "an intermediate that is no CA's": lambda: two(BARE, BARE),
    "an intermediate signed with SHA-1": lambda: two(SHA1, SHA1, ROOT),
    "an intermediate below one signed with SHA-1": lambda: two(BELOW_SHA1, BELOW_SHA1, SHA1, ROOT),
    "an intermediate with P-224": lambda: two(P224, P224),
    "an issuer of the same name": lambda: two(SAME, SAME),
    "staging": lambda: two(STAGING, STAGING),
    "self-signed": lambda: two(None),
    "Ed25519": lambda: two(CA, CA, kind="ed25519"),
}


@cache
def roots() -> Roots:
    return Roots.of(parse_all(KNOWN.pem))


@pytest.fixture(autouse=True)
def _one_root_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("controller.installed", "controller.x509.pairs"):
        monkeypatch.setattr(f"{module}.trusted_roots", roots)


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_is_replaced_by_the_next_one_and_stays(kind: str) -> None:
    old, new = KINDS[kind]()
    assert old.trust is new.trust
    world = World(Mailbox())
    for held in (old, new):
        world.offer(held)
        await world.look()
        file = world.box.files[CERT]
        assert file is not None
        assert file.content == held.fullchain_pem, world.status.condition.message
        world.done()
        await world.look()
        await world.look()
        assert world.done() == []


def test_they_are_of_every_trust() -> None:
    assert {two_of_one()[1].trust for two_of_one in KINDS.values()} == set(Trust)


LOWER = authority("Lower CA", OF_KNOWN)


@pytest.mark.parametrize("left", [(LOWER,), ()], ids=["the upper intermediate", "both"])
@virtually
async def test_a_renewal_that_lost_an_intermediate_goes_on_with_that_of_the_installed_pair(left: tuple[Made, ...]) -> None:
    """A root that is not known looks the same; taken for that, it replaced what clients accept by what none does."""
    whole = (LOWER, OF_KNOWN)
    old = make(DOMAIN, LOWER, names=[DOMAIN], number=12, begin=AGES[0], more=POLICY).with_chain(*whole).certificate
    lost = make(DOMAIN, LOWER, names=[DOMAIN], number=13, begin=AGES[1], more=POLICY).with_chain(*left).certificate
    assert (old.trust, lost.trust) == (Trust.PUBLIC, Trust.ROOT_UNKNOWN if left else Trust.INCOMPLETE)
    world = World(Mailbox())
    for held in (old, lost):
        world.offer(held)
        await world.look()
    file = world.box.files[CERT]
    assert file is not None
    assert parse_all(file.content) == parse_all(b"\n".join((lost.leaf_pem, LOWER.pem, OF_KNOWN.pem)))
    world.done()
    await world.look()
    await world.look()
    assert (world.done(), world.status.condition.ready) == ([], True)
