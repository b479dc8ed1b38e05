"""The source of a BoltDB file of Traefik v1: what it holds, how its URL names it, and that nothing is ever written to it."""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import threading
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import SettingsError, SourceMalformed, SourceUnavailable
from controller.domain.snapshot import Snapshot
from sources import locks, registry
from sources.archive import ArchiveTree, Node
from sources.container import ContainerStorage
from sources.layout import Tree
from sources.local import LocalStorage
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from sources.traefik_kv.boltdb import BOLTDB, BoltOptions
from tests.certs import Pair, certificate_of
from tests.unit.sources import recorded, test_container
from tests.unit.sources.bolt_files import KEY, Builder, account, store
from tests.unit.sources.planted import Reader
from tests.unit.sources.recorded import IMAP, MAIL
from tests.unit.sources.test_locks import LIMIT, is_free
from tests.unit.sources.toy import Followed, authority, followed

RECORDED = "traefik-v1-boltdb/traefik.db"
BOTH = [("imap.example.test", IMAP), ("mail.example.test", MAIL)]
OLD = 1_700_000_000

create = partial(registry.create, surroundings=Surroundings())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traefik.db"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return authority().issue("mail.example.test")


def tree_of(data: bytes) -> Tree:
    path = PurePosixPath("/data/traefik.db")
    return ArchiveTree("it", path.parent, {path: Node(False, len(data), 0, data=data)}, focus=path.name, limit=2**26)


async def complaint(path: Path, **options: object) -> str:
    with pytest.raises((SourceMalformed, SourceUnavailable)) as caught:
        await Reader(BOLTDB, path, **options).load()
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(str(path))


class TestContents:
    @pytest.mark.parametrize(
        "key", ["traefik/acme/account", "/traefik/acme/account", "traefik/acme/account/", "traefik/acme/account/object"]
    )
    async def test_what_traefik_wrote_is_read_however_the_key_is_spelled(self, path, key):
        shutil.copy(recorded.DATA / RECORDED, path)
        snapshot = await Reader(BOLTDB, path, key=key).load()
        assert snapshot.problems == ()
        assert sorted(recorded.labels_and_names(snapshot.entries)) == BOTH
        assert snapshot.entries == (await Reader(BOLTDB, path).load()).entries

    @pytest.mark.parametrize("stored", [KEY, b"/" + KEY])
    @pytest.mark.parametrize("slash", ["", "/"])
    async def test_a_key_that_was_stored_with_a_slash_or_without_is_found_by_both(self, path, pair, stored, slash):
        path.write_bytes(store(account(pair), stored))
        (entry,) = (await Reader(BOLTDB, path, key=f"{slash}traefik/acme/account").load()).entries
        assert entry.certificate == pair.certificate

    async def test_the_key_as_it_was_given_counts_first(self, path, pair):
        other = authority().issue("other.example.test")
        content = {key: bytes(8) + account(one) for key, one in ((KEY, pair), (b"/" + KEY, other))}
        path.write_bytes(Builder().build({b"edge": content}))
        for slash, wanted in (("", pair), ("/", other)):
            (entry,) = (await Reader(BOLTDB, path, bucket="edge", key=f"{slash}traefik/acme/account").load()).entries
            assert entry.certificate == wanted.certificate

    @pytest.mark.parametrize("payload", [account(), b"", b"\x01", gzip.compress(b"null")], ids=["account", "none", "1", "null"])
    async def test_an_account_without_certificates_is_normal(self, path, payload):
        path.write_bytes(store(payload))
        assert await Reader(BOLTDB, path).load() == Snapshot("it")

    async def test_a_file_that_is_just_being_made_is_normal_and_one_that_became_empty_is_not(self, path, pair):
        reader = Reader(BOLTDB, path)
        path.touch()
        assert await reader.load() == Snapshot("it")
        path.write_bytes(store(account(pair)))
        assert len((await reader.load()).entries) == 1
        for empty in (b"", store(b"")):
            path.write_bytes(empty)
            with pytest.raises(SourceMalformed, match="is empty, and was not before"):
                await reader.load()

    async def test_a_file_that_comes_and_changes_is_noticed(self, path, pair):
        async with followed(Reader(BOLTDB, path).source) as it:
            await it.until(lambda: "does not exist" in it.store.sources["it"].message)
            for one in (pair, authority().issue("other.example.test")):
                path.write_bytes(store(account(one)))
                await it.until(lambda one=one: held(it) == {one.certificate.fingerprint})  # type: ignore[misc]


