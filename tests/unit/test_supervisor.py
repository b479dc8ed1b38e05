"""The eternal tasks together, in virtual time: a Docker that cuts its stream, sources that change, work that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.condition import Condition
from controller.domain.errors import EngineUnavailable, PermanentError, SettingsError, SourceUnavailable, TransientError
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem, Snapshot
from controller.domain.target import Target, TargetKey
from controller.engine import Event
from controller.followers import FIRST_WAIT
from controller.following import SLOW
from controller.locks import Locks
from controller.proxies import Change
from controller.reconciler import Outcome, Result
from controller.settings import Settings
from controller.store import Store, TargetStatus
from controller.supervisor import Supervisor
from controller.workqueue import WorkQueue
from tests.unit.made import NEW, NOW, OLD, certificate, snapshot, target
from tests.unit.test_following import Script
from tests.unit.test_threads import Panic
from tests.unit.virtual_time import clock, virtually

SETTINGS = Settings(workers=2, batch_window=0.25, resync=600.0, retry_min=1.0, retry_max=300.0, drain=8.0)


def key(name: str) -> TargetKey:
    return TargetKey("local", name)


class Docker:
    """Engine and discovery in one: containers that are targets, and a stream of events that can be cut."""

    host = "unix:///docker.sock"

    def __init__(self, *containers: str) -> None:
        self.containers = list(containers)
        self.log: list[tuple[str, int]] = []
        self.faults: list[Exception] = []
        """What asking for the time raises, one after the other."""
        self.while_listing: Callable[[], None] = lambda: None
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()

    def _note(self, what: str) -> None:
        self.log.append((what, round(clock())))

    @property
    def asked(self) -> list[str]:
        return [what for what, _ in self.log]

    async def now(self) -> str:
        if self.faults:
            raise self.faults.pop(0)
        return f"{clock():.0f}.0"

    @asynccontextmanager
    async def events(self, since: str) -> AsyncIterator[AsyncIterator[Event]]:
        self._note(f"subscribe since {since}")
        yield self._iterate()

    async def _iterate(self) -> AsyncIterator[Event]:
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            yield event

    def key(self, container_id: str) -> TargetKey:
        return key(container_id)

    async def keys(self) -> list[TargetKey]:
        self._note("list")
        found = [key(name) for name in self.containers]
        self.while_listing()
        return found

    def event(self, name: str, action: str = "start") -> None:
        self._events.put_nowait(Event(action, name))

    def cut(self, message: str = "the event stream ended") -> None:
        self._events.put_nowait(EngineUnavailable(message))


class Work:
    """A reconciler that notes when it is asked to look at what, and answers as told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.locks = Locks()
        self.looks: list[tuple[str, float]] = []
        self.running: set[str] = set()
        self.seconds: dict[str, float] = {}
        self.answers: dict[str, list[Outcome | Exception]] = {}
        self.wanted: dict[str, Target] = {}

    async def reconcile(self, looked_at: TargetKey) -> Outcome:
        name = looked_at.container_id
        assert name not in self.running, "never two at a time"
        self.running.add(name)
        self.looks.append((name, round(clock(), 2)))
        try:
            await asyncio.sleep(self.seconds.get(name, 0.0))
            waiting = self.answers.get(name) or [Outcome(Result.UNCHANGED)]
            answer = waiting.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            if answer.result is Result.GONE:
                self._store.targets.pop(looked_at, None)
            else:
                self._store.targets[looked_at] = TargetStatus(
                    name, Condition(True, None, "", NOW), self.wanted.get(name, target(key=looked_at))
                )
            return answer
        finally:
            self.running.discard(name)

    def at(self, name: str) -> list[float]:
        """When one target was looked at."""
        return [moment for looked, moment in self.looks if looked == name]


class Counts:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.retries = 0

    def observe_reconcile(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)

    def observe_retry(self) -> None:
        self.retries += 1


class Finder:
    """Looks for proxies and finds what it is told to, one change after the other, then none."""

    looked_at = 3

    def __init__(self, *changes: Change | BaseException) -> None:
        self.changes = list(changes)
        self.looks: list[tuple[str, int]] = []
        self.seconds = 0.0

    async def look(self, container_ids: Collection[str] | None = None) -> Change:
        await asyncio.sleep(self.seconds)
        self.looks.append(("all" if container_ids is None else " ".join(sorted(container_ids)), round(clock())))
        change = self.changes.pop(0) if self.changes else Change()
        if isinstance(change, BaseException):
            raise change
        return change


class House:
    """A supervisor and everything around it."""

    def __init__(self, docker: Docker, *sources: Script, settings: Settings = SETTINGS, proxies: Finder | None = None) -> None:
        self.docker, self.sources = docker, sources
        self.store = Store()
        self.work = Work(self.store)
        self.counts = Counts()
        self.stop = asyncio.Event()
        queue: WorkQueue[TargetKey] = WorkQueue(
            retry_min=settings.retry_min, retry_max=settings.retry_max, clock=clock, jitter=lambda: 1.0
        )
        self.supervisor = Supervisor(
            engine=docker,  # type: ignore[arg-type]
            discovery=docker,  # type: ignore[arg-type]
            reconciler=self.work,  # type: ignore[arg-type]
            sources=sources,
            store=self.store,
            queue=queue,
            settings=settings,
            jitter=lambda: 1.0,
            observer=self.counts,
            proxies=proxies,  # type: ignore[arg-type]
        )


