"""The older tool's environment for key-value stores works unchanged, says what it became, and gives no secret away."""

from __future__ import annotations

import pytest

from controller.domain.errors import SettingsError
from controller.settings import Loaded, load_settings
from sources.url import SourceUrl, parse_url
from tests.unit.made import pair

PEM = pair().key.decode()
NETWORK_KINDS = ["consul", "etcd", "etcdv3", "zookeeper"]
IMAGE = {
    "TRAEFIK_VERSION": "2",
    "CERTS_SOURCE": "file",
    "DOMAINS": "mail.example.com",
    "KV_ENDPOINTS": "",
    "KV_USERNAME": "",
    "KV_PASSWORD": "",
    "KV_TIMEOUT": "",
    "KV_PREFIX": "traefik",
    "KV_SUFFIX": "/acme/account/object",
    "KL_TLS_ENABLED": "0",
    "KV_TLS_CA": "",
    "KV_TLS_CA_OPTIONAL": "0",
    "KV_TLS_TRUST_INSECURE": "0",
    "KV_TLS_CERT": "",
    "KV_TLS_KEY": "",
    "KV_CONSUL_TOKEN": "",
    "KV_BOLTDB_BUCKET": "traefik",
    "KV_BOLTDB_PERSIST_CONNECTION": "0",
    "KV_ETCD_VERSION": "etcd",
    "KV_ETCD_SYNC_PERIOD": "",
    "INITIAL_TIMEOUT": "300",
    "PUSH_PERIOD": "15m",
    "SSL_DEST": "/tmp/ssl",
    "DEBUG": "0",
}
"""What its image sets by itself."""


@pytest.fixture
def load(tmp_path):
    def load(kind: str, **variables: str) -> Loaded:
        return load_settings({"CERTS_SOURCE": kind, "KV_ENDPOINTS": "kv:1234", **variables}, root=tmp_path)

    return load


@pytest.fixture
def url(load):
    """The only source that an environment becomes."""

    def url(kind: str, **variables: str) -> SourceUrl:
        (source,) = load(kind, **variables).settings.sources
        return parse_url(source)

    return url


@pytest.fixture
def problems(load):
    def problems(kind: str, **variables: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(kind, **variables)
        return str(caught.value).splitlines()

    return problems


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("consul", "consul://kv:1234/traefik/acme/account"),
        ("Consul", "consul://kv:1234/traefik/acme/account"),
        ("etcd", "etcd2://kv:1234/traefik/acme/account"),
        ("etcdv3", "etcd://kv:1234/traefik/acme/account"),
        ("zookeeper", "zookeeper://kv:1234/traefik/acme/account"),
    ],
)
def test_each_store_over_the_network_becomes_a_source(load, kind, source):
    loaded = load(kind)
    assert loaded.settings.sources == (source,)
    assert loaded.settings.discover == "off"
    assert loaded.translations == (
        f'CERTS_SOURCE={kind.lower()} with KV_ENDPOINTS is read as CERTFERRY_SOURCES="{source}" CERTFERRY_DISCOVER=off',
    )


def test_a_boltdb_file_becomes_a_source_with_its_whole_path(load):
    source = "boltdb:///data/traefik.db?key=traefik/acme/account/object&bucket=traefik"
    loaded = load("boltdb", KV_ENDPOINTS="/data/traefik.db")
    assert loaded.settings.sources == (source,)
    assert loaded.translations == (
        f'CERTS_SOURCE=boltdb with KV_ENDPOINTS is read as CERTFERRY_SOURCES="{source}" CERTFERRY_DISCOVER=off',
    )


def test_everything_that_its_image_sets_by_itself_is_understood(tmp_path):
    loaded = load_settings({**IMAGE, "CERTS_SOURCE": "consul", "KV_ENDPOINTS": "consul:8500"}, root=tmp_path)
    assert loaded.settings.sources == ("consul://consul:8500/traefik/acme/account",)
    assert loaded.translations == (
        "CERTS_SOURCE=consul with KV_ENDPOINTS, KV_PREFIX, KV_SUFFIX is read as"
        ' CERTFERRY_SOURCES="consul://consul:8500/traefik/acme/account" CERTFERRY_DISCOVER=off',
        "KV_BOLTDB_BUCKET, KV_ETCD_VERSION: not needed where CERTS_SOURCE is consul",
        "PUSH_PERIOD=15m is read as CERTFERRY_RESYNC=15m",
        "TRAEFIK_VERSION=2 is not needed: the content of the store tells the version",
        "DOMAINS=mail.example.com is not needed: the label of each mail container says its domain",
        "INITIAL_TIMEOUT=300 is not needed: a store that is not there yet is waited for",
        "SSL_DEST=/tmp/ssl is not needed: nothing is unpacked on the way",
    )


