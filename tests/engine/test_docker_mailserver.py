"""Which files docker-mailserver uses, and who writes and reloads: asked, not assumed. On its stand-in.

All containers hold a pair of their own and are renewed at the same time; the tests look at what became of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.certs import Pair
from tests.engine.test_mailserver import leaf_of_kind
from tests.lab import DOMAIN, MAIL_PORTS, Controller, Lab, Mail, put_files, wait_until

Files = dict[str, bytes | str]
POLL = {"DMS_CONFIG_POLL": "0.5"}
CONFIG, LIVE = "/tmp/docker-mailserver", "/etc/letsencrypt/live"
MANUAL = {"SSL_TYPE": "manual"}
LETSENCRYPT = {"SSL_TYPE": "letsencrypt"}
ACME = "/etc/letsencrypt/acme.json"
BY_CERTFERRY, BY_DETECTOR = "certferry", "detector"


def host(name: str) -> str:
    return f"{name}.example.test"


def manual(_name: str, pair: Pair) -> Files:
    return {"/tls/cert.pem": pair.chain, "/tls/key.pem": pair.key}


def live(folder: Callable[[str], str], key: str) -> Callable[[str, Pair], Files]:
    return lambda name, pair: {f"{LIVE}/{folder(name)}/fullchain.pem": pair.chain, f"{LIVE}/{folder(name)}/{key}": pair.key}


def custom(name: str, pair: Pair) -> Files:
    return {f"{CONFIG}/ssl/{host(name)}-full.pem": pair.key + pair.chain}


def self_signed(name: str, pair: Pair) -> Files:
    start = f"{CONFIG}/ssl/{host(name)}"
    authority = f"{CONFIG}/ssl/demoCA/cacert.pem"
    return {f"{start}-cert.pem": pair.chain, f"{start}-key.pem": pair.key, authority: pair.chain}


def own(name: str, pair: Pair, *, main: str = "smtpd_tls_security_level = may\n") -> Files:
    """The operator's own settings name the files."""
    return {
        "/own/cert.pem": pair.chain,
        "/own/key.pem": pair.key,
        f"{CONFIG}/postfix-main.cf": f"{main}smtpd_tls_chain_files = /own/key.pem /own/cert.pem\n".encode(),
        f"{CONFIG}/postfix-master.cf": b"submissions/inet/smtpd_tls_wrappermode=yes\n",
        f"{CONFIG}/dovecot.cf": b"ssl = required\nssl_cert = </own/cert.pem\nssl_key = </own/key.pem\n",
    }


@dataclass
class Setup:
    """How a container is set up, what it holds at first, and who reloads at a renewal."""

    environment: dict[str, str]
    files: Callable[[str, Pair], Files]
    by: str = BY_DETECTOR
    chain: Callable[[str], str] = lambda _: "/tls/cert.pem"
    """Where the new chain must be after a renewal."""
    absent: Callable[[str], str] = lambda _: "/nowhere"
    """What must not be there."""
    written: bool = True
    """Whether certferry writes."""
    ports: tuple[int, ...] = tuple(MAIL_PORTS)
    hostname: Callable[[str], str] = host
    read_only: bool = False


def in_live(folder: Callable[[str], str], file: str) -> Callable[[str], str]:
    return lambda name: f"{LIVE}/{folder(name)}/{file}"


def mail_host(name: str) -> str:
    return f"mail.{host(name)}"