@asynccontextmanager
async def running(*containers: str, source: Script | None = None, **options: Any) -> AsyncIterator[House]:
    """A supervisor at work; it is told to stop at the end, and must."""
    house = House(options.pop("docker", None) or Docker(*containers), *([source] if source else []), **options)
    task = asyncio.create_task(house.supervisor.run(house.stop))
    await asyncio.sleep(0.01)
    try:
        yield house
    finally:
        house.stop.set()
        async with asyncio.timeout(60):
            await task


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


class TestFollowingDocker:
    @virtually
    async def test_it_subscribes_before_it_lists(self):
        """models.md 1.9: traefik lists containers before it subscribes, so that a start in between is lost."""
        async with running("a") as house:
            assert house.docker.log == [("subscribe since 0.0", 0), ("list", 0)]
            assert house.work.looks == [("a", 0.0)]
            assert house.store.engine_up

    @virtually
    async def test_a_container_that_starts_while_the_others_are_listed_is_not_lost(self):
        docker = Docker("a")
        docker.while_listing = lambda: docker.event("late")
        async with running(docker=docker) as house:
            assert {name for name, _ in house.work.looks} == {"a", "late"}

    @virtually
    async def test_an_event_has_its_container_looked_at_at_once(self):
        async with running() as house:
            await asyncio.sleep(100)
            house.docker.event("new")
            await asyncio.sleep(0.01)
            assert house.work.looks == [("new", 100.01)]

    @virtually
    async def test_several_events_of_one_container_are_one_look_more(self):
        async with running("a") as house:
            for _ in range(10):
                house.docker.event("a")
            await asyncio.sleep(60)
            assert len(house.work.at("a")) == 2

    @virtually
    async def test_an_event_while_its_container_is_worked_on_is_one_more_look_afterwards(self):
        """models.md 1.9: caddy-docker-proxy drops an update for a server that is being updated."""
        docker = Docker("a")
        house_work = {"a": 30.0}
        async with running(docker=docker) as house:
            house.work.seconds = house_work
            docker.event("a")
            await asyncio.sleep(1)
            docker.event("a")
            await asyncio.sleep(100)
            assert [round(moment) for moment in house.work.at("a")] == [0, 0, 30]

    @virtually
    async def test_after_a_cut_stream_everything_is_listed_and_looked_at_anew(self):
        async with running("a", "b") as house:
            await asyncio.sleep(99)
            house.docker.cut("the event stream ended (closed)")
            await asyncio.sleep(0.5)
            assert (house.store.engine_up, house.store.engine_message) == (False, "the event stream ended (closed)")
            house.docker.containers = ["b", "c"]  # what happened while nobody listened
            await asyncio.sleep(1)
            assert house.docker.log[2:] == [("subscribe since 100.0", 100), ("list", 100)]
            assert [round(m) for m in house.work.at("a")] == [0, 100]  # to learn that it is gone
            assert [round(m) for m in house.work.at("b")] == [0, 100]
            assert [round(m) for m in house.work.at("c")] == [100]
            assert house.store.engine_up

    @virtually
    async def test_a_docker_that_does_not_answer_is_asked_again_with_growing_pauses(self):
        docker = Docker("a")
        docker.faults = [EngineUnavailable("not yet")] * 8
        async with running(docker=docker) as house:
            await asyncio.sleep(1000)
            assert docker.log[0] == (f"subscribe since {1 + 2 + 4 + 8 + 16 + 30 * 3}.0", 1 + 2 + 4 + 8 + 16 + 30 * 3)
            assert house.work.at("a")[0] == pytest.approx(121, abs=1)

    @virtually
    async def test_after_a_good_connection_the_pauses_begin_anew(self):
        docker = Docker("a")
        docker.faults = [EngineUnavailable("not yet")] * 6
        async with running(docker=docker):
            await asyncio.sleep(200)
            docker.cut()
            await asyncio.sleep(1.5)
            assert docker.log[-1] == ("list", 201)

    def test_the_same_trouble_is_told_once(self, logged):
        @virtually
        async def test() -> None:
            docker = Docker("a")
            docker.faults = [EngineUnavailable("not yet")] * 5
            async with running(docker=docker):
                await asyncio.sleep(200)
            assert events(logged).count("engine.unavailable") == 1
            assert events(logged).count("engine.connected") == 1

        test()


class TestResync:
    @virtually
    async def test_each_target_is_looked_at_again_without_any_event(self):
        async with running("a") as house:
            await asyncio.sleep(1250)
            assert [round(m) for m in house.work.at("a")] == [0, 600, 1200]

    @virtually
    async def test_a_container_that_no_event_told_of_is_found(self):
        async with running("a") as house:
            house.docker.containers = ["a", "quiet"]
            await asyncio.sleep(601)
            assert [round(m) for m in house.work.at("quiet")] == [600]

    @virtually
    async def test_a_container_that_left_without_an_event_is_looked_at_and_forgotten(self):
        async with running("a") as house:
            house.docker.containers = []
            house.work.answers["a"] = [Outcome(Result.GONE)]
            await asyncio.sleep(5000)
            assert [round(m) for m in house.work.at("a")] == [0, 600]

    @virtually
    async def test_a_docker_that_does_not_answer_then_is_no_disaster(self):
        async with running("a") as house:
            list_them = house.docker.keys

            async def fail() -> list[TargetKey]:
                raise EngineUnavailable("busy")

            house.docker.keys = fail  # type: ignore[method-assign]
            await asyncio.sleep(700)
            house.docker.keys = list_them  # type: ignore[method-assign]
            await asyncio.sleep(700)
            assert house.docker.log[-1] == ("list", 1200)


