"""The parts put together: a real store of Traefik's, a small Docker on a socket, and the process itself."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from controller import app, asking, cli, engine
from controller.adoption import Configured
from controller.domain.errors import EngineUnavailable, SettingsError, TransientError
from controller.domain.finding import Reason
from controller.domain.target import Target, TargetKey
from controller.gathering import Gatherer
from controller.memory import Memory
from controller.settings import Settings
from sources import registry
from tests.certs import acme_json
from tests.unit.docker_server import DockerServer, listening
from tests.unit.made import DOMAIN, NEW, OLD, certificate, pair
from tests.unit.test_inspection import ID, RECORDED, changed

CERT, PRIVATE = PurePosixPath("/tls/cert.pem"), PurePosixPath("/tls/key.pem")
LABELS = {"certferry.domain": DOMAIN, "certferry.cert-path": str(CERT), "certferry.key-path": str(PRIVATE)}


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "own_container_id", lambda _: None)
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    monkeypatch.setattr(app, "GOODBYE", 60.0)  # what does not end within it ends the process, which is pytest here


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A store of Traefik's."""
    file = tmp_path / "acme.json"
    file.write_bytes(acme_json(pair(**NEW)))
    return file


def settings(folder: Path, **changes: Any) -> Settings:
    given = {
        "sources": f"traefik://{folder}/acme.json",
        "docker_host": f"unix://{folder}/docker.sock",
        "discover": "off",
        "http": "127.0.0.1:0",
        "retry_min": 0.1,
        "retry_max": 0.2,
        "engine_timeout": 20.0,
    }
    return Settings(**{**given, **changes})


