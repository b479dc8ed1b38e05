"""Where a path really leads: symbolic links, odd names, directories that do not exist yet."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from docker.models.containers import Container

from controller.domain.errors import WriteRefused
from controller.domain.target import Place, Slot
from controller.engine import Engine
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, files_of, litter, look, look_from_outside, seen
from tests.lab import NOSHELL_IMAGE, Lab

ODD = '/srv/a b/it\'s "so"/$(touch x)/back\\slash/ümläut/-dash'


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    authority = Authority()
    return authority.issue("mail.example.test"), authority.issue("mail.example.test")


def run(container: Container, command: str) -> str:
    code, output = container.exec_run(["sh", "-ec", command], user="0")
    assert code == 0, output
    return str(output.decode().strip())


@pytest.mark.parametrize("destination", ["{folder}/there/cert.pem", "../{name}/there/cert.pem"], ids=["absolute", "relative"])
async def test_a_link_stays_and_its_destination_is_replaced(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair], destination: str
) -> None:
    link = destination.format(folder=folder, name=folder[1:])
    run(idle, f"mkdir -p {folder}/there; echo old >{folder}/there/cert.pem; ln -s {link} {folder}/cert.pem")
    delivery = Delivery(engine, idle, folder)

    receipt = await delivery.bring(pairs[0])
    assert delivery.look() == files_of(pairs[0])
    assert run(idle, f"readlink {folder}/cert.pem; test ! -h {folder}/there/cert.pem") == link
    await delivery.sink.restore(receipt)
    assert delivery.look() == (seen(b"old\n", 0o644), None)
    assert run(idle, f"readlink {folder}/cert.pem") == link
    assert litter(idle, folder) == []


async def test_a_pair_of_links_as_certbot_makes_them_is_followed_to_another_volume(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container(volumes={lab.volume().name: {"bind": "/archive"}}, read_only=True, tmpfs={"/live": ""})
    run(container, "cd /archive; echo old >fullchain1.pem; echo old >privkey1.pem; chmod 600 privkey1.pem")
    run(container, "ln -s ../archive/fullchain1.pem /live/cert.pem; ln -s ../archive/privkey1.pem /live/key.pem")
    delivery = Delivery(engine, container, "/live")

    await delivery.bring(pairs[0])
    assert tuple(look(container, "/archive/fullchain1.pem", "/archive/privkey1.pem")) == files_of(pairs[0])
    assert run(container, "find /live -type l | sort") == "/live/cert.pem\n/live/key.pem"


@pytest.mark.parametrize("directory", ["there", "missing/below"])
async def test_a_dangling_link_gets_its_destination(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair], directory: str
) -> None:
    run(idle, f"mkdir -p {folder}/there; ln -s {directory}/key.pem {folder}/key.pem")
    delivery = Delivery(engine, idle, folder)

    assert (await delivery.observe()).files == dict.fromkeys(delivery.place.paths)
    receipt = await delivery.bring(pairs[0])
    assert delivery.look() == files_of(pairs[0])
    assert run(idle, f"readlink {folder}/key.pem; test ! -h {folder}/{directory}/key.pem") == f"{directory}/key.pem"
    await delivery.sink.restore(receipt)
    assert delivery.look() == (None, None)
    assert run(idle, f"readlink {folder}/key.pem") == f"{directory}/key.pem"


async def test_links_that_lead_in_a_circle_are_refused(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]
) -> None:
    run(idle, f"mkdir {folder}; ln -s key.pem {folder}/other; ln -s other {folder}/key.pem")

    with pytest.raises(WriteRefused, match="key.pem"):
        await Delivery(engine, idle, folder).bring(pairs[0])
    assert run(idle, f"ls -A {folder}") == "key.pem\nother"


async def test_a_linked_directory_leads_to_its_volume(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    container = lab.container(volumes={lab.volume().name: {"bind": "/data"}}, tmpfs={"/run/tls": ""})
    run(container, "mkdir -p /data/tls; ln -s data/tls /tls; ln -s /run/tls /quick")

    for folder, real in (("/tls", "/data/tls"), ("/quick", "/run/tls")):
        delivery = Delivery(engine, container, folder)
        await delivery.bring(pairs[0])
        assert delivery.look() == tuple(look(container, f"{real}/cert.pem", f"{real}/key.pem")) == files_of(pairs[0])


async def test_links_are_followed_in_a_container_that_does_not_run(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    container = lab.container(volumes={lab.volume().name: {"bind": "/data"}})
    run(container, "mkdir -p /data/tls /tls; ln -s data/tls /linked; cd /data/tls; echo old >cert; chmod 604 cert")
    run(container, "ln -s ../data/tls/cert /tls/cert.pem; ln -s /nowhere/key /tls/key.pem")
    container.stop(timeout=0)

    for folder in ("/tls", "/linked"):
        await Delivery(engine, container, folder).bring(pairs[0])
    container.start()
    certificate, key = files_of(pairs[0])
    kept = seen(certificate.content, 0o604)
    assert look(container, "/tls/cert.pem", "/data/tls/cert", "/tls/key.pem", "/nowhere/key") == [kept, kept, key, key]
    assert look(container, "/data/tls/cert.pem", "/data/tls/key.pem") == [certificate, key]
    assert run(container, "readlink /tls/cert.pem /tls/key.pem /linked") == "../data/tls/cert\n/nowhere/key\ndata/tls"


async def test_a_link_into_a_read_only_mount_is_refused_whether_the_container_runs_or_not(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container(volumes={lab.volume().name: {"bind": "/data", "mode": "ro"}})
    run(container, "mkdir /tls; ln -s ../data/key.pem /tls/key.pem; ln -s /data /linked")

    for _ in range(2):
        for folder in ("/tls", "/linked"):
            with pytest.raises(WriteRefused, match="/data/key.pem is on the read-only mount /data"):
                await Delivery(engine, container, folder).bring(pairs[0])
        container.stop(timeout=0)


async def test_a_link_into_a_tmpfs_is_not_written_beneath_it(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    """The archive API would write to the layer below, where nobody looks, and read it back from there."""
    container = lab.container(NOSHELL_IMAGE, tmpfs={"/ram": ""}, start=False)
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("linked")
        entry.type, entry.linkname = tarfile.SYMTYPE, "ram"
        tar.addfile(entry)
    container.put_archive("/", buffer.getvalue())
    container.start()

    with pytest.raises(WriteRefused, match="/ram/key.pem is on a tmpfs"):
        await Delivery(engine, container, "/linked").bring(pairs[0])


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_a_path_with_blanks_quotes_and_worse_is_taken_literally(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], running: bool
) -> None:
    container = lab.container()
    place = Place(Slot(), PurePosixPath(ODD, "-ce rt;.pem"), PurePosixPath(ODD, "kéy'.pem"))
    delivery = Delivery(engine, container, place)
    for pair in pairs if running else pairs[:1]:
        if not running:
            container.stop(timeout=0)
        receipt = await delivery.bring(pair)
        observed = await delivery.observe()
        assert {path: file.content for path, file in observed.files.items() if file} == place.contents(pair.certificate)
        container.start()
        assert delivery.look() == files_of(pair)
    if running:
        await delivery.sink.restore(receipt)
        assert delivery.look() == files_of(pairs[0])
    assert litter(container) == []
    assert look(container, "/x", f"{ODD}/x") == [None, None]


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_directories_that_are_missing_are_made_for_the_owner_of_the_one_above(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], running: bool
) -> None:
    container = lab.container()
    run(container, "mkdir -m 750 /data; chown 101:102 /data")
    if not running:
        container.stop(timeout=0)
    delivery = Delivery(engine, container, "/data/tls/mail")

    await delivery.bring(pairs[0])
    container.start()
    assert delivery.look() == files_of(pairs[0], owner="101:102")
    assert run(container, "stat -c '%a %u:%g' /data /data/tls /data/tls/mail") == "750 101:102\n755 101:102\n755 101:102"


async def test_a_file_where_a_directory_is_needed_is_named(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]
) -> None:
    run(idle, f"echo file >{folder}")

    with pytest.raises(WriteRefused, match=f"{folder}.*Not a directory|{folder}.*File exists|{folder} is no directory"):
        await Delivery(engine, idle, folder).bring(pairs[0])
    assert run(idle, f"cat {folder}") == "file"


async def test_a_file_where_a_directory_is_needed_is_named_for_a_stopped_container_too(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container()
    run(container, "echo file >/tls")
    container.stop(timeout=0)

    with pytest.raises(WriteRefused, match="/tls is no directory"):
        await Delivery(engine, container).bring(pairs[0])
    assert look_from_outside(container, "/tls") == [seen(b"file\n", 0o644)]


async def test_chain_and_combined_file_are_written_with_the_others(
    engine: Engine, idle: Container, folder: str, pairs: tuple[Pair, Pair]
) -> None:
    names = ("cert.pem", "key.pem", "chain.pem", "all.pem")
    certificate_path, key_path, chain_path, combined_path = (PurePosixPath(folder, name) for name in names)
    place = Place(Slot(), certificate_path, key_path, chain_path, combined_path)
    delivery = Delivery(engine, idle, place)

    for pair in pairs:
        await delivery.bring(pair)
        expected = pair.certificate
        assert look(idle, *(f"{folder}/{name}" for name in names)) == [
            seen(expected.leaf_pem, 0o644),
            seen(expected.key_pem, 0o600),
            seen(expected.chain_pem, 0o644),
            seen(expected.combined_pem, 0o600),
        ]
