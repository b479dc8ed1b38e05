"""Stores of proxies become sources: containers come, go and change, and an engine that tells of them."""

from __future__ import annotations

import asyncio
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.adoption import Adopted, Configured, Seen, choose
from controller.domain.container import Container, Mount, State
from controller.domain.errors import EngineUnavailable, SettingsError, SourceUnavailable, TargetGone
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict
from controller.domain.snapshot import Snapshot
from controller.proxies import AT_A_TIME, LARGEST_CONFIG, SMALL, Change, FilesOfProxies, Proxies
from controller.store import Store
from sources.recognise import recognise
from tests.unit.made import certificate, snapshot

ACME = "--certificatesresolvers.le.acme.storage=/letsencrypt/acme.json"
CERTS = "/etc/nginx/certs"


def proxy(name: str, image: str, *command: str, volumes: dict[str, str] | None = None, **changes: Any) -> Container:
    """A container; its id is made of its name, so that another generation needs one of its own. Its command is its own."""
    mounts = tuple(Mount("volume", volume, PurePosixPath(at), True) for at, volume in (volumes or {}).items())
    made = Container(f"{name}-1", name, image, State.RUNNING, command=command, own_command=command, mounts=mounts)
    return replace(made, **changes)


def traefik(name: str = "edge", *, volume: str = "le", storage: str = ACME, **changes: Any) -> Container:
    return proxy(name, "traefik:v3", "traefik", storage, volumes={"/letsencrypt": volume}, **changes)


class Docker:
    """The part of an engine that proxies are looked for with."""

    def __init__(self, *containers: Container) -> None:
        self.there = {container.id: container for container in containers}
        self.files: dict[str, bytes | Exception | str] = {}
        """Content by path; a string is a symbolic link."""
        self.faults: dict[str, Exception] = {}
        self.own: dict[str, Path] = {}
        self.asked: list[str] = []
        self.at_a_time = self.most = 0

    async def labels(self) -> dict[str, dict[str, str]]:
        if "list" in self.faults:
            raise self.faults["list"]
        return {container.id: container.labels for container in self.there.values()}

    async def inspect(self, container_id: str) -> Container | None:
        self.asked.append(container_id)
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        try:
            await asyncio.sleep(0)
            if container_id in self.faults:
                raise self.faults[container_id]
            return self.there.get(container_id)
        finally:
            self.at_a_time -= 1

    async def get_file(self, container_id: str, path: PurePosixPath) -> tuple[tarfile.TarInfo, bytes] | None:
        self.asked.append(f"{container_id}:{path}")
        content = self.files.get(str(path))
        if isinstance(content, Exception):
            raise content
        if content is None:
            return None
        info = tarfile.TarInfo(path.name)
        if isinstance(content, str):
            info.type, info.linkname = tarfile.SYMTYPE, content
            return info, b""
        info.size = len(content)
        return info, content

    async def own_path(self, container_id: str, path: PurePosixPath) -> Path | None:
        return self.own.get(f"{container_id}:{path}")


class Made:
    """A source that was made of a URL."""

    def __init__(self, url: str, name: str) -> None:
        if "refused" in url:
            raise SettingsError("unknown kind of source")
        self.url, self.name = url, name

    async def load(self) -> Snapshot:
        raise SourceUnavailable(self.url)


class House:
    def __init__(
        self,
        *containers: Container,
        configured: tuple[Configured, ...] = (),
        own_id: str | None = None,
        prefix: str = "certferry.",
    ) -> None:
        self.docker, self.store = Docker(*containers), Store()
        self.proxies = Proxies(
            self.docker,  # type: ignore[arg-type]
            self.store,
            recognise=recognise,
            create=Made,  # type: ignore[arg-type]
            configured=configured,
            prefix=prefix,
            own_id=own_id,
        )

    async def look(self, *ids: str) -> list[str]:
        """The new sources, as ``name url``."""
        return followed(await self.proxies.look(ids or None))

    def put(self, *containers: Container) -> None:
        self.docker.there = {container.id: container for container in containers}

    def loaded(self, name: str) -> None:
        self.store.snapshots[name] = snapshot(certificate(), source=name)


def followed(change: Change) -> list[str]:
    return [f"{source.name} {source.url}" for source in change.follow]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


