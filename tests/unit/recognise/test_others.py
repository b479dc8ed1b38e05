"""Caddy, nginx-proxy with its companion, certbot; and whatever stands in the settings of anything else."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.proxy import NOTHING
from sources.recognise import recognise
from tests.unit.recognise.looks import container, judge, stores

CADDYFILE = "/etc/caddy/Caddyfile"


class TestCaddy:
    @pytest.mark.parametrize(
        "looked_at",
        [
            container("caddy:2", "caddy", "run", "--config", CADDYFILE),
            container("lucaslorentz/caddy-docker-proxy:2.9", "/bin/caddy", "docker-proxy"),
            container("mine", "/usr/bin/caddy", "run"),
            container("mine", "tini", "--", "sh", "-c", "caddy run --environ"),
        ],
        ids=["image", "docker-proxy", "command", "shell line"],
    )
    def test_is_known_and_keeps_its_files_at_home(self, looked_at):
        assert stores(judge(looked_at)) == ["caddy /root/.local/share/caddy"]

    @pytest.mark.parametrize(
        ("environment", "mounts", "path"),
        [
            ({"XDG_DATA_HOME": "/data"}, (), "/data/caddy"),
            ({"XDG_DATA_HOME": "/store", "HOME": "/home/c"}, ("/data",), "/store/caddy"),
            ({}, ("/data",), "/data/caddy"),
            ({}, ("/data/caddy",), "/data/caddy"),
            ({"HOME": "/var/lib/caddy"}, ("/config",), "/var/lib/caddy/.local/share/caddy"),
        ],
    )
    def test_keeps_its_files_where_environment_or_mounts_say(self, environment, mounts, path):
        looked_at = container("caddy:2", "caddy", "run", environment=environment, mounts=mounts)
        assert stores(judge(looked_at)) == [f"caddy {path}"]

    @pytest.mark.parametrize(
        "text",
        [
            b"{\n\tstorage file_system /mnt/caddy\n}\nexample.com",
            b"{\n  storage file_system {\n    root /mnt/caddy\n  }\n}\n",
            b'{\n  email a@example.com\n  storage file_system "/mnt/caddy"\n}',
        ],
    )
    def test_keeps_its_files_where_the_caddyfile_says(self, text):
        looked_at = container("caddy:2", "caddy", "run", environment={"XDG_DATA_HOME": "/data"})
        assert stores(judge(looked_at, {CADDYFILE: text})) == ["caddy /mnt/caddy"]

    @pytest.mark.parametrize(
        ("content", "path"),
        [
            (b'{"storage": {"module": "file_system", "root": "/mnt/caddy"}}', "/mnt/caddy"),
            (b'{"apps": {}}', "/data/caddy"),
            (b"[]", "/data/caddy"),
            (b"", "/data/caddy"),
        ],
    )
    def test_keeps_its_files_where_its_json_says(self, content, path):
        looked_at = container("caddy:2", "caddy", "run", "--config", "/c.json", environment={"XDG_DATA_HOME": "/data"})
        assert stores(judge(looked_at, {"/c.json": content})) == [f"caddy {path}"]

    @pytest.mark.parametrize(
        ("path", "content", "reason"),
        [
            (CADDYFILE, b"{\n storage redis {\n host r\n }\n}", "keeps its certificates in redis, not in files"),
            (CADDYFILE, b"{\n storage file_system {$STORE}\n}", "no path that certferry could look at"),
            ("/c.json", b'{"storage": {"module": "consul"}}', "keeps its certificates in consul, not in files"),
            ("/c.json", b"{", "/c.json cannot be parsed"),
        ],
    )
    def test_with_another_storage_is_left(self, path, content, reason):
        verdict = judge(container("caddy:2", "caddy", "run", "--config", path), {path: content})
        assert reason in verdict.left

    @pytest.mark.parametrize(
        ("command", "environment", "path"),
        [
            (("/usr/bin/caddy", "--conf", "/etc/Caddyfile"), {}, "/root/.caddy"),
            (("/usr/bin/caddy",), {"CADDYPATH": "/etc/caddycerts"}, "/etc/caddycerts"),
        ],
    )
    def test_of_version_1_is_known(self, command, environment, path):
        assert stores(judge(container("abiosoft/caddy:1", *command, environment=environment))) == [f"caddy {path}"]

    def test_is_not_whatever_has_its_name(self):
        assert judge(container("mine", "ls", "/data/caddy")) == NOTHING


class TestNginxProxy:
    CERTS = "/etc/nginx/certs"

    @pytest.mark.parametrize(
        "looked_at",
        [
            container("nginxproxy/nginx-proxy:1.6", mounts=(CERTS,)),
            container("nginxproxy/acme-companion", mounts=(CERTS,)),
            container("ghcr.io/nginx-proxy/acme-companion:2", mounts=(CERTS,)),
            container("jwilder/nginx-proxy:alpine", mounts=(CERTS,)),
            container("jrcs/letsencrypt-nginx-proxy-companion", mounts=("/etc/nginx",)),
            container(
                "nginx:alpine",
                mounts=(CERTS,),
                labels={"com.github.jrcs.letsencrypt_nginx_proxy_companion.nginx_proxy": "true"},
            ),
            container("mine", mounts=(CERTS,), environment={"NGINX_PROXY_CONTAINER": "nginx-proxy"}),
        ],
    )
    def test_is_known_with_its_folder(self, looked_at):
        assert stores(judge(looked_at)) == ["acme-companion /etc/nginx/certs"]

    def test_without_its_folder_keeps_nothing(self):
        assert "nothing is mounted at /etc/nginx/certs" in judge(container("nginxproxy/nginx-proxy")).left

    def test_the_label_of_an_image_does_not_count(self):
        label = {"com.github.jrcs.letsencrypt_nginx_proxy_companion.nginx_proxy": "true"}
        assert judge(container("nginx", mounts=(self.CERTS,), all_labels=label)) == NOTHING

    def test_a_container_behind_it_is_not_it(self):
        assert judge(container("app", environment={"VIRTUAL_HOST": "x", "LETSENCRYPT_HOST": "x"})) == NOTHING


class TestCertbot:
    FOLDER = "/etc/letsencrypt"
    LOOP = "trap exit TERM; while :; do certbot renew; sleep 12h; done"

    @pytest.mark.parametrize(
        ("looked_at", "path"),
        [
            (container("certbot/certbot:v3", "certbot", "renew"), "/etc/letsencrypt"),
            (container("certbot/dns-cloudflare", mounts=(FOLDER,)), "/etc/letsencrypt"),
            (container("mine", "/bin/sh", "-c", LOOP), "/etc/letsencrypt"),
            (container("mine", "certbot", "renew", "--config-dir", "/le"), "/le"),
            (container("lscr.io/linuxserver/swag:latest"), "/config/etc/letsencrypt"),
            (container("jc21/nginx-proxy-manager:2"), "/etc/letsencrypt"),
        ],
    )
    def test_is_known(self, looked_at, path):
        assert stores(judge(looked_at)) == [f"certbot {path}"]

    def test_its_folder_in_another_container_counts_once_there_are_lineages(self):
        nginx = container("nginx", mounts=(self.FOLDER,))
        assert judge(nginx) == NOTHING
        assert stores(judge(nginx, {"/etc/letsencrypt/live": b""})) == ["certbot /etc/letsencrypt"]

    def test_a_path_that_cannot_be_is_left(self):
        assert judge(container("certbot/certbot", "certbot", "--config-dir=/x\n")).left.startswith("certbot, but ")


TEXT = st.text(max_size=40)
WORD = st.sampled_from(
    ["traefik", "caddy", "run", "certbot", "--configfile", "--acme.storage", "--config=/x.json", "--", "-", "=", "--consul"]
)
PATHS = ["/etc/traefik/traefik.toml", "/etc/traefik/traefik.yml", CADDYFILE, "/x.json", "/etc/letsencrypt/live"]


@given(
    image=TEXT | st.sampled_from(["traefik:v1", "caddy", "certbot/certbot", "nginxproxy/nginx-proxy", "@:/"]),
    command=st.lists(TEXT | WORD, max_size=6),
    environment=st.dictionaries(TEXT | st.sampled_from(["XDG_DATA_HOME", "HOME", "TRAEFIK_ACME_STORAGE"]), TEXT, max_size=3),
    files=st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=40) | st.sampled_from([b"a: &a [*a]", b"[acme]"])),
    working_dir=TEXT,
)
def test_nothing_that_stands_in_a_container_raises_or_leads_out_of_it(image, command, environment, files, working_dir):
    looked_at = container(image, *command, environment=environment, working_dir=working_dir, mounts=("/etc/letsencrypt",))
    verdict = judge(looked_at, files)
    assert verdict.left.isprintable()
    for store in verdict.stores:
        assert store.how.isprintable()
        assert store.path.is_absolute()
        assert ".." not in store.path.parts
        assert "//" not in str(store.path)


def test_nothing_is_known_of_an_ordinary_container():
    assert recognise(container("redis:7", "redis-server"), {}) == NOTHING
    assert recognise(container("postgres", mounts=("/data",)), {PurePosixPath("/etc/letsencrypt/live"): b""}) == NOTHING
