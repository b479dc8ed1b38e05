"""Stores in other containers: the archive as a tree, and when something is transferred. The engine is one in memory."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from controller.domain.errors import (
    EngineUnavailable,
    SettingsError,
    SourceGone,
    SourceMalformed,
    SourceUnavailable,
    TargetGone,
)
from controller.ports import PathStat
from sources import container, registry
from sources.acme_companion import ACME_COMPANION
from sources.archive import ArchiveTree, unpack
from sources.caddy import CADDY
from sources.certbot import CERTBOT
from sources.container import ContainerStorage
from sources.local import FileCache, LocalTree
from sources.pem_files import PEM
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from sources.synology import SYNOLOGY
from tests.certs import Authority, acme_json
from tests.unit.sources.planted import Reader, plant

LIMIT = 2**20
OLD = 1_700_000_000


@dataclass
class Engine:
    """Serves a directory as the root of one container."""

    root: Path
    container_id: str | None = "c1"
    fault: Exception | None = None
    own: Path | None = None
    asked: list[str] = field(default_factory=list)

    async def find(self, selector: str) -> str | None:
        if self.fault:
            raise self.fault
        return self.container_id

    async def stat(self, container_id: str, path: PurePosixPath) -> PathStat | None:
        file = self._at(path)
        if not file.exists() and not file.is_symlink():
            return None
        status = file.lstat()
        link = str(file.readlink()) if file.is_symlink() else ""
        seconds, rest = divmod(status.st_mtime_ns, 10**9)
        modified = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
        return PathStat(status.st_size, (1 << 31) * (file.is_dir() and not link), modified, link)

    async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes | None:
        self.asked.append(str(path))
        file = self._at(path)
        archive = tar(file) if file.exists() or file.is_symlink() else None
        if archive and len(archive) > limit:
            raise SourceUnavailable(f"{path} holds more than {limit} bytes")
        return archive

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        return self.own

    def _at(self, path: PurePosixPath) -> Path:
        return self.root / str(path).lstrip("/")


def tar(path: Path) -> bytes:
    """As the engine makes it: the last part of the path first, whole seconds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, arcname=path.name)
    return buffer.getvalue()


def hard_links(content: bytes, count: int, *, target: str = "file") -> bytes:
    """An archive of a file and further names of it."""
    archive, file = io.BytesIO(), tarfile.TarInfo("file")
    file.size = len(content)
    with tarfile.open(fileobj=archive, mode="w") as packed:
        packed.addfile(file, io.BytesIO(content))
        for number in range(count):
            name = tarfile.TarInfo(f"name-{number}")
            name.type, name.linkname = tarfile.LNKTYPE, target
            packed.addfile(name)
    return archive.getvalue()


def age(root: Path) -> None:
    """Let all files be old, so that nothing of them is read twice for the sake of coarse time stamps."""
    for path in (root, *root.rglob("*")):
        os.utime(path, (OLD, OLD), follow_symlinks=False)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def storage(engine: Engine, path: str = "/data/acme.json", kind: str = "traefik", **options: object) -> ContainerStorage:
    layout = registry.LAYOUTS[kind]
    return ContainerStorage("proxy", PurePosixPath(path), layout, layout.options.model_validate(options), engine)


def source(storage: ContainerStorage) -> StoredSource:
    return StoredSource("it", storage.layout, storage, storage.options)