class TestWorking:
    @virtually
    async def test_nothing_is_worked_on_before_every_source_was_tried(self):
        source = Script(snapshot())
        load = source.load

        async def slow() -> Snapshot:
            await asyncio.sleep(10)
            return await load()

        source.load = slow  # type: ignore[method-assign]
        async with running("a", source=source) as house:
            await asyncio.sleep(60)
            assert [round(m) for m in house.work.at("a")] == [10]

    @virtually
    async def test_a_source_that_failed_was_tried(self):
        async with running("a", source=Script(SourceUnavailable("gone"))) as house:
            assert house.work.at("a") == [0.0]

    @virtually
    async def test_another_look_is_planned_as_asked_for(self):
        docker = Docker("a")
        house = House(docker)
        house.work.answers["a"] = [Outcome(Result.CHANGED, 3.0), Outcome(Result.UNCHANGED)]
        task = asyncio.create_task(house.supervisor.run(house.stop))
        await asyncio.sleep(700)
        assert [round(m) for m in house.work.at("a")] == [0, 3, 603]
        house.stop.set()
        await task

    @virtually
    async def test_a_passing_failure_is_tried_again_with_growing_pauses_and_never_given_up(self):
        """models.md 1.9: Reloader drops an item after five tries."""
        async with running() as house:
            house.work.answers["a"] = [TransientError("not now")] * 12
            house.docker.event("a")
            await asyncio.sleep(2500)
            pauses = [round(b - a) for a, b in zip(house.work.at("a"), house.work.at("a")[1:], strict=False)]
            assert pauses[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
            assert (house.counts.retries, house.counts.outcomes[:13]) == (12, ["failed"] * 12 + ["unchanged"])

    @virtually
    async def test_after_success_the_pauses_begin_anew(self):
        async with running() as house:
            house.work.answers["a"] = [*[TransientError("no")] * 4, Outcome(Result.UNCHANGED), TransientError("no")]
            house.docker.event("a")
            await asyncio.sleep(20)
            house.docker.event("a")
            await asyncio.sleep(2)
            assert [round(m) for m in house.work.at("a")] == [0, 1, 3, 7, 15, 20, 21]

    @virtually
    async def test_a_new_event_cuts_the_pause(self):
        async with running() as house:
            house.work.answers["a"] = [TransientError("no")] * 8
            house.docker.event("a")
            await asyncio.sleep(100)
            house.docker.event("a")
            await asyncio.sleep(0.01)
            assert house.work.at("a")[-1] == pytest.approx(100, abs=0.1)

    @virtually
    async def test_a_permanent_failure_waits_for_the_resync(self):
        async with running() as house:
            house.work.answers["a"] = [PermanentError("never")]
            house.docker.event("a")
            await asyncio.sleep(610)
            assert [round(m) for m in house.work.at("a")] == [0, 600]

    @pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), Panic("a bug")], ids=["exception", "panic"])
    def test_a_crash_over_one_target_does_not_stop_the_others(self, bug, logged):
        @virtually
        async def test() -> None:
            async with running("a", "b", settings=SETTINGS.model_copy(update={"workers": 1})) as house:
                house.work.answers["bad"] = [bug]
                house.docker.event("bad")
                house.docker.event("b")
                await asyncio.sleep(5)
                assert [round(m) for m in house.work.at("bad")] == [0, 1]
                assert len(house.work.at("b")) == 2
            crash = next(line for line in logged if line["event"] == "reconcile.crashed")
            assert (crash["log_level"], crash["message"]) in (("error", "a bug"), ("error", "a library failed for good: Panic"))

        test()

    @pytest.mark.parametrize("error", [TransientError("no"), PermanentError("no"), ZeroDivisionError("no")])
    def test_a_failure_is_logged_with_the_name_of_the_container_where_it_is_known(self, logged, error):
        @virtually
        async def test() -> None:
            async with running() as house:
                house.work.answers["a"] = [error, Outcome(Result.UNCHANGED), error]
                house.docker.event("a")
                await asyncio.sleep(1300)
                house.docker.event("a")

        test()
        told = [line["target"] for line in logged if line["event"].startswith("reconcile.")]
        assert list(dict.fromkeys(told)) == ["local/a", "a"]

    @virtually
    async def test_a_slow_target_does_not_hold_up_the_others(self):
        async with running() as house:
            house.work.seconds["slow"] = 1000
            house.docker.event("slow")
            for _ in range(3):
                house.docker.event("b")
                await asyncio.sleep(1)
            assert len(house.work.at("b")) == 3
            house.work.seconds.clear()

    @virtually
    async def test_a_container_that_is_no_target_is_not_looked_at_again(self):
        async with running() as house:
            house.work.answers["a"] = [Outcome(Result.GONE)]
            house.docker.event("a")
            await asyncio.sleep(5000)
            assert len(house.work.at("a")) == 1

    @virtually
    async def test_the_first_pass_is_done_when_every_container_of_the_start_was_worked_on(self):
        docker = Docker("a", "b")
        house = House(docker)
        house.work.seconds["b"] = 20
        house.work.answers["a"] = [TransientError("whatever comes of it")]
        task = asyncio.create_task(house.supervisor.run(house.stop))
        states = [house.supervisor.first_pass_done]
        for _ in range(2):
            await asyncio.sleep(15)
            states.append(house.supervisor.first_pass_done)
        assert states == [False, False, True]
        house.stop.set()
        await task

    def test_a_container_at_whose_first_look_the_worker_was_cancelled_was_not_worked_on(self, logged):
        @virtually
        async def test() -> None:
            house = House(Docker("a"), settings=SETTINGS.model_copy(update={"workers": 1}))
            house.work.answers["a"] = [asyncio.CancelledError()]  # type: ignore[list-item]
            task = asyncio.create_task(house.supervisor.run(house.stop))
            await asyncio.sleep(0.5)
            assert not house.supervisor.first_pass_done
            await asyncio.sleep(10)
            assert house.supervisor.first_pass_done
            house.stop.set()
            await task

        test()
        assert events(logged).count("task.crashed") == 1

    @virtually
    async def test_without_containers_the_first_pass_is_done_at_once(self):
        async with running() as house:
            assert house.supervisor.first_pass_done


