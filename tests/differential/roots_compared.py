"""Each root of this system, its key replaced: certferry trusts what it signs where libssl does, and nowhere else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from controller.domain.certificate import Trust
from controller.x509.parsed import parsed
from controller.x509.roots import Roots
from tests.differential import libssl
from tests.differential.judged import trust_of
from tests.differential.plans import WANTED
from tests.differential.roots import Clone, chain_of, clones, leaf_key_pem, leaf_of, roots_pem
from tests.differential.worlds import pem


class RootDifference(AssertionError):
    """certferry and libssl do not agree about a root."""


@dataclass(frozen=True)
class Told:
    """How many roots are valid now, and for how many of them a leaf and a leaf with an intermediate is trusted."""

    valid: int
    directly: int
    by_an_intermediate: int

    def __str__(self) -> str:
        return (
            f"{self.valid} are valid now; trusted are the leaves of {self.directly},"
            f" and those below an intermediate of {self.by_an_intermediate}"
        )


def compare_roots() -> Told:
    """Ask both about every root.

    Raises:
        RootDifference: they do not agree, or a valid root is not trusted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd serial numbers of old roots
        return _compare()


def _compare() -> Told:
    roots = Roots.of(parsed(clone.certificate) for clone in clones())
    directly = [clone for clone in clones() if _is_trusted(clone, leaf_of(clone), roots)]
    by_an_intermediate = [clone for clone in clones() if _is_trusted(clone, chain_of(clone), roots)]
    valid = [clone for clone in clones() if clone.is_valid]
    if lost := [clone.name for clone in valid if clone not in directly]:
        raise RootDifference(f"of these roots a leaf is not trusted: {', '.join(lost)}")
    return Told(len(valid), len(directly), len(by_an_intermediate))


def _is_trusted(clone: Clone, chain: Sequence[x509.Certificate], roots: Roots) -> bool:
    asked = libssl.accepts(pem(chain), leaf_key_pem(), roots_pem(), WANTED)
    told = trust_of(chain, roots)
    if asked.accepted is not (told.trust is Trust.PUBLIC):
        raise RootDifference(f"{clone.name}: libssl says {asked}, certferry {told}")
    return asked.accepted
