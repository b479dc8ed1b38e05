"""Whatever is wrong outside: one clear line names it and the remedy, nothing is written, nothing is lost, others go on."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.certs import Pair, acme_json, key_pem, new_key
from tests.lab import DOMAIN, AcmeJson, Controller, Lab, Mail, wait_until

HEALTHY = "healthy.example.test"
FILES = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off"}


@dataclass
class Scene:
    """A container whose certificate goes bad, a healthy one beside it, and a certferry with two sources for them."""

    lab: Lab
    victim: Mail
    healthy: Mail
    other: AcmeJson
    certferry: Controller
    good: Pair

    def heal(self) -> None:
        if self.lab.acme.path.is_dir():
            self.lab.acme.path.rmdir()
        elif not self.lab.acme.path.is_file():
            self.lab.acme.path.unlink(missing_ok=True)
        self.lab.acme.write(self.good)
        self.certferry.wait_ready(self.victim.name, self.good)
        wait_until(lambda: self.certferry.source()["up"])

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """The files of the victim stay as they are, and the healthy one gets a new certificate all the same."""
        before = self.victim.stamp()
        yield
        assert self.victim.stamp() == before
        newer = self.lab.issue(HEALTHY)
        self.other.write(newer)
        self.certferry.wait_ready(self.healthy.name, newer)

    def warnings(self, since: int) -> list[tuple[str, str]]:
        """What was said of ours since a line of the log beyond mere news: event and reason."""
        lines = [line for line in self.certferry.log[since:] if line["level"] not in ("debug", "info")]
        ours = [x for x in lines if "source" in x or x.get("target") in (self.victim.name, self.healthy.name)]
        return [(line["event"], line["reason"]) for line in ours]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lab = Lab(tmp_path_factory.mktemp("bad"))
    try:
        other = AcmeJson(lab.folder / "other.json")
        victim, healthy = Mail(lab.container(labels=FILES)), Mail(lab.container(labels=FILES | {"domain": HEALTHY}))
        good = lab.issue()
        lab.acme.write(good)
        other.write(lab.issue(HEALTHY))
        certferry = lab.controller(
            sources=f"{lab.acme.url} {other.url}?name=other", settle="0s", resync="1d", retry_min="200ms"
        )
        yield Scene(lab, victim, healthy, other, certferry, good)
    finally:
        lab.close()


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.heal()
    return shared


def _raw(content: bytes) -> Callable[[Scene], None]:
    return lambda scene: scene.lab.acme.write_raw(content)


def _cut_off(scene: Scene) -> None:
    scene.lab.acme.write_raw(acme_json(scene.good)[:-300])


def _directory(scene: Scene) -> None:
    scene.lab.acme.path.unlink()
    scene.lab.acme.path.mkdir()


def _pipe(scene: Scene) -> None:
    beside = scene.lab.acme.path.with_name("pipe")
    os.mkfifo(beside)
    beside.replace(scene.lab.acme.path)


def _gone(scene: Scene) -> None:
    scene.lab.acme.path.unlink()


def _huge(scene: Scene) -> None:
    with scene.lab.acme.path.open("r+b") as file:
        file.truncate(100 * 1024 * 1024)


FILES_GONE_BAD: dict[str, tuple[Callable[[Scene], None], str, tuple[str, str]]] = {
    "binary": (_raw(os.urandom(4096)), "SourceMalformed", ("binary or damaged", "restore it from a backup")),
    "cut off": (_cut_off, "SourceMalformed", ("ends in the middle", "restore it from a backup")),
    "empty": (_raw(b""), "SourceMalformed", ("is empty, and was not before", "restore it from a backup")),
    "not JSON": (_raw(b"certificates: []\n"), "SourceMalformed", ("is not JSON (line 1", "restore it from a backup")),
    "a list": (_raw(b"[1, 2]"), "SourceMalformed", ("a JSON list", "correct the path")),
    "other JSON": (_raw(b'{"name": "x"}'), "SourceMalformed", ("no store of Traefik", "acme.storage")),
    "nested too deeply": (_raw(b'{"le":' * 50_000), "SourceMalformed", ("nested too deeply", "correct the path")),
    "of too many values": (_raw(b'{"le":' * 200_000), "SourceMalformed", ("more than 250,000 values", "correct the path")),
    "100 MB": (_huge, "SourceUnavailable", ("larger than 16 MiB", "correct the path, or raise max-size")),
    "a directory": (_directory, "SourceUnavailable", ("is a directory", "mount the directory")),
    "a pipe": (_pipe, "SourceUnavailable", ("is a pipe, not a file", "correct the path")),
    "gone": (_gone, "SourceUnavailable", ("does not exist", "mount the directory")),
}


@pytest.mark.parametrize("case", FILES_GONE_BAD)
def test_a_file_that_cannot_be_used(scene: Scene, case: str) -> None:
    spoil, reason, words = FILES_GONE_BAD[case]
    since = len(scene.certferry.log)
    with scene.unharmed():
        spoil(scene)
        scene.certferry.wait_for("source.degraded", after=since, reason=reason)
        message = scene.certferry.wait_degraded(reason)
    assert str(scene.lab.acme.path) in message
    assert all(word in message for word in words), message
    assert set(scene.warnings(since)) == {("source.degraded", reason)}, "twice where it was seen while it changed"
    assert scene.certferry.condition(scene.victim.name)["ready"] is True, "the last good state is kept"
    assert "\n" not in message


def _entry(certificate: str, key: str) -> bytes:
    entry = {"domain": {"main": DOMAIN}, "certificate": certificate, "key": key, "Store": "default"}
    return json.dumps({"le": {"Certificates": [entry]}}).encode()


PAIRS_GONE_BAD: dict[str, tuple[Callable[[Lab], Pair | bytes], str, str]] = {
    "base64 garbage": (lambda _: _entry("§§§", "§§§"), "SourceMalformed", "the certificate is not base64 text"),
    "PEM garbage": (
        lambda lab: Pair(b"-----BEGIN CERTIFICATE-----\nxx\n", lab.issue().key),
        "SourceMalformed",
        "ends in the middle",
    ),
    "a key that is none": (
        lambda lab: Pair(lab.issue().chain, b"secret"),
        "SourceMalformed",
        "neither a certificate nor a key",
    ),
    "the key of another": (lambda lab: Pair(lab.issue().chain, lab.issue().key), "KeyMismatch", "belongs to another"),
    "an encrypted key": (
        lambda lab: Pair(lab.issue().chain, key_pem(new_key(), b"secret")),
        "SourceMalformed",
        "protected by a password; store it without one",
    ),
    "an ended leaf": (lambda lab: lab.issue(days=1, age=timedelta(days=3)), "Expired", "ended on"),
    "a leaf of tomorrow": (lambda lab: lab.issue(age=timedelta(days=-1)), "NotYetValid", "begins on"),
    "a leaf without names": (lambda lab: lab.issue(san=False), "NameMismatch", "subjectAltName"),
    "RSA 1024": (lambda lab: lab.issue(kind="rsa", bits=1024), "WeakKey", "RSA with 1024 bits"),
}


@pytest.mark.parametrize("case", PAIRS_GONE_BAD)
def test_a_pair_that_cannot_be_used(scene: Scene, case: str) -> None:
    make, reason, words = PAIRS_GONE_BAD[case]
    since = len(scene.certferry.log)
    with scene.unharmed():
        bad = make(scene.lab)
        content = bad if isinstance(bad, bytes) else acme_json(bad, main=DOMAIN)
        scene.lab.acme.write_raw(content)
        message = scene.certferry.wait_reason(scene.victim.name, reason)
    assert words in message
    assert f"traefik:le/{DOMAIN}" in message, "it names the entry"
    unusable = [] if reason in ("Expired", "NotYetValid") else [("source.entry_unusable", reason)]
    assert scene.warnings(since) == [*unusable, ("target.not_ready", reason)]
    assert scene.certferry.source()["up"] is True


LABELS_GONE_BAD = {
    "cert-path": {"/tls/../etc/passwd": "without . and ..", "tls/cert.pem": "absolute path", "/tls/a\nb": "control characters"},
    "key-path": {"/": "absolute path of a file"},
    "probe": {"0/smtp": "from 1 to 65535", "25/gopher": "unknown protocol 'gopher'", "993": "write 993/imaps"},
    "mode": {"0644": "others could read the private key"},
    "reload": {"postfix reload && true": "no shell runs this", "signal:KILL": "would end or halt"},
    "key-type": {"dsa": "any, rsa, ecdsa or both"},
    "domains": {DOMAIN: "the nearest known is"},
}


def test_labels_that_cannot_be_used(scene: Scene) -> None:
    """All containers at once; each is told about its label, and none is touched."""
    with scene.unharmed():
        made: list[tuple[Mail, str, str]] = []
        for label, values in LABELS_GONE_BAD.items():
            for value, words in values.items():
                container = scene.lab.container(labels=FILES | {label.replace("-", "_"): value})
                shown = "" if label == "reload" else repr(value)  # its arguments may be passwords
                made.append((Mail(container), f"{scene.lab.prefix}{label}={shown}", words))
        for mail, named, words in made:
            message = scene.certferry.wait_reason(mail.name, "InvalidLabels")
            assert named in message
            assert words in message
            assert "\n" not in message
            assert len([line for line in scene.certferry.log if line.get("target") == mail.name]) == 1
            mail.run("test", "!", "-e", "/tls")
            mail.container.remove(force=True)


class TestFilesThatMayNotBeRead:
    def test_the_store(self, lab: Lab) -> None:
        lab.acme.write(lab.issue())
        lab.acme.path.chmod(0)

        done = lab.command("sources", "--json", module="tests.engine.unprivileged")

        assert (done.returncode, done.stderr) == (1, "")
        source = json.loads(done.stdout)["sources"][0]
        assert source["reason"] == "SourceUnavailable"
        assert f"{lab.acme.path} may not be read; run certferry as root or as its owner (uid 0)" in source["message"]

    def test_the_docker_socket(self, lab: Lab) -> None:
        lab.acme.write()
        with fake_docker(lab.folder / "docker.sock", "1.41") as url:
            (lab.folder / "docker.sock").chmod(0)
            done = lab.command("once", module="tests.engine.unprivileged", docker_host=url)

        assert (done.returncode, done.stdout) == (78, "")
        wanted = f"no permission on the Docker socket {url}; run certferry as root or in the socket's group"
        assert wanted in _complaint(done.stderr)


class TestDockerThatCannotBeUsed:
    def test_there_is_no_socket(self, lab: Lab) -> None:
        lab.acme.write()
        done = lab.command("run", docker_host=f"unix://{lab.folder}/none.sock")

        assert (done.returncode, done.stdout) == (78, "")
        assert f"no Docker socket at {lab.folder}/none.sock; mount it" in _complaint(done.stderr)

    def test_it_is_too_old(self, lab: Lab) -> None:
        lab.acme.write()
        with fake_docker(lab.folder / "docker.sock", "1.40") as url:
            done = lab.command("run", docker_host=url)

        assert (done.returncode, done.stdout) == (78, "")
        assert f"Docker at {url} speaks API 1.40; certferry needs 1.41 (Docker Engine 20.10) or newer" in _complaint(
            done.stderr
        )


def _complaint(stderr: str) -> str:
    """The one line that is no log line."""
    lines = [line for line in stderr.splitlines() if not line.startswith("{") and "[info " not in line]
    assert len(lines) == 1, stderr
    return lines[0]


@contextmanager
def fake_docker(path: Path, api: str) -> Iterator[str]:
    """An engine that knows no more than its version."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ApiVersion": api, "Version": "1"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join(20)
