"""What it costs to read a file of certificates, whatever its bytes: linear in its size, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache

import pytest

from controller.domain.errors import CertificateError, MalformedPem
from controller.x509 import chains
from controller.x509.bundles import open_bundle
from controller.x509.chains import MOST_ISSUERS, Pool, paths
from controller.x509.parsed import ParsedCertificate
from controller.x509.text import MOST
from tests.certs import Authority, Pair
from tests.unit.costs import costs_at_most, seconds

KIB = 1024
BEGIN = b"-----BEGIN CERTIFICATE-----\n"


@cache
def pair() -> Pair:
    return Authority().issue("mail.example.test")


def opening(data: bytes) -> Callable[[], None]:
    """Whatever comes of it."""

    def work() -> None:
        with suppress(CertificateError):
            open_bundle(data)

    return work


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "BEGIN without END": lambda size: BEGIN * (size // len(BEGIN)),
    "BEGIN of parameters without END": lambda size: b"-----BEGIN EC PARAMETERS-----\n" * (size // 30),
    "BEGIN of many kinds": lambda size: b"".join(b"-----BEGIN %d KEY-----\n" % n for n in range(size // 24)),
    "ends of others": lambda size: BEGIN + b"-----END X-----\n" * (size // 16),
    "dashes": lambda size: b"-----" * (size // 5),
    "half a BEGIN": lambda size: b"-----BEGIN " * (size // 11),
    "one endless name": lambda size: b"-----BEGIN " + b"A" * size,
    "parameters before a key": lambda size: b"-----BEGIN X-----\n-----END X-----\n" * (size // 34) + pair().key,
    "an endless block": lambda size: BEGIN + b"A" * size + b"\n-----END CERTIFICATE-----\n",
    "empty certificates": lambda size: (BEGIN + b"-----END CERTIFICATE-----\n") * (size // 54),
    "certificates": lambda size: pair().chain * (size // len(pair().chain)),
    "DER": lambda size: b"\x30\x83" + size.to_bytes(3, "big") + b"\x30\x80" * (size // 2),
    "nothing": bytes,
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_cost_of_four_times_as_much_is_about_four_times_as_high(hostile):
    small, large = HOSTILE[hostile](250 * KIB), HOSTILE[hostile](1000 * KIB)
    cheap = costs_at_most(8, opening(small), opening(large), noise=0.02)
    assert cheap, "16 times as high, where each of n lines looks at n lines"


@pytest.mark.parametrize("size", [100 * KIB, 400 * KIB, 4096 * KIB])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_cost_of_the_largest_file_is_small(hostile, size):
    """100 KiB of BEGIN lines took 21 s, 400 KiB several minutes."""
    assert seconds(opening(HOSTILE[hostile](size))) < 10, "at most 1 s on a quiet machine"


def test_many_certificates_are_refused_before_they_are_parsed_and_as_many_as_real_files_have_are_not():
    most = pair().chain * (MOST // 2)
    assert len(open_bundle(most).certificates) == MOST
    with pytest.raises(MalformedPem, match=f"it holds more than {MOST} certificates and keys"):
        open_bundle(most + pair().chain)


def test_authorities_without_number_of_one_name_are_not_all_tried(monkeypatch):
    tried: list[object] = []
    judge = chains.is_signed_by

    def count(*two: ParsedCertificate) -> bool:
        tried.append(two)
        return judge(*two)

    monkeypatch.setattr(chains, "is_signed_by", count)
    pool = Pool(one for _ in range(200) for one in open_bundle(Authority().intermediate_pem).certificates)
    leaf = open_bundle(Authority().issue("x.example.test").chain).certificates[0]
    assert list(paths(leaf, pool)) == [()]
    assert len(tried) == MOST_ISSUERS
