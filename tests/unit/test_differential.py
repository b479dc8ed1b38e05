"""certferry's verdict beside OpenSSL's: about 300 random worlds of authorities, the same in each run, and this system's roots.

`make differential` compares 10,000 that differ each time.
"""

from __future__ import annotations

import pytest

from tests.differential.compare import compare
from tests.differential.explained import MILDER
from tests.differential.roots_compared import compare_roots

WORLDS, PARTS = 300, 6


@pytest.mark.parametrize("number", range(PARTS))
def test_certferry_and_openssl_agree_about_random_worlds(number):
    met = compare(WORLDS // PARTS, number)

    assert met["worlds"] >= WORLDS // PARTS
    assert min(met["a client accepts it"], met["no client accepts it"], met["completed"], met["own chain"]) > 0


def test_nothing_is_milder_than_openssl():
    assert not MILDER


def test_every_valid_root_of_this_system_is_trusted_as_libssl_trusts_it():
    told = compare_roots()

    assert told.directly == told.valid > 0
    assert told.by_an_intermediate > told.valid / 2