@pytest.mark.parametrize(
    ("layout", "tree", "path"),
    [
        (CERTBOT, "certbot-2.1.0/after-renewal", "/etc/letsencrypt"),
        (ACME_COMPANION, "acme-companion/certs-first", "/etc/nginx/certs"),
        (CADDY, "caddy-2.6.2/data", "/data/caddy"),
        (SYNOLOGY, "synology-reconstructed/dsm7-rsa-ecc/1-before/_archive", "/_archive"),
        (PEM, "acme-companion/certs-first", "/certs"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_every_kind_reads_the_same_in_a_container_as_in_a_folder(tmp_path, layout, tree, path):
    planted = plant(tree, tmp_path)
    here = await Reader(layout, planted).load()
    place = tmp_path / "container" / path.lstrip("/")
    place.parent.mkdir(parents=True)
    planted.rename(place)
    there = await source(storage(Engine(tmp_path / "container"), path, layout.kind)).load()
    assert (there.entries, there.problems) == (here.entries, here.problems)
    assert there.entries


class TestTree:
    """An archive in memory answers as a directory does."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "store"
        (root / "folder" / "inside").mkdir(parents=True)
        (root / "file").write_text("content")
        (root / "folder" / "file").write_text("other")
        (root / "huge").write_bytes(b"x" * (LIMIT + 1))
        (root / "empty").mkdir()
        for link, target in {
            "to-file": "file",
            "to-folder": "./folder",
            "folder/up": "../file",
            "folder/far": "../../store/folder/inside",
            "absolute": str(root / "folder"),
            "nowhere": "none",
            "circle": "circle",
            "a": "b",
            "b": "a",
            "through": "to-folder/file",
        }.items():
            (root / link).symlink_to(target)
        return root

    PATHS = (
        "", "file", "folder", "folder/file", "empty", "to-file", "to-folder", "to-folder/file", "folder/up", "folder/far",
        "absolute", "absolute/file", "nowhere", "circle", "a", "through", "none", "none/none", "file/none", "folder/../file",
    )  # fmt: skip

    @pytest.fixture
    def trees(self, root: Path) -> tuple[LocalTree, ArchiveTree]:
        at = PurePosixPath(root)
        nodes = unpack(tar(root), at.parent, limit=LIMIT)
        return (
            LocalTree(root, focus="", cache=FileCache(), limit=LIMIT),
            ArchiveTree("proxy", at, nodes, focus="", limit=LIMIT),
        )

    @pytest.mark.parametrize("path", PATHS)
    def test_links_and_kinds(self, trees, path):
        local, archive = trees
        assert (archive.kind(path), archive.link(path)) == (local.kind(path), local.link(path))

    @pytest.mark.parametrize("path", PATHS)
    def test_names_and_contents(self, trees, path):
        local, archive = trees
        for ask in ("names", "read"):
            assert self.answer(partial(getattr(archive, ask), path)) == self.answer(partial(getattr(local, ask), path))

    def answer(self, ask):
        try:
            return ask()
        except SourceUnavailable:
            return "unavailable"

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("none", "proxy:{root}/none does not exist (yet); correct the path if it never will"),
            ("folder", "proxy:{root}/folder is a directory, not a file; correct the path"),
            ("huge", "proxy:{root}/huge is larger than 1 MiB; correct the path, or raise max-size if it is the right file"),
        ],
    )
    def test_what_cannot_be_read_is_told_with_the_container(self, root, trees, path, message):
        with pytest.raises(SourceUnavailable) as caught:
            trees[1].read(path)
        assert str(caught.value) == message.format(root=root)

    @pytest.mark.parametrize("cut", [100, 700, 1500])
    def test_half_an_archive_is_read_again(self, root, cut):
        with pytest.raises(SourceMalformed, match="cannot be read"):
            unpack(tar(root)[:cut], PurePosixPath("/"), limit=LIMIT)

    def test_an_archive_of_headers_within_headers_is_refused(self):
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
        with pytest.raises(SourceMalformed, match="cannot be read"):
            unpack((header.tobuf() + b"x\0".ljust(512, b"\0")) * 2000, PurePosixPath("/"), limit=LIMIT)

    def test_a_second_name_of_a_file_has_its_content(self, tmp_path):
        root = tmp_path / "store"
        root.mkdir()
        (root / "one").write_text("content")
        (root / "two").hardlink_to(root / "one")
        tree = ArchiveTree("p", PurePosixPath("/store"), unpack(tar(root), PurePosixPath("/"), limit=9), focus="", limit=9)
        assert (tree.read("one"), tree.read("two")) == (b"content", b"content")

    def test_a_thousand_names_of_one_file_are_one_content(self):
        nodes = unpack(hard_links(b"content" * 100, 1000), PurePosixPath("/"), limit=LIMIT)
        assert len({id(node.data) for node in nodes.values()}) == 1

    def test_a_second_name_of_a_file_that_is_too_large_is_too_large_as_well(self):
        nodes = unpack(hard_links(b"content" * 100, 1), PurePosixPath("/"), limit=99)
        tree = ArchiveTree("p", PurePosixPath("/"), nodes, focus="", limit=99)
        with pytest.raises(SourceUnavailable, match="name-0 is larger than"):
            tree.read("name-0")

    def test_holes_that_an_archive_claims_are_not_filled(self):
        headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(LIMIT)}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as packed:
            for number in range(100):
                file = tarfile.TarInfo(f"hole-{number}")
                file.pax_headers = headers
                packed.addfile(file)
        nodes = unpack(archive.getvalue(), PurePosixPath("/"), limit=LIMIT)
        assert {(node.size, node.data) for node in nodes.values()} == {(LIMIT, None)}

    @pytest.mark.parametrize("target", ["nowhere", "name-0", "name-0/below", ""])
    def test_a_second_name_of_what_is_not_there_costs_that_one_only(self, target):
        nodes = unpack(hard_links(b"content", 1, target=target), PurePosixPath("/"), limit=99)
        tree = ArchiveTree("p", PurePosixPath("/"), nodes, focus="", limit=99)
        assert tree.read("file") == b"content"
        with pytest.raises(SourceUnavailable, match="name-0 is"):
            tree.read("name-0")


class TestTransfers:
    @pytest.fixture
    def store(self, engine: Engine) -> Path:
        file = engine.root / "data" / "acme.json"
        file.parent.mkdir()
        file.write_bytes(acme_json(Authority().issue("a.example.test")))
        age(engine.root)
        return file

    async def test_nothing_is_transferred_while_nothing_changes(self, engine, store):
        it = storage(engine)
        for _ in range(5):
            assert len((await source(it).load()).entries) == 1
        assert (it.counts.fetches, engine.asked) == (1, ["/data/acme.json"])
        assert it.counts.looks > 0

    async def test_a_file_rewritten_in_place_is(self, engine, store):
        it = storage(engine)
        reader = source(it)
        await reader.load()
        store.write_bytes(acme_json(*(Authority().issue(f"{n}.example.test") for n in range(2))))
        assert len((await reader.load()).entries) == 2
        assert it.counts.fetches == 2

    async def test_what_changed_just_now_is_read_once_more(self, engine, store):
        """Another change in the same second may leave no trace."""
        store.touch()
        it = storage(engine)
        await source(it).load()
        await source(it).load()
        assert it.counts.fetches == 2

    async def test_another_container_of_the_name_is(self, engine, store):
        it = storage(engine)
        await source(it).load()
        engine.container_id = "c2"
        await source(it).load()
        assert it.counts.fetches == 2

    async def test_a_file_that_comes_is(self, engine):
        (engine.root / "data").mkdir()
        it = storage(engine)
        with pytest.raises(SourceUnavailable, match=r"proxy:/data/acme\.json does not exist \(yet\)"):
            await source(it).load()
        (engine.root / "data" / "acme.json").write_bytes(acme_json(Authority().issue("a.example.test")))
        assert len((await source(it).load()).entries) == 1

    async def test_a_link_out_of_the_store_is_followed(self, engine):
        pair = Authority().issue("a.example.test")
        (engine.root / "etc" / "certs").mkdir(parents=True)
        (engine.root / "mnt").mkdir()
        (engine.root / "mnt" / "real.pem").write_bytes(pair.chain + pair.key)
        (engine.root / "etc" / "certs" / "mail.pem").symlink_to("../../mnt/real.pem")
        (engine.root / "etc" / "certs" / "lost.pem").symlink_to("/nowhere")
        age(engine.root)
        it = storage(engine, "/etc/certs", "pem")
        found = await source(it).load()
        assert [entry.certificate.fingerprint for entry in found.entries] == [pair.certificate.fingerprint]
        newer = Authority().issue("a.example.test")
        (engine.root / "mnt" / "real.pem").write_bytes(newer.chain + newer.key)
        found = await source(it).load()
        assert [entry.certificate.fingerprint for entry in found.entries] == [newer.certificate.fingerprint]

    async def test_an_empty_folder_is_no_missing_one(self, engine):
        with pytest.raises(SourceUnavailable, match="does not exist"):
            await source(storage(engine, "/etc/letsencrypt", "certbot")).load()
        (engine.root / "etc" / "letsencrypt").mkdir(parents=True)
        assert (await source(storage(engine, "/etc/letsencrypt", "certbot")).load()).entries == ()

    async def test_where_the_files_can_be_seen_nothing_is(self, engine, store):
        engine.own = store
        it = storage(engine)
        assert len((await source(it).load()).entries) == 1
        assert it.counts.fetches == 0


class TestTheWrongFolder:
    """What lies there instead is told, and not fetched again and again."""

    @pytest.mark.parametrize(
        ("file", "kind", "said"),
        [
            ("acme.json", "certbot", "holds Traefik's acme.json; use docker://proxy/data/acme.json?kind=traefik"),
            ("acme/acme.json", "certbot", "holds Traefik's acme.json; use docker://proxy/data/acme/acme.json?kind=traefik"),
            ("x/.companion", "caddy", "is the folder of acme-companion; use docker://proxy/data?kind=acme-companion"),
        ],
    )
    async def test_is_told_with_the_right_url(self, engine, file, kind, said):
        path = engine.root / "data" / file
        path.parent.mkdir(parents=True)
        path.write_bytes(acme_json(Authority().issue("mail.example.test")))
        age(engine.root)
        it = source(storage(engine, "/data", kind))
        for _ in range(3):
            with pytest.raises(SourceUnavailable) as caught:
                await it.load()
            assert str(caught.value) == f"proxy:/data {said}"
        assert engine.asked.count("/data") == 1

    async def test_that_is_large_is_not_transferred_whole(self, engine, monkeypatch):
        monkeypatch.setattr(container, "INSTEAD", 0)
        (engine.root / "data").mkdir()
        (engine.root / "data/acme.json").write_bytes(acme_json(Authority().issue("mail.example.test")))
        assert (await source(storage(engine, "/data", "certbot")).load()).entries == ()


class TestHints:
    @pytest.fixture(autouse=True)
    def _no_long_pauses(self, monkeypatch):
        """After a look that took half a second, on a busy machine, there would else be one of half a minute."""
        monkeypatch.setattr(container, "SHARE", 1)

    async def hint(self, it: ContainerStorage, change) -> None:
        """Wait for the hint that a change gives."""
        async with it.subscribe() as hints:
            hint = asyncio.ensure_future(anext(hints))
            assert not (await asyncio.wait({hint}, timeout=0.3))[0]
            change()
            assert (await asyncio.wait({hint}, timeout=60))[0]

    @pytest.fixture
    def store(self, engine: Engine) -> Path:
        file = engine.root / "data" / "acme.json"
        file.parent.mkdir()
        file.write_bytes(acme_json(Authority().issue("a.example.test")))
        age(engine.root)
        return file

    async def test_come_from_looking(self, engine, store):
        it = storage(engine, poll="50ms")
        await source(it).load()
        await self.hint(it, lambda: store.write_bytes(b""))

    async def test_come_when_the_container_is_another_one_or_gone(self, engine, store):
        for container_id in ("c2", None):
            it = storage(engine, poll="50ms")
            await source(it).load()
            await self.hint(it, partial(setattr, engine, "container_id", container_id))
            engine.container_id = "c1"

    async def test_come_from_the_kernel_where_the_files_can_be_seen(self, engine, store):
        engine.own = store
        it = storage(engine, poll="1h")
        await source(it).load()
        await self.hint(it, lambda: store.write_bytes(b""))

    async def test_come_from_the_kernel_once_the_files_can_be_seen(self, engine, store):
        """As with a volume in which the proxy makes its store later."""
        it = storage(engine, poll="50ms")
        await source(it).load()
        async with it.subscribe() as hints:
            engine.own = store
            await asyncio.wait_for(anext(hints), 60)
            await source(it).load()
            hint = asyncio.ensure_future(anext(hints))
            assert not (await asyncio.wait({hint}, timeout=0.3))[0]
            store.write_bytes(b"")
            assert (await asyncio.wait({hint}, timeout=60))[0]

    async def test_come_as_long_as_nothing_was_read(self, engine):
        it = storage(engine, poll="50ms")
        async with it.subscribe() as hints, asyncio.timeout(60):
            await anext(hints)

    @pytest.mark.parametrize("when", ["entering", "waiting"])
    async def test_leave_no_task_behind_when_their_subscriber_is_cancelled(self, engine, store, when):
        engine.own = store
        it = storage(engine, poll="50ms")
        before = asyncio.all_tasks()

        async def subscribe() -> None:
            async with it.subscribe() as hints:
                async for _ in hints:
                    pass

        for turns in range(30) if when == "entering" else (0,):
            task = asyncio.create_task(subscribe())
            for _ in range(turns):
                await asyncio.sleep(0)
            if when == "waiting":
                await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.wait({task}, timeout=30)
            assert task.cancelled()
            assert asyncio.all_tasks() == before, turns


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (EngineUnavailable("Docker does not answer"), "Docker does not answer"),
        (TargetGone("gone"), "the container proxy is just going; another one is waited for"),
        (None, r"there is no container proxy \(yet\); start it, or correct the name"),
    ],
)
async def test_what_is_wrong_with_the_container_is_what_is_wrong_with_the_source(engine, fault, message):
    engine.fault, engine.container_id = fault, None
    with pytest.raises(SourceUnavailable, match=message) as caught:
        await source(storage(engine)).load()
    assert isinstance(caught.value, SourceGone) is (fault is None)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("docker://proxy/letsencrypt/acme.json", "traefik"),
        ("docker://proxy/etc/nginx/certs/", "acme-companion"),
        ("docker://proxy/etc/letsencrypt", "certbot"),
        ("docker://proxy/data/caddy", "caddy"),
        ("docker://proxy/certs?kind=pem&poll=1m", "pem"),
        ("docker://com.example.role=proxy/data/caddy", "caddy"),
    ],
)
def test_the_kind_is_told_by_the_path_or_by_an_option(engine, url, kind):
    made = registry.create(url, Surroundings(containers=engine))
    assert isinstance(made, StoredSource)
    assert (made.name, made.layout.kind) == ("docker", kind)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("docker:///data/caddy", "names no container; write docker://<name>/path, or docker://<label>=<value>/path"),
        ("docker://proxy", "names no path in the container; write one such as docker://traefik/traefik/acme.json"),
        ("docker://proxy/a/../b?kind=pem", "names no path in the container"),
        ("docker://proxy/certs", "add ?kind= with one of acme-companion, boltdb, caddy, certbot, pem, synology, traefik"),
        ("docker://proxy/certs?kind=cady", "unknown kind cady; did you mean caddy?"),
        ("docker://proxy/certs?kind=pem&pol=1s", "unknown option pol; did you mean poll?"),
    ],
)
def test_each_mistake_in_a_url_is_told(engine, url, message):
    with pytest.raises(SettingsError) as caught:
        registry.create(url, Surroundings(containers=engine))
    assert message in str(caught.value)


def test_without_docker_there_is_no_such_source():
    with pytest.raises(SettingsError, match="read through Docker, which is not to be had here"):
        registry.create("docker://proxy/data/caddy", Surroundings())
