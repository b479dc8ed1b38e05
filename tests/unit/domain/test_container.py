"""What can be said of a container from what the engine reports."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from controller.domain.container import Container, Mount, State
from tests.unit.made import container


@pytest.mark.parametrize(
    ("hostname", "domainname", "fqdn"),
    [
        ("mail.example.com", "", "mail.example.com"),
        ("mail", "example.com", "mail.example.com"),
        ("mail.example.com", "example.com", "mail.example.com"),
        ("mailexample.com", "example.com", "mailexample.com.example.com"),
        ("mail", "", "mail"),
        ("", "", ""),
    ],
)
def test_the_full_name_is_host_and_domain_put_together_once(hostname, domainname, fqdn):
    assert container(hostname=hostname, domainname=domainname).fqdn == fqdn


def mounted(*destinations: str) -> Container:
    return container(mounts=tuple(Mount("volume", d, PurePosixPath(d), True) for d in destinations))


@pytest.mark.parametrize(
    ("destinations", "path", "found"),
    [
        (("/tls",), "/tls/cert.pem", "/tls"),
        (("/tls",), "/tls", "/tls"),
        (("/tls", "/tls/private"), "/tls/private/key.pem", "/tls/private"),
        (("/tls/private", "/tls"), "/tls/private/key.pem", "/tls/private"),
        (("/tls/key.pem", "/tls"), "/tls/key.pem", "/tls/key.pem"),
        (("/tls",), "/tlsx/cert.pem", None),
        (("/tls",), "/etc/tls/cert.pem", None),
        (("/",), "/etc/tls/cert.pem", "/"),
        ((), "/tls/cert.pem", None),
    ],
)
def test_a_path_lies_on_the_deepest_mount_above_it(destinations, path, found):
    mount = mounted(*destinations).mount_of(PurePosixPath(path))
    assert (mount.source if mount else None) == found


def test_the_states_are_those_of_the_engine():
    assert sorted(State) == ["created", "dead", "exited", "paused", "removing", "restarting", "running"]


@pytest.mark.parametrize(
    ("mounts", "same"),
    [
        ((), False),
        (
            (
                Mount("bind", "/srv/all.pem", PurePosixPath("/a"), True),
                Mount("bind", "/srv/all.pem", PurePosixPath("/b"), True),
            ),
            True,
        ),
        ((Mount("bind", "/a", PurePosixPath("/b"), True),), False),
        ((Mount("tmpfs", "", PurePosixPath("/a"), True), Mount("tmpfs", "", PurePosixPath("/b"), True)), False),
        ((Mount("volume", "v", PurePosixPath("/a"), True), Mount("volume", "v", PurePosixPath("/b"), True)), True),
        ((Mount("volume", "v", PurePosixPath("/a"), True), Mount("volume", "w", PurePosixPath("/b"), True)), False),
    ],
)
def test_two_mounts_may_lead_to_one_file(mounts, same):
    where = container(mounts=mounts)
    assert (where.host_file(PurePosixPath("/a")) == where.host_file(PurePosixPath("/b"))) is same


def test_a_file_that_is_mounted_is_the_one_in_a_folder_that_is_mounted():
    where = container(
        mounts=(
            Mount("bind", "/srv", PurePosixPath("/tls"), True),
            Mount("volume", "v", PurePosixPath("/key.pem"), True, "/srv/all.pem"),
        )
    )
    assert where.host_file(PurePosixPath("/tls/all.pem")) == where.host_file(PurePosixPath("/key.pem"))