SETUPS = {
    "key-alone": Setup(
        LETSENCRYPT, live(host, "key.pem"), chain=in_live(host, "fullchain.pem"), absent=in_live(host, "privkey.pem")
    ),
    "domain-folder": Setup(
        LETSENCRYPT,
        live(host, "privkey.pem"),
        chain=in_live(host, "fullchain.pem"),
        absent=in_live(mail_host, "fullchain.pem"),
        hostname=mail_host,
    ),
    "companion": Setup(
        LETSENCRYPT,
        lambda *_: {},
        chain=in_live(host, "fullchain.pem"),
        absent=in_live(host, "privkey.pem"),
        written=False,
        read_only=True,
    ),
    "extraction": Setup(
        LETSENCRYPT, lambda *_: {}, chain=in_live(host, "fullchain.pem"), absent=in_live(host, "privkey.pem"), written=False
    ),
    "extraction-off": Setup(
        LETSENCRYPT | {"DETECTOR": "0"},
        lambda *_: {},
        by=BY_CERTFERRY,
        chain=in_live(host, "fullchain.pem"),
        absent=in_live(host, "privkey.pem"),
    ),
    "custom": Setup({"SSL_TYPE": "custom"}, custom, by=BY_CERTFERRY, chain=lambda name: f"{CONFIG}/ssl/{host(name)}-full.pem"),
    "self-signed": Setup(
        {"SSL_TYPE": "self-signed"}, self_signed, by=BY_CERTFERRY, chain=lambda name: f"{CONFIG}/ssl/{host(name)}-cert.pem"
    ),
    "no-type": Setup({"SSL_TYPE": ""}, own, by=BY_CERTFERRY, chain=lambda _: "/own/cert.pem", ports=(25, 465, 993)),
    "overridden": Setup(MANUAL, lambda name, pair: manual(name, pair) | own(name, pair), chain=lambda _: "/own/cert.pem"),
    "one-service": Setup(
        MANUAL,
        lambda name, pair: {
            **manual(name, pair),
            "/own/all.pem": pair.key + pair.chain,
            f"{CONFIG}/postfix-master.cf": b"submissions/inet/smtpd_tls_chain_files=/own/all.pem\n",
        },
        chain=lambda _: "/own/all.pem",
    ),
}


@dataclass
class Fleet:
    """All containers, after one renewal of all of them."""

    lab: Lab
    certferry: Controller
    mails: dict[str, Mail] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    detected: dict[str, int] = field(default_factory=dict)
    installed: int = 0
    """Log lines of installations before the renewal."""

    def create(self) -> None:
        self.issue()
        for name, setup in SETUPS.items():
            options: dict[str, Any] = {"hostname": setup.hostname(name), "volumes": self._volumes(name, setup)}
            mail = self.lab.mailserver(
                start=False, labels={"domain": host(name)}, environment=POLL | setup.environment, **options
            )
            if files := setup.files(name, self.pairs[name]):
                put_files(mail.container, files)
            self.mails[name] = mail
            mail.container.start()

    def _volumes(self, name: str, setup: Setup) -> dict[str, dict[str, str]]:
        if setup.read_only:
            return {str(self.shared(name)): {"bind": f"{LIVE}/{host(name)}", "mode": "ro"}}
        if name.startswith("extraction"):
            return {str(self.lab.acme.path): {"bind": ACME, "mode": "ro"}}
        return {}

    def shared(self, name: str) -> Path:
        """What acme-companion keeps for a name; it shows read-only in the container."""
        folder = self.lab.folder / name
        folder.mkdir(exist_ok=True)
        for file, content in {"key.pem": self.pairs[name].key + b"\n", "fullchain.pem": b"\n" + self.pairs[name].chain}.items():
            (folder / "new").write_bytes(content)
            (folder / "new").rename(folder / file)
        return folder

    def issue(self) -> None:
        self.pairs = {name: self.lab.issue(host(name), mail_host(name)) for name in SETUPS}
        for name in [name for name, setup in SETUPS.items() if setup.read_only]:
            self.shared(name)
        self.lab.acme.write(*self.pairs.values())

    def wait_ready(self) -> None:
        for name, mail in self.mails.items():
            self.certferry.wait_ready(mail.name, self.pairs[name], seconds=100)

    def installations(self, name: str) -> int:
        """How often certferry wrote to a container since the renewal."""
        lines = self.certferry.events("target.installed")[self.installed :]
        return sum(line["target"] == self.mails[name].name for line in lines)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    lab = Lab(tmp_path_factory.mktemp("asked"))
    try:
        lab.acme.write()
        fleet = Fleet(lab, lab.controller(settle="500ms", resync="1d"))
        fleet.create()
        for name, mail in fleet.mails.items():
            mail.wait_up(SETUPS[name].ports, seconds=100)
        fleet.wait_ready()
        fleet.before = {name: mail.reloads() for name, mail in fleet.mails.items()}
        fleet.detected = {name: mail.detected() for name, mail in fleet.mails.items()}
        fleet.installed = len(fleet.certferry.events("target.installed"))
        fleet.issue()
        fleet.wait_ready()
        yield fleet
    finally:
        lab.close()


