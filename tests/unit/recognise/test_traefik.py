"""Traefik of all versions, however it is configured."""

from __future__ import annotations

import pytest

from sources.recognise import traefik
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


class TestVersion1InAKeyValueStore:
    @pytest.mark.parametrize(
        ("options", "url"),
        [
            (("--consul",), "consul://<host>:8500/traefik/acme/account"),
            (("--consul", "--acme.storage=my/acme"), "consul://<host>:8500/my/acme"),
            (("--consul.endpoint=consul:8500",), "consul://consul:8500/traefik/acme/account"),
            (("--etcd",), "etcd2://<host>:2379/traefik/acme/account"),
            (("--etcd.endpoint=etcd:2379", "--acme.storage=/a/b"), "etcd2://etcd:2379/a/b"),
            (("--etcd.endpoint=etcd:2379", "--etcd.useAPIV3"), "etcd://etcd:2379/traefik/acme/account"),
            (("--etcd.endpoint=etcd:2379", "--etcd.useAPIV3=true"), "etcd://etcd:2379/traefik/acme/account"),
            (("--etcd.endpoint=etcd:2379", "--etcd.useAPIV3=false"), "etcd2://etcd:2379/traefik/acme/account"),
            (("--zookeeper",), "zookeeper://<host>:2181/traefik/acme/account"),
            (("--zookeeper.endpoint=zk1:2181,zk2:2182",), "zookeeper://zk1:2181,zk2:2182/traefik/acme/account"),
            (
                ("--boltdb.endpoint=/data/my kv.db", "--acme.storage=a/b"),
                "boltdb:///data/my%20kv.db?key=a/b/object&bucket=traefik",
            ),
            (("--boltdb",), "boltdb:///<path>?key=traefik/acme/account/object&bucket=traefik"),
        ],
    )
    def test_is_left_with_the_url_that_reads_it(self, options, url):
        left = judge(container("traefik:1.7", "/traefik", *options)).left
        assert left == (
            f"Traefik 1 that keeps its certificates in a key-value store ({options[0][2:].partition('.')[0]} in its arguments),"
            f' not in a file; to read it, set CERTFERRY_SOURCES="{url}"'
        )

    @pytest.mark.parametrize(
        ("endpoint", "hosts"),
        [
            ("127.0.0.1:8501", "<host>:8501"),
            ("localhost:8500,[::1]:8500", "<host>:8500"),
            ("LOCALHOST", "<host>:8500"),
            ("0.0.0.0:8500", "<host>:8500"),
            ("[fd00::1]:8500", "[fd00::1]:8500"),
            ("consul", "consul:8500"),
            ("http://consul:8500/", "consul:8500"),
            ("${CONSUL}:8500", "<host>:8500"),
            ("http://root:hunter2@consul:8500", "<host>:8500"),
            ("a b\n:1", "<host>:8500"),
        ],
    )
    def test_a_host_that_only_traefik_can_reach_is_left_open(self, endpoint, hosts):
        left = judge(container("traefik:1.7", "/traefik", f"--consul.endpoint={endpoint}")).left
        assert left.endswith(f'="consul://{hosts}/traefik/acme/account"')

    def test_by_its_configuration_file(self):
        file = b'[zookeeper]\nEndpoint = "zk:2181"\n[acme]\nstorageFile = "edge/acme"\n'
        left = judge(container("traefik:1.7", "/traefik"), {"/etc/traefik/traefik.toml": file}).left
        assert "(zookeeper in /etc/traefik/traefik.toml)" in left
        assert left.endswith('="zookeeper://zk:2181/edge/acme"')

    def test_by_its_environment(self):
        environment = {"TRAEFIK_ETCD_ENDPOINT": "etcd:2379", "TRAEFIK_ETCD_USEAPIV3": "true", "TRAEFIK_ACME_STORAGE": "a/b"}
        left = judge(container("traefik:1.7", "/traefik", environment=environment)).left
        assert left.endswith('="etcd://etcd:2379/a/b"')

    def test_by_all_together_its_arguments_count_most(self):
        looked_at = container(
            "traefik:1.7", "/traefik", "--consul.endpoint=args:8500", environment={"TRAEFIK_CONSUL_USERNAME": "root"}
        )
        file = b'[consul]\nendpoint = "file:8500"\n[acme]\nstorage = "edge/acme"\n'
        left = judge(looked_at, {"/etc/traefik/traefik.toml": file}).left
        assert left.endswith('="consul://args:8500/edge/acme?user=root"')

    @pytest.mark.parametrize(
        "option", ["--consul.tls.ca=/ca.pem", "--consul.tls.insecureskipverify", "--consul.endpoint=https://consul:8500"]
    )
    def test_tls_is_told(self, option):
        left = judge(container("traefik:1.7", "/traefik", "--consul.endpoint=consul:8500", option)).left
        assert left.endswith('="consul://consul:8500/traefik/acme/account?tls=on"')

    def test_a_password_is_not(self):
        options = ("--etcd.endpoint=etcd:2379", "--etcd.username=a&b", "--etcd.password=hunter2")
        left = judge(container("traefik:1.7", "/traefik", *options)).left
        assert left.endswith('="etcd2://etcd:2379/traefik/acme/account?user=a%26b&password=<password>"')

    @pytest.mark.parametrize("storage", ["a\nb", "a b", "ü", "\x1b[31m", '"; x="'])
    def test_whatever_its_storage_the_message_is_one_line_with_one_url(self, storage):
        left = judge(container("traefik:1.7", "/traefik", "--consul", f"--acme.storage={storage}")).left
        assert left.isprintable()
        assert not set(left.partition('CERTFERRY_SOURCES="')[2][:-1]) & set(' "')

    def test_a_section_that_is_none_is_no_trap(self):
        file = b"consul: [1]\nacme: 7\n"
        left = judge(container("traefik:1.7", "/traefik"), {"/etc/traefik/traefik.yml": file}).left
        assert left.endswith('="consul://<host>:8500/traefik/acme/account"')


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
    left = judge(container("traefik", "traefik"), {"/etc/traefik/traefik.yml": recursive}).left
    assert "the alias 'a' names nothing before it" in left  # Traefik itself refuses such a file, too


def test_names_of_more_parts_than_any_setting_has_are_left_out():
    """A hundred thousand sections within each other took half a second, and more than Python can show."""
    deep = f"certificatesresolvers{'.a' * 100_000}"
    assert traefik._nest({deep: "1", "certificatesresolvers.le": "2"}) == {"certificatesresolvers": {"le": "2"}}
    assert stores(judge(container("traefik", f"--{deep}=1", RESOLVER))) == ["traefik /letsencrypt/acme.json"]


@pytest.mark.parametrize("image", ["traefik/whoami:v1", "thomseddon/traefik-forward-auth:2", "redis:7", ""])
def test_its_neighbours_are_not_it(image):
    assert judge(container(image, "/app")) == judge(container("redis:7"))
    assert judge(container(image, "/app")).left == ""


def test_the_name_of_a_resolver_cannot_garble_a_line():
    content = b'certificatesResolvers: {"le\\n\\x1b[31m": {acme: {storage: /acme.json}}}'
    (store,) = judge(container("traefik", "traefik"), {"/etc/traefik/traefik.yml": content}).stores
    assert "le" in store.how
    assert store.how.isprintable()