def held(it: Followed) -> set[str]:
    return {entry.certificate.fingerprint for snapshot in it.store.snapshots.values() for entry in snapshot.entries}


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (
                store(b"", b"traefik/acme/other/object"),
                f" has no key {KEY.decode()} in its bucket traefik (yet); name Traefik's acme.storage by the option key",
            ),
            (store(b"", bucket=b"edge"), " has no bucket traefik but edge; name Traefik's by the option bucket"),
            (b'{"x": {}}', " is no BoltDB file; name that of Traefik's [boltdb] section"),
            (
                store(b"x" * 10),
                f", key {KEY.decode()} is neither gzip nor base64 nor JSON; name the key of Traefik's acme.storage",
            ),
            (
                Builder().build({b"traefik": {KEY: b"1234567"}}),
                f", key {KEY.decode()} is shorter than the counter before each value of Traefik's; name another key",
            ),
            (
                store(account())[:9000],
                " is damaged: it ends before page 4; if it stays so, restore it from a backup",
            ),
        ],
        ids=["key", "bucket", "no bolt", "value", "counter", "cut"],
    )
    async def test_each_is_told_with_the_remedy(self, path, data, message):
        path.write_bytes(data)
        assert await complaint(path) == message

    async def test_names_are_told_on_one_line(self, path):
        path.write_bytes(store(b""))
        assert "no key a?b/object" in await complaint(path, key="a\nb")
        assert "no bucket a?b" in await complaint(path, bucket="a\nb")

    async def test_a_huge_file_and_a_value_that_unpacks_to_one(self, path):
        path.write_bytes(store(gzip.compress(bytes(2**21))))
        assert "is larger than" in await complaint(path, max_size=100)
        assert "unpacks to more than 1 MiB" in await complaint(path, max_size=2**20)

    @given(st.data())
    def test_whatever_bytes_are_wrong_no_other_certificate_is_read(self, data: st.DataObject) -> None:
        changed = bytearray(recorded.read(RECORDED))
        whole = BOLTDB.read(tree_of(bytes(changed)), BoltOptions())
        page = st.sampled_from([0, 1, 3, 4, 5, 6, 8, 9, 12, 15, 16, 17])
        for number in data.draw(st.lists(page, min_size=1, max_size=3)):
            at = number * 4096 + data.draw(st.integers(0, 700) | st.integers(0, 4095))
            changed[at] = data.draw(st.integers(0, 255))
        cut = data.draw(st.just(len(changed)) | st.integers(0, len(changed)))
        try:
            contents = BOLTDB.read(tree_of(bytes(changed[:cut])), BoltOptions())
        except (SourceMalformed, SourceUnavailable) as error:
            assert str(error).isprintable()  # noqa: PT017 -- both are right
        else:
            assert contents == whole or (contents.blank and not cut)


