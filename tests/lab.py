"""The laboratory of tests, demo and benchmark: real containers, a real ``acme.json``, a real certferry process.

Everything made here carries the label `LABEL` with the laboratory's own id, and goes when it closes; what a killed test
run left behind goes by the label `PROCESS`.
"""

from __future__ import annotations

import fcntl
import imaplib
import io
import json
import os
import poplib
import secrets
import smtplib
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import docker
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume

from controller.x509.leaves import parse_leaf, parse_leaf_der
from tests.certs import Authority, Pair, acme_json
from tests.sdk import connect

ROOT = Path(__file__).resolve().parents[1]
LABEL = "org.certferry.test"
PROCESS = f"{LABEL}.process"
"""The process that made it: several test runs may use the engine at a time."""
IMAGES_LIMIT = 1200
"""Seconds for building them all on a new machine; it takes four minutes on a quiet one."""
MAIL_IMAGE = os.environ.get("CERTFERRY_TEST_MAIL_IMAGE", "certferry-test/docker-mailserver:15.1.0")
"""Another may be named, to play the tests of its stand-in on the real docker-mailserver."""
MAIL24_IMAGE = "certferry-test/docker-mailserver:16.0.0"
"""Its next release: Dovecot 2.4 and Postfix 3.10."""
PLAIN_IMAGE = "certferry-test/plain:latest"
NOSHELL_IMAGE = "certferry-test/noshell:latest"
ACME_IMAGE = "certferry-test/acme:latest"
DOMAIN = "mail.example.test"
MAIL_PORTS = {25: "smtp", 465: "smtps", 587: "smtp", 143: "imap", 993: "imaps", 110: "pop3", 995: "pop3s"}

GENEROUS = 60.0
"""Seconds that anything may take which a quiet machine does within a few: only against hanging."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, seconds: float = GENEROUS, what: str = "", pause: float = 0.02) -> T:
    """Ask again and again until the answer is true, with a pause (seconds) in between; the answer."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what or condition}")
        time.sleep(pause)


def build_images(*names: str) -> None:
    """Build the test images (all when none is named); quick when nothing changed."""
    subprocess.run([ROOT / "tests/images/build.sh", *names], check=True, timeout=IMAGES_LIMIT)


class AcmeJson:
    """A Traefik v3 storage file, rewritten as Traefik does: truncated and written in one go, the inode kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"traefik://{path}"

    def write(self, *pairs: Pair, main: str = "") -> float:
        """Write pairs (see `acme_json`); returns the moment (monotonic seconds) at which the file was complete."""
        self.write_raw(acme_json(*pairs, main=main))
        return time.monotonic()

    def write_raw(self, content: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


class Mail:
    """A mail container."""

    def __init__(self, container: Container) -> None:
        self.container = container

    @property
    def name(self) -> str:
        return str(self.container.name)

    @property
    def address(self) -> str:
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(next(network["IPAddress"] for network in networks))

    def served(self, port: int, address: str | None = None) -> str:
        """The SHA-256 of the leaf a port hands out, asked with the standard library, not with certferry's own probe."""
        return served_leaf(address or self.address, port, MAIL_PORTS[port])

    def serves(self, pair: Pair, ports: Iterable[int] = tuple(MAIL_PORTS)) -> bool:
        """Whether every port hands out the leaf of a pair now."""
        try:
            return all(self.served(port) == pair.certificate.fingerprint for port in ports)
        except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto):
            return False

    def wait_up(self, ports: Iterable[int] = tuple(MAIL_PORTS), seconds: float = GENEROUS) -> None:
        """Wait until the ports do TLS."""
        for port in ports:
            wait_until(lambda port=port: self._answers(port), seconds=seconds, what=f"{self.name}:{port} does TLS")  # type: ignore[misc]

    def reloads(self) -> tuple[int, int]:
        """How often Dovecot and Postfix were reloaded, by their own logs."""
        return self._logged("SIGHUP received"), self._logged("reload -- version")

    def detected(self) -> int:
        """How many changes docker-mailserver's detector met; it can meet the renames of one swap in their middle, too."""
        return self._logged("Change detected")

    def _logged(self, words: str) -> int:
        return b"".join(self.container.logs(stream=True, follow=False)).count(words.encode())

    def run(self, *argv: str) -> str:
        """Run a command inside; its output."""
        result = self.container.exec_run(list(argv), user="0")
        output = bytes(result.output).decode(errors="replace")
        assert result.exit_code == 0, f"{argv}: {output}"
        return output

    def fingerprint_at(self, path: str) -> str:
        """The leaf of a certificate file inside."""
        return parse_leaf(self.run("cat", path).encode()).fingerprint

    def stamp(self, *paths: str) -> str:
        """Inode, times, owner and mode of files inside: the same text as long as nobody wrote to them."""
        return self.run("stat", "-c", "%n %i %y %z %u:%g %a", *(paths or ("/tls/key.pem", "/tls/cert.pem")))

    def litter(self) -> str:
        """Whatever certferry left beside the files, anywhere in the container."""
        return self.run("find", "/", "-xdev", "-name", ".certferry*").strip()

    def _answers(self, port: int) -> bool:
        try:
            return bool(self.served(port))
        except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto):
            return False


