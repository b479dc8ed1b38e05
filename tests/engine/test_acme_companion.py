"""nginx-proxy's certificates, as acme-companion's versions write them: fresh ones, written step by step in the recorded order.

The tree is a recorded one. The versions since 2.0 leave the writing to acme.sh, those before to simp_le.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.certs import Pair
from tests.engine.producers import PATIENCE, Programs, Served, split
from tests.lab import DOMAIN, Lab, Mail
from tests.unit.sources.planted import Step, plant, rewrite

ORDERS = {
    "acme.sh": ("cert.pem", "chain.pem", "key.pem", "fullchain.pem"),
    "simp_le": ("key.pem", "chain.pem", "fullchain.pem", "cert.pem"),
}
FILES_ONLY = {"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off", "profile": "generic"}
STAGING = "test.example.test"


def contents(pair: Pair) -> dict[str, bytes]:
    """The four files of a certificate."""
    leaf, rest = split(pair.chain)
    return {"cert.pem": leaf, "chain.pem": rest, "key.pem": pair.key, "fullchain.pem": pair.chain}


def renewal(folder: Path, pair: Pair, order: tuple[str, ...]) -> list[Step]:
    """The files, their modes, and last the mark that the round is over."""
    files = contents(pair)
    steps = [step for file in order for step in rewrite(folder / file, files[file])]
    steps += [partial((folder / file).chmod, 0o600 if file == "key.pem" else 0o644) for file in order]
    return [*steps, *rewrite(folder / ".companion", (folder / ".companion").read_bytes())]


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    """Three certificates of the same names, one after the other, from a real ACME server."""
    lab = Lab(tmp_path_factory.mktemp("ordered"))
    try:
        programs = Programs(lab)
        yield [programs.order(DOMAIN, "smtp.example.test") for _ in range(3)]
    finally:
        lab.close()


@pytest.mark.parametrize("writer", ORDERS)
def test_every_state_of_a_renewal_is_read_and_only_whole_pairs_are_served(lab: Lab, ordered: list[Pair], writer: str) -> None:
    folder = plant("acme-companion/certs-first", lab.folder) / DOMAIN
    if writer == "simp_le":
        make_old(folder)
    first, second, third = ordered
    do(renewal(folder, first, ORDERS[writer]))
    served = Served.start(lab, "acme-companion", folder.parent)
    served.wait_for(first)

    served.play(renewal(folder, second, ORDERS[writer]), second, folder / "fullchain.pem", folder / "key.pem")
    do(renewal(folder, third, ORDERS[writer]))
    served.wait_for(third)
    served.assert_no_harm()


def do(steps: list[Step]) -> None:
    """All of them at once, as the program does."""
    for step in steps:
        step()


def make_old(folder: Path) -> None:
    """What versions before 2.0 kept beside the certificate: the account, and a mark without content."""
    accounts = folder.parent / "accounts/acme-v02.api.letsencrypt.org/directory"
    accounts.mkdir(parents=True)
    for kind in ("key", "reg"):
        (accounts / f"default_{kind}.json").write_text("{}")
        (folder / f"account_{kind}.json").symlink_to(f"../accounts/acme-v02.api.letsencrypt.org/directory/default_{kind}.json")
    (folder / ".companion").write_bytes(b"")


def test_a_renewal_that_stops_half_way_is_reported_and_touches_nothing(lab: Lab) -> None:
    folder = plant("acme-companion/certs-first", lab.folder) / DOMAIN
    old, new = lab.issue(), lab.issue()
    do(renewal(folder, old, ORDERS["acme.sh"]))
    mail = Mail(lab.container(labels=FILES_ONLY))
    certferry = lab.controller(sources=f"acme-companion://{folder.parent}", settle="0s", resync="1d")
    certferry.wait_ready(mail.name, old, seconds=PATIENCE)
    installed = mail.stamp()

    (folder / "key.pem").write_bytes(new.key)
    told = certferry.wait_for("source.entry_unusable", seconds=PATIENCE, entry=DOMAIN)
    assert told["reason"] == "KeyMismatch"
    assert mail.stamp() == installed
    do(renewal(folder, new, ORDERS["acme.sh"]))
    certferry.wait_ready(mail.name, new, seconds=PATIENCE)
    assert mail.fingerprint_at("/tls/cert.pem") == new.certificate.fingerprint
    assert certferry.source("acme-companion")["problems"] == []


def test_a_staging_certificate_is_for_those_only_who_ask_for_it(lab: Lab) -> None:
    root = plant("acme-companion/certs-first", lab.folder)
    staging = lab.issue(STAGING)
    do(renewal(root / f"_test_{STAGING}", staging, ORDERS["acme.sh"]))
    strict, lax = (
        Mail(lab.container(labels={**FILES_ONLY, "domain": STAGING, **more})) for more in ({}, {"allow_untrusted": "true"})
    )
    certferry = lab.controller(sources=f"acme-companion://{root}", settle="0s", resync="1d")

    certferry.wait_ready(lax.name, staging, seconds=PATIENCE)
    assert lax.fingerprint_at("/tls/cert.pem") == staging.certificate.fingerprint
    assert "was made for testing" in certferry.wait_reason(strict.name, "UntrustedIssuer", seconds=PATIENCE)
    assert strict.container.exec_run(["ls", "/tls/cert.pem"]).exit_code != 0
