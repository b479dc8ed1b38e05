"""Which chain is delivered with a leaf, and what a client says of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ObjectIdentifier

from controller.domain.certificate import Trust
from controller.x509 import chains
from controller.x509.chains import MOST_PATHS, Pool, is_signed_by, paths
from controller.x509.judging import Judged, judge
from controller.x509.parsed import ParsedCertificate
from controller.x509.roots import Roots
from tests.unit.x509.making import NOW, Made, intermediate, key, leaf, make, name, root

ROOT = root()
ROOTS = Roots.of([ROOT.certificate])
R1 = intermediate(ROOT)
LEAF = leaf(R1)
MUTUAL = {"A": root("A", own=key(5)), "B": root("B", own=key(6))}
PUBLIC_POLICY = (
    x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.140.1.2.1"), None)]),
    False,
)


def asked(one: Made, *own: Made, roots: Roots = ROOTS, pool: tuple[Made, ...] = (), later: float = 0) -> Judged:
    return judge(
        one.certificate,
        [each.certificate for each in own],
        roots,
        NOW + timedelta(days=later),
        Pool(each.certificate for each in pool),
    )


def chain_of(judged: Judged) -> list[ParsedCertificate]:
    return list(judged.chain)


class TestTheProducersOwnChain:
    OTHER = intermediate(root("Elsewhere"), "X")

    @pytest.mark.parametrize(
        "own",
        [(R1,), (R1, R1), (LEAF, R1), (R1, ROOT), (ROOT, R1), (OTHER, R1), (R1, OTHER, LEAF, ROOT)],
        ids=["alone", "twice", "after the leaf", "before the root", "after the root", "after another", "among everything"],
    )
    def test_is_delivered_clean_whatever_stands_beside_it(self, own):
        judged = asked(LEAF, *own)
        assert (chain_of(judged), judged.trust, judged.why) == ([R1.certificate], Trust.PUBLIC, "")

    def test_is_kept_though_another_path_is_shorter(self):
        """A cross-sign for clients that are older than the root."""
        old_root = root("Old root")
        new_root = root("New root", own=key(1))
        cross = intermediate(old_root, "New root", own=key(1))
        r2 = intermediate(new_root, "R2")
        one = leaf(r2)
        both = Roots.of([old_root.certificate, new_root.certificate])
        assert chain_of(asked(one, r2, cross, roots=both)) == [r2.certificate, cross.certificate]
        assert chain_of(asked(one, r2, roots=both)) == [r2.certificate]

    def test_loses_the_part_that_has_ended_where_the_rest_is_enough(self):
        """The cross-sign of ISRG Root X1 by DST Root CA X3, which ended in 2021 and broke older clients."""
        new_root = root("New root", own=key(1))
        ended = intermediate(root("Old root"), "New root", own=key(1), days=(-900, -1))
        r2 = intermediate(new_root, "R2")
        judged = asked(leaf(r2), r2, ended, roots=Roots.of([new_root.certificate]))
        assert (chain_of(judged), judged.trust) == ([r2.certificate], Trust.PUBLIC)


class TestAnIntermediateThatWasIssuedAnew:
    """Under the same name and with the same key, as Let's Encrypt does: only the dates tell which is good."""

    ENDED = intermediate(ROOT, own=key(2), days=(-500, -1))
    NEW = intermediate(ROOT, own=key(2), days=(-50, 500))
    NOT_YET = intermediate(ROOT, own=key(2), days=(2, 500))
    ONE = leaf(NEW)

    @pytest.mark.parametrize("own", [(ENDED, NEW), (NEW, ENDED), (NOT_YET, NEW), (NOT_YET, ENDED, NEW)])
    def test_the_one_in_time_is_delivered_in_whatever_order_they_lie(self, own):
        assert chain_of(asked(self.ONE, *own)) == [self.NEW.certificate]
        assert chain_of(asked(self.ONE, pool=own)) == [self.NEW.certificate]

    def test_it_comes_from_the_pool_where_the_own_has_ended(self):
        judged = asked(self.ONE, self.ENDED, pool=(self.NEW,))
        assert (chain_of(judged), judged.trust) == ([self.NEW.certificate], Trust.PUBLIC)

    def test_without_a_good_one_the_own_is_delivered_and_it_is_said_what_a_client_says(self):
        judged = asked(self.ONE, self.ENDED)
        assert (chain_of(judged), judged.trust) == ([self.ENDED.certificate], Trust.REFUSED)
        assert (
            judged.why == f"clients refuse its chain because of R1: it expired on {self.ENDED.certificate.not_after:%Y-%m-%d};"
            " get the current chain from the CA"
        )
        assert "it begins on" in asked(self.ONE, self.NOT_YET).why

    def test_it_is_judged_anew_when_the_next_one_begins_or_this_one_ends(self):
        assert asked(self.ONE, self.ENDED, self.NOT_YET).until == self.NOT_YET.certificate.not_before
        assert asked(self.ONE, self.NEW).until == self.NEW.certificate.not_after
        assert asked(self.ONE, self.ENDED, self.NOT_YET, later=3).trust is Trust.PUBLIC

    def test_it_is_judged_anew_when_its_root_ends(self):
        """AddTrust in 2020 and DST Root CA X3 in 2021 ended before the intermediates that they had signed."""
        old = root("Old", days=(-3000, 5))
        between = intermediate(old, "Between")
        assert asked(leaf(between), between, roots=Roots.of([old.certificate])).until == old.certificate.not_after


