"""PEM to certificates: what is refused and why, which names fit, whom to trust, and that foreign bytes never crash anything."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.certificate import KeyType, Trust
from controller.domain.errors import (
    CertificateError,
    EncryptedKey,
    KeyMismatch,
    MalformedPem,
    NameMissing,
    WeakKey,
)
from controller.x509.hostnames import covers
from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf, parse_leaf_der
from controller.x509.pairs import judge_pem
from controller.x509.roots import trusted_roots
from tests.certs import Authority, Pair, certificate_of, key_pem, new_key, self_signed
from tests.unit.made import DOMAIN, authority, pair, rsa_key


def pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()


def der_of(pem_text: bytes) -> list[bytes]:
    return [c.public_bytes(serialization.Encoding.DER) for c in x509.load_pem_x509_certificates(pem_text)]


def blocks(pem_text: bytes) -> list[bytes]:
    return [c.public_bytes(serialization.Encoding.PEM) for c in x509.load_pem_x509_certificates(pem_text)]


def signed(key: Any, *, subject: str = "leaf", names: tuple[str, ...] = (DOMAIN,), authority: bool = False) -> bytes:
    """A certificate that vouches for itself, as PEM, by a key of any kind."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return built.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def pkcs8(key: Any) -> bytes:
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def numbers_of(key: object) -> rsa.RSAPrivateNumbers:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.private_numbers()


class TestAGoodPair:
    def test_it_is_split_into_leaf_and_chain_and_put_together_as_servers_want_it(self):
        made = pair()
        leaf, intermediate = blocks(made.chain)
        held = made.certificate

        assert (held.leaf_pem, held.chain_pem, held.key_pem) == (leaf, intermediate, made.key)
        assert (held.fullchain_pem, held.combined_pem) == (made.chain, made.key + made.chain)

    def test_the_leaf_says_what_is_in_the_certificate(self):
        made = authority().issue("Mail.Example.com", "*.example.org", "mail.example.com", days=30)
        parsed = x509.load_pem_x509_certificates(made.chain)[0]
        leaf = made.certificate.leaf

        assert leaf.names == ("mail.example.com", "*.example.org")
        assert (leaf.subject, leaf.issuer) == ("Mail.Example.com", "certferry test CA")
        assert (leaf.not_before, leaf.not_after) == (parsed.not_valid_before_utc, parsed.not_valid_after_utc)
        assert (leaf.key_type, leaf.key_bits) == (KeyType.ECDSA, 256)
        assert (leaf.fingerprint, leaf.serial) == (parsed.fingerprint(hashes.SHA256()).hex(), parsed.serial_number)
        assert leaf.short == leaf.fingerprint[:12]

    @pytest.mark.parametrize(
        ("key", "kind", "bits"),
        [
            (rsa_key(), KeyType.RSA, 2048),
            (ec.generate_private_key(ec.SECP384R1()), KeyType.ECDSA, 384),
            (ed25519.Ed25519PrivateKey.generate(), KeyType.OTHER, 256),
        ],
        ids=["rsa", "p384", "ed25519"],
    )
    def test_the_usual_kinds_of_keys_are_told_apart(self, key, kind, bits):
        leaf = certificate_of(signed(key), pkcs8(key)).leaf
        assert (leaf.key_type, leaf.key_bits) == (kind, bits)

    def test_line_ends_of_another_system_and_text_around_the_blocks_do_not_matter(self):
        made = pair()
        held = certificate_of(b"subject: x\r\n" + made.chain.replace(b"\n", b"\r\n") + b"\r\n", b"\n" + made.key + b"\n\n")
        assert (held.fullchain_pem, held.key_pem) == (made.chain, made.key)

    def test_a_leaf_alone_has_an_empty_chain(self):
        made = self_signed(DOMAIN)
        assert made.certificate.chain_pem == b""

    def test_a_key_is_written_in_our_own_form_whatever_form_it_had(self):
        key = new_key()
        older = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        assert certificate_of(authority().issue(DOMAIN, key=key).chain, older).key_pem == key_pem(key)


def weak_curve() -> Pair:
    key = ec.generate_private_key(ec.SECP224R1())
    return Pair(signed(key), pkcs8(key))


def weak_rsa() -> Pair:
    key = new_key("rsa", 1024)
    return Pair(signed(key), pkcs8(key))


def not_for_tls() -> Pair:
    return Pair(pair().chain, pkcs8(dsa.generate_private_key(1024)))


def swapped() -> Pair:
    leaf, intermediate = blocks(pair().chain)
    return Pair(intermediate + leaf, pair().key)


def incomplete() -> Pair:
    return Pair(blocks(pair().chain)[0] + authority().root_pem, pair().key)


