"""Every row of the table "writing into a container": first install, replacement, and the way back."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container
from docker.types import Mount

from controller.domain.container import State
from controller.domain.errors import ExecCut, TargetNotRunning, WriteRefused
from controller.engine import Engine
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, Seen, files_of, litter, look, look_from_outside, seen
from tests.lab import NOSHELL_IMAGE, Lab, wait_until

Options = dict[str, Any]


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    authority = Authority()
    return authority.issue("mail.example.test"), authority.issue("mail.example.test")


def mounts(lab: Lab) -> Options:
    """A volume, a bound directory and two kinds of tmpfs."""
    folder = lab.folder / "bound"
    folder.mkdir(exist_ok=True)
    return {
        "volumes": {lab.volume().name: {"bind": "/volume"}, str(folder): {"bind": "/bound"}},
        "tmpfs": {"/ram": ""},
        "mounts": [Mount("/more-ram", "", type="tmpfs")],
    }


@pytest.fixture(scope="module")
def mounted(idle_lab: Lab) -> dict[str, Container]:
    """Two containers with all kinds of mounts, one of them with a read-only root."""
    return {
        "": idle_lab.container(**mounts(idle_lab)),
        "read-only": idle_lab.container(**mounts(idle_lab), read_only=True),
    }


PERSISTENT = ["/volume/tls", "/bound/tls"]
FOLDERS = [("", folder) for folder in ("/tls", *PERSISTENT, "/ram", "/more-ram")] + [
    ("read-only", folder) for folder in ("/volume", "/ram", "/more-ram")
]


@pytest.mark.parametrize(("root", "folder"), FOLDERS)
async def test_a_running_container_gets_its_pair_and_gets_it_back(
    engine: Engine, mounted: dict[str, Container], pairs: tuple[Pair, Pair], root: str, folder: str
) -> None:
    old, new = pairs
    container = mounted[root]
    delivery = Delivery(engine, container, folder)

    first = await delivery.bring(old)
    assert delivery.look() == files_of(old)
    assert litter(container, "/", folder) == []

    container.exec_run(["sh", "-c", f"cd {folder}; chmod 640 key.pem; chmod 444 cert.pem; chown 33:101 *"])
    second = await delivery.bring(new)
    kept = (seen(new.certificate.fullchain_pem, 0o444, "33:101"), seen(new.certificate.key_pem, 0o640, "33:101"))
    assert delivery.look() == kept
    observed = await delivery.observe()
    assert {path.name: (file.content, file.mode, file.uid, file.gid) for path, file in observed.files.items() if file} == {
        "cert.pem": (new.certificate.fullchain_pem, 0o444, 33, 101),
        "key.pem": (new.certificate.key_pem, 0o640, 33, 101),
    }
    assert (observed.pending, observed.litter, observed.listening) == (False, False, frozenset())

    await delivery.sink.restore(second)
    assert delivery.look() == (
        seen(old.certificate.fullchain_pem, 0o444, "33:101"),
        seen(old.certificate.key_pem, 0o640, "33:101"),
    )
    await delivery.sink.restore(first)
    assert delivery.look() == (None, None)
    assert litter(container, "/", folder) == []


async def test_files_mounted_one_by_one_are_rewritten_in_place(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    old, new = pairs
    certificate, key = lab.folder / "cert.pem", lab.folder / "key.pem"
    certificate.write_bytes(old.chain)
    key.write_bytes(old.key)
    key.chmod(0o640)
    os.chown(key, 0, 101)
    inodes = [certificate.stat().st_ino, key.stat().st_ino]
    container = lab.container(
        volumes={str(certificate): {"bind": "/tls/cert.pem"}, str(key): {"bind": "/tls/key.pem"}}, read_only=True
    )
    delivery = Delivery(engine, container)

    receipt = await delivery.bring(new)
    assert delivery.look() == (files_of(new)[0], seen(new.certificate.key_pem, 0o640, "0:101"))
    assert (certificate.read_bytes(), key.read_bytes()) == (new.certificate.fullchain_pem, new.certificate.key_pem)

    await delivery.sink.restore(receipt)
    assert delivery.look() == (files_of(old)[0], seen(old.certificate.key_pem, 0o640, "0:101"))
    assert [certificate.stat().st_ino, key.stat().st_ino] == inodes
    assert litter(container, "/", "/tls") == []


async def test_owner_and_mode_of_the_labels_are_given_to_a_file_mounted_by_itself(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    key = lab.folder / "key.pem"
    key.write_bytes(pairs[0].key)
    container = lab.container(volumes={str(key): {"bind": "/tls/key.pem"}})
    delivery = Delivery(engine, container, owner=(101, 101), mode=0o440)

    receipt = await delivery.bring(pairs[1])
    assert delivery.look() == files_of(pairs[1], owner="101:101", mode=0o440)

    await delivery.sink.restore(receipt)
    assert delivery.look() == (None, files_of(pairs[0], mode=0o644)[1])


async def test_a_key_mounted_by_itself_and_a_certificate_in_a_directory_change_together(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    old, new = pairs
    key = lab.folder / "key.pem"
    key.write_bytes(old.key)
    key.chmod(0o600)
    container = lab.container(volumes={str(key): {"bind": "/tls/key.pem"}})
    delivery = Delivery(engine, container)

    receipt = await delivery.bring(new)
    assert delivery.look() == files_of(new)
    await delivery.sink.restore(receipt)
    assert delivery.look() == (None, files_of(old)[1])
    assert litter(container) == []


@pytest.mark.parametrize("folder", ["/owned", "/ram/owned"])
async def test_owner_and_mode_of_the_labels_come_before_what_was_there(
    engine: Engine, mounted: dict[str, Container], pairs: tuple[Pair, Pair], folder: str
) -> None:
    container = mounted[""]
    await Delivery(engine, container, folder).bring(pairs[0])
    delivery = Delivery(engine, container, folder, owner=(101, 102), mode=0o440)

    await delivery.bring(pairs[1])
    assert delivery.look() == files_of(pairs[1], owner="101:102", mode=0o440)


async def test_a_container_that_does_not_run_as_root_can_read_its_key(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    folder = lab.folder / "tls"
    folder.mkdir(mode=0o700)
    os.chown(folder, 101, 101)
    container = lab.container(user="101:101", volumes={str(folder): {"bind": "/tls"}})
    delivery = Delivery(engine, container)

    for pair in pairs:
        await delivery.bring(pair)
        assert delivery.look() == files_of(pair, owner="101:101")
        assert container.exec_run(["cat", "/tls/key.pem"]).output == pair.certificate.key_pem
    assert litter(container, "/", "/tls") == []


@pytest.mark.parametrize("root", ["", "read-only"])
async def test_a_container_that_does_not_run_finds_its_pair_at_the_next_start(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], root: str
) -> None:
    """Not yet started at first, then stopped."""
    container = lab.container(start=False, **mounts(lab), read_only=bool(root))
    folders = PERSISTENT if root else ["/tls", *PERSISTENT]
    deliveries = [Delivery(engine, container, folder) for folder in folders]

    for delivery, folder in zip(deliveries, folders, strict=True):
        await delivery.bring(pairs[0])
        assert tuple(look_from_outside(container, f"{folder}/cert.pem", f"{folder}/key.pem")) == files_of(pairs[0])
    container.start()
    assert {delivery.look() for delivery in deliveries} == {files_of(pairs[0])}
    for folder in folders:
        container.exec_run(["sh", "-c", f"chmod 640 {folder}/key.pem; chown 33:101 {folder}/*"])
    container.stop(timeout=0)

    receipts = [await delivery.bring(pairs[1]) for delivery in deliveries]
    assert (await deliveries[0].observe()).listening is None
    container.start()
    assert {delivery.look() for delivery in deliveries} == {files_of(pairs[1], owner="33:101", mode=0o640)}
    container.stop(timeout=0)

    for delivery, receipt in zip(deliveries, receipts, strict=True):
        await delivery.sink.restore(receipt)
    container.start()
    assert {delivery.look() for delivery in deliveries} == {files_of(pairs[0], owner="33:101", mode=0o640)}
    assert litter(container, "/", *folders) == []


async def test_a_tmpfs_is_not_written_to_while_the_container_does_not_run(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container(start=False, **mounts(lab))

    for folder in ("/ram", "/more-ram"):
        with pytest.raises(TargetNotRunning, match=f"{folder}/key.pem is on a tmpfs, which can be written only while"):
            await Delivery(engine, container, folder).bring(pairs[0])
        assert look_from_outside(container, f"{folder}/key.pem") == [None]


async def test_a_file_mounted_by_itself_is_not_written_to_while_the_container_does_not_run(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    key = lab.folder / "key.pem"
    key.write_bytes(pairs[0].key)
    container = lab.container(start=False, volumes={str(key): {"bind": "/tls/key.pem"}})
    delivery = Delivery(engine, container)

    with pytest.raises(TargetNotRunning, match="/tls/key.pem is on a file mounted by itself"):
        await delivery.bring(pairs[1])
    assert key.read_bytes() == pairs[0].key
    assert look_from_outside(container, "/tls/cert.pem") == [None]


async def test_a_paused_container_is_read_but_not_written_to(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    container = lab.container()
    delivery = Delivery(engine, container)
    await delivery.bring(pairs[0])
    container.pause()

    observed = await delivery.observe()
    assert {path.name: file.content for path, file in observed.files.items() if file} == {
        "cert.pem": pairs[0].certificate.fullchain_pem,
        "key.pem": pairs[0].certificate.key_pem,
    }
    assert observed.listening is None
    with pytest.raises(TargetNotRunning, match="paused"):
        await delivery.bring(pairs[1])
    container.unpause()
    assert delivery.look() == files_of(pairs[0])


async def test_a_container_that_crashes_for_want_of_a_certificate_gets_one(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container(
        entrypoint=["sh", "-c", "[ -s /tls/key.pem ] && [ -s /tls/cert.pem ] && exec sleep infinity; exit 1"],
        restart_policy={"Name": "always"},
        start=False,
    )
    container.start()
    delivery = Delivery(engine, container)

    for _ in range(100):
        if (await delivery.target()).container.state is State.RESTARTING:
            break
    installed = False
    while not installed:
        with suppress(TargetNotRunning, ExecCut):  # it had just come up for a moment; certferry would try again, too
            await delivery.bring(pairs[0])
            installed = True

    def survived() -> bool:
        container.reload()
        return bool(container.attrs["State"]["Running"] and not container.attrs["State"]["Restarting"])

    wait_until(survived)
    assert delivery.look() == files_of(pairs[0])


async def test_without_a_shell_the_key_is_written_before_the_certificate(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = lab.container(NOSHELL_IMAGE)
    delivery = Delivery(engine, container)
    orders: list[list[str]] = []
    put_archive = engine.put_archive

    async def watched(container_id: str, directory: PurePosixPath, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            orders.append(tar.getnames())
        await put_archive(container_id, directory, archive)

    monkeypatch.setattr(engine, "put_archive", watched)
    await delivery.bring(pairs[0])
    receipt = await Delivery(engine, container, owner=(101, 101), mode=0o640).bring(pairs[1])

    pairs_alone = [names for names in orders if "cert.pem" in names]
    assert pairs_alone == [["key.pem", "cert.pem"]] * 2, "in one go, so that the time between them is as short as can be"
    (old_certificate, old_key), (new_certificate, new_key) = files_of(pairs[0]), files_of(pairs[1], owner="101:101", mode=0o640)
    assert look_from_outside(container, "/tls/cert.pem", "/tls/key.pem") == [new_certificate, new_key]
    await delivery.sink.restore(receipt)
    assert look_from_outside(container, "/tls/cert.pem", "/tls/key.pem") == [old_certificate, old_key]
    left = sorted(change["Path"] for change in container.diff())
    assert left == ["/tls", "/tls/.certferry", "/tls/.certferry/previous", "/tls/cert.pem", "/tls/key.pem"]
    assert look_from_outside(container, "/tls/.certferry/previous") == [seen(b"", 0o600)], "nothing can be removed, but emptied"


async def test_without_a_shell_a_tmpfs_is_refused(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    container = lab.container(NOSHELL_IMAGE, tmpfs={"/tls": ""})

    with pytest.raises(WriteRefused, match="is on a tmpfs, and the image has no shell with .* mount a directory at /tls"):
        await Delivery(engine, container).bring(pairs[0])


@pytest.mark.parametrize("image", ["plain", "noshell"])
async def test_a_read_only_mount_is_named_with_the_remedy(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], image: str
) -> None:
    folder = lab.folder / "tls"
    folder.mkdir()
    (folder / "key.pem").write_bytes(pairs[0].key)
    container = lab.container(f"certferry-test/{image}:latest", volumes={str(folder): {"bind": "/srv/tls", "mode": "ro"}})

    with pytest.raises(
        WriteRefused, match=r"/srv/tls/key.pem is on the read-only mount /srv/tls; mount it writable"
    ) as refusal:
        await Delivery(engine, container, "/srv/tls").bring(pairs[1])
    assert "\n" not in str(refusal.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"key.pem": pairs[0].key}


async def test_a_read_only_certificate_beside_a_writable_key_changes_nothing(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    certificate = lab.folder / "cert.pem"
    certificate.write_bytes(pairs[0].chain)
    container = lab.container(volumes={str(certificate): {"bind": "/tls/cert.pem", "mode": "ro"}})

    with pytest.raises(WriteRefused, match="/tls/cert.pem is on the read-only mount /tls/cert.pem"):
        await Delivery(engine, container).bring(pairs[1])
    assert look(container, "/tls/key.pem") == [None]
    assert litter(container, "/", "/tls") == []


@pytest.mark.parametrize("image", ["plain", "noshell"])
async def test_a_read_only_root_is_refused_with_the_remedy(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], image: str
) -> None:
    container = lab.container(f"certferry-test/{image}:latest", read_only=True)

    with pytest.raises(WriteRefused, match="/tls/key.pem is on the container's read-only root .*; mount a volume at /tls"):
        await Delivery(engine, container).bring(pairs[0])


async def test_a_directory_that_docker_made_for_a_missing_file_is_named(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    """A bind mount whose source does not exist becomes a directory: a frequent slip in compose files."""
    missing = lab.folder / "missing.pem"
    container = lab.container(volumes={str(missing): {"bind": "/tls/cert.pem"}})
    delivery = Delivery(engine, container)

    with pytest.raises(WriteRefused, match="/tls/cert.pem is a directory"):
        await delivery.bring(pairs[0])
    assert look(container, "/tls/key.pem") == [None]
    assert litter(container) == []
    assert list(Path(missing).iterdir()) == []


async def test_a_directory_where_the_certificate_should_go_changes_nothing(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]
) -> None:
    idle.exec_run(["mkdir", "-p", f"{folder}/cert.pem"])
    delivery = Delivery(engine, idle, folder)

    with pytest.raises(WriteRefused, match="cert.pem is a directory"):
        await delivery.bring(pairs[0])
    assert look(idle, f"{folder}/key.pem") == [None]
    assert litter(idle, folder) == []


async def test_a_container_without_capabilities_is_served(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    folder = lab.folder / "tls"
    folder.mkdir(mode=0o755)
    os.chown(folder, 101, 101)
    container = lab.container(user="101:101", cap_drop=["ALL"], volumes={str(folder): {"bind": "/tls"}})
    delivery = Delivery(engine, container)

    for pair in pairs:
        await delivery.bring(pair)
        found = [
            Seen(path.read_bytes(), f"{path.stat().st_mode & 0o777:o}", f"{path.stat().st_uid}:{path.stat().st_gid}")
            for path in sorted(folder.iterdir())
        ]
        assert tuple(found) == files_of(pair, owner="101:101")
        observed = await delivery.observe()
        assert {file.content for file in observed.files.values() if file} == {
            pair.certificate.key_pem,
            pair.certificate.fullchain_pem,
        }


@pytest.mark.parametrize("program", ["stat", "mv"])
async def test_where_an_image_lacks_programs_files_go_through_the_archive_api(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], program: str
) -> None:
    container = lab.container()
    container.exec_run(["rm", f"/usr/bin/{program}"])
    delivery = Delivery(engine, container)

    await delivery.bring(pairs[0])
    receipt = await delivery.bring(pairs[1])
    paths = "/tls/cert.pem", "/tls/key.pem"
    assert tuple(look_from_outside(container, *paths)) == files_of(pairs[1])
    await delivery.sink.restore(receipt)
    assert tuple(look_from_outside(container, *paths)) == files_of(pairs[0])
    assert look_from_outside(container, "/tls/.certferry/previous") == [seen(b"", 0o600)], "nothing can be removed, but emptied"


@pytest.mark.parametrize("mounted", ["directory", "file"])
async def test_a_file_system_that_takes_no_owner_is_named_instead_of_trying_for_ever(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], mounted: str
) -> None:
    """Network shares and Docker Desktop may accept a change of owner or mode without making it."""
    key = lab.folder / "key.pem"
    key.write_bytes(pairs[0].key)
    key.chmod(0o600)
    container = lab.container(volumes={str(key): {"bind": "/tls/key.pem"}} if mounted == "file" else None)
    container.exec_run(["ln", "-s", "/bin/true", "/usr/local/bin/chown"])

    with pytest.raises(WriteRefused, match=r"\.pem does not take owner 101:101 and mode 6"):
        await Delivery(engine, container, owner=(101, 101)).bring(pairs[1])
    assert key.read_bytes() == pairs[0].key
    assert look(container, "/tls/cert.pem") == [None]
    await Delivery(engine, container).bring(pairs[1])
    assert Delivery(engine, container).look() == files_of(pairs[1])
