"""Swarm: the labels of a service stand on the service, not on its containers."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from docker.types import ServiceMode

from tests.lab import LABEL, PLAIN_IMAGE, Lab, Mail, wait_until


@pytest.fixture
def swarm(lab: Lab) -> Iterator[docker.DockerClient]:
    """This engine as a swarm of one, unless it is in a swarm already."""
    alone = lab.docker.info()["Swarm"]["LocalNodeState"] == "inactive"
    if alone:
        lab.docker.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:0")
    yield lab.docker
    for service in lab.docker.services.list(filters={"label": f"{LABEL}={lab.id}"}):
        service.remove()
    ours = {"label": f"{LABEL}={lab.id}"}
    wait_until(
        lambda: not lab.docker.containers.list(all=True, filters=ours, ignore_removed=True),
        seconds=30,
        what="the service is gone",
    )
    if alone:
        lab.docker.swarm.leave(force=True)
        lab.docker.networks.get("docker_gwbridge").remove()


def test_the_older_tools_label_on_a_service_is_enough(lab: Lab, swarm: docker.DockerClient) -> None:
    pair = lab.issue()
    lab.acme.write(pair)
    service = swarm.services.create(
        PLAIN_IMAGE,
        labels={
            **lab.labels(cert_path="/tls/cert.pem", key_path="/tls/key.pem", probe="off", reload="none"),
            "mailserver-traefik.renew.domain": "mail.example.test",
        },
        container_labels={LABEL: lab.id},
        mode=ServiceMode("replicated", 1),
    )
    wait_until(lambda: [t for t in service.tasks() if t["Status"]["State"] == "running"], seconds=30)
    container = swarm.containers.list(filters={"label": f"{LABEL}={lab.id}"})[0]

    certferry = lab.controller(settle="0s")

    certferry.wait_ready(str(container.name))
    assert Mail(container).fingerprint_at("/tls/cert.pem") == pair.certificate.fingerprint
