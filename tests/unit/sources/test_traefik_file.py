"""The source of one acme.json: normal states, bad files, what is kept from one load to the next."""

import asyncio
import base64
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.domain.finding import Reason
from controller.domain.snapshot import Snapshot
from sources import pairs
from sources.layout import FileOptions
from sources.local import LocalStorage
from sources.stored import StoredSource
from sources.traefik_file import TRAEFIK
from tests import certs
from tests.unit.sources import recorded


def traefik_file(name: str, path: Path, options: FileOptions | None = None) -> StoredSource:
    options = options or FileOptions()
    return StoredSource(name, TRAEFIK, LocalStorage(path, TRAEFIK, options), options)


@pytest.fixture(scope="module")
def pair() -> certs.Pair:
    return certs.Authority().issue("mail.example.test")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acme.json"


@pytest.fixture
def source(path) -> StoredSource:
    return traefik_file("edge", path, FileOptions(quiet=0.02))


async def test_all_recorded_stages_are_loaded_one_after_the_other_from_the_same_path(source, path):
    shutil.copy(recorded.DATA / "traefik-v3/00-created-empty.json", path)
    assert await source.load() == Snapshot("edge")
    for name, expected in recorded.NAMES.items():
        shutil.copy(recorded.DATA / name, path)
        snapshot = await source.load()
        assert (snapshot.source, snapshot.problems) == ("edge", ())
        assert recorded.labels_and_names(snapshot.entries) == expected


async def test_an_old_certificate_that_traefik_never_removes_stands_beside_the_new_one(source, path):
    shutil.copy(recorded.DATA / "traefik-v3/07-domain-lists-fewer-names-than-certificate.json", path)
    assert len((await source.load()).by_name["mail.example.test"]) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n\t"])
async def test_an_empty_file_is_normal_as_long_as_nothing_was_read_from_it(source, path, content):
    path.write_bytes(content)
    assert await source.load() == Snapshot("edge")
    assert await source.load() == Snapshot("edge")


async def test_a_file_that_became_empty_is_to_be_read_again_and_the_next_good_one_counts(source, path, pair):
    path.write_bytes(certs.acme_json(pair))
    before = await source.load()
    path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(SourceMalformed) as caught:
            await source.load()
        assert str(caught.value) == f"{path} is empty, and was not before; if it stays so, restore it from a backup"
    path.write_bytes(certs.acme_json(pair))
    assert await source.load() == before


async def test_a_store_whose_account_has_no_certificate_counts_as_content(source, path):
    path.write_text('{"le": {"Account": {}, "Certificates": null}}')
    assert await source.load() == Snapshot("edge")
    path.write_bytes(b"")
    with pytest.raises(SourceMalformed):
        await source.load()


@pytest.mark.parametrize("content", [b'{"le": {', b"\x1f\x8b\0\0", b"[" * 100_000, b"null garbage", b"[1]"])
async def test_a_file_that_does_not_parse_is_malformed_and_costs_nothing_of_what_is_known(
    source, path, pair, content, monkeypatch
):
    path.write_bytes(certs.acme_json(pair))
    before = await source.load()
    path.write_bytes(content)
    with pytest.raises(SourceMalformed, match=r"acme\.json "):
        await source.load()
    path.write_bytes(certs.acme_json(pair))
    monkeypatch.delattr(pairs, "parse_certificate")
    assert await source.load() == before


async def test_a_missing_file_and_a_large_file_are_unavailable(path, pair):
    source = traefik_file("edge", path, FileOptions.model_validate({"max-size": "1kB"}))
    with pytest.raises(SourceUnavailable, match="does not exist"):
        await source.load()
    path.write_bytes(certs.acme_json(pair))
    with pytest.raises(SourceUnavailable, match="is larger than"):
        await source.load()


async def test_a_bad_entry_is_a_problem_and_the_others_are_used(source, path, pair):
    bad = certs.Pair(pair.chain, certs.key_pem(certs.new_key()))
    path.write_bytes(certs.acme_json(pair, pair).replace(base64.b64encode(pair.key), base64.b64encode(bad.key), 1))
    snapshot = await source.load()
    assert len(snapshot.entries) == 1
    assert [(p.label, p.reason) for p in snapshot.problems] == [("le/mail.example.test", Reason.KEY_MISMATCH)]
    assert snapshot.problems[0].message == (
        "the private key belongs to another certificate;"
        " if its name is still needed, see the log of Traefik, which tries to order it anew at each start and once a day"
    )


async def test_the_old_file_behind_the_mount_of_a_single_file_is_used_and_reported(path, pair):
    path.write_bytes(certs.acme_json(pair))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        mounted = Path(f"/proc/self/fd/{descriptor}")  # leads to the inode as such a mount does
        path.unlink()
        snapshot = await traefik_file("edge", mounted).load()
    finally:
        os.close(descriptor)
    assert len(snapshot.entries) == 1
    assert [(p.label, p.reason, p.message) for p in snapshot.problems] == [
        (
            str(mounted),
            Reason.SOURCE_UNAVAILABLE,
            "it was replaced on the host and this is the old one; mount its directory, then recreate certferry's container",
        )
    ]


@pytest.mark.parametrize("options", [FileOptions(quiet=0.02), FileOptions(poll=0.02)], ids=["inotify", "poll"])
async def test_a_change_gives_a_hint_after_which_the_new_state_is_loaded(path, pair, options):
    source = traefik_file("edge", path, options)
    path.write_bytes(b"")
    async with source.subscribe() as hints:
        assert (await source.load()).entries == ()
        path.write_bytes(certs.acme_json(pair))
        await asyncio.wait_for(anext(hints), 60)
        assert (await source.load()).entries[0].certificate == pair.certificate


async def test_a_load_that_was_given_up_changes_nothing(source, path, pair):
    path.write_bytes(certs.acme_json(pair))
    task = asyncio.create_task(source.load())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    path.write_bytes(b"")
    await asyncio.sleep(0.05)
    assert await source.load() == Snapshot("edge")


async def test_while_traefik_rewrites_without_rest_a_load_is_right_or_says_that_it_is_not(path):
    """Truncate, write in two parts, as a reader sees it; the recorded file before and after a renewal in turn."""
    versions = [recorded.read(f"traefik-v3/{name}-renewal.json") for name in ("05-before", "06-after")]
    path.write_bytes(versions[0])
    source = traefik_file("edge", path)
    right = []
    for version in versions:
        path.write_bytes(version)
        right.append(await source.load())
    stop = threading.Event()

    def rewrite() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            content = versions[turn % 2]
            with path.open("wb", buffering=0) as file:
                time.sleep(0.0002)
                file.write(content[:12_288])
                time.sleep(0.0001)
                file.write(content[12_288:])
            time.sleep(0.0005 * (turn % 20))  # now and then long enough for a whole load

    writer = threading.Thread(target=rewrite)
    writer.start()
    good = malformed = 0
    try:
        while min(good, malformed) < 100:
            try:
                snapshot = await source.load()
            except SourceMalformed:
                malformed += 1
                continue
            assert snapshot in right
            good += 1
    finally:
        stop.set()
        writer.join(20)
