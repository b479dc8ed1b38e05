"""Certificates that certferry signs itself, so that a service can start before there is a real one.

What is wanted comes from the targets. Authority and leaves are kept in a state folder: as long as it stays, so does what
clients were told to trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import Field

from controller.domain.certificate import Certificate
from controller.domain.errors import CertificateError, SettingsError, SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.moment import EARLIEST
from controller.domain.snapshot import Entry, Problem, Snapshot
from controller.ports import Source, Wish, Wishes
from controller.threads import OwnThread, step
from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf
from controller.x509.pairs import parse_certificate
from sources.files import MIB, read_file
from sources.pairs import label_of
from sources.self_signed_authority import Authority
from sources.self_signed_files import write_file
from sources.surroundings import Surroundings
from sources.url import SourceOptions, SourceUrl

_AUTHORITY, _AUTHORITY_KEY = "ca.pem", "ca-key.pem"


class SelfSignedOptions(SourceOptions):
    """Query options."""

    state: Path = Path("/var/lib/certferry/self-signed")
    """The folder in which authority and leaves are kept."""
    days: int = Field(default=90, ge=2, le=825)
    """How long a leaf is valid; it is renewed when a third of that is left."""


class SelfSigned:
    """Implements `controller.ports.Source`."""

    def __init__(
        self,
        name: str,
        wishes: Wishes,
        options: SelfSignedOptions,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        looking: bool = False,
    ) -> None:
        self.name, self.thread = name, OwnThread(f"source {name}")
        self._wishes, self._clock, self._looking = wishes, now, looking
        self._folder, self._life = options.state, timedelta(days=options.days)
        self._authority: Authority | None = None
        self._leaves: dict[Wish, Certificate] = {}
        self._unsaved: dict[str, bytes] = {}
        """What is not in the state folder yet, by file."""

    def _now(self) -> datetime:
        """An authority of 1970 would have ended as soon as a time server answers."""
        return max(self._clock(), EARLIEST)

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        return self._wishes.subscribe()

    async def load(self) -> Snapshot:
        return await self.thread.run(partial(self._make, sorted(self._wishes.wanted(), key=str)), self._folder)

    def _make(self, wanted: list[Wish]) -> Snapshot:
        problems: list[Problem] = []
        leaves: dict[Wish, Certificate] = {}
        for wish in wanted:
            step(self._folder)
            try:
                leaves[wish] = self._leaf(wish, problems)
            except (ValueError, CertificateError) as error:  # a name that no certificate can hold
                problems.append(
                    Problem(label_of(wish.names[0]), Reason.SOURCE_MALFORMED, f"it cannot be in a certificate ({error})")
                )
        self._leaves = leaves
        entries = tuple(Entry(label_of(wish.names[0]), leaf, stand_in=True) for wish, leaf in leaves.items())
        return Snapshot(self.name, entries, (*problems, *self._save()))

    def _leaf(self, wish: Wish, problems: list[Problem]) -> Certificate:
        authority = self._current_authority(problems)
        file = f"{wish.names[0].replace('*', '_')[:64]}-{hashlib.sha256(repr(wish).encode()).hexdigest()[:12]}.pem"
        known = self._leaves.get(wish) or self._read_leaf(file)
        if known and known.leaf.issuer == authority.name and known.leaf.not_after - self._now() > self._life / 3:
            return known
        pem, key_pem = authority.issue(wish.names, wish.key_type, self._now(), self._life)
        self._unsaved[file] = key_pem + pem
        return parse_certificate(pem, key_pem, self._now())

    def _current_authority(self, problems: list[Problem]) -> Authority:
        """The one in use, else the one in the state folder, else a new one; in time before it ends a new one, too."""
        found = self._authority or self._read_authority(problems)
        if found is None or found.not_after - self._now() < self._life:
            found = Authority.make(self._now())
            self._unsaved |= {_AUTHORITY_KEY: found.key_pem, _AUTHORITY: found.pem}
        self._authority = found
        return found

    def _read_authority(self, problems: list[Problem]) -> Authority | None:
        try:
            pem, key_pem = self._read(_AUTHORITY), self._read(_AUTHORITY_KEY)
            if key_fits(parse_leaf(pem), key_pem):
                return Authority(pem, key_pem)
        except SourceUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
        except (SourceMalformed, CertificateError):
            pass
        text = f"the authority in {self._folder} was damaged; a new one was made, which clients do not know"
        problems.append(Problem(_AUTHORITY, Reason.SOURCE_MALFORMED, text))
        return None

    def _read_leaf(self, file: str) -> Certificate | None:
        with suppress(SourceUnavailable, SourceMalformed, CertificateError):
            data = self._read(file)
            return parse_certificate(data, data, self._now())
        return None

    def _read(self, file: str) -> bytes:
        return read_file(self._folder / file, limit=MIB)

    def _save(self) -> tuple[Problem, ...]:
        """Write what is new; where that is impossible, certferry goes on with what it has in memory, and tries again later."""
        if self._looking:
            return ()
        try:
            for file, content in list(self._unsaved.items()):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_file(self._folder / file, content, mode=0o600)
                del self._unsaved[file]
        except OSError as error:
            text = f"{self._folder} cannot be written ({error.strerror}): each start has a new authority; mount a volume there"
            return (Problem("state", Reason.SOURCE_UNAVAILABLE, text),)
        return ()


def make(name: str, url: SourceUrl, surroundings: Surroundings) -> Source:
    """The source of a ``self-signed:`` URL.

    Raises:
        SettingsError: it names a host or a path, or an unknown option.
    """
    if url.host or url.path.strip("/"):
        raise SettingsError(f"{url}: self-signed: takes neither host nor path; the folder is named as self-signed:?state=/path")
    if surroundings.wishes is None:
        raise SettingsError(f"{url} makes what containers ask for, and nobody tells what that is")
    options = url.read_options(SelfSignedOptions)
    if not options.state.is_absolute():
        raise SettingsError(f"{url}: option state: expected a folder such as /state")
    return SelfSigned(name, surroundings.wishes, options, looking=surroundings.looking)