class TestASourceThatChanges:
    """Only those targets are looked at that a changed certificate could be for."""

    MAIL, IMAP, WILD = "mail.example.com", "imap.example.com", "mail.example.net"

    @asynccontextmanager
    async def house(self, *readings: Snapshot) -> AsyncIterator[House]:
        docker = Docker("mail", "imap", "wild", "invalid")
        made = House(docker, Script(*readings))
        for name, domain in (("mail", self.MAIL), ("imap", self.IMAP), ("wild", self.WILD)):
            made.work.wanted[name] = target(domain, key=key(name))
        made.work.wanted["invalid"] = None  # type: ignore[assignment]
        task = asyncio.create_task(made.supervisor.run(made.stop))
        await asyncio.sleep(10)
        made.work.looks.clear()
        try:
            yield made
        finally:
            made.stop.set()
            await task

    @pytest.mark.parametrize(
        ("before", "after", "looked_at"),
        [
            (snapshot(certificate(MAIL, **OLD)), snapshot(certificate(MAIL, **NEW)), {"mail"}),
            (snapshot(certificate(MAIL)), snapshot(certificate(MAIL), certificate(IMAP)), {"imap"}),
            (snapshot(certificate(MAIL)), snapshot(), {"mail"}),
            (snapshot(), snapshot(certificate("*.example.net")), {"wild"}),
            (snapshot(), snapshot(certificate("*.example.com")), {"mail", "imap"}),
            (snapshot(), snapshot(certificate("www.example.org")), set()),
        ],
        ids=["renewed", "came", "went", "wildcard", "wildcard for two", "for nobody"],
    )
    def test_by_name(self, before, after, looked_at):
        @virtually
        async def test() -> None:
            async with self.house(before, after) as made:
                made.sources[0].hint()
                await asyncio.sleep(1)
                assert {name for name, _ in made.work.looks} - {"invalid"} == looked_at

        test()

    @virtually
    async def test_those_of_which_nothing_is_known_are_looked_at_as_well(self):
        async with self.house(snapshot(), snapshot(certificate("www.example.org"))) as made:
            made.sources[0].hint()
            await asyncio.sleep(1)
            assert made.work.looks == [("invalid", 10.25)]

    @virtually
    async def test_a_reading_that_brings_nothing_new_has_nobody_looked_at(self):
        async with self.house(snapshot(certificate(self.MAIL))) as made:
            made.sources[0].hint()
            await asyncio.sleep(1)
            assert made.work.looks == []

    @virtually
    async def test_several_changes_within_the_window_are_one_look_and_do_not_put_it_off(self):
        readings = [snapshot(certificate(self.MAIL, hours_old=40 - n)) for n in range(4)]
        async with self.house(*readings) as made:
            for _ in range(3):
                made.sources[0].hint()
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            assert made.work.at("mail") == [10.25]

    @virtually
    async def test_a_problem_that_changed_concerns_those_that_are_in_trouble(self):
        trouble = Snapshot("traefik", (), (Problem("le/x", Reason.WEAK_KEY, ""),))
        async with self.house(snapshot(), trouble) as made:
            status = made.store.targets[key("imap")]
            made.store.targets[key("imap")] = TargetStatus("imap", Condition(False, Reason.EXPIRED, "", NOW), status.target)
            made.sources[0].hint()
            await asyncio.sleep(1)
            assert {name for name, _ in made.work.looks} == {"imap", "invalid"}


def found(*readings: Snapshot | Exception, name: str = "edge") -> Script:
    """The source of a proxy."""
    made = Script(*readings)
    made.name = name
    return made


def hanging() -> Script:
    """A source whose reading does not come to an end."""

    async def hang() -> Snapshot:
        await asyncio.sleep(10_000)
        return snapshot()

    made = Script(snapshot())
    made.load = hang  # type: ignore[method-assign]
    return made


OF_EDGE = snapshot(certificate(), source="edge")


