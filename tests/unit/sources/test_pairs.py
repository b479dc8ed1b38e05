"""Pairs judged one by one, with a memory from one reading to the next."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.domain.finding import Reason
from controller.x509.pairs import parse_certificate
from sources import pairs as judged
from sources.pairs import RawPair, Reading, label_of, printable
from tests import certs
from tests.unit.test_threads import Panic

REMEDY = "do this"


@pytest.fixture(scope="module")
def authority() -> certs.Authority:
    return certs.Authority()


@pytest.fixture(scope="module")
def good(authority: certs.Authority) -> certs.Pair:
    return authority.issue("mail.example.test")


@pytest.fixture
def parsed(monkeypatch) -> list[bytes]:
    """The chains that were really parsed, in order."""
    calls: list[bytes] = []
    real = parse_certificate

    def counted(chain: bytes, *others: Any):
        calls.append(chain)
        return real(chain, *others)

    monkeypatch.setattr(judged, "parse_certificate", counted)
    return calls


def read_pairs(pairs: list[RawPair], known: judged.Known, *, remedy: str) -> Reading:
    return judged.read_pairs(judged.Contents(pairs), known, moment=datetime.now(UTC), remedy=remedy)


def raw(pair: certs.Pair, label: str = "le/mail.example.test") -> RawPair:
    return RawPair(label, pair.chain, pair.key)


def swapped(pair: certs.Pair) -> bytes:
    """The chain with its two certificates in the wrong order."""
    middle = pair.chain.index(b"-----BEGIN", 1)
    return pair.chain[middle:] + pair.chain[:middle]


@pytest.mark.parametrize(
    ("make", "reason", "message"),
    [
        (
            lambda ca, good: certs.Pair(b"garbage", good.key),
            Reason.SOURCE_MALFORMED,
            "the certificate: it holds neither a certificate nor a key; do this",
        ),
        (
            lambda ca, good: certs.Pair(good.chain, b"\0\xff"),
            Reason.SOURCE_MALFORMED,
            "the private key: it holds neither a certificate nor a key; do this",
        ),
        (
            lambda ca, good: certs.Pair(good.chain, certs.key_pem(certs.new_key())),
            Reason.KEY_MISMATCH,
            "the private key belongs to another certificate; do this",
        ),
        (
            lambda ca, good: certs.Pair(*_with_encrypted_key(ca)),
            Reason.SOURCE_MALFORMED,
            "the private key: it is protected by a password; store it without one, as openssl pkey -in … -out … writes it",
        ),
        (
            lambda ca, good: ca.issue("mail.example.test", san=False),
            Reason.NAME_MISMATCH,
            "the certificate names no host in its subjectAltName; ask the issuer for one that does",
        ),
        (
            lambda ca, good: ca.issue("mail.example.test", kind="rsa", bits=1024),
            Reason.WEAK_KEY,
            "its key is too weak: RSA with 1024 bits;"
            " let its program make a new one: RSA with 2048 bits at least, or the curve P-256",
        ),
    ],
    ids=["certificate garbage", "key garbage", "other key", "encrypted key", "no SAN", "RSA 1024"],
)
def test_each_mistake_is_one_line_with_its_remedy_and_hides_no_other_pair(make, reason, message, authority, good):
    reading = read_pairs([raw(make(authority, good), "bad"), raw(good, "good")], {}, remedy=REMEDY)
    assert [(p.label, p.reason, p.message) for p in reading.problems] == [("bad", reason, message)]
    assert [(e.label, e.certificate) for e in reading.entries] == [("good", good.certificate)]


def test_what_is_wrong_with_a_file_is_told_with_its_name_and_what_helps_by_the_cause(good):
    swapped = RawPair("a", good.key, good.chain, files=("x/cert.pem", "x/key.pem"))
    utf16 = RawPair("b", good.chain, good.key.decode().encode("utf-16"), files=("x/cert.pem", "x/key.pem"))
    damaged = RawPair("c", good.chain[:90] + good.chain[91:], good.key, files=("x/cert.pem", "x/key.pem"))
    empty = RawPair("d", good.chain, b"", files=("x/cert.pem", "x/key.pem"))
    own = RawPair("e", good.chain, certs.key_pem(certs.new_key()), remedy="do that")
    told = {p.label: p.message for p in read_pairs([swapped, utf16, damaged, empty, own], {}, remedy=REMEDY).problems}
    assert told["a"] == "x/cert.pem: it holds a private key and no certificate; were the two files swapped?"
    assert told["b"].startswith("x/key.pem: it is UTF-16 text, as PowerShell makes it by >")
    assert told["c"] == "x/cert.pem: a certificate in it is cut off or damaged: that is no base64; do this"
    assert told["d"] == "x/key.pem: it is empty; do this"
    assert told["e"] == "the private key belongs to another certificate; do that"


def test_what_can_be_put_right_as_text_is_used(good):
    indented = b"".join(b"    " + line + b"\r\n" for line in good.key.splitlines())
    (entry,) = read_pairs([RawPair("a", good.chain.replace(b"\n", b"\r"), indented)], {}, remedy=REMEDY).entries
    assert entry.certificate == good.certificate


def test_a_certificate_for_addresses_is_skipped_quietly(authority, good):
    """Traefik and Caddy order such since 2026, and nobody asks for an address."""
    address, both = authority.issue("192.0.2.10"), authority.issue("192.0.2.10", "mail.example.test")
    reading = read_pairs([raw(address, "ip"), raw(both, "both"), raw(good, "good")], {}, remedy=REMEDY)
    assert reading.problems == ()
    assert [entry.label for entry in reading.entries] == ["both", "good"]
    again = read_pairs([raw(address, "ip")], reading.known, remedy=REMEDY)
    assert (again.entries, again.problems) == ((), ())


def test_a_chain_in_the_wrong_order_is_delivered_in_the_right_one(good):
    (entry,) = read_pairs([raw(certs.Pair(swapped(good), good.key))], {}, remedy=REMEDY).entries
    assert entry.certificate == good.certificate


def _with_encrypted_key(authority: certs.Authority) -> tuple[bytes, bytes]:
    key = certs.new_key()
    return authority.issue("mail.example.test", key=key).chain, certs.key_pem(key, password=b"secret")


def test_a_parser_that_fails_in_an_unforeseen_way_costs_only_that_pair(monkeypatch, good):
    def fail(chain: bytes, key: bytes, *_: Any):
        raise ZeroDivisionError(key)

    monkeypatch.setattr(judged, "parse_certificate", fail)
    problem = read_pairs([raw(good)], {}, remedy=REMEDY).problems[0]
    assert problem.message == "a pair that cannot be parsed (ZeroDivisionError); do this"


def test_only_the_changed_pair_is_parsed_again(authority, good, parsed):
    others = [authority.issue(f"h{number}.example.test") for number in range(20)]
    before = read_pairs([raw(pair) for pair in [good, *others]], {}, remedy=REMEDY)
    renewed = authority.issue("mail.example.test")
    parsed.clear()
    after = read_pairs([raw(pair) for pair in [renewed, *others]], before.known, remedy=REMEDY)
    assert parsed == [renewed.chain]
    assert after.entries[0].certificate == renewed.certificate
    assert after.entries[1:] == before.entries[1:]


def test_a_bad_pair_is_remembered_as_bad_under_each_label(good, parsed):
    bad = certs.Pair(good.chain, certs.key_pem(certs.new_key()))
    first = read_pairs([raw(bad, "a")], {}, remedy=REMEDY)
    second = read_pairs([raw(bad, "b"), raw(bad, "c")], first.known, remedy=REMEDY)
    assert len(parsed) == 1
    assert [p.label for p in second.problems] == ["b", "c"]


def test_a_pair_that_is_not_met_any_more_is_forgotten(authority, good):
    first = read_pairs([raw(good), raw(authority.issue("old.example.test"))], {}, remedy=REMEDY)
    second = read_pairs([raw(good)], first.known, remedy=REMEDY)
    assert (len(first.known), len(second.known)) == (2, 1)


def test_bytes_moved_from_the_certificate_to_the_key_are_another_pair():
    assert RawPair("", b"ab", b"c").digest != RawPair("", b"a", b"bc").digest


def test_the_representation_of_a_pair_shows_its_label_only(good):
    assert repr(raw(good)) == "RawPair(label='le/mail.example.test', test=False)"
    assert "PRIVATE KEY" not in repr(read_pairs([raw(good)], {}, remedy=REMEDY))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("mail.example.test", "mail.example.test"),
        ("größe €", "größe €"),
        ("a\nb\x1b[31m\udcff", "a?b?[31m?"),
        ("n" * 500, "n" * 120),
    ],
)
def test_a_label_is_on_one_line_and_has_an_end(name, label):
    assert label_of(name) == label


def test_a_message_is_on_one_line_and_whole():
    assert printable("x" * 500 + "\r\n" + "é") == "x" * 500 + "??é"


def test_a_pair_that_makes_a_foreign_library_panic_is_a_problem_of_its_own(good, authority, monkeypatch):
    odd, real = authority.issue("odd.example.test"), parse_certificate

    def parse(chain: bytes, *others: Any):
        if chain == odd.chain:
            raise Panic("called `Option::unwrap()`")
        return real(chain, *others)

    monkeypatch.setattr(judged, "parse_certificate", parse)
    reading = read_pairs([raw(odd, "odd"), raw(good)], {}, remedy=REMEDY)
    assert [entry.certificate.fingerprint for entry in reading.entries] == [good.certificate.fingerprint]
    assert [(problem.label, problem.reason) for problem in reading.problems] == [("odd", Reason.SOURCE_MALFORMED)]
