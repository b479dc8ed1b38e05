"""certferry's own image: built as a user builds it, run as the compose file runs it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from docker.models.containers import Container

from tests.certs import acme_json
from tests.hanging import limit
from tests.lab import IMAGES_LIMIT, PLAIN_IMAGE, ROOT, Lab, Mail, put_files, wait_until

pytestmark = pytest.mark.slow(300, reason="each question to certferry in its container starts a Python there")

IMAGE = "certferry-test/certferry:latest"
ASKED_EVERY = 0.5
"""Seconds between two such questions: without a pause they take the processor from what is waited for."""


@pytest.fixture(scope="module", autouse=True)
def _image(request: pytest.FixtureRequest) -> None:
    build, environment = (str(ROOT / "deploy/build-image.sh"), "--quiet"), {**os.environ, "IMAGE": IMAGE}
    with limit(request.config, IMAGES_LIMIT, "certferry's own image is not built"):
        subprocess.run(build, env=environment, check=True, timeout=IMAGES_LIMIT)


def run_certferry(lab: Lab, network: str | None = None, **options: object) -> Container:
    """As in deploy/compose.yaml: nothing to write to, no privileges, the proxy's directory read-only."""
    return lab.docker.containers.run(
        IMAGE,
        detach=True,
        labels=lab.labels(),
        environment=lab.environment(sources="traefik:///traefik/acme.json", settle="500ms"),
        volumes=[f"{lab.folder}:/traefik:ro", "/var/run/docker.sock:/var/run/docker.sock:ro"],
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        network=network,
        **options,
    )


def status(certferry: Container) -> dict[str, object]:
    result = certferry.exec_run(["certferry", "status", "--json"])
    return json.loads(result.output) if result.exit_code in (0, 1) and result.output.startswith(b"{") else {}


def ready(certferry: Container) -> bool:
    answer = status(certferry)
    return bool(answer.get("targets")) and bool(answer["ready"])


def ways(certferry: Container) -> set[str]:
    return {served["way"] for target in status(certferry)["targets"] for served in target["served"]}  # type: ignore[attr-defined]


def test_the_image_delivers_without_privileges_and_asks_the_ports_over_the_shared_network(lab: Lab) -> None:
    network = lab.network()
    mail: Mail = lab.mail(network=network.name)
    pair = lab.issue()
    lab.acme.write(pair)
    mail.wait_up([993, 587])

    certferry = run_certferry(lab, network.name)

    wait_until(lambda: ready(certferry), seconds=100, what=certferry.logs().decode(), pause=ASKED_EVERY)
    assert mail.serves(pair)
    assert ways(certferry) == {"network"}
    assert certferry.exec_run(["certferry", "health"]).exit_code == 0
    certferry.stop()
    certferry.reload()
    assert certferry.attrs["State"]["ExitCode"] == 0


def test_the_socket_and_one_label_are_all_that_is_needed(lab: Lab) -> None:
    """No source is configured and no volume shared: the proxy is found, and before it has a certificate there is a stand-in."""
    domain, network = f"mail-{lab.id}.example.test", lab.network()
    mail = lab.mail(network=network.name, labels={"domain": domain, "probe": "993/imaps"})
    mail.wait_up([993])
    proxy = lab.docker.containers.run(
        PLAIN_IMAGE,
        ["sh", "-c", "exec sleep 600", "traefik", "--certificatesresolvers.le.acme.storage=/acme.json"],
        name=f"proxy-{lab.id}",
        labels=lab.labels(),
        detach=True,
    )
    certferry = lab.docker.containers.run(
        IMAGE,
        detach=True,
        labels=lab.labels(),
        environment={"CERTFERRY_SOURCES": "self-signed:", "CERTFERRY_LABEL_PREFIX": lab.prefix},
        volumes=["/var/run/docker.sock:/var/run/docker.sock:ro"],
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        network=network.name,
    )

    def message() -> str:
        targets: Any = status(certferry).get("targets", [])
        return next((str(target["condition"]["message"]) for target in targets if target["name"] == mail.name), "")

    wait_until(lambda: "a stand-in of self-signed" in message(), seconds=60, what=certferry.logs().decode(), pause=ASKED_EVERY)
    pair = lab.issue(domain)
    put_files(proxy, {"/acme.json": acme_json(pair)})
    wait_until(lambda: pair.certificate.leaf.short in message(), seconds=60, what=certferry.logs().decode(), pause=ASKED_EVERY)
    assert mail.serves(pair, [993])
    shown = json.loads(certferry.exec_run(["certferry", "sources", "--json"]).output)
    assert f"proxy-{lab.id}" in [source["name"] for source in shown["sources"]]