def served_leaf(host: str, port: int, protocol: str, timeout: float = 10.0) -> str:
    """The SHA-256 of the DER leaf that a port hands out."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # create_default_context would read all roots: 20 ms, for nothing
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with open_tls(host, port, protocol, context, timeout) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return parse_leaf_der(der).fingerprint


@contextmanager
def open_tls(host: str, port: int, protocol: str, context: ssl.SSLContext, timeout: float) -> Iterator[ssl.SSLSocket]:
    """A connection on which TLS stands, asked for by STARTTLS where the protocol wants it."""
    if protocol.endswith("s"):
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=DOMAIN) as secure,
        ):
            yield secure
        return
    client: Any
    if protocol == "smtp":
        client = smtplib.SMTP(host, port, local_hostname="localhost", timeout=timeout)  # else DNS is asked who we are
        client.starttls(context=context)
    elif protocol == "imap":
        client = imaplib.IMAP4(host, port, timeout=timeout)
        client.starttls(context)
    else:
        client = poplib.POP3(host, port, timeout=timeout)
        client.stls(context)
    try:
        yield client.sock
    finally:
        (client.shutdown if protocol == "imap" else client.close)()


class Controller:
    """A running ``certferry run``; its log lines as they come."""

    def __init__(self, environment: Mapping[str, str], *, argv: tuple[str, ...] = ("-m", "controller", "run")) -> None:
        self.log: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env={**_clean_environment(), "CERTFERRY_HTTP": "127.0.0.1:0", "CERTFERRY_LOG_FORMAT": "json", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, event: str, *, seconds: float = GENEROUS, after: int = 0, **fields: object) -> dict[str, Any]:
        """The first log line, of those from number `after` on, with this event and these fields; waits for it."""

        def find() -> dict[str, Any] | None:
            lines = self.log[after:]
            return next((x for x in lines if x.get("event") == event and all(x.get(k) == v for k, v in fields.items())), None)

        deadline = time.monotonic() + seconds
        with self._changed:
            while (found := find()) is None:
                rest = deadline - time.monotonic()
                if rest <= 0 or (self.process.poll() is not None and not self._changed.wait(0.2)):
                    raise AssertionError(f"no {event} {fields} within {seconds:g} s; the log:\n{self.text}")
                self._changed.wait(min(rest, 0.2))
        return found

    def events(self, event: str) -> list[dict[str, Any]]:
        """All log lines of one event so far."""
        return [line for line in self.log if line.get("event") == event]

    @property
    def text(self) -> str:
        return "\n".join(map(str, self.log))

    def get(self, page: str) -> tuple[int, str]:
        """A page of its HTTP server: status and body."""
        import http.client

        address = self.wait_for("controller.started")["http"]
        connection = http.client.HTTPConnection(address, timeout=GENEROUS)
        try:
            connection.request("GET", page)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except ConnectionError as error:
            raise AssertionError(f"certferry does not answer: {error}; the log:\n{self.text}") from error
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """The status page."""
        body: dict[str, Any] = json.loads(self.get("/status")[1])
        return body

    def condition(self, name: str) -> dict[str, Any]:
        """The condition of one target, empty while it is not known."""
        return next((t["condition"] for t in self.status()["targets"] if t["name"] == name), {})

    def wait_ready(self, name: str, pair: Pair | None = None, *, seconds: float = GENEROUS) -> None:
        """Wait until a target is ready (with a certain certificate)."""
        wanted = pair.certificate.leaf.short if pair else ""

        def ready() -> bool:
            condition = self.condition(name)
            return bool(condition.get("ready")) and wanted in condition["message"]

        self._wait_until(ready, seconds, f"{name} is ready with {wanted or 'any certificate'}")

    def wait_reason(self, name: str, reason: str, *, seconds: float = GENEROUS) -> str:
        """Wait until a target is not ready for a reason; the message."""
        self._wait_until(lambda: self.condition(name).get("reason") == reason, seconds, f"{name}: {reason}")
        return str(self.condition(name)["message"])

    def source(self, name: str = "traefik") -> dict[str, Any]:
        """What the status page says of one source."""
        return next(source for source in self.status()["sources"] if source["name"] == name)

    def wait_degraded(self, reason: str, *, source: str = "traefik", seconds: float = GENEROUS) -> str:
        """Wait until a source is not up for a reason; the message."""
        self._wait_until(lambda: self.source(source)["reason"] == reason, seconds, f"{source}: {reason}")
        return str(self.source(source)["message"])

    def _wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        try:
            wait_until(condition, seconds=seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.text}") from None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.wait_end()

    def kill(self) -> int:
        """SIGKILL; the exit code."""
        self.process.kill()
        return self.wait_end()

    def wait_end(self) -> int:
        """Wait until it ends by itself; the exit code."""
        code = self.process.wait(timeout=GENEROUS)
        self._reader.join(timeout=GENEROUS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                parsed = json.loads(line)
            except ValueError:
                parsed = {"event": "text", "text": line.rstrip()}
            with self._changed:
                self.log.append(parsed)
                self._changed.notify_all()


def _clean_environment() -> dict[str, str]:
    """The environment without settings of a certferry, ours or the older tool's."""
    theirs = ("CERTFERRY_", "CERTS_SOURCE", "TRAEFIK_VERSION", "DOMAINS", "PUSH_PERIOD", "KV_", "DOCKER_HOST")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