EDGE = "edge docker://edge/letsencrypt/acme.json?kind=traefik"


class TestAFoundStore:
    async def test_becomes_a_source_with_the_name_of_the_container(self, logged):
        house = House(traefik(), proxy("cache", "redis:7"))
        assert await house.look() == [EDGE]
        assert house.store.found == {
            "edge": "Traefik, by its arguments: the resolver le; /letsencrypt/acme.json in the container edge"
        }
        assert house.store.left == {}
        assert [(line["event"], line["log_level"], line["container"]) for line in logged] == [("proxy.found", "info", "edge")]

    async def test_is_found_once(self, logged):
        house = House(traefik())
        await house.look()
        assert await house.look() == await house.look("edge-1") == []
        assert [line["event"] for line in logged] == ["proxy.found"]

    async def test_is_found_in_a_container_that_does_not_run(self):
        assert await House(traefik(state=State.EXITED)).look() == [EDGE]

    @pytest.mark.parametrize("state", [State.REMOVING, State.DEAD])
    async def test_is_none_in_one_that_is_about_to_vanish(self, state):
        assert await House(traefik(state=state)).look() == []

    async def test_has_a_name_of_its_own_where_the_container_is_called_like_a_configured_source(self):
        house = House(traefik("edge"), configured=(Configured("edge", PurePosixPath("/certs")),))
        assert await house.look() == ["edge-2 docker://edge/letsencrypt/acme.json?kind=traefik"]

    async def test_each_of_several_in_one_container_is_a_source(self):
        other = "--certificatesresolvers.b.acme.storage=/b c.json"
        found = await House(proxy("edge", "traefik", ACME, other)).look()
        assert found == [EDGE, "edge-2 docker://edge/b%20c.json?kind=traefik"]

    async def test_that_cannot_become_a_source_is_left_and_told(self):
        house = House(proxy("edge", "traefik", "--certificatesresolvers.le.acme.storage=/refused"))
        assert await house.look() == []
        assert house.store.left["edge"].endswith("the resolver le, but unknown kind of source")
        assert house.store.found == {}


class TestAStoreThatIsReadAlready:
    async def test_by_another_container_is_one_source(self):
        companion = proxy("companion", "nginxproxy/acme-companion", volumes={CERTS: "certs"})
        nginx = proxy("nginx", "nginxproxy/nginx-proxy", volumes={"/etc/nginx": "x", CERTS: "certs"})
        house = House(nginx, companion)
        assert await house.look() == ["companion docker://companion/etc/nginx/certs?kind=acme-companion"]
        assert house.store.left["nginx"].endswith("/etc/nginx/certs is already read by the source companion")

    async def test_the_running_one_is_preferred_at_first_and_what_was_chosen_stays(self):
        old = proxy("a-certbot", "certbot/certbot", volumes={"/etc/letsencrypt": "le"}, state=State.EXITED)
        loop = proxy("z-certbot", "certbot/certbot", volumes={"/etc/letsencrypt": "le"})
        house = House(old, loop)
        assert await house.look() == ["z-certbot docker://z-certbot/etc/letsencrypt?kind=certbot"]
        house.put(replace(old, state=State.RUNNING), replace(loop, state=State.EXITED))
        assert await house.look() == []

    async def test_by_the_folder_of_the_host_in_different_depths(self):
        folder = Mount("bind", "/srv/le", PurePosixPath("/letsencrypt"), True)
        file = Mount("bind", "/srv/le/acme.json", PurePosixPath("/acme.json"), True)
        there = proxy("a", "traefik", ACME, mounts=(folder,))
        same = proxy("b", "traefik", ACME.replace("/letsencrypt/", "/"), mounts=(file,))
        house = House(there, same)
        assert [line.split()[0] for line in await house.look()] == ["a"]
        assert "b" in house.store.left

    async def test_by_a_configured_source_that_has_the_same_files_mounted(self):
        house = House(traefik(), configured=(Configured("traefik", PurePosixPath("/traefik/acme.json")),))
        house.docker.own["edge-1:/letsencrypt/acme.json"] = Path("/traefik/acme.json")
        assert await house.look() == []
        assert house.store.left["edge"].endswith("is already read by the source traefik")

    @pytest.mark.parametrize("selector", ["edge", "com.docker.compose.service=proxy"])
    async def test_by_a_configured_source_that_names_the_container(self, selector):
        configured = Configured("mine", PurePosixPath("/letsencrypt/acme.json"), selector)
        house = House(traefik(labels={"com.docker.compose.service": "proxy"}), configured=(configured,))
        assert await house.look() == []
        assert house.store.left["edge"].endswith("is already read by the source mine")

    @pytest.mark.parametrize(
        "configured",
        [Configured("mine", PurePosixPath("/other.json"), "edge"), Configured("mine", PurePosixPath("/letsencrypt/acme.json"))],
    )
    async def test_others_of_the_same_container_or_path_do_not_count(self, configured):
        assert await House(traefik(), configured=(configured,)).look() == [EDGE]


