"""What the engine tells of a container, in certferry's own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container as Running
from docker.types import Mount as MountOption

from controller.domain.container import Container, Mount, State
from controller.engine import SERVICE, Engine
from tests.engine.images import labelled_image
from tests.lab import LABEL, PLAIN_IMAGE, Lab


async def inspect(engine: Engine, container: Running) -> Container:
    found = await engine.inspect(str(container.id))
    assert found is not None
    return found


async def test_mounts_user_networks_and_names_are_told_as_they_are(engine: Engine, lab: Lab) -> None:
    volume, networks = lab.volume(), [lab.network(), lab.network()]
    (lab.folder / "file").touch()
    running = lab.container(
        user="101:102",
        hostname="mail",
        domainname="example.test",
        environment={"SSL_TYPE": "manual", "ODD": "a=b=c", "EMPTY": ""},
        read_only=True,
        tmpfs={"/ram": "", "/fixed": "ro,size=1m"},
        mounts=[
            MountOption("/more-ram", "", type="tmpfs"),
            MountOption("/no-ram", "", type="tmpfs", read_only=True),
            MountOption("/kept", volume.name, type="volume"),
            MountOption("/kept/below", str(lab.folder), type="bind", read_only=True),
        ],
        volumes={str(lab.folder / "file"): {"bind": "/kept/file", "mode": "ro"}},
        network=networks[0].name,
    )
    networks[1].connect(running)
    running.reload()
    addresses = running.attrs["NetworkSettings"]["Networks"]
    found = await inspect(engine, running)

    assert (found.id, found.name, found.image, found.state) == (running.id, running.name, PLAIN_IMAGE, State.RUNNING)
    assert (found.user, found.fqdn, found.read_only_root, found.root_is_limited) == (
        "101:102",
        "mail.example.test",
        True,
        False,
    )
    assert {key: found.environment[key] for key in ("SSL_TYPE", "ODD", "EMPTY")} == {
        "SSL_TYPE": "manual",
        "ODD": "a=b=c",
        "EMPTY": "",
    }
    assert found.network_mode == networks[0].name
    assert found.addresses == {network.id: addresses[network.name]["IPAddress"] for network in networks}
    assert found.started_at is not None
    assert timedelta(0) <= datetime.now(UTC) - found.started_at < timedelta(minutes=1)

    def mount(path: str) -> Mount | None:
        return found.mount_of(PurePosixPath(path))

    assert mount("/tls/cert.pem") is None
    folder, file = str(lab.folder), str(lab.folder / "file")
    kept = lab.docker.volumes.get(volume.name).attrs["Mountpoint"]
    assert mount("/kept/x/y") == Mount("volume", str(volume.name), PurePosixPath("/kept"), True, kept)
    assert mount("/kept/below/x") == Mount("bind", folder, PurePosixPath("/kept/below"), False, folder)
    assert mount("/kept/file") == Mount("bind", file, PurePosixPath("/kept/file"), False, file)
    assert mount("/ram/x") == Mount("tmpfs", "", PurePosixPath("/ram"), True)
    assert mount("/fixed/x") == Mount("tmpfs", "", PurePosixPath("/fixed"), False)
    assert mount("/more-ram/x") == Mount("tmpfs", "", PurePosixPath("/more-ram"), True)
    assert mount("/no-ram/x") == Mount("tmpfs", "", PurePosixPath("/no-ram"), False)
    assert mount("/dev/shm/x") == Mount("tmpfs", "", PurePosixPath("/dev/shm"), True)
    assert mount("/rampart") is None


async def test_states_are_told_apart_and_who_is_gone_is_none(engine: Engine, lab: Lab) -> None:
    running = lab.container(start=False)
    assert ((created := await inspect(engine, running)).state, created.started_at, created.addresses) == (
        State.CREATED,
        None,
        {},
    )
    running.start()
    assert (await inspect(engine, running)).state is State.RUNNING
    running.pause()
    assert (await inspect(engine, running)).state is State.PAUSED
    running.unpause()
    running.kill()
    running.wait(timeout=20)
    assert (await inspect(engine, running)).state is State.EXITED
    running.remove()
    assert await engine.inspect(str(running.id)) is None


@pytest.mark.parametrize(
    ("options", "limited"),
    [
        ({}, False),
        ({"cap_drop": ["NET_RAW"]}, False),
        ({"cap_drop": ["CAP_CHOWN"]}, True),
        ({"cap_drop": ["ALL"]}, True),
        ({"cap_drop": ["all"], "cap_add": ["NET_BIND_SERVICE", "CAP_CHOWN"]}, True),
        ({"cap_drop": ["ALL"], "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}, False),
        ({"cap_drop": ["ALL"], "privileged": True}, False),
    ],
)
async def test_dropped_capabilities_are_noticed(engine: Engine, lab: Lab, options: dict[str, Any], limited: bool) -> None:
    assert (await inspect(engine, lab.container(start=False, **options))).root_is_limited is limited


async def test_labels_of_the_image_are_kept_apart_from_those_of_its_operator(engine: Engine, lab: Lab) -> None:
    with labelled_image(lab, {"from.image": "1", "from.both": "same", "overridden": "image", "plain label": "x y"}) as image:
        ours = {LABEL: lab.id, "from.operator": "1", "from.both": "same", "overridden": "operator"}
        found = await inspect(engine, lab.docker.containers.create(image, labels=ours))

        assert found.labels == {"from.operator": "1", "overridden": "operator"}
        assert (
            found.all_labels.items()
            >= {
                **ours,
                "from.image": "1",
                "plain label": "x y",
            }.items()
        )
        assert (await engine.labels())[found.id] == found.all_labels


@pytest.mark.parametrize("service", ["", "x", "../info", "../containers/json?all=1&", "0" * 25])
async def test_a_container_that_claims_to_belong_to_a_strange_service_disturbs_nobody(
    engine: Engine, lab: Lab, service: str
) -> None:
    running = lab.container(start=False, other_labels={SERVICE: service})

    found = await inspect(engine, running)
    assert (await engine.labels())[found.id] == found.all_labels
    assert found.labels.items() >= {SERVICE: service, LABEL: lab.id}.items()


async def test_an_image_does_not_say_to_which_service_it_belongs(engine: Engine, lab: Lab) -> None:
    asked: list[str] = []

    async def labels_of_service(service: str) -> dict[str, str]:
        asked.append(service)
        return {"helped": "itself"}

    engine._labels_of_service = labels_of_service  # type: ignore[method-assign]
    with labelled_image(lab, {SERVICE: "a1" * 12 + "b"}) as image:
        found = await inspect(engine, lab.docker.containers.create(image, labels={LABEL: lab.id}))

    assert (found.labels, asked) == ({}, []), "the label of the laboratory is the image's too"
