"""docker-mailserver in the ways people set it up, by its stand-in: the real Postfix, Dovecot and change detector's behaviour.

All containers are made and delivered to at the same time; the tests look at what became of each.
"""

from __future__ import annotations

import io
import ssl
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controller.x509.leaves import parse_leaf_der
from tests.certs import Pair
from tests.lab import DOMAIN, GENEROUS, MAIL_PORTS, Controller, Lab, Mail, open_tls, served_leaf, wait_until

VERSION = "org.opencontainers.image.version"
POLL = {"DMS_CONFIG_POLL": "0.5"}
INTERNAL = "/etc/dms/tls/cert"
SMTP_PORTS = (25, 465, 587)


@dataclass
class Setup:
    """How a container is set up; `reloads` is what one renewal may cost Dovecot and Postfix."""

    environment: dict[str, str] = field(default_factory=dict)
    other_labels: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("ecdsa",)
    path: str = "/tls/cert.pem"
    ports: tuple[int, ...] = tuple(MAIL_PORTS)
    reloads: tuple[int, int] = (1, 1)
    read_only: bool = False


SETUPS = {
    "manual": Setup(),
    "two-pairs": Setup(
        environment={"SSL_ALT_CERT_PATH": "/tls/alt.pem", "SSL_ALT_KEY_PATH": "/tls/alt-key.pem"},
        labels={"key_type": "both"},
        kinds=("ecdsa", "rsa"),
    ),
    "letsencrypt": Setup(
        environment={"SSL_TYPE": "letsencrypt"}, path="/etc/letsencrypt/live/letsencrypt.example.test/fullchain.pem"
    ),
    "read-only": Setup(path=INTERNAL, read_only=True),
    "version-10-4": Setup(environment={"DETECTOR": "0", "DMS_RELEASE": ""}, other_labels={VERSION: "10.4.0"}),
    "smtp-only": Setup(environment={"SMTP_ONLY": "1"}, ports=SMTP_PORTS, reloads=(0, 1)),
    "detector-off": Setup(environment={"DETECTOR": "0"}),
}


BY_CERTFERRY = {"read-only", "version-10-4", "detector-off"}
"""The setups in which certferry reloads by itself."""


@dataclass
class Fleet:
    """All containers, after one renewal of all of them."""

    lab: Lab
    certferry: Controller
    mails: dict[str, Mail] = field(default_factory=dict)
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Reloads before the renewal."""
    detected: dict[str, int] = field(default_factory=dict)
    """Changes that the detector met before it."""

    def create(self) -> None:
        for name, setup in SETUPS.items():
            options: dict[str, Any] = {"hostname": f"{name}.example.test"}
            if setup.read_only:
                options["volumes"] = {str(self._host_files(name)): {"bind": "/tls", "mode": "ro"}}
            self.mails[name] = self.lab.mailserver(
                start=False,
                labels={"domain": f"{name}.example.test", **setup.labels},
                other_labels=setup.other_labels,
                environment=POLL | setup.environment,
                **options,
            )

    def issue(self) -> None:
        self.pairs = {n: [self.lab.issue(f"{n}.example.test", kind=kind) for kind in s.kinds] for n, s in SETUPS.items()}
        self.lab.acme.write(*(pair for pairs in self.pairs.values() for pair in pairs))

    def wait_ready(self, *, seconds: float = 60) -> None:
        for name, mail in self.mails.items():
            for pair in self.pairs[name]:
                self.certferry.wait_ready(mail.name, pair, seconds=seconds)

    def start(self) -> None:
        for mail in self.mails.values():
            mail.container.start()
        for name, mail in self.mails.items():
            mail.wait_up(SETUPS[name].ports, seconds=60)

    def _host_files(self, name: str) -> Path:
        """The files that a mount shows to the container; they are what it starts with."""
        folder = self.lab.folder / name
        folder.mkdir()
        pair = self.lab.issue(f"{name}.example.test")
        (folder / "cert.pem").write_bytes(pair.chain)
        (folder / "key.pem").write_bytes(pair.key)
        return folder


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    lab = Lab(tmp_path_factory.mktemp("fleet"))
    try:
        lab.acme.write()
        fleet = Fleet(lab, lab.controller(settle="500ms", resync="1d"))
        fleet.create()
        fleet.issue()
        fleet.wait_ready()
        fleet.start()
        fleet.wait_ready()
        fleet.detected = {name: mail.detected() for name, mail in fleet.mails.items()}
        fleet.before = {name: mail.reloads() for name, mail in fleet.mails.items()}
        fleet.issue()
        fleet.wait_ready()
        yield fleet
    finally:
        lab.close()


@pytest.mark.parametrize("name", SETUPS)
class TestRenewal:
    def test_every_port_serves_it(self, fleet: Fleet, name: str) -> None:
        for pair, kind in zip(fleet.pairs[name], SETUPS[name].kinds, strict=True):
            served = {port: leaf_of_kind(fleet.mails[name], port, kind) for port in SETUPS[name].ports}
            assert served == dict.fromkeys(served, pair.certificate.fingerprint)

    def test_it_cost_one_reload(self, fleet: Fleet, name: str) -> None:
        """Of certferry, or of the detector, which meets the renames in their middle now and then: then it does one more."""
        mail, before = fleet.mails[name], fleet.before[name]

        def cost_as_many_as_were_detected() -> bool:
            detected, now = mail.detected() - fleet.detected[name], mail.reloads()
            assert detected <= 2
            assert (detected > 0) is (name not in BY_CERTFERRY)
            expected = [times * max(detected, 1) for times in SETUPS[name].reloads]
            return [now[0] - before[0], now[1] - before[1]] == expected

        wait_until(cost_as_many_as_were_detected, what="one reload for each change that was met")

    def test_a_container_that_found_its_certificate_at_the_start_is_not_reloaded(self, fleet: Fleet, name: str) -> None:
        if not SETUPS[name].read_only:  # what its mount holds is always the old one
            assert fleet.before[name] == (0, 0)

    def test_it_is_where_the_image_looks_for_it(self, fleet: Fleet, name: str) -> None:
        mail, fingerprint = fleet.mails[name], fleet.pairs[name][0].certificate.fingerprint
        assert mail.fingerprint_at(SETUPS[name].path) == fingerprint
        if name != "letsencrypt":
            assert mail.fingerprint_at(INTERNAL) == fingerprint
        assert mail.litter() == ""


def leaf_of_kind(mail: Mail, port: int, kind: str) -> str:
    """The leaf a port hands out to a client that takes only one kind of key."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aRSA" if kind == "rsa" else "aECDSA")
    with open_tls(mail.address, port, MAIL_PORTS[port], context, 5) as connection:
        return parse_leaf_der(connection.getpeercert(binary_form=True) or b"").fingerprint


