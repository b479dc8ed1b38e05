"""Who the targets are, with a small Docker on a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.discovery import Discovery
from controller.domain.observed import Observed
from controller.domain.target import InvalidTarget, Target
from sinks.profiles import DEFAULT, OLDER, PROFILES
from tests.unit.docker_server import DockerServer, connected
from tests.unit.test_inspection import ID, RECORDED, changed

PATHS = {"certferry.cert-path": "/tls/cert.pem", "certferry.key-path": "/tls/key.pem"}
WANTED = {"certferry.domain": "mail.example.com", **PATHS}
OF_IMAGE = f"/images/{RECORDED['Image']}/json"


@asynccontextmanager
async def discovering(
    folder: Path, labels: dict[str, str], *, of_image: dict[str, str] | int = 404, **changes: Any
) -> AsyncIterator[tuple[Discovery, DockerServer]]:
    """A discovery that sees one container with these labels, some of them from its image."""
    raw = changed("Config", "Labels", to=labels)
    for path, value in changes.items():
        raw[path] = value
    image: Any = {"Config": {"Labels": of_image}} if isinstance(of_image, dict) else of_image
    docker = DockerServer(
        answers={
            "/containers/json": [{"Id": ID, "Labels": labels}, {"Id": "b" * 64, "Labels": {"other": "label"}}],
            f"/containers/{ID}/json": raw,
            OF_IMAGE: image,
        }
    )
    async with connected(docker, folder) as engine:
        yield (
            Discovery(
                engine,
                endpoint="local",
                prefix="certferry.",
                profiles=PROFILES,
                default=DEFAULT,
                older=OLDER,
                sources=["traefik"],
            ),
            docker,
        )


async def resolve(discovery: Discovery) -> Target | InvalidTarget | None:
    return await discovery.resolve(discovery.key(ID))


async def test_containers_with_our_labels_are_listed(tmp_path):
    async with discovering(tmp_path, WANTED) as (discovery, _):
        assert await discovery.keys() == [discovery.key(ID)]


async def test_the_label_of_the_older_tool_counts_as_ours(tmp_path):
    labels = {"mailserver-traefik.renew.domain": "mail.example.com", **PATHS}
    async with discovering(tmp_path, labels, of_image={}) as (discovery, _):
        assert await discovery.keys() == [discovery.key(ID)]
        found = await resolve(discovery)
    assert isinstance(found, Target)
    assert found.domains == ("mail.example.com",)


@pytest.mark.parametrize(
    ("labels", "profile"),
    [
        ({"mailserver-traefik.renew.domain": "mail.example.com"}, "docker-mailserver"),
        ({"mailserver-traefik.renew.domain": "mail.example.com", "certferry.profile": "generic"}, "generic"),
        ({"certferry.domain": "mail.example.com"}, "generic"),
    ],
)
async def test_an_image_that_no_profile_knows_is_what_the_older_tool_took_it_for(tmp_path, labels, profile):
    async with discovering(tmp_path, {**labels, **PATHS}, of_image={}) as (discovery, _):
        found = await resolve(discovery)
    assert isinstance(found, Target)
    assert found.profile == profile


MAILSERVER = {**RECORDED["Config"], "Image": "docker-mailserver", "Labels": {"certferry.domain": "mail.example.com"}}


@pytest.mark.parametrize(
    ("answers", "file"), [("ssl_cert = </own/cert\nssl_key = </own/key", "/own/cert"), ("ssl_cert = !", None)]
)
async def test_a_target_is_adapted_to_what_its_container_answers(tmp_path, answers, file):
    async with discovering(tmp_path, {}, of_image={}, Config={**MAILSERVER, "Env": ["SSL_TYPE="]}) as (discovery, _):
        found = await resolve(discovery)
        assert isinstance(found, Target)
        assert found.places == ()
        adapted = discovery.adapt(found, Observed({}, answers=answers))
    assert isinstance(adapted, Target if file else InvalidTarget)
    assert not isinstance(adapted, Target) or str(adapted.places[0].certificate) == file


async def test_a_container_becomes_a_target(tmp_path):
    async with discovering(tmp_path, WANTED, of_image={}) as (discovery, _):
        found = await resolve(discovery)
    assert isinstance(found, Target)
    assert (found.name, found.profile, found.domains) == ("mail", "generic", ("mail.example.com",))
    assert [str(path) for path in found.places[0].paths] == ["/tls/key.pem", "/tls/cert.pem"]


async def test_its_profile_is_that_of_the_label_or_the_one_that_knows_it(tmp_path):
    raw = {**RECORDED["Config"], "Image": "mailserver/docker-mailserver:15", "Env": ["SSL_TYPE=letsencrypt"]}
    for labels, profile in (({}, "docker-mailserver"), ({"certferry.profile": "generic", **PATHS}, "generic")):
        wanted = {"certferry.domain": "mail.example.com", **labels}
        async with discovering(tmp_path, {}, of_image={}, Config={**raw, "Labels": wanted}) as (discovery, _):
            found = await resolve(discovery)
        assert isinstance(found, Target)
        assert found.profile == profile


@pytest.mark.parametrize(
    "labels",
    [{"certferry.domain": "not a name!", **PATHS}, PATHS, {"certferry.domain": "mail.example.com"}],
    ids=["a wrong value", "no domain", "no paths"],
)
async def test_wrong_labels_make_an_invalid_target(tmp_path, labels):
    async with discovering(tmp_path, labels, of_image={}) as (discovery, _):
        assert isinstance(await resolve(discovery), InvalidTarget)


@pytest.mark.parametrize("state", ["removing", "dead"])
async def test_what_is_about_to_vanish_is_no_target(tmp_path, state):
    async with discovering(tmp_path, WANTED, of_image={}, State={"Status": state}) as (discovery, _):
        assert await resolve(discovery) is None


async def test_a_container_without_our_labels_is_none_and_its_image_is_not_asked_for(tmp_path):
    async with discovering(tmp_path, {"other": "label"}) as (discovery, docker):
        assert await resolve(discovery) is None
        assert not any("/images/" in asked for asked in docker.asked)


async def test_an_image_cannot_help_itself_to_a_key_and_that_is_told_once(tmp_path):
    async with discovering(tmp_path, WANTED, of_image=WANTED) as (discovery, _):
        with capture_logs() as lines:
            assert [await resolve(discovery) for _ in range(3)] == [None] * 3
        assert [(line["event"], line["target"]) for line in lines] == [("labels.ignored", "mail")]


async def test_what_was_told_of_a_container_that_left_is_forgotten(tmp_path):
    async with discovering(tmp_path, WANTED, of_image=WANTED) as (discovery, docker):
        await resolve(discovery)
        docker.answers["/containers/json"] = []
        assert await discovery.keys() == []
        with capture_logs() as lines:
            await resolve(discovery)
        assert len(lines) == 1


async def test_the_label_for_proxies_makes_no_target(tmp_path):
    async with discovering(tmp_path, {"certferry.discover": "false"}, of_image={}) as (discovery, _):
        assert await discovery.keys() == []
        assert await resolve(discovery) is None


async def test_the_label_for_proxies_is_no_wrong_one_beside_the_others(tmp_path):
    async with discovering(tmp_path, {"certferry.discover": "false", **WANTED}, of_image={}) as (discovery, _):
        assert isinstance(await resolve(discovery), Target)


async def test_a_label_may_name_a_source_as_soon_as_there_is_one(tmp_path):
    known = {"traefik": 1}
    async with discovering(tmp_path, {"certferry.source": "edge", **WANTED}, of_image={}) as (discovery, _):
        discovery._sources = known.keys()
        invalid = await resolve(discovery)
        assert isinstance(invalid, InvalidTarget)
        assert "traefik" in invalid.problems[0]
        known["edge"] = 1
        found = await resolve(discovery)
    assert isinstance(found, Target)
    assert found.sources == ("edge",)


@pytest.mark.parametrize(
    ("labels", "observing", "paused_by"),
    [
        ({}, "", ""),
        ({"certferry.pause": "true"}, "", "certferry.pause=true"),
        ({"certferry.pause": "false"}, "CERTFERRY_OBSERVE=on", "CERTFERRY_OBSERVE=on"),
        ({"certferry.pause": "true"}, "CERTFERRY_OBSERVE=on", "CERTFERRY_OBSERVE=on"),
    ],
)
async def test_a_target_is_paused_by_its_label_or_by_the_setting(tmp_path, labels, observing, paused_by):
    async with discovering(tmp_path, WANTED | labels, of_image={}) as (discovery, _):
        discovery._observing = observing
        found = await resolve(discovery)
        assert isinstance(found, Target)
        assert found.paused_by == paused_by


async def test_a_label_that_names_a_container_which_is_not_used_says_how_to_use_it(tmp_path):
    labels = {"certferry.source": "edge, other", **WANTED}
    async with discovering(tmp_path, labels, of_image={}) as (discovery, _):
        discovery._unused = lambda: {"edge": "found, not used: put the label on it", "third": "found, too"}
        invalid = await resolve(discovery)
    assert isinstance(invalid, InvalidTarget)
    assert invalid.problems[1:] == ("the container edge looks like a proxy: found, not used: put the label on it",)
