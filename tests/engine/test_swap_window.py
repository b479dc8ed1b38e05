"""Two files cannot be read as one: a process that starts in between has no TLS. One file with key and chain has no such moment.

``SWAPS=300`` in the environment measures at length; the log says the figures.
"""

from __future__ import annotations

import logging
import os

import pytest

from tests.engine.swaps import ONE_FILE, TWO_FILES, Clients, figures, renew, start
from tests.lab import Lab

log = logging.getLogger(__name__)

SWAPS = int(os.environ.get("SWAPS", "8"))


@pytest.mark.slow(60 + 10 * SWAPS, reason="renewals one after the other, each until every client met it")
@pytest.mark.parametrize("way", [ONE_FILE, TWO_FILES])
def test_a_connection_is_without_tls_only_between_two_files_and_until_the_reload(lab: Lab, way: str) -> None:
    mail = start(lab, way)
    pairs = [lab.issue()]
    lab.acme.write(pairs[0])
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, pairs[0])

    clients = Clients(mail.address)
    try:
        with clients.running():
            pairs.extend(renew(lab, certferry, clients, number) for number in range(1, SWAPS + 1))
    finally:  # also of those before one that did not come to its end
        found = figures(way, len(pairs) - 1, clients)
        log.warning("%s", found)
    failed = [attempt for attempt in clients.attempts if attempt.error]
    assert {attempt.leaf for attempt in clients.attempts if attempt.leaf} <= {pair.certificate.fingerprint for pair in pairs}
    assert found.connections > SWAPS
    if way == ONE_FILE:
        assert failed == [], "key and chain in one file are never apart"
    assert [attempt for attempt in failed if not attempt.swap] == [], "after the reload every connection has TLS"
    assert len(certferry.events("target.reloaded")) == SWAPS + 1
