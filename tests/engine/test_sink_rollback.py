"""The way back: whatever was there before is there again, byte for byte, and marks go with it."""

from __future__ import annotations

import asyncio
import os
from pathlib import PurePosixPath

import pytest
from docker.models.containers import Container

from controller.domain.errors import RollbackFailed, TargetGone, TargetNotRunning, WriteFailed
from controller.domain.observed import Acted
from controller.domain.target import Place, Slot
from controller.engine import Engine
from sinks import act
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, files_of, litter, look, look_from_outside, seen
from tests.lab import NOSHELL_IMAGE, Lab

ODD_CONTENTS = {
    "empty": b"",
    "without a last line end": b"-----BEGIN CERTIFICATE-----",
    "many line ends": b"\n\nx\n\n",
    "of Windows": b"one\r\ntwo\r\n",
    "a dot": b".\n..\n.",
    "a format": b"%s %d \\n \\000 %% -\n",
    "DER": bytes(range(256)) * 8,
}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Authority().issue("mail.example.test")


def place(container: Container, path: str, content: bytes) -> None:
    """Put content into a file of a container, inode kept."""
    escaped = "".join(f"\\{byte:03o}" for byte in content)
    assert container.exec_run(["sh", "-c", f'mkdir -p "${{0%/*}}"; printf "{escaped}" >"$0"', path]).exit_code == 0


def many(paths: list[PurePosixPath]) -> tuple[Place, ...]:
    """Places of as many files."""
    return tuple(Place(Slot(), combined=path) for path in paths)


async def test_what_was_replaced_comes_back_byte_for_byte(engine: Engine, idle: Container, folder: str, pair: Pair) -> None:
    names = [f"{number}.pem" for number in range(len(ODD_CONTENTS))]
    for name, content in zip(names, ODD_CONTENTS.values(), strict=True):
        place(idle, f"{folder}/{name}", content)
    paths = [PurePosixPath(folder, name) for name in names]
    delivery = Delivery(engine, idle, many(paths))

    receipt = await delivery.bring_contents(dict.fromkeys(paths, pair.certificate.key_pem))
    assert {file and file.content for file in look(idle, *paths)} == {pair.certificate.key_pem}
    await delivery.sink.restore(receipt)
    assert [file and file.content for file in look(idle, *paths)] == [*ODD_CONTENTS.values()]


