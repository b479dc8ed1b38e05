"""What must change in a target, and why: situations on the left, what is decided on the right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from controller import choosing, policies
from controller.domain.certificate import KeyType, Trust
from controller.domain.container import Mount, State
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Expected, InstalledFile, Served
from controller.domain.target import Place, Slot
from controller.installed import InstalledPair
from controller.policies import Decision, Facts, decide
from controller.x509.parsed import parse_all
from controller.x509.roots import Roots
from tests.certs import Authority
from tests.differential.libssl import accepts
from tests.odd_certificates import NOW as MADE_AT
from tests.odd_certificates import SIGNS, Made, make
from tests.unit.made import (
    ALT_CERT,
    ALT_PRIVATE,
    CERT,
    CHAIN,
    CLOSED,
    COMBINED,
    DOMAIN,
    IMAPS,
    NEW,
    NOW,
    OLD,
    PLACE,
    PRIVATE,
    SMTP,
    authority,
    certificate,
    container,
    facts,
    file,
    installed,
    nothing,
    pair,
    serves,
    snapshot,
    target,
)

AUTHORITY, FOREIGN = authority(), Authority("another CA").intermediate_pem
CUT = b"-----BEGIN CERTIFICATE-----\nMIIB"
old, new, other = certificate(**OLD), certificate(**NEW), certificate("other.example.com")
STARTING = container(started_at=NOW - timedelta(seconds=5))
APART, TOGETHER = Place(Slot(), CERT, PRIVATE, CHAIN), Place(Slot(), combined=COMBINED)
ALT = Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)


@dataclass(frozen=True)
class Answer:
    """A decision in short."""

    findings: tuple[Reason, ...] = ()
    write: frozenset[PurePosixPath] = frozenset()
    reload: bool = False
    wait: bool = False
    silent: bool = False
    refused: Reason | None = None


def answer(decision: Decision) -> Answer:
    return Answer(
        tuple(finding.reason for finding in decision.findings),
        frozenset(decision.write),
        decision.reload,
        decision.wait,
        decision.silent,
        decision.refused.reason if decision.refused else None,
    )


rechained = replace(new, chain_pem=new.chain_pem * 2)
BOTH = frozenset({CERT, PRIVATE})
NOTHING = Answer()


def changed(
    files: dict[PurePosixPath, InstalledFile | None], path: PurePosixPath, content: bytes
) -> dict[PurePosixPath, InstalledFile | None]:
    return {**files, path: file(path, content)}


SITUATIONS: list[tuple[str, Facts, Answer]] = [
    ("all is as it should be", facts(new, installed(PLACE, new), serves(new)), NOTHING),
    (
        "nothing is installed",
        facts(new, nothing(PLACE), serves(old)),
        Answer((Reason.NOT_INSTALLED,), BOTH, reload=True),
    ),
    (
        "one file is missing",
        facts(new, {**installed(PLACE, new), PRIVATE: None}, serves(new)),
        Answer((Reason.NOT_INSTALLED,), BOTH, reload=True),
    ),
    (
        "the certificate was renewed",
        facts(new, installed(PLACE, old), serves(old)),
        Answer((Reason.LEAF_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the certificate was renewed, and is served already, who knows why",
        facts(new, installed(PLACE, old), serves(new)),
        Answer((Reason.LEAF_DIFFERS,), BOTH, reload=True),
    ),
    (
        "something else stands in the certificate's file",
        facts(new, changed(installed(PLACE, new), CERT, b"garbage"), serves(new)),
        Answer((Reason.LEAF_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the key beside the certificate is another's",
        facts(new, changed(installed(PLACE, new), PRIVATE, other.key_pem), serves(new)),
        Answer((Reason.KEY_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the key is indented, so that no mail server reads it, as an older certferry delivered it",
        facts(new, changed(installed(PLACE, new), PRIVATE, b"  " + new.key_pem.replace(b"\n", b"\n  ")), serves(new)),
        Answer((Reason.KEY_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the key has other line ends and text before it",
        facts(new, changed(installed(PLACE, new), PRIVATE, b"mail\r\n" + new.key_pem.replace(b"\n", b"\r\n")), serves(new)),
        NOTHING,
    ),
    (
        "the intermediate is missing",
        facts(new, changed(installed(PLACE, new), CERT, new.leaf_pem), serves(new)),
        Answer((Reason.CHAIN_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the chain's own file holds garbage",
        facts(new, changed(installed(APART, new), CHAIN, CUT), serves(new), on=target(places=(APART,))),
        Answer((Reason.CHAIN_DIFFERS,), BOTH | {CHAIN}, reload=True),
    ),
    (
        "the certificate was renewed where the chain's own file holds garbage",
        facts(new, changed(installed(APART, old), CHAIN, CUT), serves(old), on=target(places=(APART,))),
        Answer((Reason.LEAF_DIFFERS,), BOTH | {CHAIN}, reload=True),
    ),
    (
        "the key in a combined file is another's",
        facts(new, {COMBINED: file(COMBINED, other.key_pem + new.fullchain_pem)}, serves(new), on=target(places=(TOGETHER,))),
        Answer((Reason.CHAIN_DIFFERS,), frozenset({COMBINED}), reload=True),
    ),
    (
        "a port still hands out the old one",
        facts(new, installed(PLACE, new), serves(old)),
        Answer((Reason.SERVED_DIFFERS,), reload=True),
    ),
    (
        "one port of two hands out the old one",
        facts(new, installed(PLACE, new), serves(new), serves(old, SMTP)),
        Answer((Reason.SERVED_DIFFERS,), reload=True),
    ),
    (
        "a port listens and does not get as far as TLS",
        facts(new, installed(PLACE, new), serves(new), serves(None, SMTP)),
        Answer((Reason.SERVED_DIFFERS,), reload=True, silent=True),
    ),
    (
        "one port is silent, another hands out the old one",
        facts(new, installed(PLACE, new), serves(None), serves(old, SMTP)),
        Answer((Reason.SERVED_DIFFERS,), reload=True),
    ),
    (
        "a port of the profile offers no TLS",
        facts(new, installed(PLACE, new), serves(new), serves(None, SMTP, plain=True)),
        NOTHING,
    ),
    (
        "a port of the profile is closed",
        facts(new, installed(PLACE, new), serves(new), serves(None, SMTP, **CLOSED)),
        NOTHING,
    ),
    (
        "a port that the operator listed is closed",
        facts(new, installed(PLACE, new), serves(new), serves(None, SMTP, **CLOSED), on=target(probe_required=True)),
        Answer((Reason.SERVED_DIFFERS,), reload=True, silent=True),
    ),
    (
        "a port that the operator listed offers no TLS",
        facts(new, installed(PLACE, new), serves(None, plain=True), on=target(probe_required=True)),
        Answer((Reason.SERVED_DIFFERS,), reload=True, silent=True),
    ),
    ("no way leads to the port", facts(new, installed(PLACE, new), serves(None, unknown=True)), NOTHING),
    ("nothing is to be probed", facts(new, installed(PLACE, new), on=target(probe=())), NOTHING),
    (
        "nothing is to be probed, and the certificate was renewed",
        facts(new, installed(PLACE, old), on=target(probe=())),
        Answer((Reason.LEAF_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the last change was never confirmed, and a port shows that it is in use",
        facts(new, installed(PLACE, new), serves(new), kept=installed(PLACE, old)),
        NOTHING,
    ),
    (
        "the last change was never confirmed, and the port hands out the old leaf",
        facts(new, installed(PLACE, new), serves(old), kept=installed(PLACE, old)),
        Answer((Reason.RELOAD_PENDING,), reload=True),
    ),
    (
        "the last change was one of the chain alone, which no port shows, and never confirmed",
        facts(new, installed(PLACE, new), serves(new), kept=installed(PLACE, rechained)),
        Answer((Reason.RELOAD_PENDING,), reload=True),
    ),
    (
        "the first change was never confirmed, and a port shows that it is in use",
        facts(new, installed(PLACE, new), serves(new), kept=nothing(PLACE)),
        NOTHING,
    ),
    (
        "the last change was never confirmed, and nothing is probed",
        facts(new, installed(PLACE, new), on=target(probe=()), kept=installed(PLACE, old)),
        Answer((Reason.RELOAD_PENDING,), reload=True),
    ),
    (
        "the last change was never confirmed, but this process has reloaded since",
        replace(facts(new, installed(PLACE, new), on=target(probe=()), kept=installed(PLACE, old)), loaded=True),
        NOTHING,
    ),
    (
        "what is kept is what is installed",
        facts(new, installed(PLACE, new), on=target(probe=()), kept=installed(PLACE, new)),
        NOTHING,
    ),
    (
        "the container just started, its ports are closed",
        facts(new, installed(PLACE, new), serves(None, **CLOSED), on=target(container=STARTING)),
        Answer((Reason.RELOAD_PENDING,), wait=True),
    ),
    (
        "the container just started, its ports are closed, and the last change was never confirmed",
        facts(new, installed(PLACE, new), serves(None, **CLOSED), on=target(container=STARTING), kept=installed(PLACE, old)),
        Answer((Reason.RELOAD_PENDING,), wait=True),
    ),
    (
        "the container just started, the listed ports are closed",
        facts(new, installed(PLACE, new), serves(None, **CLOSED), on=target(container=STARTING, probe_required=True)),
        Answer((Reason.RELOAD_PENDING,), wait=True),
    ),
    (
        "the container just started, nothing listens yet",
        facts(new, installed(PLACE, new), on=target(container=STARTING)),
        Answer((Reason.RELOAD_PENDING,), wait=True),
    ),
    (
        "the container just started without a certificate",
        facts(new, nothing(PLACE), on=target(container=STARTING)),
        Answer((Reason.NOT_INSTALLED,), BOTH, wait=True),
    ),
    (
        "the container just started, its first port is open",
        facts(new, installed(PLACE, old), serves(old), serves(None, SMTP, **CLOSED), on=target(container=STARTING)),
        Answer((Reason.LEAF_DIFFERS,), BOTH, reload=True),
    ),
    (
        "the start is long past and no port listens",
        facts(new, installed(PLACE, new), serves(None, **CLOSED)),
        NOTHING,
    ),
    (
        "nobody knows when the container started",
        facts(new, installed(PLACE, new), on=target(container=container(started_at=None))),
        NOTHING,
    ),
    (
        "the container is paused and all is right",
        facts(new, installed(PLACE, new), on=target(container=container(state=State.PAUSED))),
        NOTHING,
    ),
    (
        "the container is paused and the certificate was renewed",
        facts(new, installed(PLACE, old), on=target(container=container(state=State.PAUSED))),
        Answer(refused=Reason.LEAF_DIFFERS),
    ),
    (
        "the container was created and never started",
        facts(new, nothing(PLACE), on=target(container=container(state=State.CREATED, started_at=None))),
        Answer((Reason.NOT_INSTALLED,), BOTH),
    ),
    (
        "the container has ended and its files are right",
        facts(new, installed(PLACE, new), on=target(container=container(state=State.EXITED)), kept=installed(PLACE, old)),
        NOTHING,
    ),
    ("no certificate fits", facts(other, installed(PLACE, old), serves(old)), Answer(refused=Reason.NO_MATCHING_CERTIFICATE)),
    (
        "a newer one is installed",
        facts(pair(**OLD).certificate, installed(PLACE, new), serves(new)),
        Answer((Reason.LEAF_DIFFERS,), refused=Reason.WOULD_DOWNGRADE),
    ),
    (
        "owner and mode are not asked for",
        facts(new, installed(PLACE, new, uid=33, gid=33, mode=0o666), serves(new)),
        NOTHING,
    ),
    (
        "owner and mode are as asked for",
        facts(new, installed(PLACE, new, uid=5, gid=6, mode=0o640), serves(new), on=target(owner=(5, 6), mode=0o640)),
        NOTHING,
    ),
    (
        "the owner is another than asked for",
        facts(new, installed(PLACE, new, uid=5, gid=5), serves(new), on=target(owner=(5, 6))),
        Answer((Reason.MODE_DIFFERS,) * 2, BOTH, reload=True),
    ),
    (
        "the key's mode is another than asked for",
        facts(new, installed(PLACE, new, mode=0o644), serves(new), on=target(mode=0o640)),
        Answer((Reason.MODE_DIFFERS,), BOTH, reload=True),
    ),
    (
        "two pairs are as they should be",
        facts(
            (new, certificate(kind="rsa")),
            installed(PLACE, new) | installed(ALT, certificate(kind="rsa")),
            serves(new),
            on=target(places=(PLACE, ALT)),
        ),
        NOTHING,
    ),
    (
        "the second of two pairs was renewed",
        facts(
            (new, certificate(kind="rsa")),
            installed(PLACE, new) | installed(ALT, certificate(kind="rsa", **OLD)),
            serves(new),
            on=target(places=(PLACE, ALT)),
        ),
        Answer((Reason.LEAF_DIFFERS,), frozenset({ALT_CERT, ALT_PRIVATE}), reload=True),
    ),
    (
        "there is no second certificate, and a port hands out the one that stands in the second place",
        facts(
            new,
            installed(PLACE, new) | installed(ALT, certificate(kind="rsa")),
            serves(certificate(kind="rsa")),
            on=target(places=(PLACE, ALT)),
        ),
        NOTHING,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("situation", "expected"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_every_situation_has_its_decision(situation, expected):
    assert answer(decide(situation)) == expected


@pytest.mark.parametrize("situation", [s[1] for s in SITUATIONS if s[2].write], ids=[s[0] for s in SITUATIONS if s[2].write])
def test_key_and_certificate_are_written_together_and_as_the_source_has_them(situation):
    write = decide(situation).write
    for place, candidate in situation.selection.chosen:
        contents = place.contents(candidate.certificate)
        assert not write.keys() & contents.keys() or {p: write[p] for p in contents} == contents


@pytest.mark.parametrize("situation", [s[1] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_after_the_write_the_same_look_finds_nothing_to_write(situation):
    uid, gid = situation.target.owner or (0, 0)
    written = {
        path: file(path, content, uid=uid, gid=gid, mode=situation.target.mode or 0o600)
        for path, content in decide(situation).write.items()
    }
    files = {**situation.observed.files, **written}
    again = decide(replace(situation, observed=replace(situation.observed, files=files)))
    assert again.write == {}


class TestNeverWorseThanBefore:
    """A certificate never replaces a better one that works (design §7)."""

    @pytest.mark.parametrize("there", list(Trust))
    @pytest.mark.parametrize("offered", list(Trust))
    def test_a_lower_trust_never_replaces_a_higher_one(self, there, offered, monkeypatch):
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: there)
        decision = decide(facts(certificate(trust=offered, **NEW), installed(PLACE, certificate(**OLD)), serves(old)))
        assert (decision.refused is not None) == (offered < there)
        assert not decision.refused or decision.refused.reason is Reason.UNTRUSTED_ISSUER

    def refusal(self, situation: Facts, there: Trust, monkeypatch: pytest.MonkeyPatch) -> Finding | None:
        monkeypatch.setattr(InstalledPair, "trust", lambda *_: there)
        return decide(situation).refused

    def test_the_message_names_both_and_says_why(self, monkeypatch):
        offered = replace(certificate(trust=Trust.STAGING, **NEW), why="it is for tests")
        refused = self.refusal(facts(offered, installed(PLACE, old), serves(old)), Trust.PUBLIC, monkeypatch)
        assert refused == Finding(
            Reason.UNTRUSTED_ISSUER,
            f"{new.leaf.short} of certferry test CA (Staging) would replace {old.leaf.short} of certferry test CA (Trusted),"
            f" valid until {old.leaf.not_after:%Y-%m-%d}: it is for tests",
        )

    def test_the_message_of_a_downgrade_names_the_remedy(self, monkeypatch):
        refused = self.refusal(facts(old, installed(PLACE, new), serves(new)), Trust.PUBLIC, monkeypatch)
        assert refused == Finding(
            Reason.WOULD_DOWNGRADE,
            f"{old.leaf.short} begins {old.leaf.not_before:%Y-%m-%d %H:%M}, the installed {new.leaf.short} begins later,"
            f" {new.leaf.not_before:%Y-%m-%d %H:%M}; the label allow-untrusted would take it",
        )

    def test_a_higher_trust_replaces_even_a_newer_one(self, monkeypatch):
        situation = facts(old, installed(PLACE, new), serves(new))
        assert self.refusal(situation, Trust.SELF_SIGNED, monkeypatch) is None

    @pytest.mark.parametrize("there", [Trust.PUBLIC, Trust.PRIVATE])
    def test_the_operator_may_allow_it(self, there, monkeypatch):
        situation = facts(
            certificate(trust=Trust.STAGING, **OLD), installed(PLACE, new), serves(new), on=target(allow_untrusted=True)
        )
        assert self.refusal(situation, there, monkeypatch) is None

    @pytest.mark.parametrize(
        "there",
        [
            installed(PLACE, certificate(days=1, hours_old=25)),
            installed(PLACE, certificate(hours_old=-24)),
            installed(PLACE, other),
            changed(installed(PLACE, new), PRIVATE, other.key_pem),
            {**installed(PLACE, new), PRIVATE: None},
            changed(installed(PLACE, new), CERT, b"garbage"),
        ],
        ids=["has ended", "begins later", "is for another name", "has another's key", "has no key", "is garbage"],
    )
    def test_what_is_installed_is_not_worth_keeping_when_it(self, there, monkeypatch):
        situation = facts(certificate(trust=Trust.SELF_SIGNED, hours_old=72), there, serves(old))
        assert self.refusal(situation, Trust.PUBLIC, monkeypatch) is None

    def test_what_is_installed_is_not_worth_keeping_where_another_key_type_is_asked_for(self, monkeypatch):
        place = Place(Slot(KeyType.RSA), CERT, PRIVATE)
        situation = facts(certificate(kind="rsa", trust=Trust.STAGING), installed(place, new), on=target(places=(place,)))
        assert self.refusal(situation, Trust.PUBLIC, monkeypatch) is None

    @pytest.mark.parametrize("place", [PLACE, APART, TOGETHER], ids=["fullchain", "chain apart", "combined"])
    def test_it_holds_for_every_form_of_files(self, place):
        held = pair(**NEW).certificate  # with its own trust, which is private
        worse = certificate(trust=Trust.STAGING, **NEW)
        assert decide(facts(worse, installed(place, held), on=target(places=(place,)))).refused is None  # the same leaf
        worse = certificate(trust=Trust.STAGING, hours_old=0.5)
        refused = decide(facts(worse, installed(place, held), on=target(places=(place,)))).refused
        assert refused is not None
        assert refused.reason is Reason.UNTRUSTED_ISSUER

    def test_a_leaf_whose_file_does_not_end_with_a_line_end_is_still_known_with_its_chain(self, monkeypatch):
        seen: list[bytes] = []

        real = parse_all

        def note(pem: bytes) -> object:
            seen.append(pem)
            return real(pem)

        monkeypatch.setattr("controller.installed.parse_all", note)
        files = changed(installed(APART, new), CERT, new.leaf_pem.rstrip())
        decide(facts(old, files, on=target(places=(APART,))))
        assert seen[-1].count(b"\n-----BEGIN") == 1


class TestPorts:
    def test_those_of_the_profile_are_asked_where_they_listen(self):
        asked = target(probe=(IMAPS, SMTP))
        assert policies.wanted_ports(asked, frozenset({25, 80})) == (SMTP,)

    def test_all_are_asked_where_nobody_knows_what_listens(self):
        asked = target(probe=(IMAPS, SMTP))
        assert policies.wanted_ports(asked, None) == (IMAPS, SMTP)

    def test_those_that_the_operator_listed_are_always_asked(self):
        asked = target(probe=(IMAPS, SMTP), probe_required=True)
        assert policies.wanted_ports(asked, frozenset()) == (IMAPS, SMTP)

    @pytest.mark.parametrize(
        ("served", "problem"),
        [
            (serves(new), ""),
            (serves(old), f"port 993/imaps hands out {old.leaf.short}, not {new.leaf.short}"),
            (Served(IMAPS, None, "network", "no answer within 1 s"), "port 993/imaps: no answer within 1 s"),
            (serves(None, unknown=True), ""),
            (serves(new, chain_pem=new.fullchain_pem + AUTHORITY.root_pem), ""),
            (
                serves(new, chain_pem=new.leaf_pem),
                f"port 993/imaps hands out {new.leaf.short} without the intermediate certferry test CA:"
                " clients cannot verify it",
            ),
        ],
        ids=["right", "another leaf", "silent", "unknown", "more than its chain", "less than its chain"],
    )
    def test_each_problem_is_a_sentence(self, served, problem):
        assert policies.port_problem(served, [Expected(new.leaf, new.chain_pem)], target()) == problem


class TestTheServedChain:
    """What is handed out behind the leaf is what stands behind it in the files after the act."""

    BARE = serves(new, chain_pem=new.leaf_pem)
    BETTER = replace(new, chain_pem=new.chain_pem + AUTHORITY.root_pem)
    """Another good chain of the same leaf."""

    def test_that_lacks_an_intermediate_is_a_reason_to_reload(self):
        decision = decide(facts(new, installed(PLACE, new), self.BARE))
        assert answer(decision) == Answer((Reason.SERVED_DIFFERS,), reload=True)
        assert "port 993/imaps" in decision.findings[0].message
        assert "the intermediate certferry test CA" in decision.findings[0].message

    def test_that_holds_more_is_none(self):
        assert answer(decide(facts(new, installed(PLACE, new), serves(self.BETTER)))) == Answer()

    @pytest.mark.parametrize("place", [PLACE, APART, TOGETHER], ids=["full chain", "apart", "together"])
    def test_is_compared_wherever_the_chain_is_kept(self, place):
        on = target(places=(place,))
        assert answer(decide(facts(new, installed(place, new), serves(new), on=on))) == Answer()
        assert decide(facts(new, installed(place, new), self.BARE, on=on)).reload

    def test_of_a_place_left_as_it_is_is_that_of_its_files(self):
        two, second = target(places=(PLACE, ALT)), certificate(kind="rsa")
        there = installed(PLACE, new) | installed(ALT, second)
        assert answer(decide(facts(new, there, serves(second), on=two))) == Answer()
        assert decide(facts(new, there, serves(second, chain_pem=second.leaf_pem), on=two)).reload

    def test_of_what_means_the_same_and_stays_is_that_of_the_files(self, monkeypatch):
        """A pair whose installed chain clients accept is left alone, whatever chain the source has now."""
        monkeypatch.setattr(InstalledPair, "means", lambda *_: True)
        there = installed(PLACE, new)
        assert [each.chain_pem for each in policies.expected(facts(self.BETTER, there))] == [new.chain_pem]
        assert answer(decide(facts(self.BETTER, there, serves(new)))) == Answer()

    def test_of_what_is_about_to_be_written_is_the_chosen_one(self):
        assert [each.chain_pem for each in policies.expected(facts(self.BETTER, installed(PLACE, new)))] == [
            self.BETTER.chain_pem
        ]

    def test_of_files_is_what_belongs_above_the_leaf_in_their_order(self):
        more = changed(installed(PLACE, old), CERT, old.leaf_pem + AUTHORITY.root_pem + FOREIGN + old.chain_pem * 2)
        on = target(written_by="its own script")
        assert Expected(old.leaf, old.chain_pem) in policies.expected(facts(new, more, on=on))

    def test_is_not_asked_of_files_that_do_not_parse(self):
        broken = changed(installed(PLACE, old), CERT, old.leaf_pem + CUT)
        assert policies.expected(facts((), broken)) == ()

    def test_may_be_either_where_another_writes_the_files(self):
        on = target(written_by="its own script")
        there = facts(self.BETTER, installed(PLACE, new), on=on)
        assert [policies.port_problem(serves(held), policies.expected(there), on) for held in (new, self.BETTER)] == ["", ""]


class TestKeyTypes:
    def test_are_asked_for_where_two_are_chosen(self):
        two = target(places=(PLACE, ALT))
        chosen = facts((new, certificate(kind="rsa")), nothing(PLACE, ALT), on=two)
        assert set(policies.key_types(chosen)) == {KeyType.RSA, KeyType.ECDSA}

    def test_are_left_to_the_server_where_there_is_one_or_one_that_cannot_be_asked_for(self):
        assert policies.key_types(facts(new, nothing(PLACE))) == (None,)
        odd = replace(certificate(kind="rsa"), leaf=replace(certificate(kind="rsa").leaf, key_type=KeyType.OTHER))
        assert policies.key_types(facts((new, odd), nothing(PLACE, ALT), on=target(places=(PLACE, ALT)))) == (None,)

    def test_that_cannot_be_told_leave_a_port_of_which_one_was_seen(self):
        unknown = serves(None, unknown=True, key_type=KeyType.RSA)
        assert policies.not_askable(facts(new, nothing(PLACE), serves(new), unknown)) == []
        assert policies.not_askable(facts(new, nothing(PLACE), unknown)) == [unknown]


CONTENTS = {path: [PLACE.contents(held)[path] for held in (old, new, other)] for path in BOTH}


@given(
    files=st.fixed_dictionaries({path: st.sampled_from([None, b"", b"garbage", *CONTENTS[path]]) for path in BOTH}),
    held=st.lists(st.sampled_from([old, new, other]), max_size=3, unique=True),
    leaf=st.sampled_from([None, old, new]),
    state=st.sampled_from(State),
    flags=st.fixed_dictionaries({"kept": st.sampled_from([{}, installed(PLACE, old)]), "litter": st.booleans()}),
    refused=st.booleans(),
)
def test_whatever_is_found_a_decision_makes_sense(files, held, leaf, state, flags, refused):
    found = {path: None if content is None else file(path, content) for path, content in files.items()}
    port = serves(leaf, refused=refused and leaf is None)
    situation = facts(held, found, port, on=target(container=container(state=state)), **flags)
    decision = decide(situation)

    assert not decision.refused or decide(situation) == Decision(decision.findings, refused=decision.refused)
    assert set(decision.write) in (set(), BOTH)
    assert not (decision.reload and decision.wait)
    assert not decision.reload or state is State.RUNNING
    assert not (decision.write or decision.reload or decision.wait) or decision.findings
    assert decide(situation) == decision


class TestTheForm:
    """What is installed is compared by what it means."""

    def chain(self, held: Any) -> bytes:
        return b"a comment\n" + held.leaf_pem + b"\n\n" + held.chain_pem

    def test_other_line_ends_and_comments_are_no_difference(self):
        files = installed(PLACE, new) | {CERT: file(CERT, self.chain(new)), PRIVATE: file(PRIVATE, new.key_pem + b"\n\n")}
        assert not policies.differs(facts(new, files))

    def test_the_same_key_in_another_form_is_none(self):
        key = serialization.load_pem_private_key(new.key_pem, None)
        older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        assert older != new.key_pem
        assert not policies.differs(facts(new, installed(PLACE, new) | {PRIVATE: file(PRIVATE, older)}))

    @pytest.mark.parametrize(
        "files",
        [
            {PRIVATE: file(PRIVATE, old.key_pem)},
            {PRIVATE: file(PRIVATE, b"no key")},
            {CERT: file(CERT, old.fullchain_pem)},
            {CERT: file(CERT, new.leaf_pem)},
        ],
        ids=["another key", "no key", "another certificate", "no chain"],
    )
    def test_another_meaning_is_one(self, files):
        assert policies.differs(facts(new, installed(PLACE, new) | files))


def odd_authority(common: str, issuer: Made | None = None, *, days: float = 900, number: int = 202) -> Made:
    return make(common, issuer, authority=True, usage=SIGNS, begin=timedelta(days=-300), days=days, number=number)


class TestAChainThatClientsAcceptStays:
    """What an older certferry wrote, or another program: corrected only where clients refuse it."""

    ROOT = odd_authority("Stays root", number=201)
    CA = odd_authority("Stays CA", ROOT)
    ENDED = odd_authority("Stays CA", ROOT, days=200)
    ASTRAY = odd_authority("Stays CA", odd_authority("Elsewhere", number=203), days=990)
    LEAF = make(DOMAIN, CA, names=[DOMAIN], number=204)

    @pytest.fixture(autouse=True)
    def the_root_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        roots = Roots.of(parse_all(self.ROOT.pem))
        monkeypatch.setattr("controller.installed.trusted_roots", lambda: roots)
        monkeypatch.setattr("controller.x509.pairs.trusted_roots", lambda: roots)

    @pytest.mark.parametrize(
        "change",
        [
            lambda pem: pem.replace(b"\n", b"\r\n"),
            lambda pem: b"".join(line + b" \n" for line in pem.splitlines()),
            lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
            lambda pem: b"subject=CN\n" + pem + b"\n\n",
            lambda pem: b"\xef\xbb\xbf" + pem,
            lambda pem: pem.replace(b"\n", b"\r"),
            lambda pem: b"".join(b"  " + line + b"\n" for line in pem.splitlines()),
            lambda pem: pem.replace(b"-----\n-----", b"----------"),
            lambda pem: pem.replace(b"-----\n-----", b"-----\n  -----"),
        ],
        ids=["CRLF", "blanks at the ends", "X509", "text around it", "BOM", "CR", "indented", "glued", "the second indented"],
    )
    def test_whatever_its_form_where_openssl_reads_all_of_it(self, change):
        """A library may well read what no server finds."""
        text = change(self.LEAF.with_chain(self.CA).chain)
        accepted = accepts(text, b"\n" + self.LEAF.key_pem, self.ROOT.pem.decode(), DOMAIN).accepted
        assert (len(parse_all(text)), self.differs_from(text)) == (2, not accepted)

    def differs_from(self, text: bytes) -> bool:
        wanted = self.LEAF.with_chain(self.CA).certificate
        assert wanted.trust is Trust.PUBLIC
        there = installed(PLACE, wanted) | {CERT: file(CERT, text)}
        return policies.differs(replace(facts(wanted, there), now=MADE_AT))

    def differs(self, *behind: Made) -> bool:
        return self.differs_from(self.LEAF.with_chain(*behind).chain)

    @pytest.mark.parametrize("behind", ["CA ROOT", "ROOT CA", "CA CA", "CA ENDED", "ENDED CA", "CA ASTRAY ENDED"])
    def test_with_more_than_belongs_to_it(self, behind):
        there = [getattr(self, name) for name in behind.split()]
        accepted = accepts(b"".join(one.pem for one in (self.LEAF, *there)), self.LEAF.key_pem, self.ROOT.pem.decode(), DOMAIN)
        assert (self.differs(*there), accepted.accepted) == (False, True)

    @pytest.mark.parametrize("behind", ["", "ENDED", "ASTRAY", "ASTRAY CA", "ROOT ASTRAY CA", "ASTRAY ENDED CA"])
    def test_but_not_one_in_which_clients_lose_their_way(self, behind):
        there = [getattr(self, name) for name in behind.split()]
        accepted = accepts(b"".join(one.pem for one in (self.LEAF, *there)), self.LEAF.key_pem, self.ROOT.pem.decode(), DOMAIN)
        assert (self.differs(*there), accepted.accepted) == (True, False)


FILLED = Place(Slot(alternative=True, optional=True, fill=True), ALT_CERT, ALT_PRIVATE)
rsa = certificate(kind="rsa", **OLD)


def chosen(held: list[Any], files: dict[PurePosixPath, InstalledFile | None]) -> Facts:
    """What is chosen for two places, the second of which must not be empty."""
    asked = target(places=(PLACE, FILLED))
    return choosing.choose(facts(held, files, on=asked), {"traefik": snapshot(*held)})


EMPTY: dict[PurePosixPath, InstalledFile | None] = {path: file(path, b"") for path in FILLED.paths}


class TestASecondPlaceWhoseFilesMustBeThere:
    """With two pairs of one type Postfix has no TLS; two empty files do no harm."""

    @pytest.mark.parametrize(
        "alternative",
        [
            nothing(FILLED),
            installed(FILLED, old),
            installed(FILLED, rsa) | {ALT_PRIVATE: file(ALT_PRIVATE, new.key_pem)},
            installed(FILLED, rsa) | {ALT_PRIVATE: file(ALT_PRIVATE, b"")},
            installed(FILLED, rsa) | {ALT_PRIVATE: None},
            EMPTY | {ALT_PRIVATE: None},
        ],
        ids=["nothing there", "the same type", "not its key", "an empty key", "no key", "one missing"],
    )
    def test_gets_empty_files_where_it_holds_no_pair_of_another_type(self, alternative):
        found = chosen([new], installed(PLACE, new) | alternative)
        assert [c.certificate for _, c in found.selection.chosen] == [new]
        assert decide(found).write == dict.fromkeys(FILLED.paths, b"")
        assert decide(found).findings[0].reason is Reason.NOT_INSTALLED
        assert policies.unfilled(found) == [FILLED]

    def test_stays_empty(self):
        found = chosen([new], installed(PLACE, new) | EMPTY)
        assert decide(replace(found, served=(serves(new),))) == Decision()

    @pytest.mark.parametrize("held", [rsa, certificate(kind="rsa", days=1, hours_old=48)])
    def test_keeps_another_pair(self, held):
        found = chosen([new], installed(PLACE, new) | installed(FILLED, held))
        assert (decide(found).write, policies.unfilled(found)) == ({}, [])

    def test_gets_the_other_type_when_it_comes_though_it_is_older(self):
        for alternative in (EMPTY, installed(FILLED, new)):
            found = chosen([new, rsa], installed(PLACE, new) | alternative)
            assert [c.certificate for _, c in found.selection.chosen] == [new, rsa]
            assert decide(found).write.keys() == set(FILLED.paths)

    def test_is_left_alone_where_there_is_no_first(self):
        found = chosen([], nothing(PLACE, FILLED))
        assert decide(found).write == {}
        assert found.selection.finding is not None
        assert policies.unfilled(found) == [FILLED]


class TestAnotherWritesTheFiles:
    OTHER = target(written_by="somebody else")

    def decided(self, held: Any, waited: float, *served: Served, on: Any = None, want: Any = new) -> Decision:
        there = facts(want, installed(PLACE, held) if held else nothing(PLACE), *served, on=on or self.OTHER)
        return decide(replace(there, differs_for=waited))

    def test_it_is_given_its_time(self):
        found = self.decided(old, 10.0, serves(old))
        assert (found.write, found.reload, found.wait, found.pause) == ({}, False, True, 5.0)
        assert found.findings[0].reason is Reason.RELOAD_PENDING
        assert found.findings[0].message.endswith("waiting for somebody else")
        assert self.decided(old, 0.0, serves(old)).pause == 2.0

    def test_what_it_wrote_is_good_while_it_works(self):
        assert self.decided(old, 60.0, serves(old)) == Decision()

    def test_it_must_be_in_use(self):
        found = self.decided(old, 60.0, serves(other))
        assert (found.write, found.reload, found.findings[0].reason) == ({}, True, Reason.SERVED_DIFFERS)

    def test_what_is_as_wanted_must_be_in_use_too(self):
        assert self.decided(new, 0.0, serves(new)) == Decision()
        assert self.decided(new, 0.0, serves(other)).reload

    @pytest.mark.parametrize(
        "held",
        [None, other, certificate(days=10, hours_old=217), certificate(days=1, hours_old=48)],
        ids=["nothing", "another name", "near its end", "ended"],
    )
    def test_where_it_brings_nothing_of_use_that_is_told_and_nothing_is_written(self, held):
        found = self.decided(held, 60.0, serves(old))
        assert (found.write, found.reload) == ({}, False)
        assert found.refused is not None
        assert found.refused.message.endswith("; it was not brought by somebody else")

    def test_a_container_that_does_not_run_is_waited_for(self):
        created = replace(self.OTHER, container=container(state=State.CREATED))
        assert self.decided(None, 600.0, on=created).wait

    def test_what_it_holds_may_be_newer_than_what_the_source_has(self):
        there = facts(old, installed(PLACE, new), on=self.OTHER)
        found = choosing.choose(there, {"traefik": snapshot(old)})
        assert (found.selection.finding, decide(found).refused) == (None, None)


class TestAnotherIsAtTheFiles:
    """Nobody told that somebody else writes them, but somebody does."""

    def decided(
        self, files: dict[PurePosixPath, InstalledFile | None], waited: float = 0.0, *, writable: bool = True, **observed: Any
    ) -> Decision:
        mounts = (Mount("bind", "/srv", CERT.parent, writable),)
        there = facts(new, files, serves(old), on=target(container=container(mounts=mounts)), **observed)
        return decide(replace(there, differs_for=waited))

    HALF = installed(PLACE, old) | {PRIVATE: file(PRIVATE, other.key_pem)}
    CUT_OFF = installed(PLACE, old) | {CERT: file(CERT, CUT)}

    @pytest.mark.parametrize("files", [HALF, CUT_OFF], ids=["one of two", "half of one"])
    @pytest.mark.parametrize(("waited", "pause"), [(0.0, 0.5), (2.0, 1.0), (4.0, 1.0), (4.9, 0.1)])
    def test_it_is_waited_for(self, files, waited, pause):
        found = self.decided(files, waited)
        assert (found.write, found.reload, found.wait) == ({}, False, True)
        assert found.pause == pytest.approx(pause)
        assert found.findings[0].reason is Reason.RELOAD_PENDING
        assert found.findings[0].message.endswith(
            "; key and certificate do not belong together: waiting for whoever writes them to finish"
        )

    def test_but_not_for_long(self):
        assert self.decided(self.HALF, 5.0).write

    def test_empty_files_are_nobodys(self):
        assert self.decided({path: file(path, b"") for path in PLACE.paths}).write

    def test_where_certferry_was_interrupted_itself_it_goes_on(self):
        assert self.decided(self.HALF, kept=installed(PLACE, certificate(days=80))).write

    def test_what_nobody_else_can_reach_nobody_else_writes(self):
        assert decide(facts(new, self.HALF, serves(old))).write

    def test_a_link_may_lead_to_where_others_write(self):
        mounts = (Mount("bind", "/srv", PurePosixPath("/archive"), True),)
        links = {path: PurePosixPath("/archive", path.name) for path in PLACE.paths}
        asked = target(container=container(mounts=mounts))
        assert decide(facts(new, self.HALF, serves(old), on=asked, resolved=links)).wait

    @pytest.mark.parametrize("files", [installed(PLACE, old), nothing(PLACE)])
    def test_where_nobody_but_others_can_write_they_are_given_a_moment(self, files):
        found = self.decided(files, 4.0, writable=False)
        assert (found.write, found.wait, found.pause) == ({}, True, 2.0)
        assert found.findings[0].message.endswith("; waiting for whoever keeps these files, which are read-only here")
        assert self.decided(files, 10.0, writable=False).write


class TestItsOwnStart:
    """While it goes on, one service may be up and the next not yet."""

    WANTED = target(starting=True, container=STARTING)

    def test_nothing_is_reloaded(self):
        found = decide(facts(new, installed(PLACE, new), serves(old), on=self.WANTED))
        assert (found.wait, found.reload) == (True, False)

    def test_what_is_wanted_is_written(self):
        found = decide(facts(new, installed(PLACE, old), serves(old), on=self.WANTED))
        assert (bool(found.write), found.wait, found.reload) == (True, True, False)

    def test_it_is_over_some_time(self):
        for_long = target(starting=True)
        assert decide(facts(new, installed(PLACE, new), serves(old), on=for_long)).reload