def test_its_image_alone_still_reads_the_file(tmp_path):
    assert load_settings(IMAGE, root=tmp_path).settings.sources == ("traefik:///tmp/traefik/acme.json",)


class TestEndpoints:
    @pytest.mark.parametrize(
        ("endpoints", "host"),
        [
            ("zk1:2181,zk2:2181", "zk1:2181,zk2:2181"),
            (" zk1:2181 , zk2:2181, ", "zk1:2181,zk2:2181"),
            ("[::1]:8500", "[::1]:8500"),
            ("[fd00::1]:8500,[fd00::2]:8500", "[fd00::1]:8500,[fd00::2]:8500"),
            ("[fe80::1%eth0]:8500", "[fe80::1%eth0]:8500"),
            ("198.168.2.36:2139", "198.168.2.36:2139"),
            ("traefik_consul_1", "traefik_consul_1"),
            ("http://etcd:2379", "etcd:2379"),
            ("http://etcd:2379/", "etcd:2379"),
        ],
    )
    def test_all_survive(self, url, endpoints, host):
        assert (url("zookeeper", KV_ENDPOINTS=endpoints).host, url("etcd", KV_ENDPOINTS=endpoints).options) == (host, {})

    def test_https_means_tls_with_its_options(self, url):
        found = url("etcd", KV_ENDPOINTS="https://a:2379,https://b:2379", KV_TLS_CA="/ca.pem", KL_TLS_ENABLED="0")
        assert (found.host, found.options) == ("a:2379,b:2379", {"tls": "on", "tls-ca": "/ca.pem"})

    @pytest.mark.parametrize("kind", NETWORK_KINDS)
    @pytest.mark.parametrize("endpoints", ["", " ", ","])
    def test_without_any_one_line_says_so(self, problems, kind, endpoints):
        assert problems(kind, KV_ENDPOINTS=endpoints) == [
            f"KV_ENDPOINTS is not set: expected host:port, several separated by commas, because CERTS_SOURCE is {kind}"
        ]

    @pytest.mark.parametrize("endpoint", ["tcp://kv:1", "::1:8500", "kv:port", "kv:1/path", "a b:1", "kv:1?x=1", "http://"])
    def test_what_is_none_is_told(self, problems, endpoint):
        assert problems("consul", KV_ENDPOINTS=f"kv:1,{endpoint}") == [
            f"KV_ENDPOINTS={endpoint!r}: expected host:port, such as kv.example:2379 or [::1]:2379"
        ]

    @pytest.mark.parametrize("endpoint", ["http://root:hunter2@etcd:2379", "root:hunter2@etcd:2379"])
    def test_credentials_in_one_are_refused_and_not_repeated(self, problems, endpoint):
        assert problems("etcd", KV_ENDPOINTS=endpoint) == [
            "KV_ENDPOINTS: expected host:port without credentials; KV_USERNAME and KV_PASSWORD hold them"
        ]

    @pytest.mark.parametrize(("path", "said"), [("", "KV_ENDPOINTS is not set"), ("/a.db,/b.db", "KV_ENDPOINTS='/a.db,/b.db'")])
    def test_for_boltdb_it_is_the_path_of_one_file(self, problems, path, said):
        assert problems("boltdb", KV_ENDPOINTS=path) == [
            f"{said}: expected the path of one BoltDB file, because CERTS_SOURCE is boltdb"
        ]

    @pytest.mark.parametrize(
        ("path", "read"), [("/my data/a#b%.db", "/my data/a#b%.db"), ("tmp/traefik/t.db", "/tmp/traefik/t.db")]
    )
    def test_the_path_of_a_boltdb_file_survives(self, url, path, read):
        assert str(url("boltdb", KV_ENDPOINTS=path).file_path()) == read


class TestKey:
    @pytest.mark.parametrize(
        ("prefix", "suffix", "path"),
        [
            ("", "", "/traefik/acme/account"),
            ("edge", "", "/edge/acme/account"),
            ("/edge", "", "/edge/acme/account"),
            ("", "/certs/object", "/traefik/certs"),
            ("", "/certs", "/traefik/certs"),
            ("", "/certs/", "/traefik/certs"),
            ("a b", "/ü#?&%/object", "/a b/ü#?&%"),
        ],
    )
    def test_prefix_and_suffix_make_the_path(self, url, prefix, suffix, path):
        assert url("consul", KV_PREFIX=prefix, KV_SUFFIX=suffix).path == path

    def test_for_boltdb_they_make_an_option(self, url):
        found = url("boltdb", KV_ENDPOINTS="/t.db", KV_PREFIX="a b", KV_SUFFIX="/c&d/object", KV_BOLTDB_BUCKET="x y")
        assert found.options == {"key": "a b/c&d/object", "bucket": "x y"}


