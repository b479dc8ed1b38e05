"""Stores inside other containers, read through the real engine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container

from controller.domain.errors import SourceUnavailable, TargetGone
from controller.engine import Engine
from sources.archive import unpack
from sources.container import ContainerStorage
from sources.registry import LAYOUTS
from sources.stored import StoredSource
from tests.certs import Pair, acme_json
from tests.engine.delivery import connected
from tests.engine.images import labelled_image
from tests.lab import PLAIN_IMAGE, Lab, Mail, put_files

STORE = PurePosixPath("/store/acme.json")
FILES = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off", "reload": "none"}
OLD = 1_700_000_000


def proxy(lab: Lab, *pairs: Pair, start: bool = True, **options: Any) -> Container:
    """A container that keeps a store of Traefik's."""
    made = lab.container(PLAIN_IMAGE, start=start, labels={"domain": "proxy.example.test"}, **options)
    if pairs:
        put_files(made, {str(STORE): acme_json(*pairs)}, modified=OLD)
    return made


def storage(
    engine: Engine, selector: str, path: PurePosixPath = STORE, kind: str = "traefik", **options: str
) -> ContainerStorage:
    layout = LAYOUTS[kind]
    return ContainerStorage(selector, path, layout, layout.options.model_validate(options), engine)


def source(held: ContainerStorage) -> StoredSource:
    return StoredSource("it", held.layout, held, held.options)


class TestEngine:
    async def test_a_container_is_found_by_its_name_and_by_nothing_like_it(self, lab: Lab, engine: Engine) -> None:
        name = str(proxy(lab).name)
        assert await engine.find(name) == lab.docker.containers.get(name).id
        assert await engine.find(name[:-1]) is None
        assert await engine.find(f"{name[:-1]}.") is None

    async def test_a_container_is_found_by_its_label_the_running_one_first(self, lab: Lab, engine: Engine) -> None:
        label = {"org.certferry.role": lab.id}
        first, running, stopped = (proxy(lab, start=n == 1, other_labels=label) for n in range(3))
        assert await engine.find(f"org.certferry.role={lab.id}") == running.id
        running.remove(force=True)
        assert await engine.find(f"org.certferry.role={lab.id}") in (first.id, stopped.id)
        assert await engine.find("org.certferry.role=none") is None

    async def test_a_label_of_its_image_finds_no_container(self, lab: Lab, engine: Engine) -> None:
        """An image that is called like the proxy that is meant must not take its place."""
        label = {"org.certferry.role": lab.id}
        with labelled_image(lab, label) as image:
            meant = proxy(lab, start=False, other_labels=label)
            lab.container(image)
            assert await engine.find(f"org.certferry.role={lab.id}") == meant.id

    async def test_a_path_is_looked_at_without_reading_it(self, lab: Lab, engine: Engine) -> None:
        made = proxy(lab)
        put_files(made, {"/store/file": b"12345", "/store/link": "file"}, modified=OLD)
        found = await engine.stat(made.id, PurePosixPath("/store/file"))
        assert found is not None
        assert (found.size, found.is_folder, found.modified) == (5, False, "2023-11-14T22:13:20Z")
        link = await engine.stat(made.id, PurePosixPath("/store/link"))
        assert link is not None
        assert link.link_target.endswith("file")
        folder = await engine.stat(made.id, PurePosixPath("/store"))
        assert folder is not None
        assert folder.is_folder
        assert await engine.stat(made.id, PurePosixPath("/store/none")) is None

    async def test_what_is_asked_of_a_container_that_is_gone_is_told(self, lab: Lab, engine: Engine) -> None:
        made = proxy(lab)
        made.remove(force=True)
        with pytest.raises(TargetGone):
            await engine.stat(made.id, STORE)
        with pytest.raises(TargetGone):
            await engine.get_archive(made.id, STORE, limit=2**20)

    async def test_no_more_is_read_than_is_allowed(self, lab: Lab, engine: Engine) -> None:
        made = proxy(lab)
        put_files(made, {"/store/huge": b"x" * 2**20})
        with pytest.raises(
            SourceUnavailable, match=r"/store/huge holds more than 0\.5 MiB; correct the path, or raise max-size"
        ):
            await engine.get_archive(made.id, PurePosixPath("/store/huge"), limit=2**19)
        assert await engine.get_archive(made.id, PurePosixPath("/store/none"), limit=2**19) is None

    async def test_a_file_of_several_names_comes_once(self, lab: Lab, engine: Engine) -> None:
        made = proxy(lab)
        put_files(made, {"/store/one": b"x" * 2**18})
        assert (
            made.exec_run(["sh", "-c", "mkdir /store/sub; for n in 1 2 3 4 5 6 7 8; do ln /store/one /store/sub/$n; done"])[0]
            == 0
        )
        archive = await engine.get_archive(made.id, PurePosixPath("/store"), limit=2**19)
        assert archive
        nodes = unpack(archive, PurePosixPath("/"), limit=2**19)
        assert {id(node.data) for node in nodes.values() if node.size} == {id(nodes[PurePosixPath("/store/one")].data)}
        assert nodes[PurePosixPath("/store/sub/8")].size == 2**18

    async def test_files_on_a_volume_are_seen_where_the_engine_keeps_them(
        self, lab: Lab, engine: Engine, tmp_path: Path
    ) -> None:
        """These tests run beside the engine, in no container."""
        volume = lab.volume()
        (tmp_path / "host").mkdir()
        mounts = [f"{volume.name}:/store", f"{tmp_path / 'host'}:/bound"]
        made = proxy(lab, lab.issue(), volumes=mounts)
        await engine.connect()
        seen = await engine.own_path(made.id, STORE)
        assert seen is not None
        assert b"Certificates" in seen.read_bytes()
        assert await engine.own_path(made.id, PurePosixPath("/bound")) == tmp_path / "host"
        assert await engine.own_path(made.id, PurePosixPath("/bound/none")) is None
        assert await engine.own_path(made.id, PurePosixPath("/etc/hostname.d")) is None

    async def test_a_path_of_ours_is_known_before_the_connection_was_looked_at(self, lab: Lab, tmp_path: Path) -> None:
        (tmp_path / "host").write_text("x")
        made = lab.container(volumes=[f"{tmp_path / 'host'}:/bound"])
        async with connected() as engine:
            assert await engine.own_path(str(made.id), PurePosixPath("/bound")) == tmp_path / "host"


