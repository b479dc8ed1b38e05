"""Only what the operator said makes a container a source; what an image looks like is found, and not vouched for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.domain.container import Container
from controller.domain.proxy import NOTHING
from sources.recognise.official import is_official, repository_of
from tests.unit.recognise.looks import baked, bind, container, judge, stores

STORAGE = "--certificatesresolvers.le.acme.storage=/acme.json"
FOLDER, CERTS = "/etc/letsencrypt", "/etc/nginx/certs"
LIVE = {f"{FOLDER}/live": b""}
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        "traefik",
        "traefik:v3.6",
        f"traefik@{DIGEST}",
        f"traefik:v3@{DIGEST}",
        "library/traefik",
        "docker.io/traefik",
        "docker.io/library/traefik:v3",
        "index.docker.io/library/traefik",
        "localhost/traefik",
        "localhost:5000/traefik:v3",
        "registry.example.com:5000/library/traefik",
        "ghcr.io/traefik/traefik:v3",
        "caddy:2-alpine",
        "lucaslorentz/caddy-docker-proxy:ci-alpine",
        "nginxproxy/nginx-proxy:1.7",
        "nginxproxy/acme-companion",
        "ghcr.io/nginx-proxy/nginx-proxy:alpine",
        "jwilder/nginx-proxy",
        "jwilder/docker-gen",
        "jrcs/letsencrypt-nginx-proxy-companion:2",
        "certbot/certbot",
        "certbot/dns-cloudflare:latest",
        "lscr.io/linuxserver/swag",
        "ghcr.io/linuxserver/swag:latest",
        "jc21/nginx-proxy-manager:latest",
    ],
)
def test_an_official_image_is_known_by_its_whole_path(image):
    assert is_official(image)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "evil/traefik",
        "docker.io/evil/traefik:v3",
        "traefik.evil.io/foo",
        "traefik.evil.io/evil/traefik",
        "evil/library/traefik",
        "registry.example.com/mirror/library/traefik",
        "my-traefik",
        "traefik/evil",
        "project-caddy",
        "caddy-docker-proxy",
        "evil/nginx-proxy",
        "nginxproxy/evil",
        "certbot",
        "certbot/",
        "certbot/evil/certbot",
        "evil/certbot/certbot",
        "swag",
        "evil:traefik",
        "evil@traefik",
        DIGEST,
        "0" * 64,
    ],
)
def test_any_other_is_not(image):
    assert not is_official(image)


def test_the_path_is_told_from_the_registry():
    assert repository_of("registry.example.com:5000/a/b:1") == "a/b"
    assert repository_of("a/b:1") == "a/b"


IMITATIONS = {
    "Traefik's command": baked("somebody/anything", "traefik", STORAGE),
    "Traefik's name": baked("somebody/traefik", STORAGE),
    "Traefik's environment": baked(environment={"TRAEFIK_CERTIFICATESRESOLVERS_LE_ACME_STORAGE": "/acme.json"}),
    "Caddy's command": baked("project-caddy", "caddy", "run"),
    "Caddy's name": baked("somebody/caddy", "whatever"),
    "certbot's command": baked("somebody/anything", "certbot", "renew"),
    "SWAG's name": baked("somebody/swag"),
    "nginx-proxy's environment": baked(environment={"ACME_POST_HOOK": "x"}, mounts=(CERTS,)),
    "nginx-proxy's name": baked("somebody/nginx-proxy", mounts=(CERTS,)),
    "an own build of nginx-proxy": baked("project-nginx-proxy", mounts=(CERTS,)),
    "an own build of docker-gen by the former Compose": baked("project_docker-gen:latest", mounts=(CERTS,)),
    "an own build of acme-companion": baked("registry.example:5000/web-acme-companion", mounts=(CERTS,)),
    "an own build of SWAG": baked("project-swag"),
    "an own build of Nginx Proxy Manager": baked("project_nginx-proxy-manager"),
    "an own build of Caddy with a script": baked("project-caddy", "/start.sh"),
    "an own build of Traefik with a script": baked("project_traefik", "/start", STORAGE),
    "a copy of an official image below a folder": baked("harbor.example/dockerhub/library/caddy", "caddy", "run"),
    "another copy of one": baked("public.ecr.aws/docker/nginxproxy/nginx-proxy", mounts=(CERTS,)),
    "an image of Traefik by its id": baked(DIGEST, "traefik", STORAGE),
}


@pytest.mark.parametrize("imitation", IMITATIONS.values(), ids=IMITATIONS)
def test_what_only_the_image_looks_like_is_found_and_not_vouched_for(imitation):
    verdict = judge(imitation)
    assert stores(verdict)
    assert not verdict.vouched


def test_a_title_of_the_image_says_nothing():
    title = {"org.opencontainers.image.title": "Traefik"}
    assert judge(replace(baked("somebody/anything"), all_labels=title, labels=title)) == NOTHING


WORDS = {
    "the image": baked("traefik:v3", "traefik", STORAGE),
    "the command": container("somebody/anything", "traefik", STORAGE),
    "arguments alone": replace(baked("somebody/anything", "/entrypoint.sh", STORAGE), own_command=(STORAGE,)),
    "the environment": container(environment={"TRAEFIK_CERTIFICATESRESOLVERS_LE_ACME_STORAGE": "/acme.json"}),
    "Caddy's command": container("project-caddy", "caddy", "run", "--config", "/c.json"),
    "certbot's command": container("debian", "sh", "-c", "while :; do certbot renew; sleep 12h; done"),
    "a variable": container(environment={"NGINX_PROXY_CONTAINER": "nginx"}, mounts=(CERTS,)),
    "a label": container(labels={"com.github.nginx-proxy.nginx": ""}, mounts=(CERTS,)),
}


@pytest.mark.parametrize("said", WORDS.values(), ids=WORDS)
def test_what_the_operator_said_is(said):
    verdict = judge(said)
    assert stores(verdict)
    assert verdict.vouched


CONFIG = {"/etc/traefik/traefik.yml": b"certificatesResolvers: {le: {acme: {storage: /x.json}}}"}
IMAGES = ("/watchtower",)
MENTIONED = {
    "a container to watch": (IMAGES, ("traefik",)),
    "several": (IMAGES, ("traefik", "mail")),
    "behind a starter": (("/sbin/tini", "--", "/watchtower"), ("traefik",)),
    "certbot's container": (IMAGES, ("certbot",)),
    "Caddy's": (IMAGES, ("caddy", "start-stop")),
    "an address": ((), ("/bin/wait", "http://edge.example/traefik")),
    "in a shell": ((), ("sh", "-c", "until ping -c 1 traefik; do sleep 1; done; exec app")),
    "what another program is for": ((), ("docker", "kill", "-s", "HUP", "traefik")),
    "an option's value": ((), ("app", "--upstream", "traefik")),
    "an option with blanks": ((), ("app", "--upstream=the traefik")),
}


@pytest.mark.parametrize(("images", "own"), MENTIONED.values(), ids=MENTIONED)
def test_who_only_names_a_proxy_does_not_say_that_it_is_one(images, own):
    """The rest may be in the image: a configuration, and a store to go with it."""
    mentioned = replace(container("somebody/anything", *images, *own), own_command=own)
    assert not judge(mentioned, CONFIG).vouched


STARTED = {
    "alone": ((), ("traefik",)),
    "with its path": ((), ("/usr/local/bin/traefik", "--ping")),
    "behind the image's script": (("/entrypoint.sh",), ("traefik",)),
    "behind another script": (("/usr/bin/docker-entrypoint",), ("traefik",)),
    "behind a starter": ((), ("/sbin/tini", "-s", "--", "traefik")),
    "as a user": ((), ("su-exec", "nobody", "traefik")),
    "in a shell": ((), ("sh", "-c", "A=b exec traefik --ping")),
    "in a shell, behind something else": ((), ("/bin/sh", "-c", "update-ca-certificates && traefik")),
    "in a loop": (("/bin/sh",), ("-c", "while true; do traefik; done")),
}


@pytest.mark.parametrize(("images", "own"), STARTED.values(), ids=STARTED)
def test_who_starts_one_says_so(images, own):
    assert judge(replace(container("somebody/anything", *images, *own), own_command=own), CONFIG).vouched


def test_words_that_are_unmistakable_count_whatever_program_gets_them():
    wrapped = replace(container("project-caddy", "/wrapper", "caddy", "run"), own_command=("caddy", "run"))
    assert judge(wrapped).vouched


def test_a_proxy_that_the_operator_named_may_keep_its_settings_in_its_image():
    named = container("somebody/anything", "traefik")
    config = {"/etc/traefik/traefik.yml": b"certificatesResolvers: {le: {acme: {storage: /x.json}}}"}
    verdict = judge(named, config)
    assert (stores(verdict), verdict.vouched) == (["traefik /x.json"], True)


class TestAFolderOfCertbots:
    """Docker fills volumes that are empty with what the image has there, and never folders of the host."""

    def test_of_the_host_is_the_operators(self):
        verdict = judge(replace(baked("nginx"), mounts=(bind(FOLDER),)), LIVE)
        assert (stores(verdict), verdict.vouched) == ([f"certbot {FOLDER}"], True)

    @pytest.mark.parametrize("kind", ["volume", "tmpfs"])
    def test_in_a_volume_may_be_the_images(self, kind):
        verdict = judge(replace(baked("nginx"), mounts=(bind(FOLDER, kind=kind),)), LIVE)
        assert (stores(verdict), verdict.vouched) == ([f"certbot {FOLDER}"], False)

    @pytest.mark.parametrize(
        "places",
        [("/etc", FOLDER), (FOLDER, f"{FOLDER}/live"), (FOLDER, f"{FOLDER}/archive/mail")],
        ids=["over it", "a part of it", "deep in it"],
    )
    def test_of_the_host_with_a_volume_in_it_may_be_the_images(self, places):
        mounts = (bind(places[0]), bind(places[1], kind="volume"))
        assert not judge(replace(baked("nginx"), mounts=mounts), LIVE).vouched

    def test_of_the_host_within_a_volume_is_the_operators(self):
        mounts = (bind("/etc", kind="volume"), bind(FOLDER))
        assert judge(replace(baked("nginx"), mounts=mounts), LIVE).vouched

    def test_says_nothing_of_what_else_the_image_holds(self):
        swag = replace(baked("somebody/swag"), mounts=(bind(FOLDER),))
        verdict = judge(swag, LIVE)
        assert (stores(verdict), verdict.vouched) == ([f"certbot {FOLDER}"], True)

    def test_without_certificates_says_nothing_at_all(self):
        assert judge(replace(baked("nginx"), mounts=(bind(FOLDER),))) == NOTHING
        verdict = judge(replace(baked("somebody/anything", "traefik", STORAGE), mounts=(bind(FOLDER),)))
        assert (stores(verdict), verdict.vouched) == (["traefik /acme.json"], False)


def test_what_the_operator_said_counts_before_what_the_image_looks_like():
    both: Container = replace(baked("somebody/traefik", "traefik", "caddy", "run"), own_command=("caddy", "run"))
    verdict = judge(both)
    assert (stores(verdict), verdict.vouched) == (["caddy /root/.local/share/caddy"], True)