class TestOptions:
    @pytest.mark.parametrize("kind", NETWORK_KINDS)
    def test_who_logs_in_and_how_long_it_may_take(self, url, kind):
        found = url(kind, KV_USERNAME="root", KV_PASSWORD="hunter2", KV_TIMEOUT="5")
        assert found.options == {"timeout": "5s", "user": "root", "password": "hunter2"}

    def test_no_timeout_is_none(self, url):
        assert url("consul", KV_TIMEOUT="0").options == {}

    def test_a_token_is_for_consul_alone(self, url, load):
        assert url("consul", KV_CONSUL_TOKEN="t0ken").options == {"token": "t0ken"}
        loaded = load("zookeeper", KV_CONSUL_TOKEN="t0ken")
        assert loaded.settings.sources == ("zookeeper://kv:1234/traefik/acme/account",)
        assert loaded.translations[1] == "KV_CONSUL_TOKEN: not needed where CERTS_SOURCE is zookeeper"

    @pytest.mark.parametrize(("version", "kind"), [("", "etcd2"), ("etcd", "etcd2"), ("etcdv3", "etcd"), ("ETCDv3", "etcd")])
    def test_the_version_of_etcd_tells_the_kind(self, url, load, version, kind):
        assert url("etcd", KV_ETCD_VERSION=version).kind == kind
        said = load("etcd", KV_ETCD_VERSION=version).translations
        assert len(said) == 1
        assert ("KV_ETCD_VERSION" in said[0]) == bool(version)

    def test_a_source_that_names_its_version_itself_wins(self, url, load):
        assert url("etcdv3", KV_ETCD_VERSION="etcd").kind == "etcd"
        said = load("etcdv3", KV_ETCD_VERSION="etcd").translations
        assert said[1] == "KV_ETCD_VERSION: not needed where CERTS_SOURCE is etcdv3"

    @pytest.mark.parametrize("kind", NETWORK_KINDS)
    def test_tls_with_all_that_belongs_to_it(self, url, kind):
        found = url(
            kind,
            KL_TLS_ENABLED="1",
            KV_TLS_CA="/tls/ca.pem",
            KV_TLS_CERT="/tls/cert.pem",
            KV_TLS_KEY="/tls/key.pem",
            KV_TLS_TRUST_INSECURE="1",
        )
        assert found.options == {
            "tls": "on",
            "tls-ca": "/tls/ca.pem",
            "tls-cert": "/tls/cert.pem",
            "tls-key": "/tls/key.pem",
            "tls-insecure-skip-verify": "on",
        }

    def test_what_belongs_to_tls_is_ignored_without_it_and_that_is_said(self, load):
        loaded = load("consul", KV_TLS_CA="/ca.pem", KV_TLS_KEY=PEM, KV_TLS_TRUST_INSECURE="1", KL_TLS_ENABLED="0")
        assert loaded.settings.sources == ("consul://kv:1234/traefik/acme/account",)
        assert loaded.translations[1:] == (
            "KV_TLS_CA, KV_TLS_KEY, KV_TLS_TRUST_INSECURE: ignored, as that tool does where KL_TLS_ENABLED is not 1",
        )

    def test_what_has_no_meaning_here_is_not_needed(self, load):
        loaded = load("etcd", KV_TLS_CA_OPTIONAL="1", KV_ETCD_SYNC_PERIOD="30", KV_BOLTDB_PERSIST_CONNECTION="1")
        assert loaded.translations[1:] == (
            "KV_BOLTDB_PERSIST_CONNECTION, KV_ETCD_SYNC_PERIOD, KV_TLS_CA_OPTIONAL: not needed where CERTS_SOURCE is etcd",
        )

    def test_a_file_needs_nothing_of_the_network(self, load):
        loaded = load(
            "boltdb", KV_ENDPOINTS="/t.db", KL_TLS_ENABLED="1", KV_TLS_CA="/ca", KV_PASSWORD="hunter2", KV_TIMEOUT="x"
        )
        assert loaded.translations[1:] == (
            "KL_TLS_ENABLED, KV_PASSWORD, KV_TIMEOUT, KV_TLS_CA: not needed where CERTS_SOURCE is boltdb",
        )

    def test_a_variable_that_it_never_had_is_told(self, load):
        assert load("consul", KV_TLS_ENABLED="1").translations[1:] == (
            "KV_TLS_ENABLED: unknown to that tool, so ignored here as well",
        )

    @pytest.mark.parametrize(
        "value", ["a b", "a&b=c", "100%", "#1", "a+b", "ü\u00a0€", "a'b\"c", " padded ", "x\ty", "a/b?c:d@e"]
    )
    def test_any_password_survives(self, url, value):
        found = url("consul", KV_USERNAME=value, KV_PASSWORD=value)
        assert found.options == {"user": value, "password": value}

    def test_pem_itself_survives_in_place_of_a_path(self, url):
        found = url("etcd", KL_TLS_ENABLED="1", KV_TLS_CA=PEM, KV_TLS_CERT=PEM, KV_TLS_KEY=PEM)
        assert {found.options[name] for name in ("tls-ca", "tls-cert", "tls-key")} == {PEM.strip()}