class TestNothingIsWritten:
    async def test_it_is_opened_for_reading_only_and_stays_as_it_is(self, path, monkeypatch):
        shutil.copy(recorded.DATA / RECORDED, path)
        os.utime(path, (OLD, OLD))
        before, content, opened = path.stat(), path.read_bytes(), []
        plain = os.open

        def watched(file, flags, *arguments, **more):
            opened.append((str(file), flags))
            return plain(file, flags, *arguments, **more)

        monkeypatch.setattr(os, "open", watched)
        await Reader(BOLTDB, path).load()
        monkeypatch.undo()
        (flags,) = [flags for file, flags in opened if file == str(path)]
        assert flags & os.O_ACCMODE == os.O_RDONLY
        assert not flags & (os.O_CREAT | os.O_TRUNC)
        after = path.stat()
        assert (after.st_mtime_ns, after.st_ctime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ctime_ns, before.st_ino)
        assert path.read_bytes() == content
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    async def test_a_file_and_folder_that_may_only_be_read_are_enough(self, open_directory, unprivileged):
        path = open_directory / "traefik.db"
        shutil.copy(recorded.DATA / RECORDED, path)
        path.chmod(0o444)
        open_directory.chmod(0o555)
        with unprivileged():
            assert not os.access(path, os.W_OK, effective_ids=True)
            assert len((await Reader(BOLTDB, path).load()).entries) == 2


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "file", "key"),
        [
            ("/data/traefik.db/traefik/acme/account", "/data/traefik.db", "traefik/acme/account"),
            ("/data/traefik.db//traefik/acme/account", "/data/traefik.db", "/traefik/acme/account"),
            ("/data/traefik.db", "/data/traefik.db", "traefik/acme/account"),
            ("/data/traefik.db/", "/data/traefik.db", "traefik/acme/account"),
            ("/my.bolt/a", "/my.bolt", "a"),
            ("/a/my.boltdb/b/c.db", "/a/my.boltdb", "b/c.db"),
            ("/a/.db/b", "/a/.db", "b"),
            ("/a/x.dbx/y", "/a/x.dbx/y", "traefik/acme/account"),
            ("/data/store", "/data/store", "traefik/acme/account"),
            ("/data/store?key=a/b", "/data/store", "a/b"),
            ("/old.db/store?key=a", "/old.db/store", "a"),
            ("/old.db/my.db?key=/a", "/old.db/my.db", "/a"),
            ("/my%20files/x.db/%C3%B6", "/my files/x.db", "ö"),
        ],
    )
    def test_file_and_key_are_told_apart(self, url, file, key):
        source = create(f"boltdb://{url}")
        assert isinstance(source, StoredSource)
        assert isinstance(source.storage, LocalStorage)
        assert isinstance(source.options, BoltOptions)
        assert (str(source.storage.path), source.options.key, source.options.bucket) == (file, key, "traefik")
        assert source.storage.cache.locked

    def test_all_options_are_taken(self):
        source = create("boltdb:///x.db/k?bucket=edge&poll=30s&quiet=1s&max-size=1MiB&name=old")
        assert isinstance(source, StoredSource)
        assert source.options == BoltOptions(bucket="edge", key="k", poll=30, quiet=1, max_size=2**20)
        assert source.name == "old"

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("boltdb:///data/", "boltdb:///data/ names a directory; did you mean boltdb:///data/traefik.db?"),
            ("boltdb:///data/?key=a", "boltdb:///data/ names a directory; did you mean boltdb:///data/traefik.db?"),
            ("boltdb:///", "boltdb:/// names no path; write one such as traefik:///traefik/acme.json"),
            (
                "boltdb://data/x.db/k",
                "boltdb://data/x.db: 'data' stands where a host name belongs; did you mean boltdb:///data/x.db?",
            ),
            ("boltdb:///a/../x.db", "boltdb:///a/../x.db leads upwards with '..' or holds a NUL; write the plain path"),
            ("boltdb:///x.db?bukket=a", "boltdb:///x.db: unknown option bukket; did you mean bucket?"),
            ("boltdb:///x.db?bucket=", "boltdb:///x.db: option bucket: expected something that is not empty"),
            ("boltdb:///x?key=", "boltdb:///x: option key: expected something that is not empty"),
        ],
    )
    def test_each_mistake_is_told(self, url, message):
        with pytest.raises(SettingsError) as caught:
            create(url)
        assert str(caught.value) == message

    @given(st.text(st.characters(codec="utf-8"), max_size=20))
    def test_any_path_is_taken_or_a_mistake_is_told(self, text: str) -> None:
        try:
            create(f"boltdb:///{quote(text)}")
        except SettingsError as error:
            assert "\n" not in str(error) or "\n" in text  # noqa: PT017 -- both are right


class TestInAContainer:
    async def test_it_is_read_through_docker(self, tmp_path):
        shutil.copy(recorded.DATA / RECORDED, tmp_path / "old.db")
        engine = test_container.Engine(tmp_path)
        url = "docker://traefik/old.db?kind=boltdb&key=/traefik/acme/account&bucket=traefik"
        source = registry.create(url, Surroundings(containers=engine))
        assert isinstance(source, StoredSource)
        assert isinstance(source.storage, ContainerStorage)
        assert sorted(recorded.labels_and_names((await source.load()).entries)) == BOTH
        with pytest.raises(SourceUnavailable, match="^traefik:/old.db has no key none/object in its bucket traefik"):
            await registry.create("docker://traefik/old.db?kind=boltdb&key=none", Surroundings(containers=engine)).load()


class TestLock:
    async def test_a_writer_at_work_is_waited_for(self, path, pair, monkeypatch):
        """It has written half when the reading begins, and lets go of its lock when all is there."""
        monkeypatch.setattr(locks, "PATIENCE", LIMIT)
        whole = store(account(pair))
        path.write_bytes(whole[:8192])
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

            def finish() -> None:
                path.write_bytes(whole)
                fcntl.flock(file, fcntl.LOCK_UN)

            timer = threading.Timer(0.2, finish)
            timer.start()
            (entry,) = (await Reader(BOLTDB, path).load()).entries
            timer.join(20)
        assert entry.certificate == pair.certificate

    async def test_nothing_is_locked_between_two_readings(self, path, pair):
        path.write_bytes(store(account(pair)))
        reader = Reader(BOLTDB, path)
        async with reader.source.subscribe():
            await reader.load()
            assert is_free(path)


def test_the_leaves_are_those_of_the_acme_json_that_was_imported():
    """Traefik's ``storeconfig`` made the file of it."""
    contents = BOLTDB.read(tree_of(recorded.read(RECORDED)), BoltOptions())
    found = {certificate_of(raw.certificate_pem, raw.key_pem).fingerprint for raw in contents.pairs}
    imported = registry.LAYOUTS["traefik"].read(tree_of(recorded.read("traefik-v1-file/04-after-renewal.json")), BoltOptions())
    assert found == {certificate_of(raw.certificate_pem, raw.key_pem).fingerprint for raw in imported.pairs}