@pytest.mark.parametrize("name", SETUPS)
class TestARenewal:
    def test_is_served_by_every_port(self, fleet: Fleet, name: str) -> None:
        served = {port: fleet.mails[name].served(port) for port in SETUPS[name].ports}
        assert served == dict.fromkeys(served, fleet.pairs[name].certificate.fingerprint)

    def test_is_where_the_services_look_and_nothing_stands_beside_it(self, fleet: Fleet, name: str) -> None:
        mail, setup = fleet.mails[name], SETUPS[name]
        assert mail.fingerprint_at(setup.chain(name)) == fleet.pairs[name].certificate.fingerprint
        assert mail.run("sh", "-c", f"[ -e {setup.absent(name)} ] || echo none") == "none\n"

    def test_is_written_once_or_not_at_all(self, fleet: Fleet, name: str) -> None:
        assert bool(fleet.installations(name)) is SETUPS[name].written

    def test_costs_one_reload(self, fleet: Fleet, name: str) -> None:
        mail, setup = fleet.mails[name], SETUPS[name]
        before = fleet.before[name]
        own = sum(line["target"] == mail.name for line in fleet.certferry.events("target.reloaded"))

        def counted() -> int:
            changes = mail.detected() - fleet.detected[name] if setup.by == BY_DETECTOR else 0
            changes += own
            return changes if mail.reloads() == (before[0] + changes, before[1] + changes) else 0

        assert wait_until(counted, what="a reload for each change") in (1, 2)  # it can meet the files of one swap in its middle
        assert own == (setup.by == BY_CERTFERRY)

    def test_leaves_nothing_lying(self, fleet: Fleet, name: str) -> None:
        assert fleet.mails[name].litter() == ""


def notes(fleet: Fleet) -> dict[str, str]:
    names = {mail.name: name for name, mail in fleet.mails.items()}
    return {names[t["name"]]: "; ".join(t["notes"]) for t in fleet.certferry.status()["targets"] if t["name"] in names}


def test_who_writes_is_told(fleet: Fleet) -> None:
    told = notes(fleet)
    assert f"to let certferry do it, remove the mount at {ACME}" in told["extraction"]
    assert "change detector does not run, so certferry writes" in told["extraction-off"]
    assert "Postfix (submissions/inet) is set to use /own/all.pem" in told["one-service"]
    assert told["key-alone"] == told["custom"] == ""


def test_a_read_only_mount_that_holds_the_right_pair_is_no_trouble(fleet: Fleet) -> None:
    mail = fleet.mails["companion"].name
    assert not [line for line in fleet.certferry.log if line.get("target") == mail and line.get("reason") == "WriteRefused"]


def test_read_only_originals_that_another_replaces_are_copied_once(lab: Lab) -> None:
    """As with nginx-proxy's certificates, mounted for SSL_TYPE=manual."""
    folder = lab.folder / "theirs"
    folder.mkdir()

    def replaced() -> Pair:
        pair = lab.issue()
        (folder / "key.pem").write_bytes(pair.key)
        (folder / "cert.pem").write_bytes(pair.chain)
        lab.acme.write(pair)
        return pair

    first = replaced()
    volumes = {str(folder): {"bind": "/tls", "mode": "ro"}}
    mail = lab.mailserver(volumes=volumes, environment=MANUAL | {"DMS_CONFIG_POLL": "5"})
    mail.wait_up(seconds=60)
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, first)
    second = replaced()
    certferry.wait_ready(mail.name, second, seconds=60)
    assert mail.serves(second)
    assert mail.reloads() == (mail.detected(), mail.detected())
    assert certferry.events("target.reloaded") == []


