"""certferry's verdict beside OpenSSL's: about 300 random worlds of authorities, the same in each run, and this system's roots.

`make differential` compares 10,000 that differ each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.domain.certificate import Trust
from controller.x509.hostnames import covers
from tests.differential import libssl, properties
from tests.differential.compare import compare
from tests.differential.explained import MILDER
from tests.differential.judged import Verdict, judge
from tests.differential.plans import LEAF, Aki, AuthorityPlan, Dates, Form, LeafPlan, Plan, Quirk, Usage
from tests.differential.properties import Difference, check
from tests.differential.roots_compared import compare_roots
from tests.differential.worlds import World, make, pem

WORLDS, PARTS = 300, 6
ROOT, INTERMEDIATE = AuthorityPlan(0, 0, trusted=True), AuthorityPlan(2, 0)
GOOD = Plan(LeafPlan(2), (ROOT, INTERMEDIATE), own=(LEAF, 1), pool=(0,))
"""A leaf, an intermediate and a root."""
ALONE = replace(GOOD, own=(LEAF,), pool=(0, 1))
UNKNOWN = replace(GOOD, authorities=(replace(ROOT, trusted=False), INTERMEDIATE))
RE_ISSUED = replace(GOOD, authorities=(ROOT, INTERMEDIATE, replace(INTERMEDIATE, dates=Dates.NOW)), pool=(0, 2))


@pytest.mark.parametrize("number", range(PARTS))
def test_certferry_and_openssl_agree_about_random_worlds(number):
    met = compare(WORLDS // PARTS, number)

    assert met["worlds"] >= WORLDS // PARTS
    assert min(met["a client accepts it"], met["no client accepts it"], met["own chain"], met["refused"]) > 0


def test_every_valid_root_of_this_system_is_trusted_as_libssl_trusts_it():
    told = compare_roots()

    assert told.directly == told.valid > 0
    assert told.by_an_intermediate > told.valid / 2


def test_nothing_explains_that_certferry_is_milder_than_openssl():
    assert not MILDER


@pytest.mark.parametrize("plan", [GOOD, ALONE, UNKNOWN, RE_ISSUED], ids=["good", "alone", "unknown root", "re-issued"])
def test_the_usual_worlds_show_no_difference_to_the_openssl_command_either(plan):
    met = check(plan, ask_commands=True)

    assert met["openssl verify"] == met["openssl s_client"] == met["usable"] == 1


MET = {
    "a CA's next key signed by the one before": (
        Plan(LeafPlan(6), (ROOT, AuthorityPlan(3, 0), AuthorityPlan(6, 3, aki=Aki.MISSING)), (LEAF, 2), (0, 1)),
        "a client accepts it",
    ),
    "a root without key identifier in the file": (
        Plan(LeafPlan(0), (replace(ROOT, quirk=Quirk.NO_SKI),), (LEAF, 0), ()),
        "1 delivered",
    ),
    "a root that names another key": (Plan(LeafPlan(0), (replace(ROOT, aki=Aki.WRONG_KEY),), (LEAF,), (0,)), "1 delivered"),
    "an intermediate signed with SHA-1": (
        Plan(LeafPlan(2), (ROOT, replace(INTERMEDIATE, quirk=Quirk.SHA1)), (LEAF, 1), (0,)),
        "1 delivered",
    ),
    "an intermediate with a short key": (Plan(LeafPlan(7), (ROOT, AuthorityPlan(7, 0)), (LEAF, 1), ()), "1 delivered"),
    "a trusted root with a short key": (
        Plan(LeafPlan(7), (AuthorityPlan(7, 7, trusted=True),), (LEAF,), ()),
        "no client accepts it",
    ),
    "a cross-sign of the root with SHA-1": (
        Plan(LeafPlan(2), (ROOT, INTERMEDIATE, AuthorityPlan(0, 1, quirk=Quirk.SHA1)), (LEAF, 1, 2), ()),
        "2 delivered",
    ),
    "a name in Latin-1": (
        Plan(LeafPlan(3, issuer_form=Form.TELETEX), (ROOT, AuthorityPlan(3, 0)), (LEAF, 1), ()),
        "a client accepts it",
    ),
    "an issuer signed with SHA-1 beside another way up": (
        Plan(
            LeafPlan(4),
            (AuthorityPlan(0, 0), AuthorityPlan(6, 0, quirk=Quirk.SHA1), AuthorityPlan(4, 6), AuthorityPlan(4, 0)),
            (LEAF, 1, 2, 3),
            (),
        ),
        "no client accepts it",
    ),
    "a root that ends before everything below it": (
        replace(GOOD, authorities=(replace(ROOT, dates=Dates.ENDS_SOON), INTERMEDIATE)),
        "verdict holds",
    ),
    "two roots of one name beside the leaf": (
        Plan(LeafPlan(2), (replace(ROOT, aki=Aki.WRONG_SERIAL), INTERMEDIATE, AuthorityPlan(0, 0)), (LEAF,), (0, 1, 2)),
        "no client accepts it",
    ),
    "a root that is known and no good beside one that is not known": (
        Plan(
            LeafPlan(6),
            (replace(ROOT, quirk=Quirk.ANY_USAGE), AuthorityPlan(6, 0), AuthorityPlan(6, 3)),
            (LEAF, 1, 2),
            (0,),
        ),
        "no client accepts it",
    ),
}
"""Worlds that were judged wrongly once, and what is right."""


@pytest.mark.parametrize("name", MET)
def test_what_was_judged_wrongly_once_is_not_again(name):
    plan, right = MET[name]

    assert check(plan, ask_commands=True)[right] == 1


@pytest.mark.parametrize(
    "name",
    ["mail.example.com", "*.example.com", "*.com", "*", "*.localhost", "m*.example.com", "*.*.example.com", "mail.*.com",
     "Mail.Example.com", ".example.com", "localhost", "example.com", "*.xn--bcher-kva.example", "mail_in.example.com"],
)  # fmt: skip
def test_a_name_covers_the_hosts_for_which_libssl_accepts_it(name):
    leaf = make(replace(GOOD, leaf=LeafPlan(2, names=(name,))))
    hosts = ["mail.example.com", "MAIL.example.com", "example.com", "a.mail.example.com", "com", "localhost", "a.localhost",
             "mail_in.example.com", "xn--a.example.com", "a.xn--bcher-kva.example", "-a.example.com"]  # fmt: skip
    accepted = [h for h in hosts if libssl.accepts(pem(leaf.own), leaf.key_pem, leaf.roots_pem, h).accepted]

    assert accepted == [host for host in hosts if covers({name.lower()}, host)]


def delivers(*places: int) -> Callable[[World, Verdict], Verdict]:
    """A fault: other certificates of the world are delivered."""
    return lambda world, verdict: replace(
        verdict, delivered=[world.leaf if n == LEAF else world.authorities[n] for n in places]
    )


def says(**changes: object) -> Callable[[World, Verdict], Verdict]:
    """A fault: the verdict is another one."""
    return lambda _, verdict: replace(verdict, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "fault", "found"),
    [
        (GOOD, says(trust=Trust.PRIVATE), "but it is called"),
        (GOOD, says(is_usable=False), "but it is refused"),
        (UNKNOWN, says(trust=Trust.PUBLIC), "but a client says"),
        (ALONE, delivers(LEAF), "but a client says"),
        (GOOD, delivers(1, LEAF), "the server does not load it"),
        (GOOD, delivers(LEAF, 1, 1), "twice"),
        (GOOD, delivers(LEAF, 1, 0), "a root is delivered"),
        (UNKNOWN, delivers(LEAF, 0), "did not issue"),
        (RE_ISSUED, delivers(LEAF, 2), "the producer's own chain verifies"),
    ],
)
def test_a_fault_of_certferry_would_be_found(plan, fault, found, monkeypatch):
    monkeypatch.setattr(properties, "judge", lambda world: fault(world, judge(world)))

    with pytest.raises(Difference, match=found):
        check(plan)


def test_a_verdict_that_depends_on_the_order_would_be_found(monkeypatch):
    def first_counts(world: World) -> Verdict:
        return replace(judge(world), trust=Trust.PUBLIC if world.plan.own[0] == LEAF else Trust.PRIVATE)

    monkeypatch.setattr(properties, "judge", first_counts)

    with pytest.raises(Difference, match="in another order"):
        check(GOOD)


@pytest.mark.parametrize(
    "changes",
    [
        {"dates": Dates.ENDED},
        {"dates": Dates.LATER},
        {"kind": "rsa1024"},
        {"kind": "k1"},
        {"names": ()},
        {"names": ("192.0.2.1",)},
        {"usage": Usage.SHA1},
        {"usage": Usage.CLIENT_ONLY},
        {"usage": Usage.MAIL_ONLY},
        {"usage": Usage.ONLY_ENCIPHERMENT},
        {"usage": Usage.AUTHORITY},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_a_leaf_of_a_refused_kind_is_refused_and_that_it_were_not_would_be_found(changes, monkeypatch):
    plan = replace(GOOD, leaf=LeafPlan(2, **changes))
    assert check(plan)["refused"] == 1

    usable = replace(judge(make(GOOD)), trust=Trust.PRIVATE)
    monkeypatch.setattr(properties, "judge", lambda world: replace(usable, delivered=(world.leaf,), key_pem=world.key_pem))
    with pytest.raises(Difference):
        check(plan)