def test_only_a_detector_that_runs_is_waited_for(fleet: Fleet) -> None:
    by_certferry = {line["target"] for line in fleet.certferry.events("target.reloaded")}
    names = {mail.name: name for name, mail in fleet.mails.items()}
    assert {names[name] for name in by_certferry} == BY_CERTFERRY
    assert fleet.certferry.events("reload.not_noticed") == []


def test_who_mounts_the_files_read_only_is_told_what_that_costs(fleet: Fleet) -> None:
    notes = {target["name"]: target["notes"] for target in fleet.certferry.status()["targets"]}

    assert "on a read-only mount" in notes[fleet.mails["read-only"].name][0]
    assert not notes[fleet.mails["manual"].name]


def test_a_crash_looping_container_comes_up_once_the_certificate_exists(lab: Lab) -> None:
    """docker-mailserver ends when its files are missing; under a restart policy it tries again and again."""
    mail = lab.mailserver(restart_policy={"Name": "always"}, environment=POLL)
    lab.acme.write()
    wait_until(lambda: _restarts(mail) >= 2, what="it crashes again and again")
    certferry = lab.controller(settle="500ms", resync="1d")
    assert DOMAIN in certferry.wait_reason(mail.name, "NoMatchingCertificate")

    pair = lab.issue()
    lab.acme.write(pair)
    mail.wait_up(seconds=100)
    certferry.wait_ready(mail.name, pair)
    assert mail.serves(pair)
    assert mail.reloads() == (0, 0)


def _restarts(mail: Mail) -> int:
    mail.container.reload()
    return int(mail.container.attrs["RestartCount"])


SLOW_START = """
    until [ -e /tls/key.pem ]; do sleep 0.01; done
    sleep 0.2; cp /old/* /tls/
    while cmp -s /old/cert.pem /tls/cert.pem; do sleep 0.01; done
    exec openssl s_server -quiet -accept 993 -cert /tls/cert.pem -cert_chain /tls/cert.pem -key /tls/key.pem
"""


def test_a_start_that_overwrites_what_was_just_written_is_not_taken_for_a_quarrel(lab: Lab) -> None:
    """docker-mailserver copies its pair inside some moments after the start, over what certferry wrote before."""
    paths = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "993/imaps"}
    container = lab.container(start=False, labels=paths, entrypoint=["sh", "-c", SLOW_START])
    old, new = lab.issue(), lab.issue()
    container.put_archive("/", archive_of({"old/cert.pem": old.chain, "old/key.pem": old.key}))
    lab.acme.write()
    certferry = lab.controller(settle="0s", resync="1d")
    container.start()
    certferry.wait_reason(str(container.name), "NoMatchingCertificate")
    time.sleep(0.5)
    lab.acme.write(new)

    certferry.wait_ready(str(container.name), new)
    assert served_leaf(Mail(container).address, 993, "imaps") == new.certificate.fingerprint


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def test_a_container_that_gave_up_finds_its_certificate_at_the_next_start(lab: Lab) -> None:
    mail = lab.mailserver(environment=POLL)
    mail.container.wait(timeout=GENEROUS)
    pair = lab.issue()
    lab.acme.write(pair)
    certferry = lab.controller(settle="500ms", resync="1d")
    certferry.wait_ready(mail.name, pair)
    assert "the container is exited" in certferry.condition(mail.name)["message"]

    mail.container.start()
    mail.wait_up()
    wait_until(lambda: "served on" in certferry.condition(mail.name)["message"])
    assert mail.serves(pair)
    assert mail.reloads() == (0, 0)
