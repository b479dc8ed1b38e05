"""Proxies that nobody configured: real Traefik and real Caddy, found in their own containers, without any shared volume.

Discovery sees every container of the engine, those of other tests too: each test has a domain and names of its own.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from docker.models.containers import Container

from tests.lab import ACME_IMAGE, PLAIN_IMAGE, Controller, Lab, Mail, wait_until

PRODUCERS_IMAGE = "certferry-test/producers:latest"

PEBBLE = """cat >/etc/pebble/config.json <<END
{"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000", "httpPort": 80, "tlsPort": 443,
  "certificate": "/etc/pebble/cert.pem", "privateKey": "/etc/pebble/key.pem",
  "ocspResponderURL": "", "externalAccountBindingRequired": false}}
END
exec pebble -config /etc/pebble/config.json"""

ROUTER = """http:
  routers:
    mail: {{rule: "Host(`{domain}`)", entryPoints: [websecure], service: noop@internal, tls: {{certResolver: le}}}}
"""

ARGUMENTS = """--entryPoints.websecure.address=:443 --providers.file.directory=/etc/traefik/dynamic
 --certificatesResolvers.le.acme.caServer=https://pebble:14000/dir --certificatesResolvers.le.acme.email=admin@example.test
 --certificatesResolvers.le.acme.tlsChallenge=true --certificatesResolvers.le.acme.keyType=EC256
 --certificatesResolvers.le.acme.storage=/letsencrypt/acme.json"""

STATIC = """entryPoints: {websecure: {address: ":443"}}
providers: {file: {directory: /etc/traefik/dynamic}}
certificatesResolvers:
  le:
    acme:
      caServer: https://pebble:14000/dir
      email: admin@example.test
      tlsChallenge: {}
      keyType: EC256
      storage: /letsencrypt/acme.json
"""


CADDYFILE = "/etc/caddy/Caddyfile"
CADDY = """{{
	skip_install_trust
}}
https://{domain} {{
	tls internal
}}
"""


class Proxies:
    """Makes proxies for one domain, on a network with an ACME server."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.domain = f"mail-{lab.id}.example.test"
        self.network = lab.network()

    def name(self, what: str) -> str:
        return f"{what}-{self.lab.id}"

    def create(self, image: str, name: str, *command: str, **options: Any) -> Container:
        """A container with the laboratory's marks, and without labels of certferry's unless they are given."""
        labels = self.lab.labels() | options.pop("labels", {})
        return self.lab.docker.containers.create(
            image, list(command), name=self.name(name), labels=labels, network=self.network.name, **options
        )

    def pebble(self) -> None:
        """An ACME server that finds every challenge met, at the name for which its certificate is."""
        environment = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        made = self.lab.docker.containers.create(
            ACME_IMAGE, ["bash", "-c", PEBBLE], name=self.name("pebble"), labels=self.lab.labels(), environment=environment
        )
        self.network.connect(made, aliases=["pebble"])
        made.start()

    def traefik(self, name: str = "edge", *, volume: str, static: bool = False, **options: Any) -> Container:
        """Traefik with a router for the domain, set up by arguments, or by a static configuration file."""
        made = self.create(
            ACME_IMAGE,
            name,
            "traefik",
            *(() if static else ARGUMENTS.split()),
            environment={"LEGO_CA_CERTIFICATES": "/etc/pebble/cert.pem"},
            volumes={volume: {"bind": "/letsencrypt", "mode": "rw"}},
            **options,
        )
        put(made, "/etc/traefik/dynamic/mail.yml", ROUTER.format(domain=self.domain))
        if static:
            put(made, "/etc/traefik/traefik.yml", STATIC)
        made.start()
        return made

    def mail(self, **labels: str) -> Mail:
        mail = self.lab.mail(labels={"domain": self.domain, **labels}, hostname=self.domain)
        mail.wait_up((25, 993))
        return mail

    def controller(self, **settings: str) -> Controller:
        return self.lab.controller(sources="", discover="on", settle="500ms", resync="1d", **settings)