class TestProxies:
    @virtually
    async def test_are_looked_for_and_their_sources_read_before_anything_is_worked_on(self):
        source = found(OF_EDGE)
        finder = Finder(Change(follow=(source,)))
        finder.seconds = 10
        async with running("a", proxies=finder) as house:
            await asyncio.sleep(11)
            assert (finder.looks, source.log[:2]) == ([("all", 10)], [("enter", 10), ("load", 10)])
            assert [round(m) for m in house.work.at("a")][:1] == [10]
            assert house.store.snapshots == {"edge": OF_EDGE}

    @virtually
    async def test_are_not_looked_for_where_that_is_off(self):
        async with running("a") as house:
            assert house.work.at("a") == [0.0]
            house.docker.event("a")
            await asyncio.sleep(1)
            assert house.supervisor.followers._to_look_at.empty()

    @virtually
    async def test_are_looked_at_when_something_happened_to_them(self):
        finder = Finder()
        async with running(proxies=finder) as house:
            for action in ("create", "start", "die", "destroy", "rename", "health_status", "update", "unpause"):
                house.docker.event(action, action)
                await asyncio.sleep(0.1)
            assert [look for look, _ in finder.looks] == ["all", "create", "start", "die", "destroy", "rename"]

    @virtually
    async def test_what_happened_meanwhile_is_one_look(self):
        finder = Finder()
        async with running(proxies=finder) as house:
            finder.seconds = 5
            for name in ("a", "b", "c", "b"):
                house.docker.event(name)
                await asyncio.sleep(0.1)
            await asyncio.sleep(20)
            assert finder.looks == [("all", 0), ("a", 5), ("b c", 10)]

    @virtually
    async def test_are_all_looked_at_after_a_cut_stream_and_at_the_resync(self):
        finder = Finder()
        async with running(proxies=finder) as house:
            await asyncio.sleep(99)
            house.docker.cut()
            await asyncio.sleep(550)
            assert finder.looks == [("all", 0), ("all", 100), ("all", 600)]

    def test_a_look_that_was_cancelled_though_nobody_told_it_is_made_up_for(self, logged):
        @virtually
        async def test() -> None:
            finder = Finder(asyncio.CancelledError(), Change(follow=(found(OF_EDGE),)))
            async with running("a", proxies=finder) as house:
                await asyncio.sleep(10)
                assert finder.looks == [("all", 0), ("all", 1)]
                assert house.store.snapshots == {"edge": OF_EDGE}

        test()
        assert events(logged).count("task.crashed") == 1

    @virtually
    async def test_a_look_that_fails_is_tried_again(self):
        source = found(OF_EDGE)
        finder = Finder(EngineUnavailable("busy"), ZeroDivisionError("a bug"), Change(follow=(source,)))
        async with running("a", proxies=finder) as house:
            await asyncio.sleep(10)
            assert finder.looks == [("all", 0), ("all", 1), ("all", 2)]
            assert [round(m) for m in house.work.at("a")][:1] == [2]
            assert "edge" in house.store.snapshots

    @virtually
    async def test_while_docker_does_not_answer_the_next_look_waits_for_it(self):
        finder = Finder(EngineUnavailable("away"))
        async with running(proxies=finder) as house:
            house.docker.faults = [EngineUnavailable("away")] * 5
            house.docker.cut()
            await asyncio.sleep(100)
            assert [moment for _, moment in finder.looks] == [0, 1 + 2 + 4 + 8 + 16 + 30]

    @virtually
    async def test_a_source_that_comes_later_is_followed_and_brings_its_certificates(self):
        source = found(snapshot(source="edge"), OF_EDGE)
        finder = Finder(Change(), Change(follow=(source,)))
        async with running("a", proxies=finder) as house:
            house.work.wanted["a"] = target(key=key("a"))
            await asyncio.sleep(50)
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert house.store.sources["edge"].up
            house.work.looks.clear()
            source.hint()
            await asyncio.sleep(1)
            assert len(house.work.at("a")) == 1

    @virtually
    async def test_a_label_that_named_an_unknown_source_is_read_again_when_one_comes(self):
        finder = Finder(Change(), Change(follow=(found(SourceUnavailable("not yet")),)))
        async with running("a", "b", proxies=finder) as house:
            status = house.store.targets[key("a")]
            house.store.targets[key("a")] = TargetStatus("a", Condition(False, Reason.INVALID_LABELS, "", NOW), None)
            assert status.target
            await asyncio.sleep(50)
            house.work.looks.clear()
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert [name for name, _ in house.work.looks if name != "edge"] == ["a"]

    @virtually
    async def test_where_nothing_fits_it_is_looked_at_again_when_another_proxy_could_be_used(self):
        """Its condition names it, and what to do."""
        finder = Finder(Change(), Change(unused=True))
        async with running("a", "b", proxies=finder) as house:
            known = house.store.targets[key("a")]
            nothing = Condition(False, Reason.NO_MATCHING_CERTIFICATE, "", NOW)
            house.store.targets[key("a")] = replace(known, condition=nothing)
            await asyncio.sleep(50)
            house.work.looks.clear()
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert [name for name, _ in house.work.looks if name != "edge"] == ["a"]

    @virtually
    async def test_who_waited_for_a_long_search_is_looked_at_when_it_ends(self):
        finder = Finder()
        finder.seconds = 40
        async with running("a", proxies=finder) as house:
            await asyncio.sleep(20)
            known = house.store.targets[key("a")]
            house.store.targets[key("a")] = replace(known, condition=Condition(False, Reason.OTHER_SOURCE, "", NOW))
            house.work.looks.clear()
            await asyncio.sleep(30)
            assert len(house.work.at("a")) == 1

    @virtually
    async def test_a_source_in_place_of_another_one_keeps_what_that_held(self):
        before, after = found(OF_EDGE), found(SourceUnavailable("not yet"))
        finder = Finder(Change(follow=(before,)), Change(follow=(after,)))
        async with running(proxies=finder) as house:
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert before.log[-1][0] == "leave"
            assert after.log[:2] == [("enter", 0), ("load", 0)]
            assert (house.store.snapshots["edge"], house.store.sources["edge"].up) == (OF_EDGE, False)
            assert [follower.source_name for follower in house.supervisor.followers] == ["edge"]
            assert house.supervisor.dead_tasks == ()

    @virtually
    async def test_until_all_containers_were_looked_at_once_there_may_be_sources_that_nobody_knows_of(self):
        finder = Finder(EngineUnavailable("away"))
        async with running(proxies=finder) as house:
            assert house.store.known([]).searching
            await asyncio.sleep(50)
            assert not house.store.known([]).searching

    @virtually
    async def test_where_proxies_are_not_looked_for_all_sources_are_known(self):
        async with running() as house:
            assert not house.store.known([]).searching

    @virtually
    async def test_a_source_that_is_given_up_is_forgotten_and_its_targets_looked_at(self):
        source = found(OF_EDGE)
        finder = Finder(Change(follow=(source,)), Change(retire=("edge", "never followed")))
        async with running("a", proxies=finder) as house:
            await asyncio.sleep(50)
            house.work.looks.clear()
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert source.log[-1][0] == "leave"
            assert (house.store.snapshots, house.store.sources) == ({}, {})
            assert len(house.work.at("a")) == 1
            assert (house.supervisor.dead_tasks, list(house.supervisor.followers)) == ((), [])

    @virtually
    async def test_a_source_that_is_given_up_before_it_was_ever_read_holds_nobody_up(self):
        source = found(OF_EDGE)

        async def hang() -> Snapshot:
            await asyncio.sleep(1000)
            return OF_EDGE

        source.load = hang  # type: ignore[method-assign]
        finder = Finder(Change(follow=(source,)), Change(retire=("edge",)))
        async with running("a", proxies=finder) as house:
            await asyncio.sleep(10)
            assert house.work.looks == []
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert [round(m) for m in house.work.at("a")] == [10]

    @virtually
    async def test_a_source_whose_container_is_back_is_tried_at_once(self):
        source = found(SourceUnavailable("gone"))
        source.refuses = [SourceUnavailable("gone")] * 1000
        finder = Finder(Change(follow=(source,)), Change(touched=frozenset({"edge"})))
        async with running(proxies=finder) as house:
            await asyncio.sleep(500)  # tried every twelve seconds by now
            left = len(source.refuses)
            await asyncio.sleep(1)
            assert len(source.refuses) == left
            source.refuses, source.readings = [], [OF_EDGE]
            house.docker.event("edge")
            await asyncio.sleep(0.1)
            assert house.store.sources["edge"].up

    @virtually
    async def test_a_crash_of_a_source_found_later_is_no_end_either(self):
        source = found(ZeroDivisionError("a bug"))
        finder = Finder(Change(), Change(follow=(source,)))
        async with running("a", proxies=finder) as house:
            house.docker.event("edge")
            await asyncio.sleep(1)
            assert (house.store.sources["edge"].up, house.supervisor.dead_tasks) == (False, ())
            source.readings = [OF_EDGE]
            await asyncio.sleep(60)
            assert house.store.snapshots == {"edge": OF_EDGE}

    @pytest.mark.parametrize(
        ("configured", "found_by_itself", "left", "told"),
        [
            (False, {}, {}, ["warning"]),
            (False, {}, {"edge": "its label asks for that"}, ["warning"]),
            (True, {}, {}, ["info"]),
            (True, {}, {"edge": "it is already read"}, []),
            (False, {"edge": "Traefik"}, {}, []),
        ],
        ids=["no source at all", "left", "something configured", "the configured is it", "found"],
    )
    def test_where_none_is_found_is_told_once(self, logged, configured, found_by_itself, left, told):
        @virtually
        async def test() -> None:
            finder = Finder()
            finder.seconds = 1
            async with running(proxies=finder, source=Script(snapshot()) if configured else None) as house:
                house.store.found, house.store.left = found_by_itself, left
                house.docker.event("other")
                await asyncio.sleep(1000)

        test()
        lines = [line for line in logged if line["event"] == "proxy.none"]
        assert [line["log_level"] for line in lines] == told
        assert all("of 3 containers none keeps certificates" in line["message"] for line in lines)


