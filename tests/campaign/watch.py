"""What clients get, asked all the time from outside with the standard library."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType

from tests.campaign.fleet import Box
from tests.campaign.journal import Span
from tests.campaign.store import Store
from tests.lab import MAIL_PORTS, open_tls

PORTS = (993, 587, 465)
PAUSE = 0.15
PATIENCE = 5.0
"""Seconds after which a handshake has failed."""
NO_ANSWER = ("TimeoutError", "ConnectionRefusedError", "ConnectionResetError", "SMTPServerDisconnected", "gaierror", "OSError")
"""How errors begin where no service was there to answer: none listened, or its container went, address and all."""


@dataclass
class Outage:
    """A row of handshakes on one port that all failed."""

    box: str
    port: int
    span: Span
    errors: dict[str, int] = field(default_factory=dict)
    """How often each error was met."""

    @property
    def silent(self) -> bool:
        """Whether nobody answered, so that nothing was said of TLS: a service that starts, on a machine with much to do."""
        return all(error.startswith(NO_ANSWER) for error in self.errors)


class Clients:
    """Connect to one box, port after port, until they are left."""

    def __init__(self, box: Box, store: Store) -> None:
        self._box, self._store = box, store
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._open: dict[int, Outage] = {}
        self.over: list[Outage] = []
        self.now: dict[int, str] = {}
        """The leaf that a port handed out last; empty where it failed."""
        self.handshakes = self.failures = 0

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(4 * PATIENCE)

    def take_outages(self, until: float) -> list[Outage]:
        """The outages that are over, each told once, and those that last, up to a moment."""
        over, self.over = self.over, []
        lasting = [Outage(one.box, one.port, (one.span[0], until), dict(one.errors)) for one in list(self._open.values())]
        return over + lasting

    def forget(self) -> None:
        """What failed until now was told; it does not count again."""
        self._open.clear()
        self.over.clear()

    def _run(self) -> None:
        for port in cycle(PORTS):
            if self._stop.wait(PAUSE):
                return
            begin = time.time()
            try:
                leaf = self._shake_hands(port)
            except Exception as error:  # whatever way a handshake fails in: smtplib and imaplib have many
                self._failed(port, begin, error)
            else:
                self._served(port, leaf)

    def _shake_hands(self, port: int) -> str:
        with open_tls(self._box.address, port, MAIL_PORTS[port], self._context, PATIENCE) as connection:
            return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()

    def _served(self, port: int, leaf: str) -> None:
        known = self._store.by_fingerprint.get(leaf)
        if known and known.name != self._box.kind.host:  # Docker gave the address to another box meanwhile
            self._look_up_address()
            return
        self.handshakes += 1
        self.now[port] = leaf
        if outage := self._open.pop(port, None):
            outage.span = outage.span[0], time.time()
            self.over.append(outage)

    def _failed(self, port: int, begin: float, error: Exception) -> None:
        self.handshakes += 1
        self.failures += 1
        self.now[port] = ""
        outage = self._open.setdefault(port, Outage(self._box.name, port, (begin, 0.0)))
        text = f"{type(error).__name__}: {error}"[:120]
        outage.errors[text] = outage.errors.get(text, 0) + 1
        self._look_up_address()

    def _look_up_address(self) -> None:
        with suppress(Exception):  # the container may be on its way out or in
            self._box.look_up_address()