class TestWhatIsLeft:
    @pytest.mark.parametrize("text", ["false", "no", " OFF ", "whatever"])
    async def test_by_its_label(self, text, logged):
        house = House(traefik(labels={"certferry.discover": text}))
        assert await house.look() == []
        assert "its label certferry.discover" in house.store.left["edge"]
        await house.look()
        assert [line["event"] for line in logged] == ["proxy.left"]

    async def test_the_label_of_its_image_does_not_count(self):
        assert await House(traefik(all_labels={"certferry.discover": "false"})).look() == [EDGE]

    async def test_a_label_that_says_yes_is_no_reason(self):
        assert await House(traefik(labels={"certferry.discover": "true"})).look() == [EDGE]

    async def test_a_container_that_wants_a_certificate_itself(self):
        house = House(traefik(labels={"certferry.domain": "mail.example.com"}))
        assert (await house.look(), house.store.left) == ([], {})

    async def test_our_own_container(self):
        ours = proxy("certferry", "certferry", volumes={"/etc/letsencrypt": "le"})
        house = House(ours, own_id=ours.id)
        house.docker.files["/etc/letsencrypt/live"] = b""
        assert (await house.look(), house.docker.asked) == ([], [])

    async def test_nothing_is_told_of_the_label_on_a_container_that_is_no_proxy(self):
        house = House(proxy("cache", "redis", labels={"certferry.discover": "false"}))
        assert (await house.look(), house.store.left) == ([], {})


def imitation(name: str = "edge", image: str = "evil/traefik", **changes: Any) -> Container:
    """A container whose image alone looks like Traefik."""
    return proxy(name, image, "traefik", ACME, volumes={"/letsencrypt": "le"}, **{"own_command": (), **changes})


HINT = "Traefik, by its arguments: the resolver le; /letsencrypt/acme.json: found, not used: put the label {} on it to use it"
UNUSED = HINT.format("certferry.discover=true")


