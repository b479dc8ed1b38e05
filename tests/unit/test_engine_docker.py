"""Talking to Docker, against a small server on a socket: what it says, and every way in which it fails."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pytest
from aiohttp import web

from controller import engine as engine_module
from controller.domain.errors import (
    EngineUnavailable,
    Error,
    SettingsError,
    TargetGone,
    TargetNotRunning,
    WriteFailed,
    WriteRefused,
)
from controller.engine import EVENTS, Engine, Event
from tests.unit.docker_server import DockerServer, connected
from tests.unit.test_inspection import ID, NETWORK, OF_IMAGE, RECORDED

IMAGE = RECORDED["Image"]
NO_SUCH = f"No such container: {ID}"
QUICK = 0.3


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not run in a container, wherever they do."""
    monkeypatch.setattr(engine_module, "own_container_id", lambda _: None)


@pytest.fixture
def docker() -> DockerServer:
    """One container and its image."""
    return DockerServer(
        answers={
            "/containers/json": [{"Id": ID, "Labels": RECORDED["Config"]["Labels"]}, {"Id": "b" * 64, "Labels": None}],
            f"/containers/{ID}/json": RECORDED,
            f"/images/{IMAGE}/json": {"Config": OF_IMAGE},
            "/info": {"SystemTime": "2026-11-23T15:03:37.091111471Z"},
        }
    )


def engine_at(path: Path) -> Engine:
    return Engine(f"unix://{path}", timeout=30.0, exec_timeout=30.0)


async def failure_to_connect(engine: Engine) -> Error:
    try:
        with pytest.raises(Error) as caught:
            await engine.connect()
    finally:
        await engine.close()
    assert "\n" not in str(caught.value)
    return caught.value


