"""Whatever Docker answers: each request has a limit, and each answer leads to a result or to one of our own errors."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import importlib.metadata
import inspect
import json
import tarfile
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import aiodocker
import pytest
from aiodocker.execs import Exec
from aiodocker.stream import Stream
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller import engine as engine_module
from controller.domain.container import Container
from controller.domain.errors import EngineUnavailable, Error, WriteRefused
from controller.domain.recent import Recent
from controller.engine import IMAGES, Engine, Event
from controller.engine_events import LONGEST_LINE, read_event
from controller.engine_files import first_member, read_path_stat
from controller.engine_list import LARGEST_ENTRY, read_list
from controller.engine_requests import LARGEST_ANSWER, Garbled
from controller.inspection import config_of_image, image_of, labels_of, labels_of_service, read_container
from tests.lab import ROOT
from tests.unit.docker_server import DockerServer, connected
from tests.unit.test_inspection import ID, OF_IMAGE, RECORDED

IMAGE = RECORDED["Image"]
OTHER = "b" * 64


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not run in a container, wherever they do."""
    monkeypatch.setattr(engine_module, "own_container_id", lambda _: None)


class TestWhatIsUsedOfAiodocker:
    """When one of these fails, aiodocker has changed: `controller/engine_requests.py` is the one place to mend."""

    def test_its_version_is_capped_where_it_was_tried(self):
        wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        assert "aiodocker>=0.27,<0.28" in wanted
        assert importlib.metadata.version("aiodocker").startswith("0.27."), "try the new one, then move the cap"

    async def test_it_makes_a_session_whose_headers_are_sent_with_every_request(self, tmp_path):
        docker = aiodocker.Docker(url=f"unix://{tmp_path}/docker.sock")
        docker.session.headers["Accept-Encoding"] = "identity"
        assert (docker.docker_host, docker.api_version) == ("unix://localhost", "auto"), "how the address of a request is made"
        await docker.close()

    def test_an_exec_can_be_attached_to_by_its_id(self):
        assert list(inspect.signature(Exec).parameters) == ["docker", "id", "tty"]
        assert "detach" in inspect.signature(Exec.start).parameters
        for name in ("read_out", "write_in", "close", "__aenter__", "__aexit__"):
            assert inspect.iscoroutinefunction(getattr(Stream, name)), f"Stream.{name} is gone or no coroutine any more"