class TestTheEnd:
    @virtually
    async def test_running_work_is_let_end_and_none_is_begun(self):
        docker = Docker("a", "b", "c")
        house = House(docker)
        house.work.seconds = dict.fromkeys("abc", 5.0)
        task = asyncio.create_task(house.supervisor.run(house.stop))
        await asyncio.sleep(1)
        assert len(house.work.running) == SETTINGS.workers == 2
        house.stop.set()
        await task
        assert clock() == pytest.approx(5, abs=0.1)
        assert house.counts.outcomes == ["unchanged"] * 2
        assert len(house.work.looks) == 2

    def test_work_that_takes_too_long_is_cut_short_and_said_so(self, logged):
        @virtually
        async def test() -> None:
            house = House(Docker("a"))
            house.work.seconds["a"] = 1000
            task = asyncio.create_task(house.supervisor.run(house.stop))
            await asyncio.sleep(1)
            house.stop.set()
            await task
            assert clock() == pytest.approx(9, abs=0.1)

        test()
        assert "controller.cut_short" in events(logged)

    @virtually
    async def test_nothing_is_dead_while_it_runs_or_after_it_was_told_to_stop(self):
        async with running("a") as house:
            assert house.supervisor.dead_tasks == ()
        assert house.supervisor.dead_tasks == ()

    @virtually
    async def test_it_stops_before_docker_ever_answered(self):
        docker = Docker()
        docker.faults = [EngineUnavailable("never")] * 99
        async with running(docker=docker) as house:
            await asyncio.sleep(60)
            assert not house.supervisor.first_pass_done
        assert clock() < 70

    @pytest.mark.parametrize("failing", ["docker", "source-traefik", "resync", "proxies", "worker-0"])
    @pytest.mark.parametrize("how", [None, ZeroDivisionError("a bug"), Panic("a bug")], ids=["ends", "crashes", "panics"])
    def test_an_eternal_task_that_fails_is_named_and_begun_anew_and_the_others_go_on(self, failing, how, logged):
        @virtually
        async def test() -> None:
            house = House(Docker("a"), Script(snapshot()), proxies=Finder())
            parts = {
                "docker": (house.supervisor, "_follow_engine"),
                "resync": (house.supervisor, "_resync"),
                "proxies": (house.supervisor.followers, "_follow"),
                "source-traefik": (house.supervisor.followers.each[0], "follow"),
                "worker-0": (house.supervisor, "_work"),
            }
            part, name = parts[failing]
            sound, failures = getattr(part, name), list[float]()

            async def fail(*given: object) -> None:
                if len(failures) < 8:
                    failures.append(clock())
                    if how:
                        raise how
                    return
                await sound(*given)

            setattr(part, name, fail)
            task = asyncio.create_task(house.supervisor.run(house.stop))
            await asyncio.sleep(0.5)
            assert failing in house.supervisor.dead_tasks
            await asyncio.sleep(300)
            assert (house.supervisor.dead_tasks, task.done()) == ((), False)
            assert house.work.at("a")
            house.stop.set()
            async with asyncio.timeout(60):
                await task

        test()
        told = [line for line in logged if line["event"] == "task.crashed" and line["log_level"] == "error"]
        assert {line["task"] for line in told if line["task"] == failing} == {failing}
        assert all(line["exc_info"] for line in told)
        assert len(told) == (2 if failing == "worker-0" else 1), "once for each task, however often it fails"

    @virtually
    async def test_what_the_operator_must_change_is_the_end_of_all(self):
        docker = Docker("a")
        docker.faults = [SettingsError("no permission on the Docker socket")]
        house = House(docker)
        with pytest.raises(SettingsError, match="no permission"):
            await house.supervisor.run(house.stop)

    @virtually
    async def test_a_worker_whose_cancellation_became_a_result_begins_no_other_work(self):
        house = House(Docker("a"), settings=SETTINGS.model_copy(update={"workers": 1}))

        async def swallow(looked_at: TargetKey) -> Outcome:
            house.work.looks.append((looked_at.container_id, clock()))
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1e6)
            return Outcome(Result.FAILED, 0.0)

        house.work.reconcile = swallow  # type: ignore[method-assign]
        task = asyncio.create_task(house.supervisor.run(house.stop))
        await asyncio.sleep(1)
        (worker,) = (one for one in asyncio.all_tasks() if one.get_name() == "worker-0")
        worker.cancel()
        await asyncio.wait({worker}, timeout=0.01)
        assert (worker.cancelled(), house.work.at("a")) == (True, [0.0])
        house.stop.set()
        await task

    @pytest.mark.parametrize("cause", ["a library leaves a cancellation behind", "what is awaited was cancelled"])
    def test_a_worker_that_was_cancelled_though_nobody_told_it_to_end_is_told_and_begun_anew(self, cause, logged):
        @virtually
        async def test() -> None:
            async with running("a", settings=SETTINGS.model_copy(update={"workers": 1})) as house:
                sound = house.work.reconcile

                async def cancelled(_looked_at: TargetKey) -> Outcome:
                    house.work.reconcile = sound  # type: ignore[method-assign]
                    if cause == "what is awaited was cancelled":
                        awaited = asyncio.get_running_loop().create_future()
                        awaited.cancel()
                        await awaited
                    task = asyncio.current_task()
                    assert task
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)
                    raise TransientError("the container was removed")

                house.work.reconcile = cancelled  # type: ignore[method-assign, assignment]
                house.docker.event("b")
                await asyncio.sleep(0.5)
                assert house.supervisor.dead_tasks == ("worker-0",)
                await asyncio.sleep(10)
                assert not house.supervisor.dead_tasks
                assert house.work.at("b"), "what it was at is not forgotten"

        test()
        (told,) = (line for line in logged if line["event"] == "task.crashed")
        assert (told["task"], told["log_level"]) == ("worker-0", "error")

    @pytest.mark.parametrize("hanging", ["source", "worker"])
    def test_a_task_that_does_not_end_is_named_and_left_behind(self, hanging, logged):
        @virtually
        async def test() -> None:
            source = Script(snapshot())
            house = House(Docker("a"), source)
            let_go = asyncio.Event()

            async def hang(*_given: object) -> Any:
                while not let_go.is_set():
                    with suppress(asyncio.CancelledError):
                        await let_go.wait()

            if hanging == "source":
                source.load = hang  # type: ignore[method-assign]
            else:
                house.work.reconcile = hang  # type: ignore[method-assign, assignment]
            task = asyncio.create_task(house.supervisor.run(house.stop))
            await asyncio.sleep(100)
            house.stop.set()
            await task
            assert clock() - 100 <= SETTINGS.drain + 2
            let_go.set()
            await asyncio.sleep(1)

        test()
        (told,) = {line["tasks"] for line in logged if line["event"] == "task.hangs"}
        assert told == {"source": "reading traefik", "worker": "worker-0"}[hanging]


