"""What certferry knows of docker-mailserver, version by version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from controller.domain.container import Container, Mount
from controller.domain.errors import LabelError
from controller.domain.target import Place, Reload, Slot
from sinks.profiles import DEFAULT, PROFILES
from sinks.profiles.docker_mailserver import DOCKER_MAILSERVER
from sinks.profiles.docker_mailserver.layout import DOVECOT, POSTFIX
from sinks.profiles.docker_mailserver.settings import NEWEST, letsencrypt_names, version
from sinks.profiles.generic import GENERIC
from tests.unit.made import container

TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
MANUAL = {"SSL_TYPE": "manual", "SSL_CERT_PATH": "/tls/cert.pem", "SSL_KEY_PATH": "/tls/key.pem"}
ALT = {"SSL_ALT_CERT_PATH": "/tls/alt-cert.pem", "SSL_ALT_KEY_PATH": "/tls/alt-key.pem"}
CONFIG = "/tmp/docker-mailserver/ssl"
LETSENCRYPT = {"SSL_TYPE": "letsencrypt"}


def place(certificate: str, key: str) -> Place:
    return Place(Slot(), PurePosixPath(certificate), PurePosixPath(key))


ORIGINALS = place("/tls/cert.pem", "/tls/key.pem")
INSIDE = place("/etc/dms/tls/cert", "/etc/dms/tls/key")
INSIDE_ALT = place("/etc/dms/tls/fallback_cert", "/etc/dms/tls/fallback_key")


def mail(environment: dict[str, str] | None = None, *, tag: str = "15.1.0", **changes: Any) -> Container:
    return container(
        image=f"ghcr.io/docker-mailserver/docker-mailserver:{tag}",
        environment=environment or {},
        own_environment=environment or {},
        **changes,
    )


def mounted(path: str, *, writable: bool) -> tuple[Mount, ...]:
    return (Mount("bind", "/srv", PurePosixPath(path), writable),)


def noticed(seconds: float) -> tuple[Reload, ...]:
    return (Reload("self", patience=seconds),)


@pytest.mark.parametrize(
    ("image", "labels", "known"),
    [
        ("docker-mailserver", {}, True),
        ("mailserver/docker-mailserver:15.1.0", {}, True),
        ("ghcr.io/docker-mailserver/docker-mailserver:edge", {}, True),
        ("registry.example.com:5000/docker-mailserver", {}, True),
        ("docker-mailserver@sha256:0123", {}, True),
        ("my/mail:1", {TITLE: "docker-mailserver"}, True),
        ("my/mail:1", {TITLE: "something else"}, False),
        ("my/docker-mailserver-helper", {}, False),
        ("docker-mailserver/rspamd", {}, False),
        ("postfix", {}, False),
    ],
)
def test_it_is_known_by_its_name_or_its_title(image, labels, known):
    assert DOCKER_MAILSERVER.recognise(container(image=image, all_labels=labels)) == known


@pytest.mark.parametrize(
    ("release", "label", "tag", "expected"),
    [
        ("", "v15.1.0", "latest", (15, 1)),
        ("", "15.1.0", "latest", (15, 1)),
        ("", "edge", "latest", NEWEST),
        ("", "", "10.1.2", (10, 1)),
        ("", "", "v10.4", (10, 4)),
        ("", "", "12", (12, 0)),
        ("", "", "edge", NEWEST),
        ("", "", "15.1.0-rc1", NEWEST),
        ("v14.0.0", "", "latest", (14, 0)),
        ("v15.1.0", "1.0.2", "latest", (15, 1)),
        ("edge", "v15.1.0", "latest", (15, 1)),
    ],
)
def test_its_version_is_found_where_there_is_one(release, label, tag, expected):
    assert version(mail({"DMS_RELEASE": release}, tag=tag, all_labels={VERSION: label})) == expected


def test_an_image_without_tag_from_a_registry_with_a_port_has_no_version():
    assert version(container(image="registry.example.com:5000/docker-mailserver")) == NEWEST


class TestManual:
    def test_the_originals_are_written_and_the_container_notices(self):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL))
        assert (layout.places, layout.internal) == ((ORIGINALS,), (INSIDE,))
        assert (layout.reload, layout.internal_reload) == (noticed(20.0), (DOVECOT, POSTFIX))
        assert (layout.check, layout.notes) == ((), ())

    def test_a_second_pair_has_its_own_copy(self):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL | ALT))
        assert layout.places == (ORIGINALS, place("/tls/alt-cert.pem", "/tls/alt-key.pem"))
        assert layout.internal == (INSIDE, INSIDE_ALT)

    def test_one_file_for_both_is_a_combined_one(self):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL | {"SSL_KEY_PATH": "/tls/cert.pem"}))
        assert layout.places == (Place(Slot(), combined=PurePosixPath("/tls/cert.pem")),)
        assert layout.internal == (INSIDE,)

    @pytest.mark.parametrize(
        "changes",
        [{"mounts": mounted("/tls", writable=False)}, {"read_only_root": True}],
        ids=["a read-only mount", "a read-only root"],
    )
    def test_where_the_originals_cannot_be_written_the_copies_are(self, changes):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL, **changes))
        assert (layout.places, layout.internal) == ((INSIDE,), ())
        assert layout.reload == (DOVECOT, POSTFIX)
        assert "a new container starts with the old" in layout.notes[0]

    def test_one_read_only_original_is_enough(self):
        mounts = (*mounted("/tls", writable=True), *mounted("/tls/alt-key.pem", writable=False))
        assert DOCKER_MAILSERVER.layout(mail(MANUAL | ALT, mounts=mounts)).places == (INSIDE, INSIDE_ALT)

    def test_a_writable_volume_in_a_read_only_root_will_do(self):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL, mounts=mounted("/tls", writable=True), read_only_root=True))
        assert layout.places == (ORIGINALS,)

    @pytest.mark.parametrize(("tag", "directory"), [("10.1.2", "/etc/postfix/ssl"), ("10.2.0", "/etc/dms/tls")])
    def test_the_copies_moved_in_version_10_2(self, tag, directory):
        (inside,) = DOCKER_MAILSERVER.layout(mail(MANUAL, tag=tag)).internal
        assert inside == place(f"{directory}/cert", f"{directory}/key")

    @pytest.mark.parametrize(
        ("missing", "problem"),
        [
            ("SSL_CERT_PATH", "SSL_TYPE=manual needs SSL_CERT_PATH and SSL_KEY_PATH in the container's environment"),
            ("SSL_KEY_PATH", "SSL_TYPE=manual needs SSL_CERT_PATH and SSL_KEY_PATH in the container's environment"),
        ],
    )
    def test_a_missing_path_is_told(self, missing, problem):
        environment = {name: value for name, value in (MANUAL | ALT).items() if name != missing}
        with pytest.raises(LabelError) as caught:
            DOCKER_MAILSERVER.layout(mail(environment))
        assert caught.value.problems == (problem,)

    @pytest.mark.parametrize(
        ("missing", "given"), [("SSL_ALT_KEY_PATH", "SSL_ALT_CERT_PATH"), ("SSL_ALT_CERT_PATH", "SSL_ALT_KEY_PATH")]
    )
    def test_half_of_a_second_pair_is_none_as_for_docker_mailserver(self, missing, given):
        environment = {name: value for name, value in (MANUAL | ALT).items() if name != missing}
        layout = DOCKER_MAILSERVER.layout(mail(environment))
        assert (layout.places, layout.internal, layout.fill) == ((ORIGINALS,), (INSIDE,), False)
        assert layout.notes == (f"{given} is set without its other half, so docker-mailserver passes over it",)

    @pytest.mark.parametrize(
        "same",
        [
            {"SSL_ALT_CERT_PATH": "/tls/cert.pem", "SSL_ALT_KEY_PATH": "/tls/key.pem"},
            {"SSL_ALT_KEY_PATH": "/tls//key.pem"},
        ],
    )
    def test_a_second_pair_in_files_of_the_first_would_empty_them(self, same):
        with pytest.raises(LabelError, match="name files of the first pair, too: name others, or remove both"):
            DOCKER_MAILSERVER.layout(mail(MANUAL | ALT | same))

    @pytest.mark.parametrize(
        ("environment", "name"),
        [
            ({"SSL_TYPE__FILE": "/run/secrets/type"}, "SSL_TYPE"),
            ({"SSL_TYPE": "manual", "SSL_KEY_PATH": "/k", "SSL_CERT_PATH__FILE": "/run/secrets/cert"}, "SSL_CERT_PATH"),
            (MANUAL | {"SSL_ALT_KEY_PATH__FILE": "/run/secrets/key"}, "SSL_ALT_KEY_PATH"),
            (LETSENCRYPT | {"SSL_DOMAIN__FILE": "/run/secrets/domain"}, "SSL_DOMAIN"),
            ({"SSL_TYPE": "custom", "OVERRIDE_HOSTNAME__FILE": "/run/secrets/name"}, "OVERRIDE_HOSTNAME"),
        ],
    )
    def test_a_setting_that_stands_in_a_file_is_told(self, environment, name):
        with pytest.raises(LabelError, match=f"{name}__FILE is set, and certferry does not read that file: set {name} itself"):
            DOCKER_MAILSERVER.layout(mail(environment))

    @pytest.mark.parametrize(
        "environment",
        [{"SSL_CERT_PATH__FILE": "/x"}, {"SSL_DOMAIN__FILE": "/x"}, {"SSL_KEY_PATH__FILE": ""}, {"LDAP_BIND_PW__FILE": "/x"}],
    )
    def test_one_that_does_not_count_is_not(self, environment):
        assert DOCKER_MAILSERVER.layout(mail(MANUAL | environment)).places == (ORIGINALS,)

    def test_a_relative_path_is_told(self):
        with pytest.raises(LabelError, match=r"tls/key.pem in the container's environment is not an absolute path"):
            DOCKER_MAILSERVER.layout(mail(MANUAL | {"SSL_KEY_PATH": "tls/key.pem"}))


class TestTheChangeDetector:
    """It compares the originals and copies them; how long it may take."""

    @pytest.mark.parametrize(
        ("poll", "seconds"),
        [
            ("", 20.0),
            ("2", 20.0),
            ("10", 28.0),
            ("0.5", 18.5),
            ("120", 138.0),
            ("121", 0.0),
            ("often", 20.0),
            ("-1", 20.0),
            ("5s", 23.0),
            ("1m", 78.0),
            ("2.5", 20.5),
            ("3.", 21.0),
            ("1h", 0.0),
            ("0.001d", 104.4),
            ("inf", 0.0),
            ("infinity", 0.0),
            (" 5", 20.0),
            ("5 s", 20.0),
            ("0", 18.0),
        ],
    )
    def test_takes_some_of_its_rounds(self, poll, seconds):
        assert DOCKER_MAILSERVER.layout(mail(MANUAL | {"DMS_CONFIG_POLL": poll})).reload == noticed(seconds)

    @pytest.mark.parametrize("environment", [MANUAL, LETSENCRYPT], ids=["manual", "letsencrypt"])
    @pytest.mark.parametrize(
        ("tag", "provisioner", "there"),
        [
            ("10.4.0", "", False),
            ("10.5.0", "", True),
            ("15.1.0", "FILE", True),
            ("15.1.0", "LDAP", False),
            ("16.0.0", "LDAP", True),
            ("edge", "OIDC", True),
        ],
    )
    def test_is_not_in_every_version(self, environment, tag, provisioner, there):
        layout = DOCKER_MAILSERVER.layout(mail(environment | {"ACCOUNT_PROVISIONER": provisioner}, tag=tag))
        assert (layout.reload[0].kind, layout.reload[0].patience > 0) == ("self", there)
        assert layout.internal_reload == (DOVECOT, POSTFIX)


class TestLetsEncrypt:
    @pytest.mark.parametrize(
        ("environment", "changes", "directory"),
        [
            ({}, {}, "mail.example.com"),
            ({"OVERRIDE_HOSTNAME": "mx.example.com"}, {}, "mx.example.com"),
            ({"SSL_DOMAIN": "example.com"}, {}, "example.com"),
            ({"SSL_DOMAIN": "*.example.com"}, {}, "example.com"),
            ({}, {"hostname": "mail", "domainname": "example.org"}, "mail.example.org"),
            ({"SSL_DOMAIN": "*"}, {}, "*"),
            ({"HOSTNAME": "other.example.com"}, {}, "mail.example.com"),
        ],
    )
    def test_the_live_directory_is_written(self, environment, changes, directory):
        layout = DOCKER_MAILSERVER.layout(mail(LETSENCRYPT | environment, **changes))
        live = f"/etc/letsencrypt/live/{directory}"
        assert layout.places == (place(f"{live}/fullchain.pem", f"{live}/privkey.pem"),)
        assert (layout.internal, layout.reload) == ((), noticed(20.0))

    @pytest.mark.parametrize(
        ("environment", "changes", "names"),
        [
            ({}, {}, ["mail.example.com", "example.com"]),
            ({"DOMAINNAME": "example.org"}, {}, ["mail.example.com", "example.com"]),
            ({"DOMAINNAME": "example.org"}, {"hostname": "example.com"}, ["example.com", "example.org"]),
            ({"DOMAINNAME": "example.org", "OVERRIDE_HOSTNAME": "a.b.c.d"}, {}, ["a.b.c.d", "b.c.d"]),
            ({"DOMAINNAME": ""}, {"hostname": "mail"}, ["mail"]),
            ({}, {"hostname": "mail.sub", "domainname": "example.com"}, ["mail.sub.example.com", "sub.example.com"]),
            ({"SSL_DOMAIN": "*.example.com"}, {}, ["example.com", "mail.example.com"]),
        ],
    )
    def test_the_names_are_those_of_the_start_script(self, environment, changes, names):
        assert list(letsencrypt_names(mail(LETSENCRYPT | environment, **changes))) == names

    def test_a_name_that_the_image_overrides_is_where_the_files_are_and_not_whom_they_are_for(self):
        there = replace(mail(LETSENCRYPT | {"OVERRIDE_HOSTNAME": "mx.example.com"}), own_environment={})
        assert letsencrypt_names(there)[0] == "mx.example.com"
        assert DOCKER_MAILSERVER.host_name(there) == "mail.example.com"

    def test_without_any_name_there_is_no_directory(self):
        with pytest.raises(LabelError, match="needs a host name: set `hostname:` or SSL_DOMAIN"):
            DOCKER_MAILSERVER.layout(mail(LETSENCRYPT, hostname=""))


class TestTheOtherTypes:
    def test_a_self_signed_pair_has_its_files_in_the_configuration_and_copies_inside(self):
        layout = DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": "self-signed"}))
        assert layout.places == (place(f"{CONFIG}/mail.example.com-cert.pem", f"{CONFIG}/mail.example.com-key.pem"),)
        assert layout.internal == (place("/etc/dms/tls/mail.example.com-cert.pem", "/etc/dms/tls/mail.example.com-key.pem"),)
        assert (layout.reload, layout.internal_reload) == ((Reload("self"),), (DOVECOT, POSTFIX))
        assert PurePosixPath(f"{CONFIG}/demoCA/cacert.pem") in layout.beside

    @pytest.mark.parametrize(("tag", "directory"), [("10.1.2", "/etc/postfix/ssl"), ("15.1.0", "/etc/dms/tls")])
    def test_a_custom_one_is_one_file(self, tag, directory):
        layout = DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": "custom", "OVERRIDE_HOSTNAME": "mx.example.com"}, tag=tag))
        assert layout.places == (Place(Slot(), combined=PurePosixPath(f"{CONFIG}/mx.example.com-full.pem")),)
        assert layout.internal == (Place(Slot(), combined=PurePosixPath(f"{directory}/mx.example.com-full.pem")),)
        assert layout.reload == (Reload("self"),)

    @pytest.mark.parametrize("ssl_type", ["custom", "self-signed"])
    def test_both_need_a_host_name(self, ssl_type):
        with pytest.raises(LabelError, match="needs a host name: set `hostname:` or OVERRIDE_HOSTNAME"):
            DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": ssl_type}, hostname=""))

    @pytest.mark.parametrize("ssl_type", ["", "snakeoil"])
    def test_without_files_of_its_own_the_container_is_asked(self, ssl_type):
        layout = DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": ssl_type}))
        assert (layout.places, layout.reload) == ((), (DOVECOT, POSTFIX))
        assert "postconf" in layout.ask

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("letsencrpyt", "letsencrypt"),
            ("Manual", "manual"),
            ("selfsigned", "self-signed"),
            ("x" * 99, ""),
            ("LETSENCRYPT", "letsencrypt"),
            ("self_signed", "self-signed"),
            ("none", ""),
        ],
    )
    def test_of_a_mistyped_one_the_nearest_word_is_told(self, typed, meant):
        with pytest.raises(LabelError) as caught:
            DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": typed}))
        (problem,) = caught.value.problems
        assert problem.startswith(
            f"SSL_TYPE={typed[:80]} in the container's environment: unknown; the nearest known is {meant}"
        )


@pytest.mark.parametrize(
    ("typed", "shown"),
    [(" manual", "' manual'"), ("manual ", "'manual '"), ("\tmanual", "\\tmanual"), ("' manual'", "' manual'")],
)
def test_a_blank_too_many_is_shown(typed, shown):
    with pytest.raises(LabelError) as caught:
        DOCKER_MAILSERVER.layout(mail({"SSL_TYPE": typed}))
    text = f"SSL_TYPE={shown} in the container's environment: unknown; the nearest known is manual"
    assert caught.value.problems == (text,)


@pytest.mark.parametrize(
    ("environment", "steps"),
    [({}, (DOVECOT, POSTFIX)), ({"SMTP_ONLY": "1"}, (POSTFIX,)), ({"SMTP_ONLY": ""}, (DOVECOT, POSTFIX))],
)
def test_dovecot_is_reloaded_before_postfix_and_not_at_all_where_there_is_none(environment, steps):
    assert DOCKER_MAILSERVER.reload(mail(environment)) == steps
    assert DOCKER_MAILSERVER.layout(mail(MANUAL | environment)).internal_reload == steps


@pytest.mark.parametrize(
    ("environment", "name"), [({}, "mail.example.com"), ({"OVERRIDE_HOSTNAME": "mx.example.com"}, "mx.example.com")]
)
def test_its_own_name_is_what_it_calls_itself(environment, name):
    assert DOCKER_MAILSERVER.host_name(mail(environment)) == name


class TestTheOthers:
    def test_any_container_is_served_by_labels(self):
        assert (DEFAULT, GENERIC.name) == (GENERIC, "generic")
        assert not GENERIC.recognise(mail())
        assert GENERIC.layout(mail()).places == ()

    def test_every_profile_has_a_name_of_its_own_and_ports_to_probe(self):
        assert len({profile.name for profile in PROFILES}) == len(PROFILES)
        assert all(profile.probe for profile in PROFILES)

    def test_no_profile_but_the_right_one_knows_a_container(self):
        assert [p.name for p in PROFILES if p.recognise(mail())] == ["docker-mailserver"]