def put(container: Container, path: str, text: str | bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(path.lstrip("/"))
        content = text if isinstance(text, bytes) else text.encode()
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    container.put_archive("/", buffer.getvalue())


@pytest.fixture
def proxies(lab: Lab) -> Proxies:
    return Proxies(lab)


def source(certferry: Controller, name: str) -> dict[str, Any]:
    """What the status page says of a source; empty where there is none of that name."""
    return next((source for source in certferry.status()["sources"] if source["name"] == name), {})


def left(certferry: Controller, name: str) -> str:
    return next((one["reason"] for one in certferry.status()["left"] if one["container"] == name), "")


def wait(certferry: Controller, condition: Callable[[], Any], what: str, *, seconds: float = 60.0) -> Any:
    try:
        return wait_until(condition, seconds=seconds, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}; the log:\n{certferry.text}") from None


def test_the_shortest_set_up_of_all(lab: Lab, proxies: Proxies) -> None:
    """certferry with nothing but the socket, one label on the mail container: what Traefik orders is served."""
    proxies.pebble()
    edge = proxies.traefik(volume=lab.volume().name)
    mail = proxies.mail()
    certferry = proxies.controller()
    certferry.wait_ready(mail.name, seconds=90)

    assert edge.name is not None
    found = source(certferry, edge.name)
    (held,) = found["certificates"]
    assert (held["names"], mail.served(993)) == ([proxies.domain], held["fingerprint"])
    how = f"Traefik, by its arguments: the resolver le; /letsencrypt/acme.json in the container {edge.name}"
    assert (found["found"], found["up"]) == (how, True)
    assert certferry.wait_for("proxy.found", source=edge.name)["level"] == "info"
    assert len([line for line in certferry.events("proxy.found") if line["source"] == edge.name]) == 1
    assert "PRIVATE" not in certferry.text

    answer = lab.command("sources", "--json", sources="", discover="on")
    told = {one["name"]: one for one in json.loads(answer.stdout)["sources"]}
    assert (told[edge.name]["found"], told[edge.name]["certificates"]) == (how, found["certificates"])
    shown = lab.command("sources", sources="", discover="on").stdout
    assert f"found: {how}" in shown

    (plan,) = json.loads(lab.command("plan", "--json", sources="", discover="on").stdout)
    assert (plan["target"], plan["refused"], plan["write"]) == (mail.name, None, [])


def test_a_proxy_that_comes_later_is_recreated_and_removed(lab: Lab, proxies: Proxies) -> None:
    proxies.pebble()
    name, volume = proxies.name("edge"), lab.volume().name
    mail = proxies.mail(source=name)
    certferry = proxies.controller()
    assert f"source='{name}': unknown; " in certferry.wait_reason(mail.name, "InvalidLabels")

    edge = proxies.traefik(volume=volume, static=True)
    certferry.wait_ready(mail.name, seconds=90)
    assert source(certferry, name)["found"].startswith("Traefik, by /etc/traefik/traefik.yml: the resolver le; ")
    served = mail.served(993)

    edge.remove(force=True)
    certferry.wait_for("proxy.gone", source=name)
    wait(certferry, lambda: source(certferry, name).get("up") is False, "the source is degraded")
    assert [held["fingerprint"] for held in source(certferry, name)["certificates"]] == [served]
    assert certferry.condition(mail.name)["ready"]

    mark = len(certferry.log)
    proxies.traefik(volume=volume)
    certferry.wait_for("proxy.found", after=mark, source=name)
    wait(certferry, lambda: source(certferry, name)["up"], "the source is up again")
    assert source(certferry, name)["found"].startswith("Traefik, by its arguments: ")
    assert mail.served(993) == served
    assert [one["name"] for one in certferry.status()["sources"] if lab.id in one["name"]] == [name]


@pytest.mark.parametrize(
    ("environment", "data", "how"),
    [
        ({"XDG_DATA_HOME": "/data"}, "/data/caddy", "by XDG_DATA_HOME in its environment"),
        ({"XDG_DATA_HOME": ""}, "/root/.local/share/caddy", "by the home folder of its user"),
    ],
    ids=["set up as in its own image", "set up by nobody"],
)
def test_caddy_is_found_and_what_it_renews_is_delivered(
    lab: Lab, proxies: Proxies, environment: dict[str, str], data: str, how: str
) -> None:
    mail = proxies.mail()
    certferry = proxies.controller()
    caddy = proxies.create(PRODUCERS_IMAGE, "caddy", "caddy", "run", "--config", CADDYFILE, environment=environment)
    put(caddy, CADDYFILE, CADDY.format(domain=proxies.domain))
    caddy.start()
    certferry.wait_ready(mail.name, seconds=90)
    first = mail.served(993)
    found = source(certferry, str(caddy.name))
    assert found["found"] == f"Caddy, {how}; {data} in the container {caddy.name}"
    assert [held["fingerprint"] for held in found["certificates"]] == [first]

    code, output = caddy.exec_run(["rm", "-r", f"{data}/certificates/local/{proxies.domain}"])
    assert code == 0, output.decode()
    caddy.restart(timeout=1)
    wait(certferry, lambda: mail.served(993) != first, "the next one is served")
    certferry.wait_ready(mail.name, seconds=60)


def test_a_proxy_that_opts_out_is_left_and_one_store_is_one_source(lab: Lab, proxies: Proxies) -> None:
    opted_out = proxies.create(PLAIN_IMAGE, "out", "caddy", "run", labels={f"{lab.prefix}discover": "false"})
    certs = {lab.volume().name: {"bind": "/etc/nginx/certs", "mode": "rw"}}
    first, second = (
        proxies.create(PLAIN_IMAGE, name, environment={"NGINX_PROXY_CONTAINER": "x"}, volumes=certs) for name in ("a", "b")
    )
    certferry = proxies.controller()
    reason = wait(certferry, lambda: left(certferry, str(opted_out.name)), "it is left")
    assert reason == f"its label {lab.prefix}discover=false asks for that"
    assert source(certferry, str(opted_out.name)) == {}
    assert certferry.condition(str(opted_out.name)) == {}
    assert source(certferry, str(first.name))["found"].startswith("nginx-proxy with acme-companion, by ")
    assert left(certferry, str(second.name)).endswith(f"is already read by the source {first.name}")
    certferry.wait_for("proxy.left", container=second.name)

    answer = json.loads(lab.command("sources", "--json", sources="", discover="on").stdout)
    assert {"container": opted_out.name, "reason": reason} in answer["left"]
    assert f"left     {opted_out.name}: {reason}" in lab.command("sources", sources="", discover="on").stdout