@pytest.mark.parametrize("ssl_type", ["letsencrypt", "manual"])
def test_files_that_another_writes_one_by_one_cost_no_reload_of_certferrys(lab: Lab, ssl_type: str) -> None:
    """Met between the two they leave the services without TLS until the detector's next look, which is awaited."""
    folder = lab.folder / "theirs"
    folder.mkdir()

    def put(name: str, content: bytes) -> None:
        (folder / "new").write_bytes(content)
        (folder / "new").rename(folder / name)

    def replaced(between: Callable[[], None] = lambda: None) -> Pair:
        pair = lab.issue()
        put("key.pem", pair.key)
        between()
        put("fullchain.pem", pair.chain)
        lab.acme.write(pair)
        return pair

    first = replaced()
    place = f"{LIVE}/{DOMAIN}" if ssl_type == "letsencrypt" else "/tls"
    environment = {"SSL_TYPE": ssl_type, "SSL_CERT_PATH": "/tls/fullchain.pem", "DMS_CONFIG_POLL": "1"}
    mail = lab.mailserver(volumes={str(folder): {"bind": place, "mode": "ro"}}, environment=environment)
    mail.wait_up()
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, first)
    second = replaced(lambda: _wait_for_reload(mail))
    certferry.wait_ready(mail.name, second)
    assert mail.serves(second)
    assert mail.reloads() == (mail.detected(), mail.detected())
    assert certferry.events("target.reloaded") == []


def _wait_for_reload(mail: Mail) -> None:
    before = mail.reloads()[0]
    wait_until(lambda: mail.reloads()[0] > before, what="the detector met the key alone")


def test_a_mistyped_type_is_told_with_the_nearest_word(lab: Lab) -> None:
    mail = lab.mailserver(start=False, environment={"SSL_TYPE": "letsencrpyt"})
    certferry = lab.controller()
    message = certferry.wait_reason(mail.name, "InvalidLabels")
    assert "SSL_TYPE=letsencrpyt in the container's environment: unknown; the nearest known is letsencrypt" in message


class TestAnAlternativePair:
    ALT = MANUAL | {"SSL_ALT_CERT_PATH": "/tls/alt.pem", "SSL_ALT_KEY_PATH": "/tls/alt-key.pem"}

    def test_that_is_missing_does_not_end_the_container_and_comes_later(self, lab: Lab) -> None:
        mail = lab.mailserver(start=False, restart_policy={"Name": "always"}, environment=POLL | self.ALT)
        first = lab.issue(kind="ecdsa")
        lab.acme.write(first)
        certferry = lab.controller(settle="500ms", resync="1d")
        certferry.wait_ready(mail.name, first)
        mail.container.start()
        mail.wait_up(seconds=60)
        wait_until(lambda: "served on" in certferry.condition(mail.name)["message"])
        assert "/tls/alt-key.pem, /tls/alt.pem empty, until" in certferry.condition(mail.name)["message"]
        assert mail.serves(first)
        assert mail.run("cat", "/tls/alt-key.pem", "/tls/alt.pem") == ""
        assert mail.reloads() == (0, 0)

        second = lab.issue(kind="rsa")
        lab.acme.write(first, second)
        certferry.wait_ready(mail.name, second, seconds=60)
        assert leaf_of_kind(mail, 993, "rsa") == second.certificate.fingerprint
        assert leaf_of_kind(mail, 993, "ecdsa") == first.certificate.fingerprint
        assert "empty" not in certferry.condition(mail.name)["message"]


