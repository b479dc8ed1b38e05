"""The older tool's environment works unchanged, and each variable's new meaning is said."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from controller import threads
from controller.domain.errors import SettingsError
from controller.settings import load_settings

READ_AS_FILE = 'CERTS_SOURCE=file is read as CERTFERRY_SOURCES="traefik:///tmp/traefik/acme.json" CERTFERRY_DISCOVER=off'


def test_its_documented_environment_becomes_a_traefik_source(tmp_path):
    loaded = load_settings(
        {"CERTS_SOURCE": "file", "TRAEFIK_VERSION": "2", "DOMAINS": "mail.localhost.com,b.com", "PUSH_PERIOD": "15m"},
        root=tmp_path,
    )
    assert loaded.settings.sources == ("traefik:///tmp/traefik/acme.json",)
    assert loaded.settings.resync == 900.0
    assert loaded.translations == (
        READ_AS_FILE,
        "PUSH_PERIOD=15m is read as CERTFERRY_RESYNC=15m",
        "TRAEFIK_VERSION=2 is not needed: the content of acme.json tells the version",
        "DOMAINS=mail.localhost.com,b.com is not needed: the label of each mail container says its domain",
    )


def test_its_mount_may_hang_and_the_settings_are_read_all_the_same(tmp_path, monkeypatch):
    answers, is_file = threading.Event(), Path.is_file
    monkeypatch.setattr(threads, "LOOK", 0.1)
    monkeypatch.setattr(Path, "is_file", lambda path: (path.name == "traefik" and answers.wait(30)) or is_file(path))
    assert load_settings({"CERTS_SOURCE": "file"}, root=tmp_path).settings.sources == ("traefik:///tmp/traefik/acme.json",)
    answers.set()


def test_other_proxies_are_looked_for_only_when_that_is_asked_for(tmp_path):
    assert load_settings({"CERTS_SOURCE": "file"}, root=tmp_path).settings.discover == "off"
    loaded = load_settings({"CERTS_SOURCE": "file", "CERTFERRY_DISCOVER": "on"}, root=tmp_path)
    assert loaded.settings.discover == "on"
    assert loaded.translations == (READ_AS_FILE.removesuffix(" CERTFERRY_DISCOVER=off"),)


@pytest.mark.parametrize("name", ["DOMAINS", "TRAEFIK_VERSION", "PUSH_PERIOD", "KV_ENDPOINTS"])
def test_the_source_is_a_file_when_any_other_of_its_variables_is_there(tmp_path, name):
    loaded = load_settings({name: "1"}, root=tmp_path)
    assert loaded.settings.sources == ("traefik:///tmp/traefik/acme.json",)
    assert loaded.translations[0] == (
        'CERTS_SOURCE (not set, so file) is read as CERTFERRY_SOURCES="traefik:///tmp/traefik/acme.json" CERTFERRY_DISCOVER=off'
    )


def test_an_environment_without_its_variables_is_left_alone(tmp_path):
    loaded = load_settings({"PATH": "/bin", "DEBUG": "1", "KV_PASSWORD": "x", "DOMAINS": ""}, root=tmp_path)
    assert (loaded.settings.sources, loaded.translations) == ((), ())


def test_the_mount_may_be_the_file_itself(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/traefik").write_text("{}")
    assert load_settings({"CERTS_SOURCE": "file"}, root=tmp_path).settings.sources == ("traefik:///tmp/traefik",)


@pytest.mark.parametrize(
    ("period", "seconds", "meaning"),
    [
        ("15m", 900.0, "15m"),
        ("900", 900.0, "900s"),
        ("2h", 7200.0, "2h"),
        ("1.5d", 129600.0, "1.5d"),
        ("0", 365 * 86400.0, "365d, which is as good as never"),
        ("0s", 365 * 86400.0, "365d, which is as good as never"),
        ("0.5s", 1.0, "0.5s"),
        ("1000d", 365 * 86400.0, "1000d"),
    ],
)
def test_its_period_is_read_as_the_timeout_command_reads_it(tmp_path, period, seconds, meaning):
    loaded = load_settings({"PUSH_PERIOD": period}, root=tmp_path)
    assert loaded.settings.resync == seconds
    assert f"PUSH_PERIOD={period} is read as CERTFERRY_RESYNC={meaning}" in loaded.translations


def test_our_own_variables_win_and_that_is_said(tmp_path):
    loaded = load_settings(
        {
            "CERTS_SOURCE": "consul",
            "PUSH_PERIOD": "1h",
            "DOMAINS": "a.example",
            "CERTFERRY_SOURCES": "traefik:///mine",
            "CERTFERRY_RESYNC": "5m",
        },
        root=tmp_path,
    )
    assert (loaded.settings.sources, loaded.settings.resync) == (("traefik:///mine",), 300.0)
    assert loaded.translations[:2] == (
        "CERTS_SOURCE=consul is ignored: CERTFERRY_SOURCES wins",
        "PUSH_PERIOD=1h is ignored: CERTFERRY_RESYNC wins",
    )


def test_a_source_that_was_not_named_is_not_called_ignored(tmp_path):
    loaded = load_settings({"DOMAINS": "a.example", "CERTFERRY_SOURCES": "traefik:///mine"}, root=tmp_path)
    assert [line.partition("=")[0] for line in loaded.translations] == ["DOMAINS"]


def test_variables_of_key_value_stores_are_named_when_they_are_not_needed(tmp_path):
    loaded = load_settings({"CERTS_SOURCE": "file", "KV_PREFIX": "traefik", "KV_PASSWORD": "hunter2"}, root=tmp_path)
    assert loaded.translations == (READ_AS_FILE, "KV_PASSWORD, KV_PREFIX: not needed where CERTS_SOURCE is file")


def test_those_of_key_value_stores_are_called_ignored_where_our_own_win(tmp_path):
    loaded = load_settings(
        {"KV_ENDPOINTS": "kv:1", "KL_TLS_ENABLED": "what", "CERTFERRY_SOURCES": "traefik:///mine"}, root=tmp_path
    )
    assert loaded.translations == ("KL_TLS_ENABLED, KV_ENDPOINTS: ignored, because CERTFERRY_SOURCES wins",)


def test_what_it_needed_for_itself_is_not_needed(tmp_path):
    loaded = load_settings({"CERTS_SOURCE": "file", "INITIAL_TIMEOUT": "300", "SSL_DEST": "/tmp/ssl"}, root=tmp_path)
    assert loaded.translations == (
        READ_AS_FILE,
        "INITIAL_TIMEOUT=300 is not needed: a store that is not there yet is waited for",
        "SSL_DEST=/tmp/ssl is not needed: nothing is unpacked on the way",
    )


def test_its_mistakes_are_told_together(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings({"CERTS_SOURCE": "flie", "PUSH_PERIOD": "often"}, root=tmp_path)
    assert str(caught.value).splitlines() == [
        "CERTS_SOURCE='flie': expected one of file, consul, etcd, etcdv3, zookeeper, boltdb",
        "PUSH_PERIOD='often': expected 15m, 900 (seconds), 2h, 1d, or 0",
    ]