def with_foreign() -> Pair:
    return Pair(pair().chain + Authority("another CA").intermediate_pem, pair().key)


def with_root() -> Pair:
    return Pair(pair().chain + authority().root_pem, pair().key)


def damaged_rsa() -> Pair:
    """The numbers of another key around this key's modulus."""
    good, other = numbers_of(rsa_key()), numbers_of(new_key("rsa"))
    mixed = rsa.RSAPrivateNumbers(
        p=good.p, q=good.q, d=other.d, dmp1=good.dmp1, dmq1=good.dmq1, iqmp=good.iqmp, public_numbers=good.public_numbers
    )
    return Pair(pair(kind="rsa").chain, pkcs8(mixed.private_key(unsafe_skip_rsa_key_validation=True)))


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [
        (lambda: Pair(pair().chain, key_pem(new_key())), KeyMismatch, "belongs to another certificate"),
        (lambda: Pair(pair().chain, key_pem(new_key(), b"secret")), EncryptedKey, "protected by a password; store it without"),
        (lambda: Pair(b"", pair().key), MalformedPem, "no certificate in PEM form"),
        (lambda: Pair(b"garbage", pair().key), MalformedPem, "no certificate in PEM form"),
        (lambda: Pair(pair().key, pair().key), MalformedPem, "no certificate in PEM form"),
        (lambda: Pair(pem(b"nonsense"), pair().key), MalformedPem, "does not parse"),
        (lambda: Pair(pair().chain[:-200], pair().key), MalformedPem, "is cut off"),
        (lambda: Pair(pair().chain[:200], pair().key), MalformedPem, "does not parse"),
        (lambda: Pair(pair().chain, b""), MalformedPem, "no private key in PEM form"),
        (lambda: Pair(pair().chain, pair().chain), MalformedPem, "no private key in PEM form"),
        (lambda: Pair(pair().chain, pair().key[:90]), MalformedPem, "no private key in PEM form"),
        (damaged_rsa, MalformedPem, "it is damaged"),
        (weak_rsa, WeakKey, "its key is too weak: RSA with 1024 bits; let its program make a new one"),
        (weak_curve, WeakKey, "its key is on the curve secp224r1, which Thunderbird refuses"),
        (not_for_tls, WeakKey, "the kind DSA, which TLS certificates do not have"),
        (lambda: authority().issue(DOMAIN, san=False), NameMissing, "names no host in its subjectAltName"),
    ],
    ids=[
        "another key",
        "key with a password",
        "nothing",
        "garbage",
        "a key for the certificate",
        "a block of nonsense",
        "half an intermediate",
        "half a leaf",
        "no key",
        "a certificate for the key",
        "half a key",
        "a damaged RSA key",
        "RSA 1024",
        "P-224",
        "DSA",
        "only a common name",
    ],
)
def test_a_pair_that_must_not_be_delivered_is_refused_with_its_reason(made, error, text):
    unfit = made()
    with pytest.raises(error, match=text) as caught:
        certificate_of(unfit.chain, unfit.key)
    assert "\n" not in str(caught.value)


def test_an_intermediate_with_a_key_of_an_unknown_kind_does_not_hide_that_the_key_is_anothers():
    leaf, intermediate = der_of(pair().chain)
    ec_public_key = bytes.fromhex("2a8648ce3d0201")
    unknown = pem(leaf) + pem(intermediate.replace(ec_public_key, ec_public_key[:-1] + b"\x7f"))
    with pytest.raises(KeyMismatch):
        certificate_of(unknown, key_pem(new_key()))


@pytest.mark.parametrize("made", [swapped, lambda: Pair(pair().chain * 3, pair().key), with_foreign, with_root])
def test_any_order_doubles_a_foreign_certificate_and_the_root_do_no_harm(made):
    assert certificate_of(made().chain, made().key).fullchain_pem == pair().certificate.fullchain_pem


def test_of_two_for_one_key_the_one_that_is_valid_and_ends_last_is_the_leaf():
    """Whoever renews with the key kept, and puts the new one behind the old one, or before it."""
    same = new_key()
    ended, other, newest = (authority().issue(DOMAIN, key=same, days=days, age=timedelta(days=9)) for days in (5, 20, 60))
    texts = [pair.certificate.leaf_pem for pair in (ended, other, newest)]
    for order in permutations(texts):
        found = certificate_of(b"".join((*order, authority().intermediate_pem)), newest.key)
        assert found.leaf_pem == newest.certificate.leaf_pem
        assert found.chain_pem == authority().intermediate_pem


def test_a_root_in_place_of_the_intermediate_is_left_out():
    assert certificate_of(incomplete().chain, pair().key).chain_pem == b""


