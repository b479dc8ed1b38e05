"""What a world is made of, as small values that hypothesis can draw and make smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
WANTED = "mail.example.com"
"""The name that clients of these worlds connect to."""


class Dates(Enum):
    """From when to when a certificate is valid, in days from now."""

    LONG = (-3000, 3000)
    NOW = (-30, 60)
    ENDS_SOON = (-300, 2)
    ENDED = (-300, -1)
    LATER = (1, 300)


class Form(Enum):
    """How a name is written; RFC 5280 §7.1 takes all of them for the same."""

    UTF8 = auto()
    PRINTABLE = auto()
    TELETEX = auto()
    BMP = auto()
    UPPER = auto()
    BLANKS = auto()


class Aki(Enum):
    """How a certificate points to the key of its issuer."""

    RIGHT = auto()
    MISSING = auto()
    SERIAL_TOO = auto()
    ONLY_SERIAL = auto()
    WRONG_KEY = auto()
    WRONG_SERIAL = auto()


class Quirk(Enum):
    """What is odd about an authority's certificate."""

    NONE = auto()
    NO_KEY_USAGE = auto()
    NO_SKI = auto()
    PATHLEN_1 = auto()
    PATHLEN_0 = auto()
    SERVER_ONLY = auto()
    ANY_USAGE = auto()
    PERMITS = auto()
    EXCLUDES_OTHERS = auto()
    SHA1 = auto()
    VERSION_1 = auto()
    NO_CONSTRAINTS = auto()
    NOTHING_SAID = auto()
    NOT_CRITICAL = auto()
    NO_AUTHORITY = auto()
    USAGE_WITHOUT_SIGN = auto()
    OTHER_SKI = auto()
    CLIENT_ONLY = auto()
    MAIL_ONLY = auto()
    PERMITS_OTHERS = auto()
    PERMITS_ADDRESSES = auto()
    EXCLUDES = auto()
    UNKNOWN_CRITICAL = auto()


class Usage(Enum):
    """What a leaf says that it is for; of some nothing, as most do not limit more than one of these."""

    USUAL = auto()
    NO_EKU = auto()
    ANY = auto()
    SERVER_AND_CLIENT = auto()
    CLIENT_ONLY = auto()
    MAIL_ONLY = auto()
    NO_KEY_USAGE = auto()
    NOTHING_SAID = auto()
    ONLY_ENCIPHERMENT = auto()
    ONLY_AGREEMENT = auto()
    ONLY_DATA = auto()
    ONLY_CERT_SIGN = auto()
    AUTHORITY = auto()
    AUTHORITY_THAT_SIGNS = auto()
    MUST_STAPLE = auto()
    UNKNOWN_CRITICAL = auto()
    SHA1 = auto()
    VERSION_1 = auto()


@dataclass(frozen=True)
class AuthorityPlan:
    """A certificate of the authority `who`, signed by `by`; both are places in `ENTITIES`. Only roots are trusted."""

    who: int
    by: int
    dates: Dates = Dates.LONG
    form: Form = Form.UTF8
    issuer_form: Form = Form.UTF8
    aki: Aki = Aki.RIGHT
    quirk: Quirk = Quirk.NONE
    trusted: bool = False

    @property
    def is_root(self) -> bool:
        """It signed itself, under one name: of letters that are not ASCII the case counts."""
        cases = {self.form is Form.UPPER, self.issuer_form is Form.UPPER}
        return self.who == self.by and (ENTITIES[self.who][0] != NOT_ASCII or len(cases) == 1)


@dataclass(frozen=True)
class LeafPlan:
    """The leaf; `by` is a place in `ENTITIES`, or `ITSELF`."""

    by: int
    kind: str = "p256"
    names: tuple[str, ...] = (WANTED,)
    dates: Dates = Dates.NOW
    issuer_form: Form = Form.UTF8
    aki: Aki = Aki.RIGHT
    usage: Usage = Usage.USUAL


@dataclass(frozen=True)
class Plan:
    """A world: certificates, and where they lie. Both `own` and `pool` hold places in `authorities`, or `LEAF`."""

    leaf: LeafPlan
    authorities: tuple[AuthorityPlan, ...]
    own: tuple[int, ...]
    pool: tuple[int, ...]