class TestSource:
    @pytest.mark.parametrize("state", ["running", "stopped", "never started"])
    async def test_a_store_is_read_whatever_the_container_does(self, lab: Lab, engine: Engine, state: str) -> None:
        pair = lab.issue()
        made = proxy(lab, pair, start=state != "never started")
        if state == "stopped":
            made.stop(timeout=0)
        (entry,) = (await source(storage(engine, str(made.name))).load()).entries
        assert entry.certificate == pair.certificate

    async def test_nothing_is_transferred_while_nothing_changes_and_all_of_it_when_something_does(
        self, lab: Lab, engine: Engine
    ) -> None:
        made = proxy(lab, lab.issue())
        held = storage(engine, str(made.name))
        it = source(held)
        for _ in range(4):
            assert len((await it.load()).entries) == 1
        assert held.counts.fetches == 1
        put_files(made, {str(STORE): acme_json(lab.issue(), lab.issue("b.example.test"))}, modified=OLD + 1)
        assert len((await it.load()).entries) == 2
        assert held.counts.fetches == 2

    async def test_links_are_followed_inside_the_container(self, lab: Lab, engine: Engine) -> None:
        pair, name = lab.issue(), "mail.example.test"
        made = proxy(lab)
        put_files(
            made,
            {
                f"/etc/letsencrypt/archive/{name}/fullchain1.pem": pair.chain,
                f"/etc/letsencrypt/archive/{name}/privkey1.pem": pair.key,
                f"/etc/letsencrypt/live/{name}/fullchain.pem": f"../../archive/{name}/fullchain1.pem",
                f"/etc/letsencrypt/live/{name}/privkey.pem": f"../../archive/{name}/privkey1.pem",
            },
        )
        (entry,) = (await source(storage(engine, str(made.name), PurePosixPath("/etc/letsencrypt"), "certbot")).load()).entries
        assert (entry.label, entry.certificate) == (name, pair.certificate)


class TestController:
    """The whole way: from one container into another."""

    @pytest.fixture
    def mail(self, lab: Lab) -> Mail:
        return Mail(lab.container(labels=FILES))

    def test_a_proxy_that_comes_later_renews_and_is_replaced(self, lab: Lab, mail: Mail) -> None:
        name = f"certferry-test-proxy-{lab.id}"
        certferry = lab.controller(sources=f"docker://{name}{STORE}?poll=200ms", retry_min="200ms")
        message = certferry.wait_degraded("SourceUnavailable", source="docker")
        assert message == f"there is no container {name} (yet); start it, or correct the name"

        pairs = [lab.issue() for _ in range(3)]
        made = proxy(lab, pairs[0], name=name)
        certferry.wait_ready(mail.name, pairs[0], seconds=60)
        put_files(made, {str(STORE): acme_json(pairs[1])}, modified=OLD + 1)
        certferry.wait_ready(mail.name, pairs[1], seconds=60)
        made.remove(force=True)
        certferry.wait_degraded("SourceUnavailable", source="docker", seconds=60)
        assert certferry.condition(mail.name)["ready"], "what was delivered stays"
        proxy(lab, pairs[2], name=name)
        certferry.wait_ready(mail.name, pairs[2], seconds=60)

    def test_a_store_that_both_can_see_is_noticed_at_once(self, lab: Lab, mail: Mail) -> None:
        volume = lab.volume()
        first, second = lab.issue(), lab.issue()
        made = proxy(lab, first, volumes=[f"{volume.name}:/store"])
        certferry = lab.controller(sources=f"docker://{made.name}{STORE}?poll=1h")
        certferry.wait_ready(mail.name, first)
        put_files(made, {str(STORE): acme_json(second)})
        certferry.wait_ready(mail.name, second, seconds=60)

    def test_sources_are_shown(self, lab: Lab) -> None:
        made = proxy(lab, lab.issue())
        done = lab.command("sources", sources=f"docker://{made.name}{STORE}?name=edge")
        assert (done.returncode, done.stderr) == (0, "")
        assert "edge  up" in done.stdout
        assert "mail.example.test" in done.stdout
