"""Pairs of certificate and key as sources hold them, judged one by one: one bad pair never hides the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from controller.domain.certificate import Certificate
from controller.domain.errors import (
    CertificateError,
    EncryptedKey,
    KeyMismatch,
    MalformedPem,
    NameMissing,
    OnlyAddresses,
    PartMissing,
    SourceMalformed,
    SourceUnavailable,
    WeakKey,
    WeakSignature,
    WrongForm,
    WrongUsage,
)
from controller.domain.finding import Finding, Reason
from controller.domain.snapshot import Entry, Problem
from controller.faults import panics_as_errors
from controller.threads import step
from controller.x509 import text
from controller.x509.chains import Pool
from controller.x509.pairs import parse_certificate

log = structlog.get_logger()

_REASONS: dict[type[CertificateError], Reason] = {
    KeyMismatch: Reason.KEY_MISMATCH,
    NameMissing: Reason.NAME_MISMATCH,
    WeakKey: Reason.WEAK_KEY,
    WeakSignature: Reason.WEAK_SIGNATURE,
    WrongUsage: Reason.WRONG_USAGE,
}
# Their messages name a remedy already.
_SELF_EXPLAINING = (EncryptedKey, NameMissing, WeakKey, WeakSignature, WrongForm, WrongUsage)
_LABEL_LENGTH = 120


@dataclass(frozen=True, slots=True)
class RawPair:
    """A chain and a key as they were found; `label` says where in the source they stand, in a word no other pair there has.

    `test`: the store itself marks it as made for testing. `decode` makes PEM of how it stands there, which is done for new
    pairs only; it raises `MalformedPem`. `files` name the two for messages. `remedy` counts in place of the layout's.
    """

    label: str
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    test: bool = False
    decode: Callable[[bytes, str], bytes] | None = field(default=None, repr=False, compare=False)
    files: tuple[str, str] = field(default=("the certificate", "the private key"), repr=False)
    remedy: str = field(default="", repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificates in PEM; raises `MalformedPem`."""
        return self.decode(self.certificate, "certificate") if self.decode else self.certificate

    @property
    def key_pem(self) -> bytes:
        """The key in PEM; raises `MalformedPem`."""
        return self.decode(self.key, "private key") if self.decode else self.key

    @property
    def digest(self) -> bytes:
        """Tells pairs apart by content, and by what messages call it; the lengths keep the borders between the parts."""
        files = "\0".join(self.files).encode(errors="surrogateescape")
        lengths = b"%d:%d:" % (len(files), len(self.certificate))
        return hashlib.sha256(lengths + files + self.certificate + self.key).digest()


@dataclass(slots=True)
class Contents:
    """What a store holds: pairs to be judged, and entries that are not even that.

    `blank`: there is nothing at all, not even what the program writes before its first certificate.
    """

    pairs: list[RawPair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    blank: bool = False
    authorities: Pool = field(default_factory=Pool, compare=False, repr=False)
    """Certificates that may complete the chain of any pair."""

    @contextmanager
    def entry(self, label: str, *, lost: str = "") -> Iterator[None]:
        """Read one entry: what cannot be read of it is a problem of this entry alone. `lost` helps where a file is missing."""
        try:
            yield
        except PartMissing as error:
            message = f"{error}; {lost}" if lost else str(error)
            self.problems.append(Problem(label, Reason.SOURCE_MALFORMED, message))
        except SourceUnavailable as error:
            self.problems.append(Problem(label, Reason.SOURCE_UNAVAILABLE, str(error)))
        except SourceMalformed as error:
            self.problems.append(Problem(label, Reason.SOURCE_MALFORMED, str(error)))


def label_of(name: str) -> str:
    """A name of a store as messages may carry it: on one line, and not without end."""
    return printable(name[:_LABEL_LENGTH])


def printable(text: str) -> str:
    """Text that may quote names of a store, on one line: file systems allow all characters but one."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A pair that is nobody's mistake, and nothing for a mail server."""

    why: str


Result = Certificate | Finding | Skipped
Known = Mapping[bytes, Result]
"""What became of each pair of the last reading, by its digest."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source held: usable entries, problems, and what to hand to the next reading."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    known: Known


def read_pairs(contents: Contents, known: Known, *, moment: datetime, remedy: str) -> Reading:
    """Judge each pair; those known from the last reading are not parsed again, those not met any more are forgotten."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    met: dict[bytes, Result] = {}
    beside = contents.authorities.digest
    for pair in contents.pairs:
        step()
        digest = pair.digest + beside
        result = (
            met.get(digest)
            or _still_true(known.get(digest), moment)
            or _judge(pair, contents.authorities, moment, pair.remedy or remedy)
        )
        met[digest] = result
        if isinstance(result, Certificate):
            entries.append(Entry(pair.label, result, pair.test))
        elif isinstance(result, Finding):
            problems.append(Problem(pair.label, result.reason, result.message))
    return Reading(tuple(entries), tuple(problems), met)


def next_change(entries: Iterable[Entry], moment: datetime) -> float | None:
    """Seconds until something above one of the leaves begins or ends while the leaf is still good; it is judged anew then."""
    found = ((entry.certificate.until, entry.certificate.leaf.not_after) for entry in entries)
    edges = (until for until, end in found if until is not None and moment < until < end)
    return min(((edge - moment).total_seconds() for edge in edges), default=None)


def _still_true(result: Result | None, moment: datetime) -> Result | None:
    """Unless a certificate above the leaf began or ended meanwhile."""
    changed = isinstance(result, Certificate) and result.until is not None and result.until <= moment
    return None if changed else result


def _judge(pair: RawPair, authorities: Pool, moment: datetime, remedy: str) -> Result:
    try:
        with panics_as_errors():
            decoded = pair.certificate_pem, pair.key_pem
            chain = _part(text.certificates, decoded[0], pair.files[0])
            key = _part(text.private_key, decoded[1], pair.files[1])
            return parse_certificate(chain, key, moment, authorities)
    except OnlyAddresses as error:
        log.debug("pair.skipped", entry=pair.label, reason=str(error))
        return Skipped(str(error))
    except CertificateError as error:
        message = str(error) if isinstance(error, _SELF_EXPLAINING) else f"{error}; {remedy}"
        return Finding(_REASONS.get(type(error), Reason.SOURCE_MALFORMED), message)
    except Exception as error:  # foreign bytes in a foreign parser: whatever it raises, the other pairs must stay usable
        return Finding(Reason.SOURCE_MALFORMED, f"a pair that cannot be parsed ({type(error).__name__}); {remedy}")


def _part(read: Callable[[bytes], bytes], data: bytes, file: str) -> bytes:
    """One of the two, in PEM that is right as text."""
    try:
        return read(data)
    except (EncryptedKey, MalformedPem) as error:
        raise type(error)(f"{file}: {error}") from error
