"""Traefik of all versions, however it is configured."""

from __future__ import annotations

import pytest

from tests.unit.recognise.looks import container, judge, stores

RESOLVER = "--certificatesresolvers.le.acme.storage=/letsencrypt/acme.json"
TOML_V3 = b'[certificatesResolvers.le.acme]\nemail = "a@example.com"\nstorage = "/data/acme.json"\n'
YAML_V3 = b"certificatesResolvers:\n  le:\n    acme:\n      email: a@example.com\n      storage: /data/acme.json\n"
TOML_V1 = b'[acme]\nemail = "a@example.com"\nstorage = "/etc/traefik/acme/acme.json"\nentryPoint = "https"\n'


@pytest.mark.parametrize(
    "image",
    [
        "traefik",
        "traefik:v3.1",
        "docker.io/library/traefik:2.11",
        "registry.example.com:5000/mirror/traefik@sha256:0123",
        "rancher/mirrored-library-traefik:2.10",
    ],
)
def test_it_is_known_by_its_image(image):
    assert stores(judge(container(image, "/entrypoint.sh", RESOLVER))) == ["traefik /letsencrypt/acme.json"]


@pytest.mark.parametrize(
    "command",
    [
        ("/usr/local/bin/traefik", RESOLVER),
        ("/entrypoint.sh", RESOLVER.replace("certificatesresolvers", "certificatesResolvers")),
        ("/entrypoint.sh", "-certificatesresolvers.le.acme.storage", "/letsencrypt/acme.json"),
        ("/bin/sh", "-c", f"sleep 1; exec traefik {RESOLVER} --api"),
    ],
    ids=["program", "options alone", "value apart", "shell line"],
)
def test_it_is_known_by_its_command(command):
    assert stores(judge(container("mine", *command))) == ["traefik /letsencrypt/acme.json"]


def test_it_is_known_by_its_environment():
    environment = {"TRAEFIK_CERTIFICATESRESOLVERS_LE_ACME_STORAGE": "/letsencrypt/acme.json"}
    verdict = judge(container("mine", "/start", environment=environment))
    assert stores(verdict) == ["traefik /letsencrypt/acme.json"]
    assert verdict.stores[0].how == "Traefik, by its environment: the resolver le"


@pytest.mark.parametrize(
    ("path", "content"),
    [("/etc/traefik/traefik.toml", TOML_V3), ("/etc/traefik/traefik.yml", YAML_V3), ("/etc/traefik/traefik.yaml", YAML_V3)],
)
def test_its_configuration_file_is_read(path, content):
    verdict = judge(container("traefik:v3", "traefik"), {path: content})
    assert stores(verdict) == ["traefik /data/acme.json"]
    assert verdict.stores[0].how == f"Traefik, by {path}: the resolver le"


@pytest.mark.parametrize("option", ["--configFile=/conf/t.yml", "--configfile=conf/t.yml", "--CONFIGFILE=/etc/../conf/t.yml"])
def test_its_configuration_file_may_be_elsewhere(option):
    assert stores(judge(container("traefik", "traefik", option), {"/conf/t.yml": YAML_V3})) == ["traefik /data/acme.json"]


def test_its_configuration_file_comes_before_arguments_as_for_traefik_itself():
    verdict = judge(container("traefik", "traefik", RESOLVER), {"/etc/traefik/traefik.yml": YAML_V3})
    assert stores(verdict) == ["traefik /data/acme.json"]


def test_several_resolvers_with_one_file_are_one_store_and_others_are_more():
    options = [f"--certificatesresolvers.{name}.acme.storage={path}" for name, path in (("a", "/x"), ("b", "/x"), ("c", "/y"))]
    verdict = judge(container("traefik", "traefik", *options))
    assert stores(verdict) == ["traefik /x", "traefik /y"]
    assert verdict.stores[0].how.endswith("the resolver a and the resolver b")


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--certificatesresolvers.le.acme.email=a@example.com", "/srv/acme.json"),
        ("--certificatesresolvers.le.acme.storage=sub/acme.json", "/srv/sub/acme.json"),
        ("--certificatesresolvers.le.acme.storage=/a/../../b//acme.json", "/b/acme.json"),
    ],
    ids=["none said", "relative", "winding"],
)
def test_the_storage_becomes_an_absolute_path(option, path):
    assert stores(judge(container("traefik", "traefik", option, working_dir="/srv"))) == [f"traefik {path}"]


