"""Images that imitate a proxy, with real containers: what an image holds is no certificate for anybody (promise 9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.certs import Authority, Pair, acme_json
from tests.engine.images import image_of
from tests.lab import Controller, Lab, wait_until

COMMAND = ["traefik", "--certificatesresolvers.le.acme.storage=/acme.json"]
FOLDER = "/etc/letsencrypt"


def create(lab: Lab, image: str, name: str, **options: Any) -> Container:
    labels = lab.labels() | options.pop("labels", {})
    return lab.docker.containers.create(image, name=f"{name}-{lab.id}", labels=labels, **options)


def told(certferry: Controller, container: Container) -> str:
    """Why a container is no source; empty where nothing is said of it yet."""
    return next((one["reason"] for one in certferry.status()["left"] if one["container"] == container.name), "")


def found(certferry: Controller, container: Container) -> str:
    """How a container became a source; empty where it is none."""
    return next((one["found"] for one in certferry.status()["sources"] if one["name"] == container.name), "")


class Rogue:
    """An image with a store of Traefik's baked in, whose author knows the keys, and the command to go with it."""

    def __init__(self, lab: Lab, image: str, pair: Pair) -> None:
        self.lab, self.image, self.pair = lab, image, pair

    def create(self, name: str, **options: Any) -> Container:
        return create(self.lab, self.image, name, **options)


@pytest.fixture
def names(lab: Lab) -> list[str]:
    return [f"{name}-{lab.id}.example.test" for name in ("mail", "other")]


@pytest.fixture
def rogue(lab: Lab, names: list[str]) -> Iterator[Rogue]:
    pair = Authority("Evil CA").issue(*names)
    with image_of(lab, {"/acme.json": acme_json(pair)}, f"CMD {json.dumps(COMMAND)}") as image:
        yield Rogue(lab, image, pair)


def test_an_image_that_imitates_a_proxy_gives_no_certificate_before_its_operator_says_so(
    lab: Lab, rogue: Rogue, names: list[str]
) -> None:
    ours = lab.issue(names[0], age=timedelta(hours=30))
    lab.acme.write(ours)
    mail = lab.mail(labels={"domain": names[0]})
    other = lab.mail(labels={"domain": names[1]})
    for one in (mail, other):
        one.wait_up((25, 993))
    before = other.served(993)
    certferry = lab.controller(discover="on", settle="500ms", resync="1d")
    certferry.wait_ready(mail.name, ours, seconds=90)

    imitation = rogue.create("edge")
    label = f"{lab.prefix}discover=true"
    line = f"Traefik, by its arguments: the resolver le; /acme.json: found, not used: put the label {label} on it to use it"
    warned = certferry.wait_for("proxy.unused", container=imitation.name)
    assert (warned["level"], warned["message"]) == ("warning", line)
    assert (told(certferry, imitation), found(certferry, imitation)) == (line, "")
    assert f"{imitation.name}: {line}" in lab.command("sources", discover="on").stdout.replace("\n", "")
    assert certferry.stop() == 0

    certferry = lab.controller(discover="on", settle="500ms", resync="1d")  # who has forgotten everything
    certferry.wait_ready(mail.name, ours, seconds=90)
    assert line in certferry.wait_reason(other.name, "NoMatchingCertificate")
    assert (mail.serves(ours, (993,)), other.served(993)) == (True, before)

    imitation.remove(force=True)
    vouched = rogue.create("edge", labels={f"{lab.prefix}discover": "true"})
    certferry.wait_ready(other.name, rogue.pair, seconds=90)
    assert found(certferry, vouched).startswith("Traefik, by its arguments")
    assert mail.serves(ours, (993,))  # newer, and another source's
    (plan,) = [plan for plan in json.loads(lab.command("plan", "--json", discover="on").stdout) if plan["target"] == mail.name]
    (theirs,) = [candidate for candidate in plan["candidates"] if candidate["source"] == vouched.name]
    assert "works and was delivered by traefik" in theirs["lost"]


def test_what_an_image_brings_into_a_volume_is_its_own_and_a_folder_of_the_host_is_the_operators(
    lab: Lab, tmp_path: Path
) -> None:
    """Docker copies what an image holds into a volume that is empty, be it one with a name; see `sources.recognise.said`."""
    host = tmp_path / "letsencrypt"
    (host / "live").mkdir(parents=True)
    with image_of(lab, {f"{FOLDER}/live/README": "from the image"}, f"VOLUME {FOLDER}") as image:
        anonymous = create(lab, image, "anonymous")
        named = create(lab, image, "named", volumes={lab.volume().name: {"bind": FOLDER, "mode": "ro"}})
        mine = create(lab, image, "mine", volumes={str(host): {"bind": FOLDER, "mode": "rw"}})
        for container in (anonymous, named):
            _, stat = container.get_archive(f"{FOLDER}/live/README")
            assert stat["size"] == len("from the image")
        assert list((host / "live").iterdir()) == []

        certferry = lab.controller(sources="", discover="on", resync="1d")
        wait_until(lambda: found(certferry, mine), what="the folder of the host is a source")
        for container in (anonymous, named):
            wait_until(partial(told, certferry, container), what="it is left")
            assert "found, not used" in told(certferry, container)
            assert found(certferry, container) == ""