async def test_files_mounted_one_by_one_come_back_byte_for_byte(engine: Engine, lab: Lab, pair: Pair) -> None:
    contents = [*ODD_CONTENTS.values(), os.urandom(50_000)]
    files = [lab.folder / f"{number}.pem" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    container = lab.container(volumes={str(file): {"bind": f"/tls/{file.name}"} for file in files})
    paths = [PurePosixPath("/tls", file.name) for file in files]
    delivery = Delivery(engine, container, many(paths))

    receipt = await delivery.bring_contents(dict.fromkeys(paths, pair.certificate.key_pem))
    assert {file.read_bytes() for file in files} == {pair.certificate.key_pem}
    await delivery.sink.restore(receipt)
    assert [file.read_bytes() for file in files] == contents


async def test_a_half_made_swap_is_undone(engine: Engine, lab: Lab, pair: Pair) -> None:
    container = lab.container()
    refuse_once = (
        '#!/bin/sh\\ncase "$*" in */apart/) [ -e /refused ] || { touch /refused; exit 1; };; esac\\nexec /bin/mv "$@"\\n'
    )
    container.exec_run(["sh", "-c", f"printf '{refuse_once}' >/usr/local/bin/mv; chmod +x /usr/local/bin/mv"])
    place(container, "/apart/cert.pem", b"old certificate")
    place(container, "/tls/key.pem", b"old key")
    delivery = Delivery(engine, container, Place(Slot(), PurePosixPath("/apart/cert.pem"), PurePosixPath("/tls/key.pem")))

    with pytest.raises(WriteFailed, match="could not be put in place"):
        await delivery.bring(pair)
    assert delivery.look() == (seen(b"old certificate", 0o644), seen(b"old key", 0o644))
    assert look(container, "/refused") == [seen(b"", 0o644)]
    assert litter(container) == []


@pytest.mark.parametrize("old", [b"old", None], ids=["replacement", "first install"])
async def test_what_was_there_is_kept_until_the_change_is_put_back(
    engine: Engine, idle: Container, folder: str, pair: Pair, old: bytes | None
) -> None:
    delivery = Delivery(engine, idle, folder)
    if old:
        place(idle, f"{folder}/cert.pem", old)

    receipt = (await delivery.act(pair)).receipt
    assert receipt is not None
    assert litter(idle, folder) == [f"{folder}/.certferry"]
    observed = await delivery.observe()
    assert {path: file and file.content for path, file in observed.previous.items()} == {
        delivery.place.certificate: old,
        delivery.place.key: None,
    }
    await delivery.sink.restore(receipt)
    assert not (await delivery.observe()).pending
    assert litter(idle, folder) == []


async def test_what_is_kept_is_for_the_owner_of_the_key_alone(engine: Engine, idle: Container, folder: str, pair: Pair) -> None:
    place(idle, f"{folder}/cert.pem", b"old")
    place(idle, f"{folder}/key.pem", b"old")
    idle.exec_run(["sh", "-c", f"chown 101:102 {folder}/key.pem; chmod 644 {folder}/*.pem"])
    await Delivery(engine, idle, folder).act(pair)
    code, output = idle.exec_run(["stat", "-c", "%a %u:%g", f"{folder}/.certferry", f"{folder}/.certferry/previous"])
    assert (code, output.decode().split("\n")[:2]) == (0, ["700 0:0", "600 101:102"])


async def test_it_is_seen_by_whoever_comes_next_until_the_change_is_confirmed(
    engine: Engine, idle: Container, folder: str, pair: Pair
) -> None:
    await Delivery(engine, idle, folder).act(pair)

    delivery = Delivery(engine, idle, folder)
    observed = await delivery.observe()
    assert (observed.pending, observed.litter) == (True, False)
    await delivery.settle()
    observed = await delivery.observe()
    assert (observed.pending, observed.litter) == (False, False)
    assert delivery.look() == files_of(pair)
    assert litter(idle, folder) == []


async def test_of_two_changes_that_were_not_confirmed_what_was_there_before_both_comes_back(
    engine: Engine, idle: Container, folder: str, pair: Pair
) -> None:
    place(idle, f"{folder}/cert.pem", b"old certificate")
    place(idle, f"{folder}/key.pem", b"old key")
    delivery = Delivery(engine, idle, folder)
    await delivery.act(Authority().issue("mail.example.test"))
    receipt = (await delivery.act(pair)).receipt
    assert receipt is not None
    await delivery.sink.restore(receipt)
    assert delivery.look() == (seen(b"old certificate", 0o644), seen(b"old key", 0o644))
    assert litter(idle, folder) == []


async def test_it_lies_beside_the_destination_of_a_link(engine: Engine, idle: Container, folder: str, pair: Pair) -> None:
    place(idle, f"{folder}/there/key.pem", b"old")
    place(idle, f"{folder}/there/cert.pem", b"old")
    idle.exec_run(["sh", "-c", f"ln -s there/key.pem {folder}/key.pem; ln -s there/cert.pem {folder}/cert.pem"])
    delivery = Delivery(engine, idle, folder)

    await delivery.act(pair)
    assert litter(idle, folder) == [f"{folder}/there/.certferry"]
    assert (await delivery.observe()).pending
    await delivery.settle()
    assert not (await delivery.observe()).pending
    assert litter(idle, folder) == []


@pytest.mark.parametrize("volume_above", [False, True], ids=["in the container's own folder", "below another mount"])
async def test_for_files_mounted_one_by_one_it_lies_in_the_containers_own_file_system(
    engine: Engine, lab: Lab, pair: Pair, volume_above: bool
) -> None:
    folder = lab.folder
    (folder / "cert.pem").write_bytes(b"old")
    (folder / "key.pem").write_bytes(b"old")
    volumes = {str(folder / name): {"bind": f"/tls/{name}"} for name in ("cert.pem", "key.pem")}
    if volume_above:
        volumes[lab.volume().name] = {"bind": "/tls"}
    container = lab.container(volumes=volumes)
    delivery = Delivery(engine, container)

    receipt = (await delivery.act(pair)).receipt
    assert receipt is not None
    assert litter(container, "/", "/tls") == ["/.certferry" if volume_above else "/tls/.certferry"]
    assert (await delivery.observe()).pending
    await delivery.sink.restore(receipt)
    assert not (await delivery.observe()).pending
    assert ((folder / "cert.pem").read_bytes(), litter(container, "/", "/tls")) == (b"old", [])


async def test_for_files_mounted_one_by_one_on_a_read_only_root_there_is_none(engine: Engine, lab: Lab, pair: Pair) -> None:
    folder = lab.folder
    (folder / "cert.pem").write_bytes(b"old")
    (folder / "key.pem").write_bytes(b"old")
    volumes = {str(folder / name): {"bind": f"/tls/{name}"} for name in ("cert.pem", "key.pem")}
    container = lab.container(volumes=volumes, read_only=True)
    delivery = Delivery(engine, container)
    await delivery.act(pair)
    assert delivery.look()[1] == files_of(pair)[1]
    assert not (await delivery.observe()).pending


async def test_what_another_target_keeps_in_the_same_folder_stays(
    engine: Engine, idle: Container, folder: str, pair: Pair
) -> None:
    one = Delivery(engine, idle, folder)
    other = Delivery(engine, idle, Place(Slot(), PurePosixPath(folder, "b.pem"), PurePosixPath(folder, "b.key")))
    await one.act(pair)
    await other.act(pair)
    await one.settle()
    assert ((await one.observe()).pending, (await other.observe()).pending) == (False, True)
    await other.settle()
    assert litter(idle, folder) == []


async def test_the_way_back_of_a_container_that_is_gone_is_no_failure_of_its_files(
    engine: Engine, lab: Lab, pair: Pair
) -> None:
    container = lab.container()
    delivery = Delivery(engine, container)
    receipt = await delivery.bring(pair)
    container.kill()
    container.wait(timeout=20)
    with pytest.raises(TargetNotRunning):
        await delivery.sink.restore(receipt)
    container.remove()
    with pytest.raises(TargetGone):
        await delivery.sink.restore(receipt)


async def test_several_that_bring_pairs_at_once_put_only_whole_files_in_place(
    engine: Engine, idle: Container, folder: str
) -> None:
    """A ``certferry once`` beside a running one: of each only whole files are put in place, and who is late looks anew."""
    authority = Authority()
    pairs = [authority.issue("mail.example.test") for _ in range(4)]
    deliveries = [Delivery(engine, idle, folder) for _ in pairs]
    acts = [delivery.act(pair) for delivery, pair in zip(deliveries, pairs, strict=True)]
    ended = await asyncio.gather(*acts, return_exceptions=True)
    refused = [end for end in ended if isinstance(end, WriteFailed) and "somebody else replaced" in str(end)]
    done = [end for end in ended if isinstance(end, Acted)]
    assert done
    assert len(done) + len(refused) == len(acts), ended
    await deliveries[0].settle()

    certificate, key = deliveries[0].look()
    assert certificate in [files_of(pair)[0] for pair in pairs]
    assert key in [files_of(pair)[1] for pair in pairs]
    assert litter(idle, folder) == []


async def test_a_stage_that_somebody_removed_changes_nothing(
    engine: Engine, idle: Container, folder: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery(engine, idle, folder)
    made = act.script
    monkeypatch.setattr(act, "script", lambda *given, **named: f"rm {folder}/.certferry/*/cert.pem\n" + made(*given, **named))

    with pytest.raises(WriteFailed, match=r"cert\.pem is not there any more"):
        await delivery.bring(pair)
    assert delivery.look() == (None, None)
    assert litter(idle, folder) == []


async def test_a_stage_left_by_a_crash_is_seen_and_does_not_disturb(
    engine: Engine, idle: Container, folder: str, pair: Pair
) -> None:
    place(idle, f"{folder}/.certferry/0123/key.pem", b"left over")
    delivery = Delivery(engine, idle, folder)

    observed = await delivery.observe()
    assert (observed.pending, observed.litter) == (False, True)
    await delivery.sink.settle(await delivery.target(), observed, confirmed=False)
    assert litter(idle, folder) == []
    await delivery.bring(pair)
    assert delivery.look() == files_of(pair)


async def test_without_a_shell_what_was_replaced_comes_back_byte_for_byte(engine: Engine, lab: Lab, pair: Pair) -> None:
    delivery = Delivery(engine, lab.container(NOSHELL_IMAGE))
    paths = delivery.place.paths
    contents = dict(zip(paths, (ODD_CONTENTS["DER"], ODD_CONTENTS["empty"]), strict=True))

    await delivery.bring_contents(contents)
    receipt = await delivery.bring(pair)
    await delivery.sink.restore(receipt)
    assert look_from_outside(delivery.container, *paths) == [seen(contents[paths[0]], 0o600), seen(contents[paths[1]], 0o644)]


async def test_without_a_shell_nothing_can_be_removed_so_the_pair_stays_whole(engine: Engine, lab: Lab, pair: Pair) -> None:
    delivery = Delivery(engine, lab.container(NOSHELL_IMAGE))
    assert delivery.place.key is not None
    await delivery.bring_contents({delivery.place.key: b"old"})

    receipt = await delivery.bring(pair)
    with pytest.raises(RollbackFailed, match=r"/tls/cert\.pem cannot be removed: that takes a shell"):
        await delivery.sink.restore(receipt)
    certificate, key = look_from_outside(delivery.container, "/tls/cert.pem", "/tls/key.pem")
    assert (certificate, key) == files_of(pair)