def test_without_a_shared_network_the_ports_are_asked_from_inside_the_mail_container(lab: Lab) -> None:
    mail = lab.mail(network=lab.network().name, labels={"probe": "993/imaps,587/smtp"})
    pair = lab.issue()
    lab.acme.write(pair)
    mail.wait_up([993, 587])

    certferry = run_certferry(lab, lab.network().name)

    wait_until(lambda: ready(certferry), seconds=100, what=certferry.logs().decode(), pause=ASKED_EVERY)
    assert mail.serves(pair, [993, 587])
    assert ways(certferry) == {"exec"}


def test_the_image_holds_no_compiler_and_describes_itself(lab: Lab) -> None:
    found = lab.docker.containers.run(
        IMAGE, entrypoint=["/bin/sh", "-c"], command=["command -v cc gcc pip || true"], remove=True, labels=lab.labels()
    )
    image = lab.docker.images.get(IMAGE)

    assert found == b""
    assert image.labels["org.opencontainers.image.title"] == "certferry"
    assert image.attrs["Config"]["Healthcheck"]["Test"] == ["CMD", "certferry", "health"]


def test_a_missing_socket_is_said_in_one_line_with_the_remedy(lab: Lab) -> None:
    lab.acme.write(lab.issue())
    certferry = lab.docker.containers.run(
        IMAGE, detach=True, labels=lab.labels(), volumes=[f"{lab.folder}:/traefik:ro"], network_mode="none"
    )

    code = certferry.wait(timeout=30)["StatusCode"]

    complaint = [line for line in certferry.logs().decode().splitlines() if line.startswith("certferry:")]
    assert code == 78
    assert complaint == [
        "certferry: no Docker socket at /var/run/docker.sock;"
        " mount it (-v /var/run/docker.sock:/var/run/docker.sock) or set DOCKER_HOST"
    ]


def test_an_older_tools_environment_runs_unchanged(lab: Lab) -> None:
    plain = lab.container(
        PLAIN_IMAGE,
        labels={"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off"},
        volumes=[f"{lab.volume().name}:/tls"],
    )
    pair = lab.issue()
    lab.acme.write(pair)

    certferry = lab.docker.containers.run(
        IMAGE,
        command=["once"],
        detach=True,
        labels=lab.labels(),
        environment={
            "CERTS_SOURCE": "file",
            "TRAEFIK_VERSION": "2",
            "DOMAINS": "mail.example.test",
            "PUSH_PERIOD": "15m",
            "CERTFERRY_LABEL_PREFIX": lab.prefix,
        },
        volumes=[f"{lab.folder}:/tmp/traefik:ro", "/var/run/docker.sock:/var/run/docker.sock"],
    )

    assert certferry.wait(timeout=40)["StatusCode"] == 0, certferry.logs().decode()
    assert Mail(plain).fingerprint_at("/tls/cert.pem") == pair.certificate.fingerprint
    said = certferry.logs().decode().replace('\\"', '"')
    assert 'CERTS_SOURCE=file is read as CERTFERRY_SOURCES="traefik:///tmp/traefik/acme.json"' in said