class TestWhatOnlyAnImageLooksLike:
    """An image must not give certificates: the operator has to say so (promise 9)."""

    async def test_is_shown_and_no_source_and_warned_of_once(self, logged):
        house = House(imitation())
        for _ in range(3):
            assert await house.look() == []
        assert (house.store.found, house.store.left, house.store.unused) == ({}, {"edge": UNUSED}, {"edge": UNUSED})
        assert [(line["event"], line["log_level"], line["container"], line["message"]) for line in logged] == [
            ("proxy.unused", "warning", "edge", UNUSED)
        ]

    async def test_is_news_when_it_comes_and_when_it_goes(self):
        house = House(imitation())
        assert [(await house.proxies.look()).unused for _ in range(2)] == [True, False]
        house.put()
        assert [(await house.proxies.look()).unused for _ in range(2)] == [True, False]

    async def test_names_the_label_with_its_own_prefix(self):
        house = House(imitation(), prefix="mail.")
        await house.look()
        assert house.store.unused["edge"] == HINT.format("mail.discover=true")

    @pytest.mark.parametrize("text", ["true", " Yes ", "on"])
    async def test_is_one_with_the_label(self, text):
        house = House(imitation(labels={"certferry.discover": text}))
        assert await house.look() == [EDGE]
        assert (house.store.left, house.store.unused) == ({}, {})

    async def test_is_none_by_a_label_of_its_image(self):
        house = House(imitation(all_labels={"certferry.discover": "true"}))
        assert (await house.look(), list(house.store.unused)) == ([], ["edge"])

    async def test_is_told_another_value_where_its_image_has_the_label_with_this_one(self):
        """Docker does not show whether the operator set it, too."""
        house = House(imitation(all_labels={"certferry.discover": "true"}))
        await house.look()
        remedy = "found, not used: put the label certferry.discover=yes on it to use it"
        told = f"{remedy} (its image has certferry.discover=true, which does not count, nor does the same on the container)"
        assert house.store.unused["edge"].endswith(told)
        house.put(imitation(id="edge-2", labels={"certferry.discover": "yes"}, all_labels={"certferry.discover": "yes"}))
        assert await house.look("edge-1", "edge-2") == [EDGE]
        house = House(imitation(all_labels={"certferry.discover": "yes"}))
        await house.look()
        assert (
            "put the label certferry.discover=true on it to use it (its image has certferry.discover=yes"
            in house.store.unused["edge"]
        )

    async def test_is_left_without_a_word_of_the_label_where_it_opted_out(self):
        house = House(imitation(labels={"certferry.discover": "false"}))
        assert (await house.look(), house.store.unused) == ([], {})
        assert house.store.left == {"edge": "its label certferry.discover=false asks for that"}

    async def test_and_has_nothing_to_use_is_left_as_any_other(self):
        house = House(proxy("edge", "evil/traefik", own_command=()))
        assert (await house.look(), house.store.unused) == ([], {})
        assert "there is no resolver for it" in house.store.left["edge"]

    async def test_gives_way_to_a_real_one_with_the_same_store_whoever_runs(self):
        house = House(imitation("a"), traefik("z", state=State.EXITED))
        assert [line.split()[0] for line in await house.look()] == ["z"]
        assert house.store.left["a"].endswith("is already read by the source z")
        assert house.store.unused == {}

    async def test_with_a_store_beside_one_that_is_read_already_is_told_for_both(self):
        other = "--certificatesresolvers.b.acme.storage=/b.json"
        house = House(proxy("edge", "evil/traefik", ACME, other, own_command=(), volumes={"/letsencrypt": "le"}), traefik("z"))
        await house.look()
        before, after = house.store.left["edge"].split("; Traefik, by its arguments: the resolver b; ")
        assert before.endswith("is already read by the source z")
        assert after == house.store.unused["edge"].partition("; ")[2]

    async def test_however_much_it_is_the_label_can_be_seen(self):
        stores = (f"--certificatesresolvers.r{n}.acme.storage=/{'x' * 1000}{n}.json" for n in range(60))
        house = House(proxy("edge", "evil/traefik", *stores, own_command=()))
        await house.look()
        assert len(house.store.unused["edge"]) < 600
        assert house.store.unused["edge"].endswith("…: found, not used: put the label certferry.discover=true on it to use it")

    async def test_becomes_a_source_when_it_is_recreated_with_the_label(self, logged):
        house = House(imitation())
        await house.look()
        house.put(imitation(id="edge-2", labels={"certferry.discover": "true"}))
        assert await house.look("edge-1", "edge-2") == [EDGE]
        assert [line["event"] for line in logged] == ["proxy.unused", "proxy.found"]

    @pytest.mark.parametrize("files", [{}, {"/etc/letsencrypt/live": None}])
    async def test_the_label_on_what_is_like_no_proxy_is_told(self, files):
        mounts = {"/etc/letsencrypt": "le"} if files else {}
        house = House(proxy("app", "app", volumes=mounts, labels={"certferry.discover": "true"}))
        assert await house.look() == []
        assert house.store.left["app"].startswith(
            "its label certferry.discover asks to use it, but it looks like no known proxy"
        )

    async def test_does_not_take_over_the_source_of_a_proxy_whose_name_it_has(self):
        """Nor is its file read as that source: a source reads the container that was looked at, and no other of its name."""
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        assert house.proxies.id_of("edge") == "edge-1"
        house.put(imitation(id="edge-2"))
        change = await house.proxies.look(["edge-1", "edge-2"])
        assert (change.follow, change.retire) == ((), ("edge",))
        assert house.proxies.id_of("edge") is None

    async def test_a_container_of_the_same_name_that_is_no_proxy_is_not_read_either(self):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put(proxy("edge", "evil/image", id="edge-2"))
        await house.look("edge-1", "edge-2")
        assert (list(house.store.found), house.proxies.id_of("edge")) == (["edge"], None)