def test_an_issuer_whose_key_cannot_be_used_here_is_left_out():
    leaf, intermediate = der_of(pair().chain)
    ec_public_key = bytes.fromhex("2a8648ce3d0201")
    unknown = pem(intermediate.replace(ec_public_key, ec_public_key[:-1] + b"\x7f"))
    made = certificate_of(pem(leaf) + unknown, pair().key)
    assert (made.leaf, made.chain_pem) == (pair().certificate.leaf, b"")


def test_no_message_about_a_key_holds_a_part_of_it():
    made = pair()
    for text in (made.key[:90], made.key[:-40] + b"!" + made.key[-39:], made.key.replace(b"M", b"N")):
        with pytest.raises(CertificateError) as caught:
            certificate_of(made.chain, text)
        assert not any(line.decode() in str(caught.value) for line in made.key.splitlines()[1:-1])


def test_the_name_of_an_issuer_cannot_steer_a_terminal():
    key = new_key()
    leaf = parse_leaf(signed(key, subject="evil\x1b[2J\nname"))
    assert leaf.subject == r"evil\x1b[2J\nname"


def test_a_name_that_cannot_be_printed_is_no_host_name():
    assert parse_leaf(signed(new_key(), names=("a\x1bb", DOMAIN))).names == (DOMAIN,)


class TestFacts:
    def test_of_the_first_certificate_in_a_text_count(self):
        assert parse_leaf(pair().key + pair().chain) == pair().certificate.leaf

    def test_of_a_handshake_are_the_same(self):
        assert parse_leaf_der(der_of(pair().chain)[0]) == pair().certificate.leaf

    @pytest.mark.parametrize("der", [b"", b"0", b"0\x03\x02\x01\x01", b"\xff" * 100])
    def test_that_cannot_be_read_are_an_error(self, der):
        with pytest.raises(MalformedPem):
            parse_leaf_der(der)


class TestAKeyFits:
    def test_its_certificate(self):
        assert key_fits(pair().certificate.leaf, pair().key)

    @pytest.mark.parametrize("text", [b"", b"garbage", key_pem(new_key()), key_pem(new_key(), b"secret")])
    def test_nothing_else(self, text):
        assert not key_fits(pair().certificate.leaf, text)