class TestConnecting:
    @pytest.mark.parametrize("api", ["1.41", "1.50", "2.0"])
    async def test_a_docker_that_is_new_enough_will_do(self, tmp_path, api):
        async with connected(DockerServer(api), tmp_path) as engine:
            await engine.connect()
            assert engine.own is None

    @pytest.mark.parametrize("api", ["1.40", "1.9"])
    async def test_one_that_is_too_old_is_told_with_both_versions(self, tmp_path, api):
        async with connected(DockerServer(api), tmp_path) as engine:
            error = await failure_to_connect(engine)
        assert isinstance(error, SettingsError)
        assert str(error) == (
            f"Docker at unix://{tmp_path}/docker.sock speaks API {api}; certferry needs 1.41 (Docker Engine 20.10) or newer"
        )

    async def test_without_a_socket_it_is_told_how_to_mount_it(self, tmp_path):
        error = await failure_to_connect(engine_at(tmp_path / "docker.sock"))
        assert isinstance(error, SettingsError)
        assert f"no Docker socket at {tmp_path}/docker.sock; mount it (-v /var/run/docker.sock:" in str(error)

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
    async def test_what_is_not_a_socket_is_told(self, tmp_path, make):
        make(tmp_path / "docker.sock")
        error = await failure_to_connect(engine_at(tmp_path / "docker.sock"))
        assert isinstance(error, SettingsError)
        assert "is not a socket; was it mounted before Docker had made it?" in str(error)

    async def test_a_socket_that_nobody_listens_on_is_unavailable(self, tmp_path):
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(tmp_path / "docker.sock"))
        assert isinstance(await failure_to_connect(engine_at(tmp_path / "docker.sock")), EngineUnavailable)

    @pytest.mark.parametrize("closed", ["socket", "folder"])
    async def test_a_socket_without_permission_is_told_with_the_remedy(self, closed):
        with open_folder() as folder:
            path = folder / "docker.sock"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                path.chmod(0o600)
                folder.chmod(0o755 if closed == "socket" else 0o700)
                with without_privileges():
                    error = await failure_to_connect(engine_at(path))
        assert isinstance(error, SettingsError)
        assert "run certferry as root or in the socket's group (--group-add)" in str(error)

    async def test_a_docker_that_hangs_is_unavailable_when_the_time_is_up(self, tmp_path):
        async with connected(DockerServer(hangs=True), tmp_path, timeout=QUICK) as engine:
            error = await failure_to_connect(engine)
        assert isinstance(error, EngineUnavailable)
        assert str(error).endswith("no answer within 0.3 s")

    @pytest.mark.parametrize("text", ["<html>It works!</html>", '{"hello": "world"}', "[]", "", "{"])
    @pytest.mark.parametrize("kind", ["text/html", "application/json"])
    async def test_something_else_that_answers_there_is_no_docker(self, tmp_path, text, kind):
        async def answer(_request: web.BaseRequest) -> web.Response:
            return web.Response(text=text, content_type=kind)

        async with connected(answer, tmp_path) as engine:
            error = await failure_to_connect(engine)
        assert isinstance(error, EngineUnavailable)
        assert "is not Docker; correct the mount or DOCKER_HOST" in str(error)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_that_nobody_listens_is_told_in_the_words_of_the_system(self, host):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            there = f"tcp://{host}:{closed.getsockname()[1]}"
            error = await failure_to_connect(Engine(there, timeout=60, exec_timeout=60))
        assert str(error) == f"Docker at {there} cannot say its version: Connection refused"

    async def test_a_page_that_no_docker_lacks_tells_that_it_is_none(self, tmp_path):
        async def answer(_request: web.BaseRequest) -> web.Response:
            return web.Response(status=404, text="404 page not found")

        async with connected(answer, tmp_path) as engine:
            error = await failure_to_connect(engine)
        assert "is not Docker; correct the mount or DOCKER_HOST" in str(error)

    async def test_what_a_socket_proxy_forbids_is_told_with_what_it_must_allow(self, tmp_path):
        async def answer(_request: web.BaseRequest) -> web.Response:
            page = "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>"
            return web.Response(status=403, text=page)

        async with connected(answer, tmp_path) as engine:
            error = await failure_to_connect(engine)
        assert isinstance(error, EngineUnavailable)
        assert str(error) == (
            "Docker could not say its version: 403 Forbidden Request forbidden by administrative rules.;"
            " a socket proxy must allow POST, CONTAINERS, EXEC, IMAGES, PING, EVENTS and VERSION, with Swarm SERVICES, too"
        )

    async def test_in_a_container_of_this_docker_its_networks_are_known(self, docker, tmp_path, monkeypatch):
        monkeypatch.setattr(engine_module, "own_container_id", lambda _: ID)
        async with connected(docker, tmp_path) as engine:
            await engine.connect()
            assert engine.own is not None
            assert list(engine.own.addresses) == [NETWORK]

    async def test_in_a_container_of_another_docker_nothing_is_known_of_its_networks(self, docker, tmp_path, monkeypatch):
        monkeypatch.setattr(engine_module, "own_container_id", lambda _: "c" * 64)
        docker.answers["message"] = NO_SUCH
        async with connected(docker, tmp_path) as engine:
            await engine.connect()
            assert engine.own is None

    async def test_closing_twice_does_no_harm(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            await engine.connect()
            await engine.close()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; the one of a test belongs to its user alone."""
    folder = Path(tempfile.mkdtemp(prefix="certferry-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user for whom modes count; root passes over them."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


class TestContainers:
    async def test_all_are_listed_with_their_labels(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            assert await engine.labels() == {ID: RECORDED["Config"]["Labels"], "b" * 64: {}}

    async def test_one_is_inspected_together_with_its_image(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            found = await engine.inspect(ID)
        assert found is not None
        assert (found.name, found.labels) == ("mail", {"certferry.domain": "mail.example.com"})

    async def test_a_container_is_found_by_a_label_that_its_operator_set_and_by_none_of_its_image(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            assert await engine.find("certferry.domain=mail.example.com") == ID
            assert await engine.find("org.example.image=test") is None

    async def test_an_image_is_asked_for_once(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            for _ in range(3):
                await engine.inspect(ID)
        assert docker.asked.count(f"GET /images/{IMAGE}/json") == 1

    async def test_an_image_without_labels_has_none(self, docker, tmp_path):
        docker.answers[f"/images/{IMAGE}/json"] = {"Config": None}
        async with connected(docker, tmp_path) as engine:
            found = await engine.inspect(ID)
        assert found is not None
        assert found.labels == found.all_labels

    async def test_one_that_does_not_exist_is_none(self, docker, tmp_path):
        docker.answers |= {f"/containers/{ID}/json": 404, "message": NO_SUCH}
        async with connected(docker, tmp_path) as engine:
            assert await engine.inspect(ID) is None

    async def test_without_its_image_nobody_knows_whose_the_labels_are(self, docker, tmp_path):
        docker.answers |= {f"/images/{IMAGE}/json": 404, "message": f"No such image: {IMAGE}"}
        async with connected(docker, tmp_path) as engine:
            with pytest.raises(EngineUnavailable, match="is gone, so its labels cannot be told from the operator's"):
                await engine.inspect(ID)

    async def test_a_container_without_labels_of_interest_is_none_whatever_became_of_its_image(self, docker, tmp_path):
        docker.answers[f"/images/{IMAGE}/json"] = 404
        async with connected(docker, tmp_path) as engine:
            assert await engine.inspect(ID, if_labels=lambda labels: "certferry.domain" not in labels) is None

    async def test_the_engines_own_clock_is_asked_by_what_costs_it_nothing(self, docker, tmp_path):
        """``/info`` took 10 s while Swarm pulled images."""
        async with connected(docker, tmp_path) as engine:
            began = time.time()
            since = await engine.now()
            assert int(began) <= float(since) <= time.time()
            heard = engine.clock()
            assert heard is not None
            assert abs(heard.timestamp() - time.time()) < 60
        assert "GET /_ping" in docker.asked
        assert "GET /info" not in docker.asked

    @pytest.mark.parametrize("answer", [200, 403, 404])
    async def test_the_clock_of_another_machine_is_told_by_the_date_of_any_answer(self, answer, docker, tmp_path):
        """A socket proxy may refuse the question, and says what time it is nevertheless."""

        async def of_1999(request: web.BaseRequest) -> web.StreamResponse:
            response = await docker(request) if request.path != "/_ping" else web.Response(status=answer)
            response.headers["Date"] = "Fri, 31 Dec 1999 23:59:30 GMT"
            return response

        async with connected(of_1999, tmp_path) as engine:
            assert await engine.now() == "946684770.000000000"
            found = await engine.inspect(ID)
            assert found is not None
            assert found.started_at is not None
            assert found.age == pytest.approx(946684770 - found.started_at.timestamp(), abs=60)


class TestFailures:
    """Each answer of the engine is one of our errors."""

    @pytest.mark.parametrize(
        ("status", "message", "expected"),
        [
            (404, NO_SUCH, TargetGone),
            (409, f"Container {ID} is paused, unpause the container before exec", TargetNotRunning),
            (409, f"Container {ID} is not running", TargetNotRunning),
            (500, "cannot do that", EngineUnavailable),
            (403, "Forbidden by a proxy", EngineUnavailable),
        ],
    )
    async def test_of_a_command(self, docker, tmp_path, status, message, expected):
        docker.answers |= {f"/containers/{ID}/exec": status, "message": message}
        async with connected(docker, tmp_path) as engine:
            with pytest.raises(expected, match=message.split(":", maxsplit=1)[0]):
                await engine.execute(ID, ("true",))

    @pytest.mark.parametrize(
        ("status", "message", "expected"),
        [
            (404, NO_SUCH, TargetGone),
            (404, "Could not find the file /tls in container", WriteRefused),
            (400, "container rootfs is marked read-only", WriteRefused),
            (500, "write /tls/key.pem: no space left on device", WriteFailed),
            (503, "no engine behind this proxy", EngineUnavailable),
        ],
    )
    async def test_of_a_write(self, docker, tmp_path, status, message, expected):
        docker.answers |= {f"/containers/{ID}/archive": status, "message": message}
        if expected is TargetGone:
            docker.answers[f"/containers/{ID}/json"] = 404
        async with connected(docker, tmp_path) as engine:
            with pytest.raises(expected, match=message.split(":", maxsplit=1)[0]):
                await engine.put_archive(ID, PurePosixPath("/tls"), b"")

    async def test_a_write_while_docker_is_away_is_not_refused_for_good(self, tmp_path):
        engine = engine_at(tmp_path / "docker.sock")
        with pytest.raises(EngineUnavailable):
            await engine.put_archive(ID, PurePosixPath("/tls"), b"")
        await engine.close()

    async def test_of_a_signal(self, docker, tmp_path):
        docker.answers |= {f"/containers/{ID}/kill": 409, "message": "is not running"}
        async with connected(docker, tmp_path) as engine:
            with pytest.raises(TargetNotRunning):
                await engine.kill(ID, "HUP")

    async def test_a_docker_that_goes_away_is_unavailable(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            await engine.connect()
        with pytest.raises(EngineUnavailable, match="list containers"):
            await engine.labels()
        await engine.close()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> web.Response:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return web.Response(body=buffer.getvalue(), content_type="application/x-tar")


class TestFiles:
    async def get(self, docker: DockerServer, folder: Path, answer: object) -> tuple[tarfile.TarInfo, bytes] | None:
        docker.answers[f"/containers/{ID}/archive"] = answer
        async with connected(docker, folder) as engine:
            return await engine.get_file(ID, PurePosixPath("/tls/cert.pem"))

    @pytest.mark.parametrize("name", ["cert.pem", "c" * 200, "zertifikat-für-müller.pem"])
    @pytest.mark.parametrize("uid", [101, 1_000_680_000])
    async def test_a_file_is_read_whatever_its_name_and_owner(self, docker, tmp_path, name, uid):
        info = tarfile.TarInfo(name)
        info.uid, info.mode = uid, 0o640
        found = await self.get(docker, tmp_path, tar_of((info, b"content")))
        assert found is not None
        assert (found[0].uid, found[0].mode, found[0].isfile(), found[1]) == (uid, 0o640, True, b"content")

    async def test_a_link_is_told_with_where_it_leads(self, docker, tmp_path):
        info = tarfile.TarInfo("cert.pem")
        info.type, info.linkname = tarfile.SYMTYPE, "../archive/cert1.pem"
        found = await self.get(docker, tmp_path, tar_of((info, b"")))
        assert found is not None
        assert (found[0].issym(), found[0].linkname, found[1]) == (True, "../archive/cert1.pem", b"")

    async def test_a_directory_is_not_read_whole(self, docker, tmp_path):
        info = tarfile.TarInfo("tls")
        info.type = tarfile.DIRTYPE
        found = await self.get(docker, tmp_path, tar_of((info, b""), (tarfile.TarInfo("tls/x"), b"x" * 10**6)))
        assert found is not None
        assert (found[0].isdir(), found[1]) == (True, b"")

    async def test_what_does_not_exist_is_none(self, docker, tmp_path):
        docker.answers["message"] = "Could not find the file /tls/cert.pem in container"
        assert await self.get(docker, tmp_path, 404) is None

    async def test_of_a_container_that_is_gone_it_is_gone(self, docker, tmp_path):
        docker.answers |= {"message": NO_SUCH, f"/containers/{ID}/json": 404}
        with pytest.raises(TargetGone):
            await self.get(docker, tmp_path, 404)

    async def test_whose_engine_fails_is_not_taken_for_missing_whatever_the_words(self, docker, tmp_path):
        docker.answers["message"] = "no such container: not a directory"
        with pytest.raises(EngineUnavailable):
            await self.get(docker, tmp_path, 500)


class TestEvents:
    async def test_they_are_filtered_by_the_server_and_asked_for_since_a_moment(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine, engine.events("1795446217.091111471") as events:
            docker.event("start", ID)
            await anext(events)
        assert docker.queries[0]["since"] == "1795446217.091111471"
        assert docker.queries[0]["filters"] == (
            '{"type": ["container"], "event": [' + ", ".join(f'"{event}"' for event in EVENTS) + "]}"
        )

    @pytest.mark.parametrize(
        ("action", "told"), [("start", "start"), ("health_status: healthy", "health_status"), ("destroy", "destroy")]
    )
    async def test_an_event_is_an_action_and_a_container(self, docker, tmp_path, action, told):
        async with connected(docker, tmp_path) as engine, engine.events("0") as events:
            docker.event(action, ID)
            assert await anext(events) == Event(told, ID)

    async def test_a_cut_stream_is_told_and_the_next_one_works(self, docker, tmp_path):
        async with connected(docker, tmp_path) as engine:
            for round_ in range(3):
                async with engine.events(str(round_)) as events:
                    docker.event("start", ID)
                    assert await anext(events) == Event("start", ID)
                    docker.stream.put_nowait(None)
                    with pytest.raises(EngineUnavailable, match="the event stream of .* ended"):
                        await anext(events)
        assert [query["since"] for query in docker.queries] == ["0", "1", "2"]

    async def test_a_docker_that_refuses_events_is_unavailable(self, tmp_path):
        async with connected(DockerServer(), tmp_path) as engine:
            await engine.connect()
        async with engine.events("0") as events:
            with pytest.raises(EngineUnavailable):
                await anext(events)
        await engine.close()

    async def test_who_leaves_before_any_event_leaves_nothing_behind(self, docker, tmp_path):
        before = asyncio.all_tasks()
        async with connected(docker, tmp_path) as engine, engine.events("0") as events:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(events)
        assert {task for task in asyncio.all_tasks() - before if "docker" in task.get_name()} == set()


def test_the_socket_of_another_machine_is_not_looked_for() -> None:
    Engine("tcp://docker.example.com:2376", timeout=1, exec_timeout=1)._check_socket()


async def test_running_containers_are_found_by_the_command_that_started_them(docker, tmp_path):
    docker.answers["/containers/json"] = [
        {"Id": ID, "Command": "certferry run --observe", "State": "running"},
        {"Id": "b" * 64, "Command": "certferry run", "State": "exited"},
        {"Id": "c" * 64, "Command": "nginx", "State": "running"},
        {"Id": "d" * 64, "State": "running"},
    ]
    async with connected(docker, tmp_path) as engine:
        assert [container.id for container in await engine.running("certferry run")] == [ID]
