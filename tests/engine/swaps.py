"""Renewals under clients that each meet a process of Postfix of their own, and what they saw of them."""

from __future__ import annotations

import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from controller.x509.leaves import parse_leaf_der
from tests.certs import Pair
from tests.lab import MAIL_IMAGE, Controller, Lab, Mail, open_tls, wait_until

PORT = 587
CLIENTS, LOOKERS = 2, 6
"""Those that shake hands, and those that hang up when the server has consented to: a process of Postfix that could not read its
pair does not. They take a fraction of the time, so they meet more processes."""
MOST = 100_000
"""Connections of one client."""
TWO_FILES, ONE_FILE = "two files", "one file"


class Attempt(NamedTuple):
    """One connection of a client. `swap` is the number of the renewal that was going on when it began or ended; 0 is none."""

    begin: float
    end: float
    swap: int
    leaf: str
    """What was handed out, to those that shake hands."""
    error: str


@dataclass(frozen=True)
class Figures:
    """Of all renewals of one way."""

    way: str
    swaps: int
    connections: int
    failures: int
    longest: float
    """Seconds from the begin of a connection without TLS to the end of the same client's next one with TLS."""

    def __str__(self) -> str:
        return (
            f"{self.way}: {self.swaps} swaps, {self.connections} connections, {self.failures} without TLS,"
            f" longest time without {self.longest * 1000:.0f} ms"
        )


class Clients:
    """Connect, ask for TLS, hang up; and again. A renewal is announced by `begin` and `end`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._stop = threading.Event()
        self._swap = 0
        self.handshakes: list[list[Attempt]] = [[] for _ in range(CLIENTS)]
        self.looks: list[list[Attempt]] = [[] for _ in range(LOOKERS)]

    @property
    def of_each(self) -> list[list[Attempt]]:
        return [*self.handshakes, *self.looks]

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for own in self.of_each for attempt in list(own)]

    def begin(self, number: int) -> None:
        self._swap = number

    def end(self) -> None:
        self._swap = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        work = [(own, self._shake_hands) for own in self.handshakes] + [(own, self._look) for own in self.looks]
        threads = [threading.Thread(target=self._connect, args=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=20)

    def _connect(self, own: list[Attempt], ask: Callable[[], str]) -> None:
        for _ in range(MOST):
            if self._stop.is_set():
                return
            begin, before, leaf, error = time.monotonic(), self._swap, "", ""
            try:
                leaf = ask()
            except Exception as failure:
                error = repr(failure)
            own.append(Attempt(begin, time.monotonic(), before or self._swap, leaf, error))

    def _shake_hands(self) -> str:
        with open_tls(self._address, PORT, "smtp", self._context, 30) as connection:
            return parse_leaf_der(connection.getpeercert(binary_form=True) or b"").fingerprint

    def _look(self) -> str:
        with closing(smtplib.SMTP(self._address, PORT, local_hostname="localhost", timeout=30)) as client:
            client.ehlo()
            code, said = client.docmd("STARTTLS")
            if code != 220:
                raise smtplib.SMTPResponseException(code, said)
        return ""


def start(lab: Lab, way: str) -> Mail:
    """Postfix whose processes serve one connection each, as most do at a small site: they end when nobody comes for a while."""
    paths = {"combined_path": "/tls/all.pem"} if way == ONE_FILE else {"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem"}
    ours = {"profile": "generic", "reload": "postfix reload", "probe": f"{PORT}/smtp", **paths}
    files = {"TLS_CERT_FILE": "/tls/cert.pem", "TLS_KEY_FILE": "/tls/key.pem"}
    environment = {"SSL_TYPE": "paths", "TLS_SELF_SIGNED": "1", **files}
    mail = Mail(lab.container(MAIL_IMAGE, labels=ours, environment=environment))
    mail.wait_up((PORT,))
    if way == ONE_FILE:
        mail.run("sh", "-c", "umask 077; cat /tls/key.pem /tls/cert.pem >/tls/all.pem")
        mail.run("postconf", "-e", "smtpd_tls_chain_files = /tls/all.pem")
    mail.run("postconf", "-e", "max_use = 1")
    mail.run("sh", "-c", "touch -d '2 seconds ago' /etc/postfix/main.cf; postfix reload")
    return mail


def renew(lab: Lab, certferry: Controller, clients: Clients, number: int) -> Pair:
    """One renewal, from the proxy's write until the new leaf is handed out."""
    pair, line = lab.issue(), len(certferry.log)
    clients.begin(number)
    lab.acme.write(pair)
    certferry.wait_for("target.served", after=line)
    leaf = pair.certificate.fingerprint
    clients.end()
    seen = [len(own) for own in clients.handshakes]

    def all_met_it() -> bool:
        return all(any(one.leaf == leaf for one in own[begin:]) for own, begin in zip(clients.handshakes, seen, strict=True))

    wait_until(all_met_it, what="every client that shakes hands was handed the new leaf")
    return pair


def figures(way: str, swaps: int, clients: Clients) -> Figures:
    """What came of it."""
    failed = [one for one in clients.attempts if one.error]
    longest = max((span for own in clients.of_each for span in _spans(own)), default=0.0)
    return Figures(way, swaps, len(clients.attempts), len(failed), longest)


def _spans(own: list[Attempt]) -> Iterator[float]:
    begin: float | None = None
    for one in own:
        if one.error and begin is None:
            begin = one.begin
        elif not one.error and begin is not None:
            yield one.end - begin
            begin = None
