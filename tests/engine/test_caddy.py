"""Caddy itself, version 2.6, which orders and renews at a real ACME server and at its own; and what version 1 wrote."""

from __future__ import annotations

from pathlib import Path

from tests.certs import Pair
from tests.engine.producers import PATIENCE, Programs, Served, mail_for, stored, write
from tests.lab import DOMAIN, Lab, wait_until
from tests.unit.sources.planted import plant, rewrite

INTERNAL = "internal.example.test"


def test_what_caddy_orders_and_renews_is_served_by_the_mail_servers(lab: Lab) -> None:
    programs = Programs(lab)
    certificates = programs.folder / "caddy/certificates"
    folders = {DOMAIN: certificates / "localhost-14000-dir" / DOMAIN, INTERNAL: certificates / "local" / INTERNAL}
    served = Served.start(lab, "caddy", programs.folder / "caddy")
    both = {DOMAIN: served, INTERNAL: Served(mail_for(lab, INTERNAL), served.certferry, served.source)}
    served.wait_missing()

    programs.start_caddy()
    first = {name: wait_stored(folder) for name, folder in folders.items()}
    for name, one in both.items():
        one.wait_for(first[name])
    programs.renew_by_caddy()
    second = {name: wait_stored(folder, unlike=first[name]) for name, folder in folders.items()}
    for name, one in both.items():
        one.wait_for(second[name])
        one.assert_no_complaint()


def wait_stored(folder: Path, *, unlike: Pair | None = None) -> Pair:
    """What Caddy stored of a name, once it has finished: the .json is what it writes last."""
    chain, key, last = (folder / f"{folder.name}.{ending}" for ending in ("crt", "key", "json"))
    wait_until(
        lambda: last.is_file() and last.stat().st_size and (not unlike or chain.read_bytes() not in (b"", unlike.chain)),
        seconds=PATIENCE,
        what=f"Caddy has stored {folder.name}",
    )
    return stored(chain, key)


def test_every_state_of_a_renewal_by_version_1_is_read_and_only_whole_pairs_are_served(lab: Lab) -> None:
    sites = plant("caddy-v1-reconstructed", lab.folder) / "acme/acme-v02.api.letsencrypt.org/sites"
    chain, key, json = (sites / DOMAIN / f"{DOMAIN}.{ending}" for ending in ("crt", "key", "json"))
    old, new = lab.issue(), lab.issue()
    write(old, chain, key)
    served = Served.start(lab, "caddy", lab.folder / "tree")
    served.wait_for(old)

    served.play([*rewrite(chain, new.chain), *rewrite(key, new.key), *rewrite(json, json.read_bytes())], new, chain, key)
    served.assert_no_harm()