class Lab:
    """Makes containers, networks, volumes and controllers, and takes them away again."""

    def __init__(self, folder: Path) -> None:
        self.docker = connect(timeout=120)
        self.id = secrets.token_hex(4)
        self.prefix = f"cf{self.id}."
        """The prefix of this laboratory's labels: controllers of other laboratories on the same engine do not see them."""
        self.folder = folder
        self.authority = Authority()
        self.acme = AcmeJson(folder / "acme.json")
        self._controllers: list[Controller] = []

    def issue(self, *names: str, **options: Any) -> Pair:
        """A certificate of the laboratory's authority, for `DOMAIN` unless names are given."""
        return self.authority.issue(*(names or (DOMAIN,)), **options)

    def labels(self, **ours: str) -> dict[str, str]:
        """Certferry labels: ``cert_path="/x"`` becomes ``<prefix>cert-path``."""
        return self._marks | {f"{self.prefix}{name.replace('_', '-')}": value for name, value in ours.items()}

    @property
    def _marks(self) -> dict[str, str]:
        return {LABEL: self.id, PROCESS: str(os.getpid())}

    def volume(self) -> Volume:
        return self.docker.volumes.create(labels=self._marks)

    def network(self, **options: Any) -> Network:
        return self.docker.networks.create(f"certferry-test-{secrets.token_hex(4)}", labels=self._marks, **options)

    def container(
        self,
        image: str = PLAIN_IMAGE,
        *,
        start: bool = True,
        labels: Mapping[str, str] | None = None,
        other_labels: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Container:
        """A container with our labels given as by `labels`; its domain is `DOMAIN` unless said otherwise."""
        options.setdefault("name", f"certferry-test-{secrets.token_hex(4)}")
        options.setdefault("hostname", DOMAIN)
        all_labels = self.labels(**{"domain": DOMAIN, **(labels or {})}) | dict(other_labels or {})
        container = self.docker.containers.create(image, labels=all_labels, detach=True, **options)
        if start:
            container.start()
        return container

    def mail(self, *, start: bool = True, labels: Mapping[str, str] | None = None, **options: Any) -> Mail:
        """Postfix and Dovecot that use the files at /tls directly, reloaded by exec: the fastest way. Self-signed at first."""
        ours = {
            "profile": "generic",
            "cert_path": "/tls/cert.pem",
            "key_path": "/tls/key.pem",
            "reload": "doveadm reload; postfix reload",
            **(labels or {}),
        }
        environment = {
            "SSL_TYPE": "paths",
            "TLS_CERT_FILE": "/tls/cert.pem",
            "TLS_KEY_FILE": "/tls/key.pem",
            "TLS_SELF_SIGNED": "1",
            **options.pop("environment", {}),
        }
        return Mail(self.container(MAIL_IMAGE, start=start, labels=ours, environment=environment, **options))

    def mailserver(
        self, *, image: str = "", start: bool = True, labels: Mapping[str, str] | None = None, **options: Any
    ) -> Mail:
        """As docker-mailserver is set up with ``SSL_TYPE=manual``: copies inside, its own change detector reloads."""
        environment = {
            "SSL_TYPE": "manual",
            "SSL_CERT_PATH": "/tls/cert.pem",
            "SSL_KEY_PATH": "/tls/key.pem",
            **options.pop("environment", {}),
        }
        return Mail(self.container(image or MAIL_IMAGE, start=start, labels=labels, environment=environment, **options))

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a certferry that sees this laboratory alone."""
        ours = {"CERTFERRY_SOURCES": self.acme.url, "CERTFERRY_LABEL_PREFIX": self.prefix, "CERTFERRY_DISCOVER": "off"}
        return ours | {f"CERTFERRY_{name.upper()}": value for name, value in settings.items()}

    def controller(self, *, argv: Any = ("-m", "controller", "run"), others: Any = None, **settings: str) -> Controller:
        """Start certferry on this machine, with `others` than its own variables as well; it ends with the laboratory."""
        controller = Controller(self.environment(**settings) | dict(others or {}), argv=argv)
        self._controllers.append(controller)
        return controller

    def command(self, *argv: str, module: str = "controller", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a certferry command to its end."""
        return subprocess.run(
            [sys.executable, "-m", module, *argv],
            cwd=ROOT,
            env={**_clean_environment(), **self.environment(**settings)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def close(self) -> None:
        """Stop the controllers and remove everything made here."""
        for controller in self._controllers:
            controller.kill()
        remove_everything(self.docker, {"label": f"{LABEL}={self.id}"})
        self.docker.close()


def put_files(container: Container, contents: Mapping[str, bytes | str], *, modified: int = 0, mode: int = 0o644) -> None:
    """Files into a container by absolute path; a text is where a symbolic link points. `modified`: Unix time, 0 for now."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in contents.items():
            header = tarfile.TarInfo(path.lstrip("/"))
            header.mtime, header.mode = modified or int(time.time()), mode
            if isinstance(content, str):
                header.type, header.linkname = tarfile.SYMTYPE, content
            else:
                header.size = len(content)
            archive.addfile(header, io.BytesIO(b"" if isinstance(content, str) else content))
    assert container.put_archive("/", buffer.getvalue())


def remove_everything(client: docker.DockerClient, filters: dict[str, Any]) -> None:
    """Remove the containers, volumes and networks with a label."""
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        _remove_container(container)
    for volume in client.volumes.list(filters=filters):
        volume.remove(force=True)
    for network in client.networks.list(filters=filters):
        network.remove()


def _remove_container(container: Container) -> None:
    """Remove it, or see it go where somebody else (the engine, a swarm, a removal whose client was killed) removes it."""
    deadline = time.monotonic() + GENEROUS
    while True:
        try:
            return container.remove(force=True, v=True)
        except docker.errors.NotFound:
            return None
        except docker.errors.APIError as error:
            if "already in progress" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def remove_leftovers(client: docker.DockerClient) -> None:
    """Remove what test runs left behind that do not run any more; of several that begin at a time, one."""
    with (Path(tempfile.gettempdir()) / f"certferry-test-leftovers-{os.getuid()}.lock").open("w") as lock:
        _take(lock)
        for process in _processes(client):
            if not Path(f"/proc/{process}").exists():
                remove_everything(client, {"label": f"{PROCESS}={process}"})


def _processes(client: docker.DockerClient) -> set[str]:
    """Those that made what is there, by their ids."""
    ours = {"label": PROCESS}
    return {
        *(container.labels[PROCESS] for container in client.containers.list(all=True, filters=ours, ignore_removed=True)),
        *(volume.attrs["Labels"][PROCESS] for volume in client.volumes.list(filters=ours)),
        *(network.attrs["Labels"][PROCESS] for network in client.networks.list(filters=ours)),
    }


def _take(lock: IO[str]) -> None:
    """Wait for the lock; closing the file gives it back, and so does the end of the process."""

    def taken() -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    wait_until(taken, seconds=2 * GENEROUS, what="no other test run removes what is left over")
