"""The proxy stand-in: an ``acme.json`` that is renewed every few seconds, and the pairs that it ever held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.certs import Pair, acme_json
from tests.lab import Lab

PAUSES = (2.0, 6.0)
"""Seconds between two renewals."""
STRANGER = "elsewhere.example.test"


@dataclass(frozen=True)
class Issued:
    """A pair by what can be seen of it from outside: `number` counts the pairs of one name, from 0."""

    name: str
    number: int
    at: float
    pair: Pair

    @property
    def fingerprint(self) -> str:
        return self.pair.certificate.fingerprint

    @property
    def key_line(self) -> str:
        """The second line of the key in base64: the first is the same for all keys of one kind."""
        return self.pair.key.decode().splitlines()[2]

    @property
    def certificate_line(self) -> str:
        """The first line of the leaf in base64; its serial number stands there."""
        return self.pair.chain.decode().splitlines()[1]


class Store:
    """Renews some of its names every few seconds while it is `renewing`."""

    def __init__(self, lab: Lab, names: list[str], dice: Random) -> None:
        self._lab, self._dice = lab, dice
        self.names = names
        self.first: dict[str, Issued] = {}
        self.newest: dict[str, Issued] = {}
        self.by_fingerprint: dict[str, Issued] = {}
        self.by_line: dict[str, Issued] = {}
        self.renewals: list[Issued] = []
        self._spoil: Callable[[bytes], bytes | None] = bytes
        self._renames = False
        self._lock = threading.RLock()
        self._stranger = acme_json(lab.issue(STRANGER))
        self.renew(names)

    def renew(self, names: list[str]) -> None:
        """New pairs for some names."""
        issued = [(name, self._lab.issue(name)) for name in names]
        with self._lock:
            for name, pair in issued:
                number = self.newest[name].number + 1 if name in self.newest else 0
                one = Issued(name, number, time.time(), pair)
                self.newest[name] = self.by_fingerprint[one.fingerprint] = one
                self.first.setdefault(name, one)
                self.by_line |= {one.key_line: one, one.certificate_line: one}
                self.renewals.append(one)
            self._write()

    def changes(self, name: str, since: float) -> int:
        """How often a name was renewed since a moment."""
        return sum(one.name == name and one.at >= since for one in self.renewals)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renewals go on as long as this is entered."""
        stop = threading.Event()
        thread = threading.Thread(target=self._renew_on_and_on, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def spoiled(self, spoil: Callable[[bytes], bytes | None]) -> Iterator[None]:
        """The file holds what `spoil` makes of it, or does not exist, also after renewals."""
        with self._lock:
            self._spoil = spoil
            self._write()
        try:
            yield
        finally:
            with self._lock:
                self._spoil = bytes
                self._write()

    def stranger(self, _content: bytes) -> bytes:
        """A file with a pair for another host only."""
        return self._stranger

    def backup(self, _content: bytes) -> bytes:
        """The file as it was at first."""
        return acme_json(*(one.pair for one in self.first.values()))

    @contextmanager
    def renaming(self) -> Iterator[None]:
        """New files are put in place by a rename."""
        self._renames = True
        try:
            yield
        finally:
            self._renames = False

    def _write(self) -> None:
        path, content = self._lab.acme.path, self._spoil(acme_json(*(one.pair for one in self.newest.values())))
        if content is None:
            path.unlink(missing_ok=True)
        elif self._renames:
            new = path.with_name("acme.json.new")
            new.write_bytes(content)
            new.replace(path)
        else:
            self._lab.acme.write_raw(content)

    def _renew_on_and_on(self, stop: threading.Event) -> None:
        while not stop.wait(self._dice.uniform(*PAUSES)):
            self.renew(self._dice.sample(self.names, self._dice.randint(1, len(self.names))))