@pytest.mark.parametrize(
    ("names", "wanted", "covered"),
    [
        (("mail.example.com",), "mail.example.com", True),
        (("mail.example.com",), "MAIL.Example.COM", True),
        (("mail.example.com",), "mail.example.com.", True),
        (("mail.example.com",), "imap.example.com", False),
        (("mail.example.com",), "example.com", False),
        (("*.example.com",), "mail.example.com", True),
        (("*.example.com",), "Mail.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "a.mail.example.com", False),
        (("*.example.com",), "*.example.com", True),
        (("*.co.uk",), "example.co.uk", True),
        (("*.mail.example.com",), "mail.example.com", False),
        (("m*.example.com",), "mail.example.com", False),
        (("mail.*.com",), "mail.example.com", False),
        (("*",), "localhost", False),
        (("*.com",), "example.com", False),
        (("mail.example.com",), "*.example.com", False),
        (("example.com",), "", False),
        ((), "mail.example.com", False),
    ],
)
def test_a_wildcard_is_one_whole_left_most_label(names, wanted, covered):
    assert covers(names, wanted) == covered


def trust_of(text: bytes) -> Trust:
    return judge_pem(text, datetime.now(UTC)).trust


class TestTrust:
    """Who vouches for a certificate."""

    @pytest.fixture(autouse=True)
    def _cached(self) -> Iterator[None]:
        trusted_roots.cache_clear()
        yield
        trusted_roots.cache_clear()

    @pytest.fixture
    def bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file of the system's roots; our authority's is the only one in it."""
        file = tmp_path / "ca-certificates.crt"
        file.write_bytes(authority().root_pem)
        paths = ssl.get_default_verify_paths()._replace(cafile=str(file))
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        return file

    def test_a_chain_to_a_root_of_the_system_is_public(self, bundle):
        assert trust_of(pair().chain) is Trust.PUBLIC

    def test_a_wildcard_is_public_as_well(self, bundle):
        assert trust_of(pair("*.example.com").chain) is Trust.PUBLIC

    def test_an_ended_certificate_stays_public(self, bundle):
        assert trust_of(pair(days=1, hours_old=48).chain) is Trust.PUBLIC

    def test_without_its_intermediate_nothing_leads_to_the_root(self, bundle):
        assert trust_of(blocks(pair().chain)[0]) is Trust.INCOMPLETE

    def test_another_root_is_private(self, bundle):
        assert trust_of(Authority("another CA").issue(DOMAIN).chain) is Trust.PRIVATE

    def test_a_leaf_that_vouches_for_itself_is_self_signed(self, bundle):
        assert trust_of(self_signed(DOMAIN).chain) is Trust.SELF_SIGNED

    @pytest.mark.parametrize(
        "issuer", ["(STAGING) Wannabe Watercress R11", "Fake LE Intermediate X1", "ZeroSSL Staging CA", "(Staging) Artificial"]
    )
    def test_the_staging_authorities_are_known_by_name(self, bundle, issuer):
        assert trust_of(Authority(issuer).issue(DOMAIN).chain) is Trust.STAGING

    def test_a_broken_certificate_among_the_roots_does_not_hide_the_others(self, bundle):
        der = bytearray(der_of(authority().root_pem)[0])
        der[12] = 9  # the version, of which there are three
        negative = signed_with_negative_serial()
        bundle.write_bytes(pem(b"nonsense") + pem(bytes(der)) + negative + bundle.read_bytes() + b"# the end\n")
        assert trust_of(pair().chain) is Trust.PUBLIC

    @pytest.mark.parametrize("content", [b"", b"# nothing\n"])
    def test_without_roots_nobody_is_public(self, bundle, content):
        bundle.write_bytes(content)
        assert trust_of(pair().chain) is Trust.PRIVATE

    def test_without_a_file_of_roots_nobody_is_public(self, bundle):
        bundle.unlink()
        assert trust_of(pair().chain) is Trust.PRIVATE

    @pytest.mark.parametrize("name", ["my_host.example.com", "-.example.com", "a..b", "*.*.example.com", f"{'x' * 64}.com"])
    def test_a_name_that_no_public_authority_would_sign_is_no_error(self, bundle, name):
        assert authority().issue(name).certificate.trust is Trust.PUBLIC


def signed_with_negative_serial() -> bytes:
    """A root that the library warns about."""
    der = bytearray(der_of(signed(new_key(), authority=True))[0])
    place = der.index(b"\x02\x01\x01")  # INTEGER 1, the serial number
    der[place + 2] = 0xFF
    return pem(bytes(der))


def test_an_odd_serial_number_is_the_issuers_business():
    assert parse_leaf(signed_with_negative_serial()).serial == -1


mutations = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=3)


def mutate(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed)


class TestForeignBytes:
    """Whatever stands in a source or in a container: an error of ours, never a crash."""

    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_garbage_is_refused(self, chain, key):
        with pytest.raises(CertificateError):
            certificate_of(chain, key)

    @given(st.integers(0, 1), mutations)
    def test_a_damaged_certificate_is_refused_or_fits(self, which, changes):
        ders = der_of(pair().chain)
        ders[which] = mutate(ders[which], changes)
        text = b"".join(map(pem, ders))
        for work in (
            lambda: certificate_of(text, pair().key),
            lambda: parse_leaf(text),
            lambda: parse_leaf_der(ders[0]),
            lambda: trust_of(text),
        ):
            with suppress(CertificateError):
                work()

    @pytest.mark.parametrize("issuer", [0, 1])
    def test_a_chain_with_a_malformed_name_is_refused(self, issuer):
        """The library finds such a fault only when the name is looked at, which is late."""
        ders = der_of(pair().chain)
        name = b"certferry test CA"
        place = ders[issuer].rindex(name) if issuer == 0 else ders[issuer].index(name)
        ders[issuer] = mutate(ders[issuer], [(place - 2, 0x13), (place, 0xFF)])  # PrintableString with a byte that is none
        text = b"".join(map(pem, ders))
        with pytest.raises(CertificateError):
            certificate_of(text, pair().key)

    @given(st.sampled_from(["rsa", "ecdsa"]), mutations)
    def test_a_damaged_key_is_refused_or_fits(self, kind, changes):
        made = pair(kind=kind)
        der = base64.b64decode(b"".join(made.key.splitlines()[1:-1]))
        text = pem(mutate(der, changes), "PRIVATE KEY")
        key_fits(made.certificate.leaf, text)
        with suppress(CertificateError):
            certificate_of(made.chain, text)

    @pytest.mark.parametrize(("p", "q"), [(1, None), (None, 1), (0, 0), (1, 1)])
    def test_an_rsa_key_with_impossible_primes_is_refused(self, p, q):
        good = numbers_of(rsa_key())
        n = good.public_numbers.n
        numbers = (0, n, good.public_numbers.e, good.d, n if p is None else p, n if q is None else q, good.dmp1, good.dmq1, 1)
        body = b"".join(map(integer, numbers))
        with pytest.raises(MalformedPem):
            certificate_of(pair(kind="rsa").chain, pem(b"0" + length(len(body)) + body, "RSA PRIVATE KEY"))


def integer(number: int) -> bytes:
    """An INTEGER in DER."""
    body = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + length(len(body)) + body


def length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    body = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(body)]) + body