class TestTrust:
    def test_names_the_root_that_is_not_known_and_says_that_it_may_be_newer(self):
        """Let's Encrypt's generation Y on a system with X1 only."""
        judged = asked(LEAF, R1, roots=Roots.of([root("Pub Root X1").certificate]))
        assert (judged.trust, judged.root_unknown) == (Trust.ROOT_UNKNOWN, True)
        assert judged.why.startswith("its root Root is not among this system's trusted roots: it may be newer than they are")

    @pytest.mark.parametrize("more", [(PUBLIC_POLICY,)])
    def test_knows_a_public_authority_by_what_it_says_of_itself(self, more):
        assert asked(leaf(R1, more=more), R1, roots=Roots()).trust is Trust.ROOT_UNKNOWN
        assert asked(LEAF, R1, roots=Roots()).trust is Trust.PRIVATE

    def test_of_a_chain_without_its_intermediate_says_which_is_missing(self):
        judged = asked(LEAF)
        assert (judged.trust, chain_of(judged)) == (Trust.INCOMPLETE, [])
        assert judged.why == "the chain is incomplete: the intermediate R1 is missing; give the whole chain (fullchain.pem)"

    def test_of_a_lonely_leaf_of_nobody_known_leaves_open_what_is_missing(self):
        judged = asked(LEAF, roots=Roots())
        assert judged.trust is Trust.INCOMPLETE
        assert "the chain is incomplete: R1, which issued it, is neither beside it nor among" in judged.why

    def test_is_private_where_the_root_lies_beside_the_leaf(self):
        judged = asked(LEAF, R1, ROOT, roots=Roots())
        assert (judged.trust, judged.root_unknown, chain_of(judged)) == (Trust.PRIVATE, False, [R1.certificate])
        assert judged.why.startswith(
            "its root Root is not among this system's trusted roots, so only clients that have it accept"
        )

    @pytest.mark.parametrize("own", [(R1,), (R1, ROOT), (ROOT, R1)], ids=["without its root", "with it", "before it"])
    def test_of_a_public_one_with_an_unknown_root_is_the_same_with_that_root_beside_it(self, own):
        """What is installed has no root beside it; were it trusted more than its renewal, that would never come."""
        judged = asked(LEAF, *own, roots=Roots.of([root("Pub Root X1").certificate]))
        assert (judged.trust, judged.root_unknown, chain_of(judged)) == (Trust.ROOT_UNKNOWN, True, [R1.certificate])

    def test_is_no_other_for_a_weak_root_beside_the_chain(self):
        """Nobody delivers it, so what is installed does not tell of it."""
        weak = root("Weak root", own=rsa.generate_private_key(65537, 1024))
        between = intermediate(weak, "Between")
        one = leaf(between)
        with_it, without = asked(one, between, weak, roots=Roots()), asked(one, between, roots=Roots())
        assert (with_it.trust, with_it.root_unknown, with_it.chain) == (without.trust, without.root_unknown, without.chain)
        assert with_it.trust is Trust.PRIVATE

    def test_of_a_leaf_with_the_name_of_its_root_is_by_who_signed_it(self):
        """People answer all questions of openssl req alike, for the CA and for the server."""
        home = make(name("mail.example.com"), ca=True, signs=True, days=(-30, 300))
        one = make(name("mail.example.com"), home, names=["mail.example.com"])
        assert asked(one, home, roots=Roots()).trust is Trust.PRIVATE
        assert asked(one, roots=Roots.of([home.certificate])).trust is Trust.PUBLIC
        bare = make(name("mail.example.com"), home, names=["mail.example.com"], key_ids=False)
        judged = asked(bare, home, roots=Roots.of([home.certificate]))
        assert (judged.trust, "the name of the CA that issued it" in judged.why) == (Trust.REFUSED, True)

    def test_of_one_that_signed_itself(self):
        assert asked(leaf(None)).trust is Trust.SELF_SIGNED
        alone = leaf(None)
        assert asked(alone, roots=Roots.of([alone.certificate])).trust is Trust.PUBLIC

    def test_of_staging_comes_before_everything_but_a_known_root(self):
        staging = make(name("(STAGING) Pretend Pear"), ca=True, days=(-30, 300))
        assert asked(leaf(staging), staging).trust is Trust.STAGING
        assert asked(leaf(staging), roots=Roots.of([staging.certificate])).trust is Trust.PUBLIC

    def test_of_an_ended_leaf_is_as_it_was_at_its_end(self):
        assert asked(LEAF, R1, later=200).trust is Trust.PUBLIC
        assert asked(LEAF, R1, later=-50).trust is Trust.PUBLIC

    def test_of_a_root_that_has_ended_says_so(self):
        ended = root("Root", own=ROOT.key, days=(-3000, -1))
        judged = asked(LEAF, R1, roots=Roots.of([ended.certificate]))
        assert (judged.trust, "clients refuse its chain because of Root: it expired on" in judged.why) == (Trust.REFUSED, True)