class TestTheStart:
    """The change detector is started last."""

    def started(self, lab: Lab, **environment: str) -> tuple[Mail, Pair]:
        """A container that runs with a pair, before certferry does."""
        pair = lab.issue()
        mail = lab.mailserver(start=False, environment=MANUAL | environment)
        put_files(mail.container, manual("", pair))
        mail.container.start()
        mail.wait_up(seconds=60)
        lab.acme.write(pair)
        return mail, pair

    def test_a_detector_that_does_not_run_is_not_waited_for(self, lab: Lab) -> None:
        mail, pair = self.started(lab, DETECTOR="0")
        certferry = lab.controller(settle="0s", resync="1d")
        certferry.wait_ready(mail.name, pair)
        new = lab.issue()
        lab.acme.write(new)
        certferry.wait_ready(mail.name, new)
        assert mail.serves(new)
        assert (mail.detected(), mail.reloads()) == (0, (1, 1))
        assert certferry.events("reload.not_noticed") == []

    def test_one_that_is_about_to_run_gets_what_came_before(self, lab: Lab) -> None:
        """Between the services and the detector, which compares with what was there when the copies were made."""
        mail, _ = self.started(lab, DETECTOR_AFTER="15")
        new = lab.issue()
        lab.acme.write(new)
        certferry = lab.controller(settle="0s", resync="1d")
        certferry.wait_for("target.installed")
        assert mail.detected() == 0
        certferry.wait_ready(mail.name, new)
        assert mail.serves(new)
        assert (mail.detected(), mail.reloads()) == (1, (1, 1))
        assert certferry.events("target.reloaded") == []

    def test_a_change_that_was_recorded_but_not_copied_is_not_waited_for(self, lab: Lab) -> None:
        """Between the copies and the record of what is there, another pair came."""
        old, new = lab.issue(), lab.issue()
        mail = lab.mailserver(start=False, environment=MANUAL | POLL)
        later = {f"/new/{path.rpartition('/')[2]}": content for path, content in manual("", new).items()}
        patches: Files = {f"{CONFIG}/user-patches.sh": b"cp /new/* /tls/\n"}
        put_files(mail.container, manual("", old) | later | patches)
        mail.container.start()
        mail.wait_up(seconds=60)
        assert mail.serves(old)
        lab.acme.write(new)
        certferry = lab.controller(settle="0s", resync="1d")
        certferry.wait_ready(mail.name, new)
        assert mail.serves(new)
        assert (mail.detected(), mail.reloads()) == (0, (1, 1))
        assert certferry.events("target.installed") == []

    def test_one_that_looks_seldom_is_awaited_while_what_is_served_is_good(self, lab: Lab) -> None:
        mail, pair = self.started(lab, DMS_CONFIG_POLL="15")
        certferry = lab.controller(settle="0s", resync="1d")
        certferry.wait_ready(mail.name, pair)
        new = lab.issue()
        lab.acme.write(new)
        certferry.wait_ready(mail.name, new, seconds=90)
        assert (mail.detected(), mail.reloads()) == (1, (1, 1))
        assert certferry.events("target.reloaded") == []

    def test_one_that_looks_seldom_is_not_where_what_is_served_has_ended(self, lab: Lab) -> None:
        pair = lab.issue(days=1, age=timedelta(days=2))
        mail = lab.mailserver(start=False, environment=MANUAL | {"DMS_CONFIG_POLL": "90"})
        put_files(mail.container, manual("", pair))
        mail.container.start()
        mail.wait_up(seconds=60)
        wait_until(lambda: mail.run("sh", "-c", "cat /proc/[0-9]*/comm").count("check-for-chang"), what="the detector runs")
        new = lab.issue()
        lab.acme.write(new)
        certferry = lab.controller(settle="0s", resync="1d")
        certferry.wait_ready(mail.name, new)
        assert mail.serves(new)
        assert (mail.detected(), mail.reloads()) == (0, (1, 1))


def test_what_the_services_use_is_found_again_after_a_restart(lab: Lab) -> None:
    """A restart copies nothing: of a type that the detector does not look at, the old copy would be served for ever."""
    old, new = lab.issue(), lab.issue()
    mail = lab.mailserver(start=False, environment={"SSL_TYPE": "custom"})
    put_files(mail.container, {f"{CONFIG}/ssl/{DOMAIN}-full.pem": old.key + old.chain})
    mail.container.start()
    mail.wait_up(seconds=60)
    mail.container.stop()
    lab.acme.write(new)
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, new)
    mail.container.start()
    mail.wait_up(seconds=60)
    certferry._wait_until(lambda: mail.serves(new), 60, "the new pair is served")
    certferry.wait_ready(mail.name, new)