NOT_ASCII = 3
"""The number of the name with an umlaut."""
LEAF = -1
ITSELF = -1
ENTITIES = ((0, "rsa2048"), (1, "p384"), (2, "p256"), (3, "p256"), (2, "p256"), (0, "p384"), (3, "rsa2048"), (4, "rsa1024"))
"""Of each authority its name, by number, and the kind of its key: some have one name and two keys."""
_ROOTS, _OTHERS = (0, 1, 5), (2, 3, 4, 6)
_NAMES = (
    (WANTED,),
    ("*.example.com",),
    ("www.example.com", WANTED),
    ("Mail.Example.COM",),
    ("www.example.com", "*.example.com", "192.0.2.1"),
    ("example.com", "mail.example.org"),
    ("192.0.2.1",),
    ("*.com",),
    ("m*.example.com",),
    (),
)


@lru_cache
def _mostly(usual: T, others: tuple[T, ...], times: int) -> st.SearchStrategy[T]:
    """The usual value `times` as often as all others together; one draw, as flatmap takes ten times as long."""
    return st.sampled_from((usual,) * (times * len(others)) + others)


FORMS = _mostly(Form.UTF8, tuple(Form), 5)
AKIS = _mostly(Aki.RIGHT, tuple(Aki), 4)
QUIRKS = _mostly(Quirk.NONE, tuple(Quirk), 3)
DATES = _mostly(Dates.LONG, tuple(Dates), 5)

LEAVES = st.builds(
    LeafPlan,
    by=st.just(0),
    kind=_mostly("p256", ("rsa2048", "p384", "p521", "ed25519", "ed448", "k1", "p224", "rsa1024"), 5),
    names=_mostly((WANTED,), _NAMES, 3),
    dates=_mostly(Dates.NOW, tuple(Dates), 8),
    issuer_form=FORMS,
    aki=AKIS,
    usage=_mostly(Usage.USUAL, tuple(Usage), 3),
)


_ROOT = st.sampled_from(_ROOTS)
_LINE = st.lists(st.sampled_from(_OTHERS), max_size=3, unique=True)
_SAID = st.tuples(DATES, FORMS, FORMS, AKIS, QUIRKS)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A root, what it issued down to the leaf, other certificates of the same authorities, and a file and a folder of them."""
    line = (draw(_ROOT), *draw(_LINE))
    pairs = [(line[0], line[0]), *zip(line[1:], line, strict=False)]
    others = draw(_others(line))
    authorities = tuple(_authority(draw, who, by, usual=n < len(pairs)) for n, (who, by) in enumerate([*pairs, *others]))
    leaf = draw(LEAVES)
    by = draw(_mostly(line[-1], (ITSELF, *range(len(ENTITIES))), 12))
    own = tuple(draw(_files(len(line), len(authorities))))
    lost = draw(_mostly(LEAF, tuple(range(len(authorities))), 2))
    pool = tuple(n for n in range(len(authorities)) if n not in own and n != lost)
    return Plan(replace(leaf, by=by), authorities, own, pool)


@lru_cache
def _others(line: tuple[int, ...]) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Re-issues and cross-signs of the line's authorities, their twins of the same name, loops, and roots."""
    known = st.sampled_from(line)
    anybody = st.integers(0, len(ENTITIES) - 1)
    return st.lists(st.one_of(st.tuples(known, known), st.tuples(known, anybody), st.tuples(anybody, anybody)), max_size=4)


def _authority(draw: st.DrawFn, who: int, by: int, *, usual: bool) -> AuthorityPlan:
    trusted = who == by and draw(_mostly(usual, (not usual,), 4))
    return AuthorityPlan(who, by, *draw(_SAID), trusted)


@lru_cache
def _files(line: int, count: int) -> st.SearchStrategy[list[int]]:
    """What a producer writes: the leaf and its issuers, mostly in order, without the root or with it."""
    right = [LEAF, *range(line - 1, 0, -1)]
    with_root = [*right, 0]
    anything = st.lists(st.integers(LEAF, count - 1), max_size=6)
    return st.one_of(
        st.just(right),
        st.just([LEAF]),
        st.just(with_root),
        st.permutations(with_root),
        anything.map(lambda more: [*right, *more]),
        anything.map(lambda more: [LEAF, *more]),
        st.integers(0, len(right)).map(lambda n: [*right[:n], *right]),
        st.tuples(anything, anything).map(lambda both: [*both[0], LEAF, *both[1]]),
    )


def host_of(names: Sequence[str]) -> str:
    """A name that the first usable name of a certificate covers."""
    for name in names:
        label, _, above = name.lower().partition(".")
        if label == "*" and "." in above:
            return f"mail.{above}"
        if "*" not in name and not above.replace(".", "").isdigit():
            return name.lower()
    return ""