class TestWhatClientsRefuse:
    """The producer's chain is delivered all the same, ordered; the condition says why clients refuse it."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"ca": None}, "it does not say that it is a CA's"),
            ({"ca": False}, "it does not say that it is a CA's"),
            ({"signs": False}, "it does not say that it is a CA's"),
            ({"usages": (x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,)}, "its extended key usage allows no TLS servers"),
            ({"more": [(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]}, "a critical extension that"),
            ({"more": [(x509.NameConstraints([x509.DNSName("example.org")], None), True)]}, "may not issue for this name"),
        ],
        ids=["no CA", "CA:FALSE", "may not sign", "for clients", "unknown extension", "another domain"],
    )
    def test_of_an_intermediate(self, options, said):
        odd = intermediate(ROOT, "Odd", own=key(3), **options)
        judged = asked(leaf(odd), odd)
        assert (judged.trust, chain_of(judged)) == (Trust.REFUSED, [odd.certificate])
        assert said in judged.why
        assert judged.why.endswith("; have the CA issue it anew")

    def test_of_a_path_that_is_too_long(self):
        first = intermediate(ROOT, "First", path_length=0)
        second = intermediate(first, "Second")
        judged = asked(leaf(second), second, first)
        assert (judged.trust, chain_of(judged)) == (Trust.REFUSED, [second.certificate, first.certificate])
        assert "allows no further one" in judged.why

    @pytest.mark.parametrize(
        ("options", "said", "delivered"),
        [
            ({"days": (-30, -1)}, "it expired on", True),
            ({"ca": False}, "it does not say that it is a CA's", True),
            ({"own": rsa.generate_private_key(65537, 1024)}, "its key is too weak", False),
        ],
        ids=["ended", "no CA", "weak"],
    )
    def test_of_an_intermediate_in_another_file(self, options, said, delivered):
        """It is not missing, so to ask for the whole chain is no remedy."""
        odd = intermediate(ROOT, "Odd", **options)
        judged = asked(leaf(odd), pool=(odd,))
        assert (judged.trust, chain_of(judged)) == (Trust.REFUSED, [odd.certificate] if delivered else [])
        assert said in judged.why

    def test_of_a_leaf_that_names_another_key_as_its_issuers(self):
        other = x509.AuthorityKeyIdentifier(b"another".ljust(20), None, None)
        judged = asked(leaf(R1, key_ids=False, more=[(other, False)]), R1)
        assert judged.trust is Trust.REFUSED
        assert "has another key than the one that it names (authorityKeyIdentifier)" in judged.why

    def test_a_good_one_of_the_pool_is_taken_instead(self):
        odd = intermediate(ROOT, "Odd", own=key(3), ca=False)
        good = intermediate(ROOT, "Odd", own=key(3))
        assert chain_of(asked(leaf(good), odd, pool=(good,))) == [good.certificate]


class TestNames:
    """Compared as RFC 5280 §7.1 says, and as OpenSSL does."""

    @pytest.mark.parametrize("written", ["My  CA ", "MY CA", " my ca"])
    def test_case_blanks_and_the_type_of_string_do_not_matter(self, written):
        odd = intermediate(ROOT, "My CA", own=key(4))
        one = leaf(odd, issuer_name=name(written, "Pub", x509.name._ASN1Type.PrintableString))
        assert (asked(one, odd).trust, chain_of(asked(one, odd))) == (Trust.PUBLIC, [odd.certificate])

    def test_another_name_does(self):
        odd = intermediate(ROOT, "My CA", own=key(4))
        assert chain_of(asked(leaf(odd, issuer_name=name("My CAs", "Pub")), odd)) == []

    def test_a_leaf_that_does_not_tell_the_key_of_its_issuer_is_trusted(self):
        assert asked(leaf(R1, key_ids=False), R1).trust is Trust.PUBLIC

    def test_roots_without_key_usage_are_trusted(self):
        bare = make(name("Bare"), ca=True, key_ids=False, days=(-300, 300))
        assert asked(leaf(bare), roots=Roots.of([bare.certificate])).trust is Trust.PUBLIC

    def test_a_root_with_a_weak_key_is_none(self):
        weak = make(name("Weak"), ca=True, own=rsa.generate_private_key(65537, 1024), days=(-300, 300))
        assert asked(leaf(weak), roots=Roots.of([weak.certificate])).trust is not Trust.PUBLIC


def test_authorities_that_sign_each_other_have_an_end():
    first, second = root("A", own=key(5)), root("B", own=key(6))
    crossed = [intermediate(first, "B", own=key(6), days=(-9, n)) for n in range(10, 30)]
    crossed += [intermediate(second, "A", own=key(5), days=(-9, n)) for n in range(10, 30)]
    one = leaf(first)
    assert sum(1 for _ in paths(one.certificate, Pool(each.certificate for each in crossed))) == MOST_PATHS
    assert asked(one, *crossed, roots=Roots.of([second.certificate])).trust is Trust.PUBLIC


def test_of_authorities_that_sign_each_other_each_signature_is_verified_once(monkeypatch):
    """In one installed file there may be 20 of them, and a path is looked for while everything else waits."""
    crossed = [intermediate(MUTUAL["BA"[n % 2]], "AB"[n % 2], own=MUTUAL["AB"[n % 2]].key, days=(-9, 9 + n)) for n in range(19)]
    verified: list[tuple[ParsedCertificate, ...]] = []

    def count(*two: ParsedCertificate) -> bool:
        verified.append(two)
        return is_signed_by(*two)

    monkeypatch.setattr(chains, "is_signed_by", count)
    judged = judge(leaf(MUTUAL["A"]).certificate, [one.certificate for one in crossed], Roots(), NOW)
    assert judged.trust is Trust.PRIVATE
    assert 0 < len(verified) <= len(set(verified)) + 20


def test_the_name_of_a_staging_authority_is_looked_for_in_all_of_it():
    staging = make(name("Pear", "(STAGING) Let's Encrypt"), ca=True, days=(-30, 300))
    assert asked(leaf(staging), staging).trust is Trust.STAGING