class TestWhatHangs:
    """One source, or the look for proxies, that never comes to an end holds nobody up."""

    def test_a_source_that_is_never_read_is_named_and_work_goes_on_without_it(self, logged):
        @virtually
        async def test() -> None:
            hung, well = hanging(), found(OF_EDGE)
            house = House(Docker("a"), hung, well)
            task = asyncio.create_task(house.supervisor.run(house.stop))
            await asyncio.sleep(FIRST_WAIT + 1)
            assert [round(m) for m in house.work.at("a")] == [FIRST_WAIT]
            assert house.store.snapshots == {"edge": OF_EDGE}
            assert (house.store.sources["traefik"].up, house.store.sources["traefik"].message) == (False, SLOW)
            house.stop.set()
            await task

        test()
        (told,) = (line for line in logged if line["event"] == "source.degraded")
        assert (told["source"], told["message"]) == ("traefik", SLOW)

    def test_a_look_for_proxies_that_never_ends_is_told_and_work_goes_on_without(self, logged):
        @virtually
        async def test() -> None:
            finder = Finder()
            finder.seconds = 10_000
            async with running("a", proxies=finder) as house:
                await asyncio.sleep(FIRST_WAIT + 1)
                assert [round(m) for m in house.work.at("a")] == [FIRST_WAIT]

        test()
        assert events(logged).count("proxies.slow") == 1

    def test_a_fault_in_the_choice_of_proxies_is_told_once_and_nobody_waits_for_it(self, logged):
        @virtually
        async def test() -> None:
            finder = Finder(*[ZeroDivisionError("a bug")] * 2000)
            async with running("a", source=Script(snapshot()), proxies=finder) as house:
                await asyncio.sleep(600)
                assert [round(m) for m in house.work.at("a")][:1] == [FIRST_WAIT]
                assert len(finder.looks) < 30, "with growing pauses"

        test()
        told = [line for line in logged if line["event"] == "proxies.crashed" and line["log_level"] == "error"]
        assert len(told) == 1
        assert isinstance(told[0]["exc_info"], ZeroDivisionError)

    def test_a_command_does_not_wait_for_a_source_that_hangs(self):
        @virtually
        async def test() -> None:
            hung, well = hanging(), found(OF_EDGE)
            house = House(Docker("a"), hung, well)
            await house.supervisor.followers.read_once()
            assert clock() < 60
            assert house.store.snapshots == {"edge": OF_EDGE}
            assert not house.store.sources["traefik"].up

        test()

    def test_a_command_reads_what_is_configured_although_the_choice_of_proxies_breaks(self, logged):
        @virtually
        async def test() -> None:
            house = House(Docker("a"), Script(snapshot()), proxies=Finder(ZeroDivisionError("a bug")))
            await house.supervisor.followers.read_once()
            assert house.store.sources["traefik"].up

        test()
        assert events(logged).count("proxies.crashed") == 1

    @pytest.mark.parametrize("part", ["now", "keys", "events"])
    def test_a_fault_in_what_docker_answers_is_told_once_and_it_is_asked_again(self, logged, part):
        @virtually
        async def test() -> None:
            docker = Docker("a")
            sound, failures = getattr(docker, part), list[int]()

            def fail(*given: Any) -> Any:
                if len(failures) < 5:
                    failures.append(1)
                    raise KeyError("SystemTime")
                return sound(*given)

            setattr(docker, part, fail)
            async with running(docker=docker) as house:
                await asyncio.sleep(200)
                assert house.store.engine_up
                assert house.work.at("a")

        test()
        told = [line for line in logged if line["event"] == "engine.crashed" and line["log_level"] == "error"]
        assert len(told) == 1

    def test_a_fault_in_the_resync_is_told_once_and_it_goes_on(self, logged):
        @virtually
        async def test() -> None:
            async with running("a") as house:
                sound = house.docker.keys

                async def fail() -> list[TargetKey]:
                    raise ZeroDivisionError("a bug")

                house.docker.keys = fail  # type: ignore[method-assign]
                await asyncio.sleep(1900)
                house.docker.keys = sound  # type: ignore[method-assign]
                house.docker.containers = ["a", "quiet"]
                await asyncio.sleep(600)
                assert house.work.at("quiet")

        test()
        told = [line for line in logged if line["event"] == "resync.crashed" and line["log_level"] == "error"]
        assert len(told) == 1

    def test_a_fault_beside_the_work_on_a_target_costs_neither_the_worker_nor_the_target(self, logged):
        @virtually
        async def test() -> None:
            async with running("a", settings=SETTINGS.model_copy(update={"workers": 1})) as house:
                house.counts.observe_reconcile = None  # type: ignore[method-assign, assignment]
                house.docker.event("b")
                await asyncio.sleep(10)
                del house.counts.observe_reconcile
                await asyncio.sleep(10)
                assert len(house.work.at("b")) > 2
                assert house.counts.outcomes[-1] == "unchanged"

        test()
        assert {line["target"] for line in logged if line["event"] == "worker.crashed"} == {"b"}

    @virtually
    async def test_certificates_that_cannot_be_compared_have_every_target_looked_at(self):
        async with running("a", "b", source=Script(snapshot(), snapshot(certificate()))) as house:
            house.work.looks.clear()
            for name in ("a", "b"):
                status = house.store.targets[key(name)]
                house.store.targets[key(name)] = TargetStatus(name, status.condition, object())  # type: ignore[arg-type]
            house.sources[0].hint()
            await asyncio.sleep(1)
            assert {name for name, _ in house.work.looks} == {"a", "b"}
            assert house.store.sources["traefik"].up