class TestFilesOfProxies:
    async def test_are_those_of_the_container_that_was_looked_at_and_no_other_of_its_name(self):
        asked: list[tuple[str, PurePosixPath]] = []

        class Files:
            async def stat(self, container_id: str, path: PurePosixPath) -> None:
                asked.append((container_id, path))

            async def get_archive(self, container_id: str, path: PurePosixPath, *, limit: int) -> bytes:
                return f"{container_id}{path}{limit}".encode()

            async def own_path(self, container_id: str, path: PurePosixPath) -> Path:
                return Path(f"/{container_id}{path}")

        files = FilesOfProxies(Files(), {"edge": "id"}.get)  # type: ignore[arg-type]
        assert [await files.find(name) for name in ("edge", "other")] == ["id", None]
        path = PurePosixPath("/x")
        await files.stat("id", path)
        assert asked == [("id", path)]
        assert await files.get_archive("id", path, limit=9) == b"id/x9"
        assert await files.own_path("id", path) == Path("/id/x")


class TestAConfigurationInTheContainer:
    PLAIN = proxy("edge", "traefik", "traefik")
    AT = "/etc/traefik/traefik.yml"
    YAML = b"certificatesResolvers: {le: {acme: {storage: /letsencrypt/acme.json}}}"

    async def test_is_read(self):
        house = House(self.PLAIN)
        house.docker.files[self.AT] = self.YAML
        assert await house.look() == [EDGE]

    async def test_is_read_through_links(self):
        house = House(self.PLAIN)
        house.docker.files |= {self.AT: "../conf/..data/t.yml", "/etc/conf/..data/t.yml": "/t.yml", "/t.yml": self.YAML}
        assert await house.look() == [EDGE]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"#" * (LARGEST_CONFIG + 1), "too large"),
            ("traefik.yml", "too many links"),
            (EngineUnavailable("Docker could not read it"), "cannot be read: Docker could not read it"),
            (b"a: [", "cannot be parsed"),
        ],
        ids=["large", "loop", "unreadable", "invalid"],
    )
    async def test_that_cannot_be_used_is_told(self, content, reason):
        house = House(self.PLAIN, proxy("other", "nginxproxy/nginx-proxy", volumes={CERTS: "certs"}))
        house.docker.files[self.AT] = content
        assert [line.split()[0] for line in await house.look()] == ["other"]
        assert reason in house.store.left["edge"]

    async def test_of_a_container_that_goes_meanwhile_is_no_matter(self):
        house = House(self.PLAIN)
        house.docker.files[self.AT] = TargetGone("no such container")
        assert (await house.look(), house.store.left) == ([], {})


class TestWhatIsLarge:
    """What anybody may make as long as they like is looked through beside the loop; what is usual, at once."""

    async def test_a_large_configuration_is_parsed_beside_the_loop(self):
        path = "/etc/traefik/traefik.toml"
        assert await self._threads(proxy("edge", "traefik"), {path: b"#" * (SMALL + 1)}) == {"loop", "beside"}
        assert await self._threads(proxy("edge", "traefik"), {path: b"#"}) == {"loop"}

    @pytest.mark.parametrize("field", ["environment", "labels"])
    async def test_settings_of_a_container_without_end_are_looked_through_beside_the_loop(self, field):
        assert await self._threads(proxy("app", "app", **{field: {"A": "x" * SMALL}}), {}) == {"beside"}

    async def test_a_command_without_end_is_looked_through_beside_the_loop(self):
        assert await self._threads(proxy("app", "app", *["x"] * SMALL, "x"), {}) == {"beside"}

    async def _threads(self, container: Container, files: dict[str, bytes]) -> set[str]:
        """Where the recogniser was called."""
        house, loop, met = House(container), threading.get_ident(), set[str]()
        house.docker.files = dict(files)

        def noting(looked_at: Container, read: Files) -> Verdict:
            met.add("loop" if threading.get_ident() == loop else "beside")
            return recognise(looked_at, read)

        house.proxies._recognise = noting
        await house.look()
        return met


