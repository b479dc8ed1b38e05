"""What Docker reports, in our own words: recorded from a real engine (20.10), and the spellings of others."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest

from controller.domain.container import Container, Mount, State
from controller.domain.errors import EngineUnavailable
from controller.inspection import config_of_image, read_container

ID = "587727f4661f11e6f0871de6fb51e82fbf5c7179ddcaa4b4cec418849b18fcca"
NETWORK = "cf07b27c71460efb810140e22a2530e2f08a61a53cfd1a34eb1a797ec1b9c612"
RECORDED: dict[str, Any] = {
    "Id": ID,
    "Created": "2026-11-23T15:03:36.782177618Z",
    "State": {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "StartedAt": "2026-11-23T15:03:37.091111471Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Image": "sha256:c1712add342f31fd58c749dd95f2e59e488d478b8464e9ac2a72a5217dac45c9",
    "Name": "/mail",
    "HostConfig": {
        "NetworkMode": "mail-net",
        "ReadonlyRootfs": False,
        "Tmpfs": {"/run/x": "size=1m", "/run/y": "ro,size=1m"},
        "CapAdd": None,
        "CapDrop": None,
        "Binds": ["tls:/tls", "/etc/hostname:/etc/host-copy.pem:ro"],
    },
    "Mounts": [
        {"Type": "tmpfs", "Source": "", "Destination": "/tmpx", "Mode": "", "RW": True, "Propagation": ""},
        {
            "Type": "volume",
            "Name": "tls",
            "Source": "/var/lib/docker/volumes/tls/_data",
            "Destination": "/tls",
            "Driver": "local",
            "Mode": "z",
            "RW": True,
            "Propagation": "",
        },
        {
            "Type": "bind",
            "Source": "/etc/hostname",
            "Destination": "/etc/host-copy.pem",
            "Mode": "ro",
            "RW": False,
            "Propagation": "rprivate",
        },
    ],
    "Config": {
        "Hostname": "mail",
        "Domainname": "example.com",
        "User": "101:101",
        "Env": ["SSL_TYPE=manual", "X=a=b", "EMPTY=", "PATH=/usr/bin:/bin"],
        "Cmd": None,
        "Image": "mailserver:15.1.0",
        "Volumes": None,
        "Labels": {"certferry.domain": "mail.example.com", "org.example.image": "test", "certferry.reload": "from the image"},
    },
    "NetworkSettings": {
        "Networks": {
            "mail-net": {
                "NetworkID": NETWORK,
                "Gateway": "192.168.192.1",
                "IPAddress": "192.168.192.2",
                "GlobalIPv6Address": "",
            }
        }
    },
}
OF_IMAGE = {"Labels": {"org.example.image": "test", "certferry.reload": "from the image"}, "Env": ["PATH=/usr/bin:/bin", "X=b"]}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """The record with another value somewhere."""
    raw = copy.deepcopy(RECORDED)
    place = raw
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return raw


def read(raw: dict[str, Any] = RECORDED) -> Container:
    return read_container(raw, OF_IMAGE)


def test_the_record_becomes_a_container() -> None:
    found = read()
    assert (found.id, found.name, found.image, found.state) == (ID, "mail", "mailserver:15.1.0", State.RUNNING)
    assert (found.fqdn, found.user, found.network_mode) == ("mail.example.com", "101:101", "mail-net")
    assert found.environment == {"SSL_TYPE": "manual", "X": "a=b", "EMPTY": "", "PATH": "/usr/bin:/bin"}
    assert found.addresses == {NETWORK: "192.168.192.2"}
    assert found.started_at == datetime(2026, 11, 23, 15, 3, 37, 91111, tzinfo=UTC)
    assert not found.read_only_root


def test_only_labels_that_the_operator_set_count() -> None:
    """Promise 9: an image cannot help itself to a key. Docker merges both."""
    found = read()
    assert found.labels == {"certferry.domain": "mail.example.com"}
    assert found.all_labels == RECORDED["Config"]["Labels"]


def test_only_variables_that_the_operator_set_are_the_operators() -> None:
    """An image that names the host itself must not get the key of that host."""
    assert read().own_environment == {"SSL_TYPE": "manual", "X": "a=b", "EMPTY": ""}


class TestLabelsOfCompose:
    """It puts the names of project and service into the images that it builds, too."""

    NAMES: ClassVar = {"com.docker.compose.project": "web", "com.docker.compose.service": "caddy"}
    HASH: ClassVar = {"com.docker.compose.config-hash": "1f"}

    def own(self, labels: dict[str, str], image: dict[str, str]) -> dict[str, str]:
        raw = copy.deepcopy(RECORDED)
        raw["Config"]["Labels"] = labels
        return read_container(raw, {"Labels": image}).labels

    def test_are_the_operators_in_a_container_that_it_made(self):
        assert self.own(self.NAMES | self.HASH, self.NAMES | {"x": "y"}) == self.NAMES | self.HASH
        assert self.own(self.HASH, {}) == self.HASH

    def test_are_the_images_in_any_other(self):
        assert self.own(self.NAMES, self.NAMES) == {}
        assert self.own(self.NAMES | self.HASH, self.NAMES | self.HASH) == {}

    def test_make_no_other_one_the_operators(self):
        other = {"com.docker.compose.x": "y", "certferry.domain": "mail.example.com"}
        assert self.own(other | self.HASH, other) == self.HASH


def test_a_label_of_the_image_that_the_operator_changed_is_the_operators() -> None:
    raw = changed("Config", "Labels", to={"certferry.reload": "from the operator"})
    assert read(raw).labels == {"certferry.reload": "from the operator"}


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/tls/cert.pem", Mount("volume", "tls", PurePosixPath("/tls"), True, "/var/lib/docker/volumes/tls/_data")),
        ("/etc/host-copy.pem", Mount("bind", "/etc/hostname", PurePosixPath("/etc/host-copy.pem"), False, "/etc/hostname")),
        ("/tmpx/a", Mount("tmpfs", "", PurePosixPath("/tmpx"), True)),
        ("/run/x/a", Mount("tmpfs", "", PurePosixPath("/run/x"), True)),
        ("/run/y/a", Mount("tmpfs", "", PurePosixPath("/run/y"), False)),
        ("/dev/shm/a", Mount("tmpfs", "", PurePosixPath("/dev/shm"), True)),
        ("/etc/a", None),
    ],
)
def test_every_kind_of_mount_is_known(path: str, mount: Mount | None) -> None:
    assert read().mount_of(PurePosixPath(path)) == mount


@pytest.mark.parametrize("path", [("Mounts",), ("Config", "Labels"), ("Config", "Env"), ("NetworkSettings", "Networks")])
def test_nothing_where_a_list_was_expected_is_an_empty_one(path: tuple[str, ...]) -> None:
    assert read(changed(*path, to=None)).name == "mail"


def test_its_command_is_entrypoint_and_arguments_together() -> None:
    raw = {**changed("Config", "WorkingDir", to="/srv"), "Path": "/entrypoint.sh", "Args": ["traefik", "--api"]}
    assert (read(raw).command, read(raw).working_dir) == (("/entrypoint.sh", "traefik", "--api"), "/srv")
    assert read({**raw, "Args": None}).command == ("/entrypoint.sh",)


def test_a_container_with_an_address_of_version_6_alone_has_that() -> None:
    raw = changed("NetworkSettings", "Networks", "mail-net", "IPAddress", to="")
    raw["NetworkSettings"]["Networks"]["mail-net"]["GlobalIPv6Address"] = "fd00::2"
    assert read(raw).addresses == {NETWORK: "fd00::2"}


def test_a_container_that_does_not_run_has_no_address_and_may_never_have_started() -> None:
    raw = changed("State", to={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"})
    raw["NetworkSettings"]["Networks"]["mail-net"] |= {"IPAddress": "", "NetworkID": ""}
    found = read(raw)
    assert (found.state, found.addresses, found.started_at) == (State.CREATED, {}, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T15:03:37.091111471Z", datetime(2026, 11, 23, 15, 3, 37, 91111, tzinfo=UTC)),
        ("2026-11-23T15:03:37Z", datetime(2026, 11, 23, 15, 3, 37, tzinfo=UTC)),
        ("2026-11-23T15:03:37.5Z", datetime(2026, 11, 23, 15, 3, 37, 500000, tzinfo=UTC)),
        ("2026-11-23T16:03:37.12+01:00", datetime(2026, 11, 23, 16, 3, 37, 120000, tzinfo=timezone(timedelta(hours=1)))),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_a_moment_is_read_as_go_writes_it(text: str | None, moment: datetime | None) -> None:
    assert read(changed("State", "StartedAt", to=text)).started_at == moment


def test_gateways_go_by_the_networks_as_the_addresses_do() -> None:
    found = read(RECORDED)
    assert found.gateways == {NETWORK: "192.168.192.1"}
    assert found.gateways.keys() == found.addresses.keys()


@pytest.mark.parametrize(("pid", "expected"), [(4711, 4711), (0, 0), (None, 0)])
def test_the_first_process_is_known_where_there_is_one(pid: int | None, expected: int) -> None:
    assert read(changed("State", "Pid", to=pid)).pid == expected


def test_a_process_that_is_no_number_is_not_what_the_api_promises() -> None:
    with pytest.raises(EngineUnavailable):
        read(changed("State", "Pid", to="1/../2"))


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "own"),
    [
        (["/entry"], ["traefik", "--x"], ()),
        (["/entry"], ["traefik", "--y"], ("traefik", "--y")),
        (["/own"], ["traefik", "--x"], ("/own",)),
        (["/own"], None, ("/own",)),
        (None, ["run"], ("run",)),
        (["/own"], ["run"], ("/own", "run")),
    ],
)
def test_the_operators_command_is_what_the_image_does_not_say(entrypoint, arguments, own):
    raw = changed("Config", "Entrypoint", to=entrypoint)
    raw["Config"]["Cmd"] = arguments
    image = config_of_image({"Config": {"Entrypoint": ["/entry"], "Cmd": ["traefik", "--x"]}})
    assert read_container(raw, image).own_command == own


def test_an_image_without_a_command_says_nothing_of_the_containers():
    raw = changed("Config", "Cmd", to=["traefik"])
    assert read_container(raw, config_of_image({})).own_command == ("traefik",)
    assert read_container(RECORDED, config_of_image({"Config": None})).own_command == ()
