"""Traefik itself: version 3 as it runs, with an ACME server beside it, and what version 1.7 left in its files."""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import Any

import pytest
from docker.models.containers import Container

from controller.domain.certificate import Leaf
from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf
from tests.lab import ACME_IMAGE, DOMAIN, Lab, Mail, wait_until
from tests.unit.sources.recorded import DATA, NAMES

log = logging.getLogger(__name__)


@pytest.fixture
def traefik(lab: Lab) -> Container:
    """Traefik and Pebble; their folder with acme.json is the laboratory's."""
    return lab.docker.containers.create(
        ACME_IMAGE,
        labels=lab.labels(),
        environment={"DOMAINS": DOMAIN},
        volumes={str(lab.folder): {"bind": "/traefik", "mode": "rw"}},
    )


def run(container: Container, *argv: str) -> None:
    code, output = container.exec_run(list(argv))
    assert code == 0, output.decode()


def test_what_traefik_orders_and_renews_is_served_by_the_mail_server(lab: Lab, traefik: Container) -> None:
    mail = lab.mail()
    mail.wait_up()
    certferry = lab.controller(settle="500ms", resync="1d")
    assert "does not exist" in certferry.wait_degraded("SourceUnavailable")

    begun = time.monotonic()
    traefik.start()
    certferry.wait_ready(mail.name, seconds=60)
    first = _chosen(lab)
    log.info("%.1f s from the start of Traefik to ready", time.monotonic() - begun)
    assert {mail.served(port) for port in (25, 465, 587, 143, 993, 110, 995)} == {first.fingerprint}
    assert first.issuer.startswith("Pebble Intermediate CA")
    reloads = mail.reloads()

    begun = time.monotonic()
    run(traefik, "renew")
    renewed = time.monotonic()
    second = _chosen(lab)
    assert second.fingerprint != first.fingerprint
    wait_until(lambda: mail.served(993) == mail.served(587) == second.fingerprint, seconds=30)
    log.info("renewed by Traefik after %.1f s, served %.2f s later", renewed - begun, time.monotonic() - renewed)
    wait_until(lambda: second.short in certferry.condition(mail.name)["message"])
    certferry.wait_ready(mail.name)
    assert mail.reloads() == (reloads[0] + 1, reloads[1] + 1)

    run(traefik, "add-domain", "www.example.test")
    wait_until(lambda: certferry.source()["entries"] == 2, seconds=30)
    time.sleep(1)
    assert mail.reloads() == (reloads[0] + 1, reloads[1] + 1)
    assert certferry.events("source.entry_unusable") == []


def _chosen(lab: Lab) -> Leaf:
    """The leaf in acme.json, read without certferry's sources and between Traefik's writes, which are in place."""
    stored = wait_until(lambda: _whole(lab.acme.path.read_bytes()), what="acme.json is whole")
    return parse_leaf(base64.b64decode(stored["pebble"]["Certificates"][0]["certificate"]))


def _whole(text: bytes) -> dict[str, Any]:
    """What a file says; nothing while it is being written."""
    try:
        stored: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return stored


RECORDED = sorted(name for name in NAMES if NAMES[name])


def test_every_recorded_file_can_be_looked_at(lab: Lab) -> None:
    """By one command, as so many sources."""
    urls = [f"traefik://{DATA / name}?name={_source_name(name)}" for name in RECORDED]
    answer = lab.command("sources", "--json", sources=" ".join(urls))

    assert (answer.returncode, answer.stderr) == (0, "")
    found = {
        source["name"]: [(entry["label"], tuple(sorted(entry["names"]))) for entry in source["certificates"]]
        for source in json.loads(answer.stdout)["sources"]
    }
    assert found == {_source_name(name): NAMES[name] for name in RECORDED}
    assert "PRIVATE" not in answer.stdout


def _source_name(recorded: str) -> str:
    return recorded.removesuffix(".json").replace("/", "-").replace(".", "-").lower()


FILES_ONLY = {"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off", "profile": "generic"}


def test_what_version_1_stored_is_planned_and_carried(lab: Lab) -> None:
    """The oldest layout; its certificate lives until 2031."""
    lab.acme.write_raw((DATA / "traefik-v1-file/05-old-format-1.5-backup.json").read_bytes())
    mail = Mail(lab.container(labels=FILES_ONLY))

    plan = json.loads(lab.command("plan", "--json").stdout)[0]
    done = lab.command("once", "--json")

    chosen = next(candidate for candidate in plan["candidates"] if candidate["chosen"])
    assert (chosen["names"], plan["write"]) == ([DOMAIN], ["/tls/key.pem", "/tls/cert.pem"])
    assert (done.returncode, json.loads(done.stdout)["targets"][0]["condition"]["ready"]) == (0, True)
    assert mail.fingerprint_at("/tls/cert.pem") == chosen["fingerprint"]
    assert key_fits(_installed(mail), mail.run("cat", "/tls/key.pem").encode())


def test_what_version_1_wrote_stage_by_stage_is_followed(lab: Lab) -> None:
    mail = Mail(lab.container(labels=FILES_ONLY))
    certferry = lab.controller(argv=("-m", "tests.engine.as_of", "2026-11-24", "run"), settle="0s", resync="1d")
    seen = []
    for stage in ("00-created", "01-account-no-certificates"):
        lab.acme.write_raw((DATA / f"traefik-v1-file/{stage}.json").read_bytes())
        certferry.wait_reason(mail.name, "NoMatchingCertificate")
        wait_until(lambda: certferry.source()["up"])
    for stage in ("02-first-certificate", "03-both-certificates", "04-after-renewal", "06-old-format-converted"):
        stored = (DATA / f"traefik-v1-file/{stage}.json").read_bytes()
        mails = next(c for c in json.loads(stored)["Certificates"] if c["Domain"]["Main"] == DOMAIN)
        lab.acme.write_raw(stored)
        wanted = parse_leaf(base64.b64decode(mails["Certificate"])).short
        wait_until(lambda wanted=wanted: wanted in certferry.condition(mail.name)["message"])  # type: ignore[misc]
        seen.append(_installed(mail).fingerprint)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def _installed(mail: Mail) -> Leaf:
    return parse_leaf(mail.run("cat", "/tls/cert.pem").encode())