class TestAsContainersComeAndGo:
    async def test_a_proxy_that_comes_later_is_found_by_looking_at_it_alone(self):
        house = House(proxy("cache", "redis"))
        assert await house.look() == []
        house.put(*house.docker.there.values(), traefik())
        house.docker.asked.clear()
        assert await house.look("edge-1") == [EDGE]
        assert {asked.partition(":")[0] for asked in house.docker.asked} == {"edge-1"}

    async def test_one_that_is_gone_keeps_its_source_with_what_it_held(self, logged):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put()
        change = await house.proxies.look(["edge-1"])
        assert (followed(change), change.retire, set(change.touched)) == ([], (), {"edge"})
        assert "edge" in house.store.found
        await house.look()
        assert [(line["event"], line["log_level"]) for line in logged[1:]] == [("proxy.gone", "warning")]

    @pytest.mark.parametrize("held", [None, Snapshot("edge")])
    async def test_one_that_is_gone_and_held_nothing_goes_with_its_source(self, held):
        house = House(traefik())
        await house.look()
        if held:
            house.store.snapshots["edge"] = held
        house.put()
        assert (await house.proxies.look()).retire == ("edge",)
        assert house.store.found == {}

    async def test_one_that_is_recreated_is_the_same_source_and_is_woken(self, logged):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put()
        await house.look("edge-1")
        house.put(traefik(id="edge-2"))
        change = await house.proxies.look(["edge-2"])
        assert (followed(change), change.retire, set(change.touched)) == ([], (), {"edge"})
        assert [line["event"] for line in logged] == ["proxy.found", "proxy.gone", "proxy.found"]

    async def test_one_that_is_recreated_in_between_two_looks_is_woken(self):
        house = House(traefik())
        await house.look()
        house.put(traefik(id="edge-2"))
        assert "edge" in (await house.proxies.look(["edge-1", "edge-2"])).touched

    async def test_one_that_is_recreated_with_another_store_keeps_the_name(self):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put(traefik(id="edge-2", volume="new", storage=ACME.replace("acme.json", "new.json")))
        change = await house.proxies.look(["edge-1", "edge-2"])
        assert (followed(change), change.retire) == (["edge docker://edge/letsencrypt/new.json?kind=traefik"], ())

    async def test_one_that_is_recreated_as_compose_does_it_is_never_lost(self):
        """The old one is renamed, the new one is made beside it, the old one is removed."""
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        renamed = traefik(id="edge-1", name="0123_edge")
        house.put(renamed)
        assert await house.look("edge-1") == ["edge docker://0123_edge/letsencrypt/acme.json?kind=traefik"]
        house.put(renamed, traefik(id="edge-2", state=State.CREATED))
        assert await house.look("edge-2") == [EDGE]
        house.put(traefik(id="edge-2"))
        change = await house.proxies.look(["edge-1", "edge-2"])
        assert (followed(change), change.retire, list(house.store.found)) == ([], (), ["edge"])

    async def test_containers_that_run_once_with_ever_other_names_are_one_source(self):
        house = House(proxy("happy_bob", "certbot/certbot", volumes={"/etc/letsencrypt": "le"}))
        await house.look()
        house.loaded("happy_bob")
        for name in ("sad_alice", "mad_carol"):
            house.put()
            await house.look()
            house.put(proxy(name, "certbot/certbot", volumes={"/etc/letsencrypt": "le"}))
            assert await house.look() == [f"happy_bob docker://{name}/etc/letsencrypt?kind=certbot"]
        assert list(house.store.found) == ["happy_bob"]

    async def test_one_that_opts_out_later_is_no_source_any_more(self):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put(traefik(id="edge-2", labels={"certferry.discover": "false"}))
        assert (await house.proxies.look(["edge-1", "edge-2"])).retire == ("edge",)

    @pytest.mark.parametrize("image", ["traefik:v3", "evil/traefik"])
    async def test_one_whose_file_of_settings_cannot_be_read_now_keeps_its_source(self, image):
        labels = {} if image == "traefik:v3" else {"certferry.discover": "true"}
        house = House(proxy("edge", image, "traefik", labels=labels, own_command=()))
        house.docker.files["/etc/traefik/traefik.yml"] = TestAConfigurationInTheContainer.YAML
        assert await house.look() == [EDGE]
        house.loaded("edge")
        house.docker.files["/etc/traefik/traefik.yml"] = EngineUnavailable("busy")
        assert (await house.proxies.look(["edge-1"])).retire == ()

    async def test_one_whose_settings_cannot_be_read_any_more_keeps_its_source(self):
        house = House(traefik())
        await house.look()
        house.loaded("edge")
        house.put(traefik(id="edge-2", storage="--certificatesresolvers.le.acme.storage=${X}"))
        change = await house.proxies.look(["edge-1", "edge-2"])
        assert (change.follow, change.retire, list(house.store.left)) == ((), (), ["edge"])

    async def test_the_source_of_a_container_something_happened_to_is_woken_though_configured(self):
        house = House(traefik(), configured=(Configured("mine", PurePosixPath("/letsencrypt/acme.json"), "edge"),))
        assert (await house.proxies.look(["edge-1"])).touched == {"mine"}


