"""Settings: where they are read from, and what is said about wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.duration import parse_duration
from controller.domain.errors import SettingsError
from controller.setting_values import Address, format_duration
from controller.settings import Settings, describe_default, load_settings, variable


@pytest.fixture
def load(tmp_path):
    """Loads from an explicit environment, with a file system of its own."""

    def load(**environ: str) -> Settings:
        return load_settings(environ, root=tmp_path).settings

    return load


@pytest.fixture
def problems(tmp_path):
    """The lines of the error that an environment leads to."""

    def problems(**environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load_settings(environ, root=tmp_path)
        return str(caught.value).splitlines()

    return problems


def test_without_any_variable_everything_has_its_default(load):
    assert load() == Settings()


def test_the_process_environment_does_not_leak_into_settings_made_elsewhere(monkeypatch, load):
    monkeypatch.setenv("CERTFERRY_WORKERS", "7")
    assert (Settings().workers, load().workers, load_settings().settings.workers) == (4, 4, 7)


def test_sources_are_separated_by_blanks_and_line_ends(load):
    found = load(CERTFERRY_SOURCES="traefik:///traefik/acme.json\n  acme-companion:///etc/nginx/certs ").sources
    assert found == ("traefik:///traefik/acme.json", "acme-companion:///etc/nginx/certs")


@pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("30s", 30.0), ("5m", 300.0), ("1.5s", 1.5)])
def test_durations_are_seconds_inside(load, text, seconds):
    assert load(CERTFERRY_BATCH_WINDOW="0s", CERTFERRY_SETTLE=text).settle == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("[::1]:9469", Address("::1", 9469)),
        ("localhost:0", Address("localhost", 0)),
        ("OFF", None),
    ],
)
def test_the_address_to_listen_on_is_host_and_port_or_off(load, text, address):
    assert load(CERTFERRY_HTTP=text).http == address


@pytest.mark.parametrize("text", ["127.0.0.1:9469", "[::1]:9469"])
def test_an_address_is_shown_as_it_is_written(load, text):
    assert str(load(CERTFERRY_HTTP=text).http) == text


def test_an_empty_variable_counts_as_not_set(load):
    assert load(CERTFERRY_WORKERS="", CERTFERRY_HTTP=" ", CERTFERRY_SOURCES="") == Settings()


def test_the_label_prefix_may_be_given_without_its_dot(load):
    assert load(CERTFERRY_LABEL_PREFIX="org.example.certs").label_prefix == "org.example.certs."


def test_docker_host_is_read_from_dockers_own_variable_unless_ours_is_set(load):
    docker = "tcp://proxy:2375"
    assert load(DOCKER_HOST=docker).docker_host == docker
    assert load(DOCKER_HOST=docker, CERTFERRY_DOCKER_HOST="unix:///run/d.sock").docker_host == "unix:///run/d.sock"


def test_words_are_read_in_any_case(load):
    assert load(CERTFERRY_LOG_LEVEL=" DEBUG ", CERTFERRY_LOG_FORMAT="Json").log_level == "debug"


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("CERTFERRY_WORKERS", "many", "expected a whole number from 1 to 64"),
        ("CERTFERRY_WORKERS", "0", "expected a whole number from 1 to 64"),
        ("CERTFERRY_RESYNC", "5 parsecs", "expected a duration from 1s to 365d, such as 30s, 5m or 250ms"),
        ("CERTFERRY_RESYNC", "10", "expected a duration from 1s to 365d, such as 30s, 5m or 250ms"),
        ("CERTFERRY_PROBE_TIMEOUT", "2h", "expected a duration from 100ms to 1h, such as 30s, 5m or 250ms"),
        ("CERTFERRY_HTTP", "9469", "expected host:port such as 127.0.0.1:9469, 0.0.0.0:9469 or [::1]:9469, or off"),
        ("CERTFERRY_HTTP", "localhost:70000", "expected host:port such as 127.0.0.1:9469, 0.0.0.0:9469 or [::1]:9469, or off"),
        ("CERTFERRY_LOG_LEVEL", "loud", "expected debug, info, warning, error"),
        ("CERTFERRY_SOURCES", "/traefik", "expected URLs separated by blanks, such as traefik:///traefik/acme.json"),
        ("CERTFERRY_SOURCES", "traefik:///a,pem:///b", "expected blanks between the URLs, not commas"),
        ("CERTFERRY_SOURCES", "traefik:///a, self-signed:,pem:///b", "expected blanks between the URLs, not commas"),
        ("CERTFERRY_LABEL_PREFIX", "Ä", "expected lower-case letters, digits, dots and dashes, such as certferry."),
        ("DOCKER_HOST", "ssh://host", "expected unix:///path/of/the.sock, or tcp://, http:// or https:// with a host"),
        ("CERTFERRY_DOCKER_HOST", "tcp://", "expected unix:///path/of/the.sock, or tcp://, http:// or https:// with a host"),
    ],
)
def test_a_wrong_value_is_one_line_with_variable_value_and_expectation(problems, name, value, expectation):
    assert problems(**{name: value}) == [f"{name}={value!r}: {expectation}"]


def test_all_problems_are_told_at_once(problems):
    found = problems(CERTFERRY_WORKER="4", CERTFERRY_WORKERS="many", CERTFERRY_DRAIN="soon", CERTFERRY_CONFIG="/nowhere")
    assert [line.partition("=")[0] for line in found] == [
        "CERTFERRY_WORKER",
        "CERTFERRY_CONFIG",
        "CERTFERRY_WORKERS",
        "CERTFERRY_DRAIN",
    ]


def test_an_unknown_variable_is_an_error_that_names_the_nearest_known_one(problems):
    assert problems(CERTFERRY_SOURCE="traefik:///a") == [
        "CERTFERRY_SOURCE='traefik:///a': unknown setting; the nearest known is CERTFERRY_SOURCES"
    ]


def test_the_shortest_wait_must_not_be_longer_than_the_longest(problems):
    assert problems(CERTFERRY_RETRY_MIN="10m", CERTFERRY_RETRY_MAX="5m") == [
        "CERTFERRY_RETRY_MIN is longer than CERTFERRY_RETRY_MAX: expected it to be at most that"
    ]


def test_a_message_keeps_the_password_in_a_url_to_itself(problems):
    text = problems(CERTFERRY_SOURCES="etcd://user:hunter2@etcd:2379/?token=t0ps3cret&x=1&tls-key=MIIEv /traefik")[0]
    assert "hunter2" not in text
    assert "MIIEv" not in text
    assert "t0ps3cret" not in text
    assert "etcd:2379" in text


def test_an_endless_value_is_cut_in_the_message(problems):
    assert len(problems(CERTFERRY_HTTP="x" * 5000)[0]) < 400


def test_a_toml_file_is_read_and_the_environment_wins_over_it(load, tmp_path):
    file = tmp_path / "certferry.toml"
    file.write_text('sources = ["traefik:///a", "traefik:///b"]\nresync = "1h"\nworkers = 2\nsettle = 1.5\n')
    settings = load(CERTFERRY_CONFIG=str(file), CERTFERRY_WORKERS="3")
    assert settings.sources == ("traefik:///a", "traefik:///b")
    assert (settings.resync, settings.workers, settings.settle) == (3600.0, 3, 1.5)


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("http = 5", "{file}: http=5: expected host:port"),
        ("sources = 5", "{file}: sources=5: expected URLs"),
        ("resync = true", "{file}: resync=True: expected a duration"),
        ("workers = []", "{file}: workers=[]: expected a whole number"),
        ("log_level = 1", "{file}: log_level=1: expected debug"),
        ("batch-window = '1s'", "{file}: batch-window='1s': unknown setting; the nearest known is batch_window"),
        ("workers 4", "CERTFERRY_CONFIG='{file}': expected a readable TOML file:"),
        ("x = '\xff'", "CERTFERRY_CONFIG='{file}': expected a readable TOML file:"),
    ],
)
def test_a_problem_in_the_toml_file_names_the_file(problems, tmp_path, line, start):
    file = tmp_path / "certferry.toml"
    file.write_bytes(line.encode("latin-1"))
    (found,) = problems(CERTFERRY_CONFIG=str(file))
    assert found.startswith(start.format(file=file))


def test_a_named_toml_file_that_is_not_there_is_an_error(problems):
    assert problems(CERTFERRY_CONFIG="/nowhere.toml") == [
        "CERTFERRY_CONFIG='/nowhere.toml': expected a readable TOML file: there is no such file"
    ]


def test_secrets_are_read_where_the_directory_exists(load, problems, tmp_path):
    secrets = tmp_path / "run/secrets"
    secrets.mkdir(parents=True)
    (secrets / "certferry_workers").write_text("9\n")
    (secrets / "etcd-token").write_text("not ours")
    assert load().workers == 9
    assert load(CERTFERRY_WORKERS="2").workers == 2
    (secrets / "certferry_workers").write_text("nine")
    assert problems() == [f"{secrets}/certferry_workers='nine': expected a whole number from 1 to 64"]


def test_a_secret_that_cannot_be_read_is_an_error(problems, tmp_path):
    secrets = tmp_path / "run/secrets"
    secrets.mkdir(parents=True)
    (secrets / "certferry_workers").write_bytes(b"\xff\xfe")
    (found,) = problems()
    assert found.startswith(f"{secrets}: a secret cannot be read: ")


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_has_a_description_and_its_default_reads_back(load, field):
    assert Settings.model_fields[field].description
    assert load(**{variable(field): describe_default(field)}) == Settings()


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_reads_back_as_it_is_shown(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.dictionaries(st.sampled_from([variable(field) for field in Settings.model_fields]), st.text(max_size=30)))
def test_whatever_the_environment_says_the_only_error_is_a_settings_error(environ):
    try:
        load_settings(environ)
    except SettingsError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(("text", "value"), [("OFF", "off"), (" on ", "on")])
def test_discovery_is_on_or_off(load, problems, text, value):
    assert load().discover == "on"
    assert load(CERTFERRY_DISCOVER=text).discover == value
    assert problems(CERTFERRY_DISCOVER="yes") == ["CERTFERRY_DISCOVER='yes': expected on, off"]


@pytest.mark.parametrize(
    ("text", "value"), [("on", "on"), ("TRUE", "on"), ("1", "on"), ("yes", "on"), ("off", "off"), ("false", "off")]
)
def test_observing_is_said_as_settings_or_as_labels_say_it(load, text, value):
    assert load().observe == "off"
    assert load(CERTFERRY_OBSERVE=text).observe == value


def test_observing_half_is_refused(problems):
    assert problems(CERTFERRY_OBSERVE="maybe") == ["CERTFERRY_OBSERVE='maybe': expected on, off"]
