"""Certificates that cost more than they should: each is refused with its reason, and quickly."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from controller.domain.errors import MalformedPem
from controller.x509.keys import load_key
from controller.x509.leaves import parse_leaf, parse_leaf_der
from controller.x509.parsed import LONGEST_CHAIN, MOST_NAMES
from tests.certs import Authority, certificate_of, new_key


def refused(work: Callable[[], object]) -> str:
    before = time.process_time()
    with pytest.raises(MalformedPem) as caught:
        work()
    assert time.process_time() - before < 5, "0.1 s on a quiet machine"
    return str(caught.value)


def test_a_chain_of_many_certificates_is_refused_and_one_of_as_many_as_is_allowed_is_not():
    pair = Authority().issue("a.example.test")
    assert parse_leaf(pair.chain * (LONGEST_CHAIN // 2)).names == ("a.example.test",)
    for times in (LONGEST_CHAIN, 400):
        said = refused(partial(certificate_of, pair.chain * times, pair.key))
        assert said == f"a chain of {2 * times} certificates; real ones have two to four"


def test_a_chain_of_many_bytes_is_refused_without_a_look_at_them():
    pair = Authority().issue("a.example.test")
    said = refused(lambda: certificate_of(pair.chain + b"x" * 64 * 2**20, pair.key))
    assert said.endswith("bytes is no chain of certificates")
    assert certificate_of(pair.chain + b"#" * 2**19, pair.key)


def named(count: int) -> bytes:
    """A certificate for so many hosts."""
    key, name = new_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    pair = x509.load_pem_x509_certificate(Authority().issue("a.example.test").chain)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(pair.not_valid_before_utc)
        .not_valid_after(pair.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"h{n}.example.test") for n in range(count)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def test_a_certificate_for_thousands_of_hosts_is_read_and_one_for_more_than_any_authority_issues_is_refused():
    assert len(parse_leaf(named(MOST_NAMES)).names) == MOST_NAMES
    many = named(30_000)
    said = "the certificate names 30000 hosts; more than 5000 are not read"
    assert refused(lambda: parse_leaf(many)) == said
    assert refused(lambda: parse_leaf_der(x509.load_pem_x509_certificate(many).public_bytes(Encoding.DER))) == said


@pytest.mark.parametrize("bits", [16385, 32768, 80_000])
def test_a_key_of_huge_numbers_is_refused(bits):
    said = refused(lambda: load_key(huge_key(bits)))
    assert said == "the numbers of the private key do not fit each other; it is damaged"


def test_a_key_file_of_many_bytes_is_refused():
    assert refused(lambda: load_key(huge_key(400_000))).endswith("bytes is no private key")


def huge_key(bits: int) -> bytes:
    """A key of RSA (RFC 8017, appendix A.1.2) of random numbers."""
    whole, half = (random.getrandbits(size) | 1 | 1 << size - 1 for size in (bits, bits // 2))
    numbers = (0, whole, 65537, whole - 2, half, half + 2, half, half + 2, half)
    body = b"".join(_tagged(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers)
    encoded = base64.encodebytes(_tagged(0x30, body))
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + encoded + b"-----END RSA PRIVATE KEY-----\n"


def _tagged(tag: int, content: bytes) -> bytes:
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(length)]) + length + content