class TestTrouble:
    async def test_two_hundred_containers_are_looked_at_a_few_at_a_time(self):
        house = House(*(proxy(f"c{n}", "redis") for n in range(200)), traefik())
        assert await house.look() == [EDGE]
        assert (house.proxies.looked_at, house.docker.most) == (201, AT_A_TIME)
        assert len(house.docker.asked) <= 204

    @pytest.mark.parametrize("error", [EngineUnavailable("image is gone"), ZeroDivisionError("a bug")])
    async def test_one_container_that_cannot_be_looked_at_hides_no_other(self, error, logged):
        house = House(proxy("bad", "traefik"), traefik())
        house.docker.faults["bad-1"] = error
        assert await house.look() == [EDGE]
        for _ in range(3):
            await house.look()
        assert [line["event"] for line in logged if line["log_level"] == "error"] == (
            ["proxy.crashed"] if isinstance(error, ZeroDivisionError) else []
        )

    async def test_a_container_that_cannot_be_looked_at_now_stays_what_it_was(self):
        house = House(traefik())
        await house.look()
        house.docker.faults["edge-1"] = EngineUnavailable("busy")
        change = await house.proxies.look()
        assert (change.follow, change.retire, list(house.store.found)) == ((), (), ["edge"])

    async def test_without_a_list_nothing_changes(self):
        house = House(traefik())
        await house.look()
        house.docker.faults["list"] = EngineUnavailable("away")
        with pytest.raises(EngineUnavailable):
            await house.proxies.look()
        assert list(house.store.found) == ["edge"]

    async def test_a_recogniser_that_asks_again_for_what_it_got_is_not_asked_for_ever(self):
        house = House(traefik())

        def insatiable(_container: Container, _files: Files) -> Verdict:
            return Verdict(wanted=(PurePosixPath("/x"),))

        house.proxies._recognise = insatiable
        assert insatiable(traefik(), {}) != NOTHING
        assert await house.look() == []


WORDS = st.sampled_from(["a", "b", "c"])
CONTAINERS = st.lists(
    st.builds(
        lambda name, generation, volume, state: traefik(name, id=f"{name}-{generation}", volume=volume, state=state),
        WORDS,
        st.integers(1, 2),
        WORDS,
        st.sampled_from([State.RUNNING, State.EXITED]),
    ),
    max_size=4,
    unique_by=lambda container: container.name,
)


@given(generations=st.lists(CONTAINERS, max_size=4), configured=st.lists(WORDS, max_size=2, unique=True))
def test_whatever_comes_and_goes_each_store_is_read_once_and_none_is_passed_over(generations, configured):
    mine = [Configured(name, PurePosixPath("/letsencrypt/acme.json"), name) for name in configured]
    before: dict[str, Adopted] = {}
    for containers in generations:
        seen = [Seen(one, ((KeptStore("traefik", PurePosixPath("/letsencrypt/acme.json"), "so"), None),)) for one in containers]
        choice = choose(seen, mine, before)
        places = [one.place for one in choice.adopted.values()]
        assert len(places) == len(set(places))
        assert not choice.adopted.keys() & set(configured)
        assert {one.container for one in choice.adopted.values()} | choice.left.keys() == {one.name for one in containers}
        assert not {one.container for one in choice.adopted.values()} & choice.left.keys()
        assert all(one.source == name for name, one in choice.adopted.items())
        assert choose(seen, mine, before | choice.adopted).adopted == choice.adopted
        before |= choice.adopted