class TestMistakes:
    def test_all_are_told_together(self, problems):
        assert problems(
            "etcd",
            KV_ENDPOINTS="",
            KV_ETCD_VERSION="v3",
            KV_TIMEOUT="5s",
            KL_TLS_ENABLED="true",
            KV_TLS_CA_OPTIONAL="2",
            KV_TLS_TRUST_INSECURE="no",
            KV_PASSWORD="hunter2",
            PUSH_PERIOD="often",
            CERTFERRY_WORKERS="many",
        ) == [
            "KV_ETCD_VERSION='v3': expected etcd (API v2) or etcdv3 (API v3)",
            "KL_TLS_ENABLED='true': expected 1 or 0",
            "KV_TLS_CA_OPTIONAL='2': expected 1 or 0",
            "KV_TLS_TRUST_INSECURE='no': expected 1 or 0",
            "KV_ENDPOINTS is not set: expected host:port, several separated by commas, because CERTS_SOURCE is etcd",
            "KV_TIMEOUT='5s': expected a whole number of seconds, such as 5",
            "PUSH_PERIOD='often': expected 15m, 900 (seconds), 2h, 1d, or 0",
            "CERTFERRY_WORKERS='many': expected a whole number from 1 to 64",
        ]

    @pytest.mark.parametrize("timeout", ["-1", "1.5", "9" * 10, "٣"])
    def test_a_timeout_is_a_whole_number(self, problems, timeout):
        assert problems("consul", KV_TIMEOUT=timeout) == [
            f"KV_TIMEOUT={timeout!r}: expected a whole number of seconds, such as 5"
        ]

    def test_bytes_that_are_no_text_are_told_and_not_repeated(self, problems):
        assert problems("consul", KV_PASSWORD="hunter\udce9") == ["KV_PASSWORD: expected UTF-8"]


class TestSecrets:
    def test_they_are_stars_in_what_is_said(self, load):
        loaded = load(
            "consul",
            KV_USERNAME="root",
            KV_PASSWORD="hunter two",
            KV_CONSUL_TOKEN="t0ken",
            KL_TLS_ENABLED="1",
            KV_TLS_CA="/tls/ca.pem",
            KV_TLS_CERT=PEM,
            KV_TLS_KEY=PEM,
        )
        assert loaded.translations == (
            "CERTS_SOURCE=consul with KL_TLS_ENABLED, KV_CONSUL_TOKEN, KV_ENDPOINTS, KV_PASSWORD, KV_TLS_CA, KV_TLS_CERT,"
            ' KV_TLS_KEY, KV_USERNAME is read as CERTFERRY_SOURCES="consul://kv:1234/traefik/acme/account?user=root'
            '&password=***&token=***&tls=on&tls-ca=/tls/ca.pem&tls-cert=***&tls-key=***" CERTFERRY_DISCOVER=off',
        )

    @pytest.mark.parametrize("kind", [*NETWORK_KINDS, "boltdb", "file"])
    @pytest.mark.parametrize("tls", ["0", "1"])
    def test_nothing_that_can_be_printed_holds_one(self, load, kind, tls):
        loaded = load(kind, KV_PASSWORD="hunter2", KV_CONSUL_TOKEN="t0ken", KL_TLS_ENABLED=tls, KV_TLS_KEY=PEM)
        printed = f"{loaded} {loaded!r} {loaded.settings} {loaded.settings!r} {loaded.translations}"
        words = ["hunter2", "t0ken", *(line[:24] for line in PEM.splitlines()[1:-1])]
        assert not [word for word in words if word in printed]

    @pytest.mark.parametrize("key", [PEM, "".join(PEM.splitlines()[1:-1]), "tls/key.pem", "/x\ny", f"/{'x' * 300}"])
    def test_only_an_absolute_path_of_a_key_is_shown(self, load, key):
        (said,) = load("consul", KL_TLS_ENABLED="1", KV_TLS_KEY=key).translations
        assert 'tls-key=***"' in said

    def test_no_problem_beside_it_repeats_one(self, problems):
        said = problems("consul", KV_PASSWORD="hunter2", KV_CONSUL_TOKEN="t0ken", KV_TLS_KEY=PEM, KL_TLS_ENABLED="x")
        assert said == ["KL_TLS_ENABLED='x': expected 1 or 0"]
