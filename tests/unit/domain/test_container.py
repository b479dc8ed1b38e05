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
