"""Six mail containers, each with another way to its files."""

from __future__ import annotations

import hashlib
import shlex
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from docker.models.containers import Container

from tests.campaign.store import Store
from tests.certs import Pair
from tests.lab import MAIL_IMAGE, MAIL_PORTS, Lab, Mail, open_tls, put_files

DOMAIN = "example.test"
RELOAD = "doveadm reload; postfix reload"
POLL = {"DMS_CONFIG_POLL": "1"}
BOTH = "/tls/both.pem"
OVERRIDES = " ".join(f"{service}/inet/smtpd_tls_chain_files={BOTH}" for service in ("smtp", "submission", "submissions"))
"""The start script names the file twice, as key and as certificate, and that Postfix does not take."""


@dataclass(frozen=True)
class Kind:
    """How a container is set up; `make` creates it, with the options of `Lab.container`."""

    name: str
    make: Callable[..., Mail]
    key: str = "/tls/key.pem"
    certificate: str = "/tls/cert.pem"
    volume: str = ""
    tmpfs: str = ""
    seeded: bool = True
    """It is created with a pair; else it makes one itself at each start."""
    detector: bool = False
    """It takes up files by itself."""

    @property
    def host(self) -> str:
        return f"{self.name}.{DOMAIN}"


def _combined(lab: Lab, *, labels: dict[str, str], **options: Any) -> Mail:
    ours = {"profile": "generic", "combined_path": BOTH, "reload": RELOAD, **labels}
    environment = {"SSL_TYPE": "paths", "TLS_CERT_FILE": BOTH, "TLS_KEY_FILE": BOTH}
    start = shlex.join(lab.docker.images.get(MAIL_IMAGE).attrs["Config"]["Cmd"])
    command = ["sh", "-c", f"postconf -P {OVERRIDES} && exec {start}"]
    return Mail(lab.container(MAIL_IMAGE, labels=ours, environment=environment, command=command, **options))


def _checked(lab: Lab, *, labels: dict[str, str], **options: Any) -> Mail:
    return lab.mail(labels={"check": "doveconf -n", **labels}, **options)


def _manual(lab: Lab, **options: Any) -> Mail:
    return lab.mailserver(environment=POLL, **options)


def _letsencrypt(lab: Lab, **options: Any) -> Mail:
    return lab.mailserver(environment=POLL | {"SSL_TYPE": "letsencrypt"}, **options)


LIVE = f"/etc/letsencrypt/live/letsencrypt.{DOMAIN}"
KINDS = (
    Kind("direct", Lab.mail, seeded=False),
    Kind("volume", _checked, volume="/tls"),
    Kind("tmpfs", Lab.mail, tmpfs="/tls", seeded=False),
    Kind("combined", _combined, key=BOTH, certificate=BOTH),
    Kind("manual", _manual, volume="/tls", detector=True),
    Kind(
        "letsencrypt",
        _letsencrypt,
        key=f"{LIVE}/privkey.pem",
        certificate=f"{LIVE}/fullchain.pem",
        volume="/etc/letsencrypt",
        detector=True,
    ),
)


@dataclass
class Box:
    """One place in the fleet: a container, and after a recreate another one of the same name."""

    lab: Lab
    kind: Kind
    store: Store
    mail: Mail = field(init=False)
    address: str = ""
    _volumes: dict[str, Any] = field(default_factory=dict)
    _past: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.kind.volume:
            self._volumes = {self.lab.volume().name: {"bind": self.kind.volume, "mode": "rw"}}
        self._create(first=True)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def container(self) -> Container:
        return self.mail.container

    def look_up_address(self) -> str:
        """Ask Docker where it is now; empty while it is nowhere."""
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"].values()
        self.address = next((str(network["IPAddress"]) for network in networks), "")
        return self.address

    def recreate(self) -> None:
        """Another container in its place, with the same volume; it is started."""
        past = self.reloads()
        self.container.remove(force=True)
        self._past = past
        self._create(first=False)
        self.container.start()

    def reloads(self) -> tuple[int, int, int]:
        """How often Dovecot and Postfix were reloaded, and how many changes a detector met, in all its containers."""
        counted = (*self.mail.reloads(), self.mail.detected())
        return tuple(past + now for past, now in zip(self._past, counted, strict=True))  # type: ignore[return-value]

    def wrong(self, fingerprint: str) -> str:
        """Why not every port hands out a leaf now, with the chain that a client needs; empty where all do."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the leaf is known
        context.load_verify_locations(cadata=self.lab.authority.root_pem.decode())
        address = self.look_up_address()
        for port, protocol in MAIL_PORTS.items():
            try:
                with open_tls(address, port, protocol, context, 5) as connection:
                    leaf = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
            except Exception as error:  # whatever way a handshake fails in: smtplib and imaplib have many
                return f"port {port}: {type(error).__name__}: {error}"
            if leaf != fingerprint:
                return f"port {port} hands out another leaf"
        return ""

    def litter(self) -> str:
        """What certferry left behind: files, mounts included, and what it started."""
        places = dict.fromkeys(["/", self.kind.volume or "/tls", "/etc/dms/tls"])
        files = self.mail.run("find", *places, "-xdev", "-name", ".certferry*").strip()
        return f"{files} {self.shells() or ''}".strip()

    def shells(self) -> list[int]:
        """The shells of certferry's that run in it, by their numbers on this machine."""
        processes = self.container.top(ps_args="-eo pid,args")["Processes"] or []
        return [int(pid) for pid, text in processes if text.startswith("sh -c") and "certferry" in text]

    def key_mode(self) -> int:
        """Of the file that holds the key."""
        return int(self.mail.run("stat", "-L", "-c", "%a", self.kind.key), 8)

    def _create(self, *, first: bool) -> None:
        kind = self.kind
        self.mail = kind.make(
            self.lab,
            start=False,
            labels={"domain": kind.host},
            hostname=kind.host,
            name=f"certferry-campaign-{self.lab.id}-{kind.name}",
            volumes=self._volumes,
            tmpfs={kind.tmpfs: "size=64k"} if kind.tmpfs else {},
            restart_policy={"Name": "always"},
        )
        if kind.seeded and (first or not kind.volume):
            put_files(self.container, _files(kind, self.store.first[kind.host].pair))


def _files(kind: Kind, pair: Pair) -> dict[str, bytes]:
    if kind.key == kind.certificate:
        return {kind.key: pair.key + pair.chain}
    return {kind.key: pair.key, kind.certificate: pair.chain}


def start_all(lab: Lab, store: Store) -> list[Box]:
    """Create and start all of them; they come up meanwhile."""
    boxes = [Box(lab, kind, store) for kind in KINDS]
    for box in boxes:
        box.container.start()
    return boxes


def wait_up(boxes: list[Box], seconds: float) -> None:
    """Wait until all of them do TLS."""
    until = time.monotonic() + seconds
    for box in boxes:
        box.mail.wait_up(seconds=max(until - time.monotonic(), 1.0))
