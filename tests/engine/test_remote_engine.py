"""An engine whose containers cannot be reached from here, while something else answers at their very addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.engine.second_engine import ADDRESS, GATEWAY, SUBNET, second_engine, socket_of
from tests.lab import DOMAIN, MAIL_IMAGE, Lab, Mail, wait_until

SIEVE = 4190
ENVIRONMENT = {"SSL_TYPE": "paths", "TLS_CERT_FILE": "/tls/cert.pem", "TLS_KEY_FILE": "/tls/key.pem", "TLS_SELF_SIGNED": "1"}
LABELS = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def remote(folder: Path) -> Iterator[docker.DockerClient]:
    with second_engine(folder, MAIL_IMAGE) as client:
        yield client


@pytest.fixture
def decoy(lab: Lab) -> Mail:
    """On this machine's engine: a mail server with the address that the remote container has, on a bridge with its gateway."""
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET, gateway=GATEWAY)])
    network = lab.network(ipam=pool)
    other = lab.mail(labels={"probe": "off"}, network=str(network.name))
    other.wait_up((25, 993))
    assert other.address == ADDRESS
    return other


@pytest.fixture
def mail(remote: docker.DockerClient, lab: Lab) -> Mail:
    made = remote.containers.run(
        MAIL_IMAGE,
        detach=True,
        hostname=DOMAIN,
        environment=ENVIRONMENT,
        labels=lab.labels(domain=DOMAIN, reload="doveadm reload; postfix reload", **LABELS),
    )
    wait_until(lambda: is_running(made), what="its services run")
    return Mail(made)


def is_running(container: Container) -> bool:
    """Asked from inside, since no other way leads there."""
    return all(
        container.exec_run(["sh", "-c", question]).exit_code == 0 for question in ("postfix status", "doveadm service status")
    )


def test_what_answers_here_at_a_remote_containers_address_is_not_taken_for_it(
    lab: Lab, folder: Path, decoy: Mail, mail: Mail
) -> None:
    """It was: its leaf was the wrong one, so the right pair was reloaded and rolled back."""
    assert mail.address == decoy.address
    before, after = lab.issue(), lab.issue()
    lab.acme.write(before)
    certferry = lab.controller(docker_host=socket_of(folder), settle="0s", verify_timeout="5s")
    certferry.wait_ready(mail.name, before)

    lab.acme.write(after)
    certferry.wait_ready(mail.name, after)

    assert "asked from inside" in certferry.condition(mail.name)["message"]
    served = next(target["served"] for target in certferry.status()["targets"] if target["name"] == mail.name)
    assert {port["fingerprint"] for port in served} == {after.certificate.fingerprint}
    assert mail.fingerprint_at("/tls/cert.pem") == after.certificate.fingerprint
    assert certferry.events("target.rolling_back") == []


def test_a_remote_container_on_its_hosts_network_is_not_asked_at_our_loopback(
    lab: Lab, folder: Path, remote: docker.DockerClient
) -> None:
    pair = lab.issue()
    lab.acme.write(pair)
    labels = lab.labels(domain=DOMAIN, reload="doveadm reload; postfix reload", **LABELS)
    environment = ENVIRONMENT | {"OVERRIDE_HOSTNAME": DOMAIN}  # with the host's network it has the host's name
    made = remote.containers.run(MAIL_IMAGE, detach=True, network_mode="host", environment=environment, labels=labels)
    wait_until(lambda: is_running(made), what="its services run")

    with socket.create_server(("127.0.0.1", SIEVE)) as here:
        certferry = lab.controller(docker_host=socket_of(folder), settle="0s")
        certferry.wait_ready(str(made.name), pair)
        here.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody came
            here.accept()

    served = next(target["served"] for target in certferry.status()["targets"] if target["name"] == made.name)
    assert {port["way"] for port in served} == {"exec"}