@pytest.mark.parametrize("path", ["/x\n/y", "/x\0", " ", "/{{ env }}", "${HOME}/acme.json"])
def test_a_path_that_cannot_be_is_left_and_told(path):
    verdict = judge(container("traefik", "traefik", f"--certificatesresolvers.le.acme.storage={path}", working_dir="/srv"))
    assert verdict.left.startswith("Traefik, but ")
    assert verdict.left.isprintable()


class TestVersion1:
    def test_by_arguments(self):
        verdict = judge(container("traefik:1.7", "/traefik", "--acme=true", "--acme.storage=/acme.json"))
        assert stores(verdict) == ["traefik /acme.json"]

    @pytest.mark.parametrize("key", [b"storage", b"storageFile"])
    def test_by_its_configuration_file(self, key):
        found = judge(container("traefik:1.7", "/traefik"), {"/etc/traefik/traefik.toml": TOML_V1.replace(b"storage", key)})
        assert stores(found) == ["traefik /etc/traefik/acme/acme.json"]

    def test_by_both_together(self):
        files = {"/etc/traefik/traefik.toml": b"[docker]\n"}
        assert stores(judge(container("traefik:1.7", "/traefik", "--acme.storage=/acme.json"), files)) == ["traefik /acme.json"]

    @pytest.mark.parametrize(
        ("options", "files"),
        [
            (("--consul", "--acme.storage=traefik/acme/account"), {}),
            (("--etcd.endpoint=etcd:2379",), {}),
            ((), {"/etc/traefik/traefik.toml": TOML_V1 + b'[zookeeper]\nendpoint = "zk:2181"\n'}),
        ],
    )
    def test_with_a_key_value_store_is_left(self, options, files):
        assert "key-value store" in judge(container("traefik:1.7", "/traefik", *options), files).left


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no resolver for it in its arguments, its environment"),
        ({"/etc/traefik/traefik.yml": b"log: {}"}, "there is no resolver for it in /etc/traefik/traefik.yml, its arguments"),
        ({"/etc/traefik/traefik.yml": b""}, "there is no resolver"),
        ({"/etc/traefik/traefik.yml": b"certificatesResolvers: [1, 2]\nacme: 7"}, "there is no resolver"),
        ({"/etc/traefik/traefik.yml": b"certificatesResolvers: {le: {tailscale: {}}, x: null}"}, "there is no resolver"),
        ({"/etc/traefik/traefik.yml": b"a: [1"}, "/etc/traefik/traefik.yml cannot be parsed: "),
        ({"/etc/traefik/traefik.yml": b"a: \x00"}, "/etc/traefik/traefik.yml cannot be parsed: "),
        ({"/etc/traefik/traefik.toml": b"[a\n"}, "/etc/traefik/traefik.toml cannot be parsed: "),
        ({"/etc/traefik/traefik.toml": b"\xff"}, "/etc/traefik/traefik.toml cannot be parsed: "),
    ],
)
def test_one_without_a_store_is_left_and_told_in_one_line(files, reason):
    verdict = judge(container("traefik:v3", "traefik", "--api"), files)
    assert reason in verdict.left
    assert verdict.left.isprintable()
    assert not verdict.stores


def test_a_configuration_that_refers_to_itself_is_no_trap():
    recursive = b"certificatesResolvers: &a\n  le: *a\n  acme: *a\n"
    assert stores(judge(container("traefik", "traefik"), {"/etc/traefik/traefik.yml": recursive}))


@pytest.mark.parametrize("image", ["traefik/whoami:v1", "thomseddon/traefik-forward-auth:2", "redis:7", ""])
def test_its_neighbours_are_not_it(image):
    assert judge(container(image, "/app")) == judge(container("redis:7"))
    assert judge(container(image, "/app")).left == ""


def test_the_name_of_a_resolver_cannot_garble_a_line():
    content = b'certificatesResolvers: {"le\\n\\x1b[31m": {acme: {storage: /acme.json}}}'
    (store,) = judge(container("traefik", "traefik"), {"/etc/traefik/traefik.yml": content}).stores
    assert "le" in store.how
    assert store.how.isprintable()
