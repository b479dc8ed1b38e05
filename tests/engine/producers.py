"""Programs that keep certificates in files, as they run; and a mail container that gets what they store.

A renewal by a real program is over within milliseconds. Where every state in between is to be met, it is played step by step,
in the order in which the program was seen to write.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.certs import Pair
from tests.lab import DOMAIN, Controller, Lab, Mail, wait_until
from tests.unit.sources.planted import Step

IMAGE = "certferry-test/producers:latest"
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine."""
PEBBLE = ("--server", "https://localhost:14000/dir", "--agree-tos", "--email", "admin@example.test", "--standalone")
CADDYFILE = """{
    email admin@example.test
    acme_ca https://localhost:14000/dir
    acme_ca_root /etc/pebble/cert.pem
    skip_install_trust
}
mail.example.test {
    respond "by ACME"
}
internal.example.test {
    tls internal
    respond "by Caddy's own authority"
}
"""


class Programs:
    """certbot and Caddy, and an ACME server, in one container; what they store is in `folder`."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.folder / "store"
        self.folder.mkdir()
        mounts = {str(self.folder): {"bind": "/store", "mode": "rw"}}
        self._container = lab.docker.containers.create(IMAGE, labels=lab.labels(), volumes=mounts)
        self._container.start()
        self._wait_for_port(14000)

    def certbot(self, *argv: str, folder: str = "/store/letsencrypt") -> None:
        """Run certbot to its end."""
        self._run("certbot", *argv, "--non-interactive", "--config-dir", folder)

    def order(self, *names: str) -> Pair:
        """A certificate from the ACME server that is stored nowhere else."""
        domains = [part for name in names for part in ("-d", name)]
        self.certbot("certonly", *PEBBLE, *domains, "--force-renewal", "--cert-name", "it", folder="/elsewhere")
        chain, key = (self._run("cat", f"/elsewhere/live/it/{file}.pem") for file in ("fullchain", "privkey"))
        return Pair(chain, key)

    def start_caddy(self) -> None:
        """Start Caddy, which orders what it lacks; it keeps running."""
        (self.folder / "Caddyfile").write_text(CADDYFILE)
        self._container.exec_run(["caddy", "run", "--config", "/store/Caddyfile"], detach=True)
        self._wait_for_port(2019)

    def renew_by_caddy(self) -> None:
        """Have Caddy renew everything: a certificate that is not wholly unused counts as old from now on."""
        config = json.loads(self._run("caddy", "adapt", "--config", "/store/Caddyfile"))
        for policy in config["apps"]["tls"]["automation"]["policies"]:
            policy["renewal_window_ratio"] = 1
        (self.folder / "caddy.json").write_text(json.dumps(config))
        self._run("caddy", "reload", "--force", "--config", "/store/caddy.json")

    def _run(self, *argv: str) -> bytes:
        code, (output, errors) = self._container.exec_run(list(argv), demux=True)
        assert code == 0, f"{argv}: {(output or b'') + (errors or b'')!r}"
        return bytes(output or b"")

    def _wait_for_port(self, port: int) -> None:
        connect = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
        wait_until(lambda: self._container.exec_run(connect).exit_code == 0, seconds=PATIENCE, what=f"port {port} is open")


def stored(chain: Path, key: Path) -> Pair:
    """What two files hold, read without certferry's sources."""
    return Pair(chain.read_bytes(), key.read_bytes())


def split(chain: bytes) -> list[bytes]:
    """The certificates of a chain, one by one."""
    return re.findall(rb"-----BEGIN [^\0]*?-----END CERTIFICATE-----\n", chain)


def write(pair: Pair, chain: Path, key: Path) -> None:
    """Store a pair in two files."""
    chain.write_bytes(pair.chain)
    key.write_bytes(pair.key)


def mail_for(lab: Lab, domain: str, **labels: str) -> Mail:
    """A mail container of a domain, which is up."""
    mail = lab.mail(labels={"domain": domain, **labels}, hostname=domain)
    mail.wait_up(seconds=PATIENCE)
    return mail


@dataclass
class Served:
    """A mail container, and a certferry that gives it what one source holds."""

    mail: Mail
    certferry: Controller
    source: str
    deliveries: int = 0
    """How many pairs have come so far; each costs Dovecot and Postfix one reload, and only one."""
    first_done: int = 0
    """How many lines the log had when the first one was served."""

    @classmethod
    def start(cls, lab: Lab, kind: str, folder: Path, **labels: str) -> Served:
        mail = mail_for(lab, DOMAIN, **labels)
        certferry = lab.controller(sources=f"{kind}://{folder}", settle="500ms", resync="1d", batch_window="0s")
        return cls(mail, certferry, kind)

    def wait_missing(self) -> None:
        """Wait until the folder was looked for, in vain."""
        assert "does not exist" in self.certferry.wait_degraded("SourceUnavailable", source=self.source, seconds=PATIENCE)

    def wait_for(self, pair: Pair) -> None:
        """Wait until every port hands out a new pair."""
        self.deliveries += 1
        self.certferry.wait_ready(self.mail.name, pair, seconds=PATIENCE)
        assert self.mail.serves(pair)
        self._check_reloads()
        self.first_done = self.first_done or len(self.certferry.log)

    def play(self, steps: Iterable[Step], new: Pair, chain: Path, key: Path) -> None:
        """Have certferry read the store and act after each step: it writes once the two files hold the new pair, not before."""
        installed, whole = self.mail.stamp(), False
        for step in steps:
            begun = time.time()
            step()
            wait_until(lambda begun=begun: self._done_at() > begun, seconds=PATIENCE, what="the step is done with")  # type: ignore[misc]
            if not whole and _hold(new, chain, key):
                self.wait_for(new)
                installed, whole = self.mail.stamp(), True
            assert self.mail.stamp() == installed
        assert whole
        assert self.mail.serves(new)
        self._check_reloads()

    def assert_no_harm(self) -> None:
        """Nothing had to be taken back, and nothing is left to complain of."""
        assert self.certferry.events("target.rolling_back") == []
        assert self.certferry.source(self.source)["problems"] == []
        assert self.mail.litter() == ""
        self._check_reloads()

    def assert_no_complaint(self) -> None:
        """As before, and of no renewal anything was reported. (A store found while it is being made may be.)"""
        self.assert_no_harm()
        assert "source.entry_unusable" not in {line["event"] for line in self.certferry.log[self.first_done :]}

    def _check_reloads(self) -> None:
        assert self.mail.reloads() == (self.deliveries, self.deliveries)
        assert [line["target"] for line in self.certferry.events("target.reloaded")].count(self.mail.name) == self.deliveries

    def _done_at(self) -> float:
        """A moment of which certferry knows how the source was then, and has done all that follows; 0 while it is at work."""
        asked = time.time()
        page = self.certferry.get("/metrics")[1]
        age = re.search(rf'source_age_seconds{{source="{self.source}"}} (\S+)', page)
        return asked - float(age[1]) if age and "queue_depth 0.0" in page else 0.0


def _hold(pair: Pair, chain: Path, key: Path) -> bool:
    return chain.is_file() and key.is_file() and stored(chain, key) == pair