class Docker(DockerServer):
    """One container that was created and not started, whose files the archive API reads and writes."""

    def __init__(self, labels: dict[str, str] = LABELS, files: dict[PurePosixPath, bytes] | None = None) -> None:
        raw = changed("State", to={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"})
        raw["Config"]["Labels"] = labels
        super().__init__(
            answers={
                "/info": {"SystemTime": "2026-11-23T15:03:37.091111471Z"},
                "/containers/json": [{"Id": ID, "Labels": labels}],
                f"/containers/{ID}/json": raw,
                f"/images/{RECORDED['Image']}/json": {"Config": {"Labels": {}}},
            }
        )
        self.files = files or {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.endswith("/archive"):
            return await super().__call__(request)
        path = PurePosixPath(request.query["path"])
        self.asked.append(f"{request.method} {path}")
        if request.method == "GET":
            return self._send(path)
        with tarfile.open(fileobj=io.BytesIO(await request.read())) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content:
                    self.files[path / member.name] = content.read()
        return web.Response()

    def _send(self, path: PurePosixPath) -> web.Response:
        info = tarfile.TarInfo(path.name or "/")
        content = self.files.get(path, b"")
        if path not in self.files:
            if path not in (CERT.parent, PurePosixPath("/")):
                return web.json_response({"message": "Could not find the file"}, status=404)
            info.type = tarfile.DIRTYPE
        info.size, info.mode = len(content), 0o600 if path == PRIVATE else 0o644
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(info, io.BytesIO(content))
        return web.Response(body=buffer.getvalue(), content_type="application/x-tar")

    @property
    def writes(self) -> list[str]:
        return [asked for asked in self.asked if asked.startswith("PUT")]


@asynccontextmanager
async def serving(docker: Any, folder: Path) -> AsyncIterator[None]:
    async with listening(docker, folder / "docker.sock"):
        yield


class TestSources:
    def names(self, folder: Path, **changes: Any) -> list[str]:
        return [source.name for source in app.build(settings(folder, **changes)).sources]

    def test_are_those_of_the_settings(self, tmp_path):
        assert self.names(tmp_path, sources="traefik:///a.json traefik:///b.json?name=b") == ["traefik", "b"]

    def test_are_else_those_of_the_conventional_mount_points(self, tmp_path, monkeypatch):
        monkeypatch.setattr(registry, "conventional", lambda: ("traefik:///traefik/acme.json",))
        assert self.names(tmp_path, sources="") == ["traefik"]

    def test_have_an_order_where_the_operator_listed_them(self, tmp_path, monkeypatch):
        given = settings(tmp_path, sources="traefik:///a.json traefik:///b.json?name=b")
        assert app.build(given).store.origins.order == ("traefik", "b")
        monkeypatch.setattr(registry, "conventional", lambda: ("traefik:///traefik/acme.json",))
        assert app.build(settings(tmp_path, sources="")).store.origins.order == ()

    def test_must_be_one_at_least_where_none_will_be_found(self, tmp_path, monkeypatch):
        monkeypatch.setattr(registry, "conventional", tuple)
        with pytest.raises(SettingsError, match="or set CERTFERRY_SOURCES, e.g. traefik:///traefik/acme.json"):
            self.names(tmp_path, sources="")
        assert self.names(tmp_path, sources="", discover="on") == []

    async def test_can_be_read_without_docker(self, tmp_path, acme):
        store = await app.read_sources(settings(tmp_path))
        assert [entry.certificate.leaf for entry in store.snapshots["traefik"].entries] == [certificate(**NEW).leaf]


class Proxied(Docker):
    """Beside the mail container a Traefik that gets no certificates, with a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        other = "b" * 64
        raw = {**changed("Name", to="/edge"), "Id": other, "Path": "/entrypoint.sh", "Args": ["traefik", "--api"]}
        raw["Config"] = {**raw["Config"], "Image": "traefik:v3", "Labels": {}}
        self.answers["/containers/json"].append({"Id": other, "Labels": {}})
        self.answers[f"/containers/{other}/json"] = raw


class Imitating(Docker):
    """Beside the mail container one whose image says what Traefik's operator would."""

    COMMAND: ClassVar = ["traefik", "--certificatesresolvers.le.acme.storage=/acme.json"]

    def __init__(self) -> None:
        super().__init__({name.replace("certferry.", "mail."): value for name, value in LABELS.items()})
        other, image = "b" * 64, "sha256:" + "e" * 64
        raw = {**changed("Name", to="/edge"), "Id": other, "Image": image, "Path": "", "Args": self.COMMAND, "Mounts": []}
        raw["Config"] = {"Image": "evil/traefik", "Labels": {}, "Cmd": self.COMMAND}
        self.answers["/containers/json"].append({"Id": other, "Labels": {}})
        self.answers[f"/containers/{other}/json"] = raw
        self.answers[f"/images/{image}/json"] = {"Config": {"Cmd": self.COMMAND}}


@pytest.mark.usefixtures("acme")
class TestDiscovery:
    """Whether and when proxies are looked for; what is found is the matter of `test_proxies` and of the engine's tests."""

    @pytest.fixture(autouse=True)
    def _no_mounts(self, monkeypatch):
        monkeypatch.setattr(registry, "conventional", tuple)

    async def test_every_command_looks_for_proxies(self, tmp_path):
        async with serving(Proxied(), tmp_path):
            for store in (
                await app.once(settings(tmp_path, discover="on")),
                await app.read_sources(settings(tmp_path, discover="on")),
            ):
                assert list(store.left) == ["edge"]
                assert "no resolver" in store.left["edge"]
            assert (await app.once(settings(tmp_path))).left == {}

    async def test_an_image_that_only_looks_like_a_proxy_is_told_wherever_its_certificates_are_missed(self, tmp_path):
        hint = "found, not used: put the label mail.discover=true on it to use it"
        given = settings(tmp_path, discover="on", sources="", label_prefix="mail.")
        async with serving(Imitating(), tmp_path):
            with capture_logs() as lines:
                ((_, decision),) = await app.plan(given)  # type: ignore[misc]
                store = await app.read_sources(given)
        assert store.sources == {}
        assert store.left["edge"] == f"Traefik, by its arguments: the resolver le; /acme.json: {hint}"
        assert decision.refused is not None
        assert decision.refused.reason is Reason.NO_MATCHING_CERTIFICATE
        assert decision.refused.message.endswith(f"the container edge looks like a proxy: {store.left['edge']}")
        warned = [line["message"] for line in lines if line["event"] == "proxy.unused" and line["log_level"] == "warning"]
        assert warned == [store.left["edge"]] * 2  # once by each of the two commands

    async def test_a_plan_needs_no_source(self, tmp_path):
        async with serving(Proxied(), tmp_path):
            ((facts, decision),) = await app.plan(settings(tmp_path, discover="on", sources=""))  # type: ignore[misc]
        assert decision.refused is not None
        assert "The sources hold none at all" in decision.refused.message
        assert facts.target.name == "mail"

    async def test_without_any_source_it_runs_and_says_where_it_looked(self, tmp_path):
        async with serving(Proxied(), tmp_path), running(settings(tmp_path, discover="on", sources="")) as lines:
            await until(lambda: "target.not_ready" in events(lines))
        assert {"proxy.left", "proxy.none"} <= set(events(lines))
        assert "of 2 containers none" in next(line["message"] for line in lines if line["event"] == "proxy.none")

    async def test_without_docker_the_configured_sources_can_be_read(self, tmp_path):
        store = await app.read_sources(settings(tmp_path, discover="on"))
        assert store.sources["traefik"].up
        assert (store.engine_up, "no Docker socket" in store.engine_message) == (False, True)

    async def test_without_docker_and_source_there_is_nothing_to_read(self, tmp_path):
        with pytest.raises(SettingsError, match="no Docker socket"):
            await app.read_sources(settings(tmp_path, discover="on", sources=""))

    async def test_a_configured_source_is_known_by_where_it_reads(self, tmp_path):
        urls = ("traefik:///a/acme.json?name=a", "docker://edge/b?kind=traefik&name=b")
        made = [app.configured(url, named) for url, named in zip(urls, ("a", "b"), strict=True)]
        assert made == [
            Configured("a", PurePosixPath("/a/acme.json")),
            Configured("b", PurePosixPath("/b"), "edge"),
        ]


def test_periodic_work_spreads_out_by_a_tenth() -> None:
    factors = [app.jitter() for _ in range(1000)]
    assert min(factors) >= 0.9
    assert max(factors) <= 1.1
    assert len(set(factors)) > 900


@pytest.mark.usefixtures("acme")
class TestOnePass:
    async def test_installs_what_is_missing_and_finds_nothing_to_do_the_next_time(self, tmp_path):
        docker = Docker()
        async with serving(docker, tmp_path):
            store = await app.once(settings(tmp_path))
            assert store.all_ready
            assert docker.files == {PRIVATE: pair(**NEW).key, CERT: pair(**NEW).chain}
            writes = len(docker.writes)
            assert (await app.once(settings(tmp_path))).all_ready
        assert 0 < writes == len(docker.writes)

    async def test_a_plan_writes_nothing(self, tmp_path):
        docker = Docker(files={PRIVATE: pair(**OLD).key, CERT: pair(**OLD).chain})
        async with serving(docker, tmp_path), app.connected(settings(tmp_path)) as parts:
            (key,) = await parts.discovery.keys()
            plan = await parts.reconciler.plan(key)
        assert isinstance(plan, tuple)
        assert set(plan[1].write) == {CERT, PRIVATE}
        assert docker.writes == []

    @pytest.mark.parametrize("observe", ["on", "off"])
    async def test_a_look_makes_no_authority_for_stand_ins(self, tmp_path, observe):
        state = tmp_path / "state"
        given = settings(tmp_path, sources=f"self-signed:?state={state}", observe=observe)
        async with serving(Docker(), tmp_path):
            ((_, decision),) = await app.plan(given)  # type: ignore[misc]
            assert set(decision.write) == {CERT, PRIVATE}
            assert not state.exists()
            await app.once(given)
        assert state.exists() == (observe == "off")

    @pytest.mark.parametrize("person", [True, False])
    async def test_a_docker_that_is_slow_to_answer_is_told_to_a_person_before_it_is_given_up(
        self, tmp_path, monkeypatch, person
    ):
        monkeypatch.setattr(app, "SLOW", 0.05)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: person, raising=False)
        given = settings(tmp_path, engine_timeout=0.3)
        told = f"Docker at unix://{tmp_path}/docker.sock has not answered for 0.05 s; it is given 0.3 s"
        for command in (app.plan, app.once):
            async with serving(DockerServer(hangs=True), tmp_path):
                with capture_logs() as lines, pytest.raises(EngineUnavailable):
                    await command(given)
            assert [line["message"] for line in lines if line["event"] == "engine.slow"] == [told] * person

    async def test_wrong_labels_are_not_ready(self, tmp_path):
        async with serving(Docker({"certferry.domain": "not a name!"}), tmp_path):
            assert not (await app.once(settings(tmp_path))).all_ready

    async def test_a_container_that_cannot_be_looked_at_is_not_ready(self, tmp_path):
        docker = Docker()
        docker.answers |= {f"/containers/{ID}/json": 500, "message": "out of order"}
        async with serving(docker, tmp_path):
            store = await app.once(settings(tmp_path))
        assert [status.condition.reason for status in store.targets.values()] == ["Unreachable"]
        assert not store.all_ready
        assert docker.asked.count(f"GET /containers/{ID}/json") == app.ONCE_ATTEMPTS

    async def test_a_file_that_is_no_certificate_is_left_alone_and_not_ready(self, tmp_path):
        docker = Docker(files={CERT: b"x" * (engine.LARGEST + 1)})
        async with serving(docker, tmp_path):
            store = await app.once(settings(tmp_path))
        assert (store.all_ready, docker.writes) == (False, [])

    async def test_a_passing_trouble_is_tried_again(self, tmp_path):
        docker = Docker()
        answers = iter((500, 500))
        raw = docker.answers[f"/containers/{ID}/json"]
        docker.answers[f"/containers/{ID}/json"] = lambda: next(answers, raw)
        async with serving(docker, tmp_path):
            assert (await app.once(settings(tmp_path))).all_ready

    async def test_a_fault_over_one_container_hides_no_other_and_is_not_ready(self, tmp_path, monkeypatch):
        docker, other = Docker(), "b" * 64
        docker.answers["/containers/json"].append({"Id": other, "Labels": LABELS})
        docker.answers[f"/containers/{other}/json"] = {**docker.answers[f"/containers/{ID}/json"], "Id": other, "Name": "/odd"}
        gather = Gatherer.gather

        async def fail(self: Gatherer, target: Target, memory: Memory) -> Any:
            if target.name == "odd":
                raise ZeroDivisionError("a bug")
            return await gather(self, target, memory)

        monkeypatch.setattr(Gatherer, "gather", fail)
        async with serving(docker, tmp_path):
            with capture_logs() as lines:
                store = await app.once(settings(tmp_path))
                plans = await app.plan(settings(tmp_path))
        conditions = {status.name: status.condition for status in store.targets.values()}
        assert conditions["mail"].ready
        (broken,) = (condition for name, condition in conditions.items() if name != "mail")
        assert (broken.ready, "ZeroDivisionError" in broken.message) == (False, True)
        assert sorted(type(plan).__name__ for plan in plans) == ["Unplanned", "tuple"]
        assert {"reconcile.crashed", "plan.crashed"} <= set(events(lines))

    async def test_without_docker_it_is_unavailable(self, tmp_path):
        async def fail(_request: web.BaseRequest) -> web.Response:
            return web.Response(status=500, text="starting")

        async with serving(fail, tmp_path):
            with pytest.raises(EngineUnavailable):
                await app.once(settings(tmp_path))


@pytest.mark.usefixtures("acme")
class TestTheCommands:
    """``once`` and ``plan`` from their arguments to their exit codes."""

    @pytest.fixture
    def certferry(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        monkeypatch.setenv("CERTFERRY_SOURCES", f"traefik://{tmp_path}/acme.json")

        async def run(*argv: str) -> tuple[int, str]:
            monkeypatch.setattr(sys, "argv", ["certferry", *argv])
            with pytest.raises(SystemExit) as ended:
                await asyncio.to_thread(cli.main)
            return int(ended.value.code or 0), capsys.readouterr().out

        yield run
        structlog.reset_defaults()

    async def test_once_shows_the_targets(self, certferry, tmp_path):
        async with serving(Docker(), tmp_path):
            code, printed = await certferry("once")
        assert (code, "mail" in printed, "ready" in printed) == (0, True, True)

    async def test_once_is_a_failure_where_one_is_not_ready(self, certferry, tmp_path):
        async with serving(Docker({"certferry.domain": DOMAIN}), tmp_path):
            code, printed = await certferry("once", "--json")
        assert (code, json.loads(printed)["targets"][0]["condition"]["reason"]) == (1, "InvalidLabels")

    async def test_plan_shows_what_would_be_done(self, certferry, tmp_path):
        docker = Docker()
        async with serving(docker, tmp_path):
            code, printed = await certferry("plan")
        assert (code, "would write /tls/key.pem" in printed, docker.writes) == (0, True, [])

    async def test_plan_is_a_failure_where_something_stands_in_the_way(self, certferry, tmp_path):
        async with serving(Docker({**LABELS, "certferry.domain": "other.example.com"}), tmp_path):
            code, printed = await certferry("plan", "--json")
        (plan,) = json.loads(printed)
        assert (code, plan["target"], plan["refused"]["reason"]) == (1, "mail", "NoMatchingCertificate")

    async def test_plan_without_targets_is_none(self, certferry, tmp_path):
        async with serving(Docker({"other": "label"}), tmp_path):
            code, printed = await certferry("plan")
        assert (code, "no container asks for a certificate" in printed) == (0, True)

    async def test_plan_without_targets_tells_of_a_source_that_cannot_be_read(self, certferry, tmp_path, monkeypatch):
        told: list[str] = []
        monkeypatch.setattr(cli, "_warn", told.append)
        monkeypatch.setenv("CERTFERRY_SOURCES", f"traefik://{tmp_path}/none.json?name=edge")
        async with serving(Docker({"other": "label"}), tmp_path):
            code, _ = await certferry("plan")
        (line,) = told
        assert code == 0
        assert line.startswith(f"the source edge could not be read: SourceUnavailable: {tmp_path}/none.json does not exist")


@asynccontextmanager
async def running(given: Settings) -> AsyncIterator[list[Any]]:
    """``certferry run``, ended by SIGTERM; its log so far."""
    with capture_logs() as lines:
        task = asyncio.create_task(app.run(given))
        try:
            yield lines
        finally:
            await until(lambda: events(lines).count("controller.started") == 1)
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(60):
                await task
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)
    assert events(lines)[-1] == "controller.stopped"


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


def address_of(lines: list[Any]) -> tuple[str, int]:
    """Where its pages are."""
    started = next(line for line in lines if line["event"] == "controller.started")
    assert started["sources"] == "traefik"
    host, _, port = started["http"].rpartition(":")
    return host, int(port)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens in the product, which knows of no event
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("acme")
class TestRunning:
    async def test_it_delivers_serves_its_pages_and_ends_when_told(self, tmp_path):
        docker = Docker()
        async with serving(docker, tmp_path), running(settings(tmp_path)) as lines:
            await until(lambda: "target.ready" in events(lines))
            address = address_of(lines)
            status = await asyncio.to_thread(asking.ask, address, "/status", holds="targets")
            health = await asyncio.to_thread(asking.ask, address, "/readyz", holds="ok")
        assert (status["ready"], status["targets"][0]["name"]) == (True, "mail")
        assert health == {"ok": True, "missing": []}
        assert docker.files[CERT] == pair(**NEW).chain

    async def test_a_renewal_in_the_store_reaches_the_container(self, tmp_path, acme):
        docker = Docker(files={PRIVATE: pair(**OLD).key, CERT: pair(**OLD).chain})
        acme.write_bytes(acme_json(pair(**OLD)))
        async with serving(docker, tmp_path), running(settings(tmp_path)) as lines:
            await until(lambda: "target.ready" in events(lines))
            assert docker.writes == []
            acme.write_bytes(acme_json(pair(**NEW)))
            await until(lambda: docker.files[CERT] == pair(**NEW).chain)

    async def test_it_waits_for_a_docker_that_does_not_answer_yet(self, tmp_path):
        docker = Docker()
        docker.answers["/info"] = 500
        ready = False

        async def starting(request: web.BaseRequest) -> web.StreamResponse:
            return await docker(request) if ready else web.Response(status=503, text="starting")

        async with serving(starting, tmp_path), running(settings(tmp_path)) as lines:
            await until(lambda: "engine.unavailable" in events(lines))
            ready = True
            docker.answers["/info"] = {"SystemTime": "2026-11-23T15:03:37Z"}
            await until(lambda: "target.ready" in events(lines))

    async def test_it_can_be_ended_while_it_waits(self, tmp_path):
        async def starting(_request: web.BaseRequest) -> web.Response:
            return web.Response(status=503, text="starting")

        async with serving(starting, tmp_path), running(settings(tmp_path, http="off")) as lines:
            await until(lambda: "engine.unavailable" in events(lines))

    async def test_its_pages_tell_what_it_waits_for(self, tmp_path):
        async def starting(_request: web.BaseRequest) -> web.Response:
            return web.Response(status=503, text="still starting")

        async with serving(starting, tmp_path), running(settings(tmp_path)) as lines:
            await until(lambda: "engine.unavailable" in events(lines))
            address = address_of(lines)
            status = await asyncio.to_thread(asking.ask, address, "/status", holds="targets")
            ready = await asyncio.to_thread(asking.ask, address, "/readyz", holds="ok")
        assert "still starting" in status["engine"]["message"]
        assert any("still starting" in missing for missing in ready["missing"])

    async def test_what_the_operator_must_change_first_is_raised(self, tmp_path):
        with pytest.raises(SettingsError, match="no Docker socket"):
            await app.run(settings(tmp_path, http="off"))


def test_a_key_names_its_endpoint() -> None:
    assert str(TargetKey(app.ENDPOINT, ID)) == f"local/{ID[:12]}"


async def test_nobody_to_ask_is_a_passing_trouble() -> None:
    with pytest.raises(TransientError):
        await asyncio.to_thread(asking.ask, ("127.0.0.1", 1), "/status", holds="targets")
