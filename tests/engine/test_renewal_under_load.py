"""Clients connect without pause while the certificate is renewed again and again: none of them may notice."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from smtplib import SMTPException

import pytest

from controller.x509.leaves import parse_leaf_der
from tests.lab import Lab, Mail, open_tls, wait_until

log = logging.getLogger(__name__)

RENEWALS = 20
CLIENTS = ((993, "imaps"), (587, "smtp"), (993, "imaps"), (587, "smtp"))
PROCESSES = sum(protocol == "smtp" for _, protocol in CLIENTS)
MOST_HANDSHAKES = 50_000
"""Of each client; some thirty times what they do in the time."""


@dataclass
class Seen:
    """What the clients met."""

    leaves: Counter[tuple[int, str]] = field(default_factory=Counter)
    first: dict[tuple[int, str], float] = field(default_factory=dict)
    """When a port handed out a leaf for the first time."""
    failures: list[str] = field(default_factory=list)

    @property
    def handshakes(self) -> int:
        return self.leaves.total()


class Clients:
    """Connect, shake hands, verify the chain, hang up; and again."""

    def __init__(self, address: str, root: Path) -> None:
        self._address = address
        self.context = ssl.create_default_context(cafile=root)
        self.context.check_hostname = False  # the leaf itself is looked at
        self._stop = threading.Event()
        self.seen = Seen()

    @contextmanager
    def running(self) -> Iterator[Seen]:
        threads = [threading.Thread(target=self._connect_again_and_again, args=client, daemon=True) for client in CLIENTS]
        for thread in threads:
            thread.start()
        try:
            yield self.seen
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=20)

    def _connect_again_and_again(self, port: int, protocol: str) -> None:
        for _ in range(MOST_HANDSHAKES):
            if self._stop.is_set():
                return
            begun = time.monotonic()
            try:
                with open_tls(self._address, port, protocol, self.context, 10) as connection:
                    leaf = parse_leaf_der(connection.getpeercert(binary_form=True) or b"").fingerprint
            except Exception as error:
                self.seen.failures.append(f"port {port} after {time.monotonic() - begun:.2f} s: {error!r}")
            else:
                self.seen.leaves[port, leaf] += 1
                self.seen.first.setdefault((port, leaf), time.monotonic())


@pytest.fixture
def mail(lab: Lab) -> Mail:
    """Processes of Postfix live from reload to reload here, and there are as many as clients. What is promised is that those
    which serve notice nothing. One that starts in the very millisecond between two renames, or between its own reading of the
    key and of the certificate, has no TLS until the reload (measured: of 870 that started during 300 swaps, 9; and as many
    where one link led to both files, so that one rename changed both). Postfix starts them when a client comes, so `settled`
    sees to it that all run before the next renewal. One that starts while Dovecot's reload takes the socket for SASL away
    ends at once, and the service is throttled: for a minute as shipped, for a second here."""
    mail = lab.mail()
    mail.wait_up()
    mail.run("postconf", "-e", "max_use = 1000000", f"default_process_limit = {PROCESSES}")
    mail.run("sh", "-c", "touch -d '2 seconds ago' /etc/postfix/main.cf; postfix reload")
    return mail


def settled(mail: Mail, leaf: str, context: ssl.SSLContext) -> bool:
    """Whether as many processes of Postfix as there may be serve a leaf: a connection for each, all held at the same time."""
    with ExitStack() as held, suppress(OSError, SMTPException):  # whether clients meet that is for the clients to tell
        served = [held.enter_context(open_tls(mail.address, 587, "smtp", context, 10)) for _ in range(PROCESSES)]
        return all(parse_leaf_der(each.getpeercert(binary_form=True) or b"").fingerprint == leaf for each in served)
    return False


@pytest.mark.slow(600, reason="twenty renewals, each until both ports serve it, on a machine that its own clients keep busy")
def test_no_client_notices_a_renewal(lab: Lab, mail: Mail) -> None:
    pairs = [lab.issue()]
    lab.acme.write(pairs[0])
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, pairs[0])
    before = mail.reloads()
    root = lab.folder / "root.pem"
    root.write_bytes(lab.authority.root_pem)
    rewritten = []

    clients = Clients(mail.address, root)
    with clients.running() as seen:
        for _ in range(RENEWALS):
            old = pairs[-1].certificate.fingerprint
            wait_until(lambda old=old: settled(mail, old, clients.context))  # type: ignore[misc]
            pairs.append(lab.issue())
            line = len(certferry.log)
            rewritten.append(lab.acme.write(pairs[-1]))
            certferry.wait_for("target.served", after=line)
            leaf = pairs[-1].certificate.fingerprint
            both = {(993, leaf), (587, leaf)}
            wait_until(lambda both=both: both <= seen.first.keys(), what=f"both ports serve {leaf}; {seen.failures}")  # type: ignore[misc]

    certferry.wait_ready(mail.name, pairs[-1])
    issued = [pair.certificate.fingerprint for pair in pairs]
    after = [
        max(seen.first[port, leaf] for port in (993, 587)) - moment for moment, leaf in zip(rewritten, issued[1:], strict=True)
    ]
    milliseconds = sorted(round(seconds * 1000) for seconds in after)
    log.info("%d handshakes; milliseconds from rewrite to served on both ports: %s", seen.handshakes, milliseconds)
    assert seen.failures == []
    assert {leaf for _, leaf in seen.leaves} <= set(issued)
    assert seen.handshakes > 10 * RENEWALS
    assert mail.reloads() == (before[0] + RENEWALS, before[1] + RENEWALS)
    assert len(certferry.events("target.reloaded")) == 1 + RENEWALS
    assert mail.litter() == ""