class Recorder:
    """Answers nothing but refusals, as the engine does: where it may compress, it says so of what is not compressed."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        accepted = request.headers.get("Accept-Encoding", "")
        self.asked[f"{request.method} {request.path}"] = accepted
        if request.path == "/version":
            return web.json_response({"ApiVersion": "1.41"})
        if request.path.endswith("/exec"):
            return web.json_response({"Id": "e" * 64})
        headers = {} if accepted == "identity" else {"Content-Encoding": "gzip"}
        return web.json_response({"message": "being removed"}, status=403, headers=headers)


async def test_every_request_asks_for_an_answer_that_is_not_compressed(tmp_path):
    server, path = Recorder(), PurePosixPath("/tls")
    async with connected(server, tmp_path) as engine:
        async with engine.events("0") as events:
            with pytest.raises(EngineUnavailable, match="being removed"):
                await anext(events)
        for question in (
            engine.labels(),
            engine.inspect(ID),
            engine.execute(ID, ("true",), stdin=b"x"),
            engine.get_file(ID, path),
            engine.get_archive(ID, path, limit=1),
            engine.find("mail"),
            engine.kill(ID, "HUP"),
        ):
            with pytest.raises(EngineUnavailable, match="being removed"):
                await question
        await engine.now()  # a refusal says what time it is, too
        with pytest.raises(EngineUnavailable):
            await engine.stat(ID, path)
        with pytest.raises(WriteRefused, match="being removed"):
            await engine.put_archive(ID, path, b"")
    assert set(server.asked.values()) == {"identity"}
    assert len(server.asked) == 11


async def test_an_answer_that_says_gzip_and_is_none_is_unavailable_in_plain_words(tmp_path):
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=b'{"message": "x"}', status=404, headers={"Content-Encoding": "gzip"})

    async with connected(answer, tmp_path) as engine:
        with pytest.raises(EngineUnavailable) as caught:
            await engine.labels()
    assert str(caught.value).endswith("cannot list containers: its answer ended early or cannot be read")


async def test_a_compressed_bomb_is_not_unpacked_beyond_the_limit(tmp_path):
    bomb = gzip.compress(b" " * (3 * LARGEST_ANSWER))

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with connected(answer, tmp_path) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.labels()


@pytest.fixture
def docker() -> DockerServer:
    return DockerServer(
        answers={
            f"/containers/{ID}/json": RECORDED,
            f"/containers/{OTHER}/json": RECORDED | {"Id": OTHER},
            f"/images/{IMAGE}/json": {"Config": OF_IMAGE},
            "/containers/json": [{"Id": ID, "Labels": {"a": "b"}}],
        }
    )


class TestAnswersOfAnySize:
    async def test_an_inspection_that_is_too_large_is_said_so_and_the_next_container_is_read(self, docker, tmp_path):
        config = RECORDED["Config"] | {"Labels": {"x": "y" * LARGEST_ANSWER}}
        docker.answers[f"/containers/{ID}/json"] = RECORDED | {"Config": config}
        async with connected(docker, tmp_path, timeout=60) as engine:
            with pytest.raises(EngineUnavailable, match=f"cannot inspect {ID[:12]}: its answer is larger than 1 MiB"):
                await engine.inspect(ID)
            assert (await engine.inspect(OTHER)) is not None

    async def test_one_container_with_50_MB_of_labels_hides_no_other(self, docker, tmp_path):
        huge = {"Id": OTHER, "Labels": {"x": '"},{"Id":"' * 10**6 + "y" * 36_000_000}}
        body = json.dumps([huge, {"Id": ID, "Labels": {"a": "b"}}]).encode()
        docker.answers["/containers/json"] = web.Response(body=body)
        async with connected(docker, tmp_path, timeout=60) as engine:
            assert await engine.labels() == {OTHER: {}, ID: {"a": "b"}}

    async def test_an_error_of_any_size_is_told_by_its_beginning(self, docker, tmp_path):
        docker.answers["/containers/json"] = web.Response(status=500, body=b"very bad " * 10**6)
        async with connected(docker, tmp_path, timeout=60) as engine:
            with pytest.raises(EngineUnavailable) as caught:
                await engine.labels()
        assert len(str(caught.value)) < 700

    async def test_an_event_of_a_container_with_50_MB_of_labels_is_told_and_so_is_the_next(self, docker, tmp_path):
        actor = {"ID": ID, "Attributes": {"x": "y" * 50_000_000}}
        docker.stream.put_nowait({"Type": "container", "Action": "start", "Actor": actor})
        docker.event("die", OTHER)
        async with connected(docker, tmp_path, timeout=60) as engine, engine.events("0") as events:
            assert [await anext(events), await anext(events)] == [Event("start", ID), Event("die", OTHER)]

    async def test_an_archive_is_read_no_further_than_its_limit(self, docker, tmp_path):
        sent = 0

        async def endless(request: web.BaseRequest) -> web.StreamResponse:
            nonlocal sent
            if not request.path.endswith("/archive"):
                return await docker(request)
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while sent < 2**30:
                    await response.write(bytes(2**16))
                    sent += 2**16
            return response

        async with connected(endless, tmp_path, timeout=60) as engine:
            with pytest.raises(Error, match="holds more than 1 MiB"):
                await engine.get_archive(ID, PurePosixPath("/acme.json"), limit=2**20)
            with pytest.raises(EngineUnavailable):
                await engine.get_file(ID, PurePosixPath("/tls/key.pem"))
        assert sent < 2**26


class TestHanging:
    async def test_closing_ends_though_the_connections_do_not(self, docker, tmp_path, monkeypatch):
        monkeypatch.setattr("controller.engine_requests.CLOSING", 0.1)

        async def never(_self: aiodocker.Docker) -> None:
            await asyncio.Event().wait()

        async with connected(docker, tmp_path) as engine:
            await engine.labels()
            client = engine._requests._docker
            monkeypatch.setattr(aiodocker.Docker, "close", never)
            async with asyncio.timeout(60):
                await engine.close()
        monkeypatch.undo()
        await client.close()

    @pytest.mark.parametrize(
        "ask",
        [
            lambda engine: engine.labels(),
            lambda engine: engine.now(),
            lambda engine: engine.find("mail"),
            lambda engine: engine.inspect(ID),
            lambda engine: engine.execute(ID, ("true",)),
            lambda engine: engine.get_file(ID, PurePosixPath("/x")),
            lambda engine: engine.get_archive(ID, PurePosixPath("/x"), limit=1),
            lambda engine: engine.put_archive(ID, PurePosixPath("/x"), b""),
            lambda engine: engine.stat(ID, PurePosixPath("/x")),
            lambda engine: engine.kill(ID, "HUP"),
        ],
    )
    async def test_every_request_has_a_limit(self, docker, tmp_path, ask):
        async with connected(docker, tmp_path, timeout=0.2) as engine:
            docker.hangs = True
            async with asyncio.timeout(60):
                with pytest.raises(EngineUnavailable, match=r"no answer within 0\.2 s"):
                    await ask(engine)


class TestWhatIsRemembered:
    def test_is_bounded_and_what_was_used_last_stays(self):
        memory: Recent[int, int] = Recent(3)
        for number in range(4):
            memory.put(number, number)
            memory.get(1)
        assert [memory.get(number) for number in range(5)] == [None, 1, 2, 3, None]
        memory.keep({3})
        assert (len(memory), memory.get(3)) == (1, 3)

    async def test_of_images_is_what_is_needed_of_those_that_are_used(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            docker.answers[f"/images/{IMAGE}/json"] = {"Config": OF_IMAGE | {"OnBuild": ["x" * 10**5]}}
            await engine.inspect(ID)
            assert set(engine._images.get(IMAGE) or {}) == {"Labels", "Env", "Entrypoint", "Cmd"}
            await engine.labels()
            assert len(engine._images) == 0

    async def test_of_5000_images_is_not_more_than_of_some(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            for number in range(IMAGES + 20):
                docker.answers[f"/images/{number}/json"] = {"Config": None}
                docker.answers[f"/containers/{ID}/json"] = RECORDED | {"Image": str(number)}
                await engine.inspect(ID)
            assert len(engine._images) == IMAGES

    async def test_an_image_with_huge_labels_is_asked_for_anew(self, docker, tmp_path):
        docker.answers[f"/images/{IMAGE}/json"] = {"Config": {"Labels": {"x": "y" * 10**6}}}
        async with connected(docker, tmp_path) as engine:
            await engine.inspect(ID)
            assert len(engine._images) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def garbled(good: Any) -> st.SearchStrategy[Any]:
    """A good answer with something else in one place, at any depth."""
    if isinstance(good, dict) and good:
        keys = st.sampled_from(sorted(good))
        inside = keys.flatmap(lambda key: garbled(good[key]).map(lambda bad: {**good, key: bad}))
        return st.one_of(JSON, keys.map(lambda key: {k: v for k, v in good.items() if k != key}), inside)
    if isinstance(good, list) and good:
        return st.one_of(JSON, garbled(good[0]).map(lambda bad: [bad, *good[1:]]))
    return JSON


QUIET = settings(suppress_health_check=list(HealthCheck))


class TestAnyAnswer:
    @QUIET
    @given(garbled(RECORDED), garbled({"Config": OF_IMAGE}))
    def test_about_a_container_is_read_or_refused(self, raw, image):
        try:
            labels_of(raw)
            image_of(raw)
            found = read_container(raw, config_of_image(image))
        except EngineUnavailable:
            return
        assert isinstance(found, Container)
        assert all(isinstance(text, str) for text in (*found.labels.values(), *found.environment.values(), *found.command))

    @QUIET
    @given(garbled({"Spec": {"Labels": {"a": "b"}}}))
    def test_about_a_service_is_read_or_refused(self, raw):
        with contextlib.suppress(EngineUnavailable):
            assert all(isinstance(text, str) for text in labels_of_service(raw).values())

    @QUIET
    @given(
        garbled([{"Id": ID, "Labels": {"a": "b"}, "Names": ["/x"], "State": "running", "Created": 1}]), st.binary(max_size=40)
    )
    def test_about_all_containers_is_read_or_refused(self, raw, rubbish):
        for data in (json.dumps(raw).encode(), rubbish, b"[" + rubbish + b"]"):
            with contextlib.suppress(Garbled):
                read_list(data)

    @QUIET
    @given(garbled({"Action": "start", "Actor": {"ID": ID, "Attributes": {"a": "b"}}}), st.binary(max_size=40))
    def test_about_an_event_is_read_or_refused(self, raw, rubbish):
        for line in (json.dumps(raw).encode(), rubbish, rubbish + b'"Action":"start","ID":"' + b"y" * LONGEST_LINE):
            with contextlib.suppress(EngineUnavailable):
                assert isinstance(read_event(line).container_id, str)

    @QUIET
    @given(
        garbled({"name": "x", "size": 1, "mode": 420, "mtime": "2026-01-01T00:00:00Z", "linkTarget": ""}), st.text(max_size=40)
    )
    def test_about_a_path_is_read_or_refused(self, raw, rubbish):
        for header in (base64.b64encode(json.dumps(raw).encode()).decode(), rubbish):
            with contextlib.suppress(ValueError):
                stat = read_path_stat(header)
                assert isinstance(stat.is_folder, bool)
                assert isinstance(stat.modified_at, int)

    @QUIET
    @given(st.binary(max_size=1200), st.binary(max_size=30), st.integers(0, 511))
    def test_that_should_be_an_archive_is_read_or_refused(self, rubbish, patch, at):
        good = bytearray(tarfile.TarInfo("x").tobuf(tarfile.PAX_FORMAT))
        good[at : at + len(patch)] = patch
        good[148:156] = b"%06o\0 " % (sum(good[:148]) + sum(good[156:512]) + 8 * 32)  # a checksum that fits
        for head in (rubbish, bytes(good), bytes(good) + rubbish):
            with contextlib.suppress(EngineUnavailable):
                assert first_member(head).size >= 0


@pytest.mark.parametrize("version", ["", "x", "1", "1.41/../..", "1.4" * 1000, None, 1.41, [], "१.४१"])
async def test_a_version_that_is_none_is_no_docker(tmp_path: Path, version: object) -> None:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"ApiVersion": version})

    async with connected(answer, tmp_path) as engine:
        engine.host = "unix:///x"
        for question in (engine.labels(), engine.inspect(ID)):
            with pytest.raises(EngineUnavailable):
                await question


def test_a_container_that_is_too_large_is_known_by_its_id_alone() -> None:
    data = json.dumps([{"Id": OTHER, "Labels": {"x": "y" * LARGEST_ENTRY}}, {"Id": ID, "Labels": None}]).encode()
    assert [(one.id, one.labels) for one in read_list(data)] == [(OTHER, None), (ID, {})]


def test_engine_requests_have_the_timeout_of_the_settings() -> None:
    assert Engine("unix:///x", timeout=3, exec_timeout=4).exec_timeout == 4
