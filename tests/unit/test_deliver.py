"""An act by hand: through every wait, each step told, refused where it must not be; and what passes between two processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import aiohttp
import pytest

from controller import asking, by_hand, steps
from controller.deliver import (
    ATTEMPTS,
    BEGIN_LIMIT,
    Deliveries,
    Ended,
    Say,
    alone,
    alone_beside,
    announced,
    choose,
    claimed_from,
)
from controller.domain.container import Mount
from controller.domain.errors import CheckFailed, DeliveryRefused, EngineUnavailable, RollbackFailed, TransientError
from controller.domain.target import InvalidTarget, TargetKey
from controller.reconciler import Result
from controller.setting_values import Address
from controller.settings import Settings
from controller.store import Store
from controller.web.health import Vitals
from controller.web.metrics import Metrics
from controller.web.server import serve
from controller.workqueue import WorkQueue
from tests.unit.made import ID, IMAPS, KEY, NEW, NOW, OLD, certificate, container, target
from tests.unit.mailbox import Mailbox, World
from tests.unit.virtual_time import clock, virtually

old, new = certificate(**OLD), certificate(**NEW)


@contextlib.asynccontextmanager
async def free(_key: TargetKey) -> AsyncIterator[None]:
    """Nobody else works on anything."""
    yield


def renewal(**options: Any) -> World:
    world = World(Mailbox.holding(old, **options))
    world.offer(new)
    return world


SHARING = target(container=container(mounts=(Mount("volume", "tls", PurePosixPath("/tls"), True, "/srv"),)))


def keys_of(*keys: TargetKey) -> Callable[[], Awaitable[tuple[TargetKey, ...]]]:
    async def known() -> tuple[TargetKey, ...]:
        return keys

    return known


async def deliver(world: World, wanted: str = "mail", claim: Any = free, **options: Any) -> tuple[Ended, list[str]]:
    said: list[str] = []
    by_somebody = Deliveries(world.box, world.reconciler, world.store, claim=claim, limit=200.0, retry=1.0, **options)
    return await by_somebody.deliver(wanted, said.append), said


class TestDelivering:
    @virtually
    async def test_each_step_is_told(self):
        ended, said = await deliver(renewal(wanted=target(check=("doveconf", "-n"))))
        assert ended.ready
        assert said[0].startswith("differs: LeafDiffers: /tls/key.pem, /tls/cert.pem: ")
        assert said[1:] == [
            f"installed {new.leaf.short} until {new.leaf.not_after:%Y-%m-%d} from traefik",
            "checked by doveconf",
            "reloaded by postfix",
            "verified 993/imaps",
        ]
        assert ended.message.endswith("served on 993/imaps")

    @virtually
    async def test_where_nothing_differs_nothing_is_done(self):
        world = World(Mailbox.holding(new))
        world.offer(new)
        ended, said = await deliver(world, ID[:12])
        assert (ended.ready, said, world.done()) == (True, [], [])

    @virtually
    async def test_a_failure_is_not_waited_for(self):
        world = renewal(faults={"check": [CheckFailed("it failed"), CheckFailed("again"), None]})
        await world.look()
        assert (await world.look()).result is Result.REFUSED, "without being told it waits"
        world.done()
        first, said = await deliver(world)
        assert (first.ready, len(said), "apply" in world.done()) == (False, 1, True)
        assert first.message == "CheckFailed: again; the previous files are back"
        assert (await deliver(world))[0].ready

    @virtually
    async def test_a_container_that_just_starts_is_not_waited_for(self):
        starting = target(container=container(started_at=NOW - timedelta(seconds=5)))
        world = renewal(wanted=starting)
        world.box.in_use = None
        ended, said = await deliver(world)
        assert (ended.ready, "reloaded by postfix" in said) == (True, True)

    @virtually
    async def test_what_was_undone_right_after_a_write_is_written_again(self):
        world = renewal()
        await world.look()
        world.box.files = Mailbox.holding(old).files
        assert (await deliver(world))[0].ready

    @virtually
    async def test_a_failure_that_passes_is_tried_again_and_one_that_does_not_is_told(self):
        away = EngineUnavailable("no answer")
        ended, said = await deliver(renewal(faults={"observe": [away, away]}))
        assert (ended.ready, said[:2]) == (True, ["failed for now: no answer"] * 2)
        ended, said = await deliver(renewal(faults={"observe": [away] * ATTEMPTS}))
        assert (ended.ready, said) == (False, ["failed for now: no answer"] * ATTEMPTS)

    @virtually
    async def test_an_error_for_good_ends_it(self):
        ended, said = await deliver(renewal(faults={"observe": [RollbackFailed("for good")]}))
        assert (ended.ready, said) == (False, ["failed: for good"])

    @virtually
    async def test_a_container_that_goes_meanwhile_is_told(self):
        world = renewal()

        @contextlib.asynccontextmanager
        async def gone(_key: TargetKey) -> AsyncIterator[None]:
            world.box.target = None
            yield

        assert (await deliver(world, claim=gone))[0] == Ended(False, "the container is gone")

    @virtually
    async def test_it_waits_for_one_that_has_the_same_files(self):
        world = renewal(wanted=SHARING)
        world.reconciler.locks.enter(TargetKey("local", "other"), frozenset({"/srv"}))

        async def end_soon() -> None:
            await asyncio.sleep(5)
            world.reconciler.locks.leave(TargetKey("local", "other"))

        ending = asyncio.create_task(end_soon())
        ended, _ = await deliver(world)
        await ending
        assert (ended.ready, clock() >= 5) == (True, True)

    @virtually
    async def test_while_another_has_the_same_files_what_was_known_before_is_no_answer(self):
        """It was ready with the old pair; that the new one is wanted nobody has looked at yet."""
        world, other = World(Mailbox.holding(old, wanted=SHARING)), TargetKey("local", "other")
        world.offer(old)
        await world.look()
        assert world.status.condition.ready
        world.offer(new)
        world.reconciler.locks.enter(other, frozenset({"/srv"}))
        ended, said = await deliver(world)
        assert (ended.ready, ended.message) == (
            False,
            "nothing was done: a container with the same files is being worked on",
        )
        assert said == ["waiting: a container with the same files is being worked on"]
        world.reconciler.locks.leave(other)
        ended, said = await deliver(world)
        assert (ended.ready, said[0].partition(":")[0], world.box.in_use) == (True, "differs", new.leaf)

    @virtually
    async def test_another_target_that_cannot_be_looked_at_hinders_nothing(self):
        world = renewal()
        other = TargetKey("local", "f" * 64)
        away = EngineUnavailable("its image is gone")
        for keys, faults in (((KEY, other), [None, away]), ((other, KEY), [away, None])):
            world.box.keys = keys_of(*keys)  # type: ignore[assignment, method-assign]
            world.box.faults["resolve"] = list(faults)
            assert (await deliver(world, "mail"))[0].ready
        for wanted in ("ffff", "perhaps"):
            world.box.faults["resolve"] = [away, None]
            with pytest.raises(EngineUnavailable, match="its image is gone"):
                await deliver(world, wanted)

    @virtually
    async def test_it_waits_until_the_sources_were_read(self):
        """Before that nothing fits."""
        world = renewal()
        snapshots, world.store.snapshots = world.store.snapshots, {}

        async def begun() -> None:
            await asyncio.sleep(5)
            world.store.snapshots = snapshots

        ended, _ = await deliver(world, begun=begun)
        assert (ended.ready, world.box.in_use, clock() >= 5) == (True, new.leaf, True)

    @virtually
    @pytest.mark.parametrize(("engine", "why"), [("no answer", "no answer"), ("", "its sources are being read")])
    async def test_it_does_not_wait_for_ever_until_work_can_begin(self, engine, why):
        world = renewal()
        world.store.engine_message = engine
        with pytest.raises(TransientError, match=f"has just started and cannot work yet: {why}"):
            await deliver(world, begun=asyncio.Event().wait)
        assert (clock() <= BEGIN_LIMIT + 1, world.done()) == (True, [])

    @virtually
    async def test_the_end_of_one_takes_the_hurry_from_no_other(self):
        world = renewal(faults={"check": [CheckFailed("it failed")] * 3})
        with world.reconciler.hurried(KEY):
            await deliver(world)
            assert (await world.look()).result is Result.FAILED, "tried, and not put off"
        assert (await world.look()).result is Result.REFUSED

    @virtually
    async def test_afterwards_everything_waits_as_before(self):
        world = renewal(faults={"check": [CheckFailed("it failed")] * 2})
        await deliver(world)
        assert (await world.look()).result is Result.REFUSED


class TestRefused:
    @virtually
    async def test_where_it_is_paused(self):
        world = renewal(wanted=target(paused_by="CERTFERRY_OBSERVE=on"))
        with pytest.raises(
            DeliveryRefused, match="mail is paused \\(CERTFERRY_OBSERVE=on\\), so nothing is done; end that first"
        ):
            await deliver(world)
        assert world.done() == []

    @virtually
    async def test_where_its_labels_cannot_be_used(self):
        world = World(Mailbox(target=InvalidTarget(container(), ("certferry.mode='rw': no",))))
        with pytest.raises(DeliveryRefused, match="mail: certferry.mode='rw': no"):
            await deliver(world)

    @virtually
    async def test_where_there_is_none(self):
        with pytest.raises(DeliveryRefused, match="is called 'mail'; there is none"):
            await deliver(World(Mailbox(target=None)))


def test_a_name_goes_before_the_beginning_of_an_id():
    names = {TargetKey("local", "abc1"): "mail", TargetKey("local", "abc2"): "abc", TargetKey("local", "ff"): "other"}
    assert choose("abc", names, {}).container_id == "abc2"
    assert choose("ff", names, {}).container_id == "ff"
    with pytest.raises(DeliveryRefused, match="2 targets are meant by 'ab'; there is abc, mail, other"):
        choose("ab", names, {})
    with pytest.raises(DeliveryRefused):
        choose("", {KEY: "mail"}, {KEY: ""})


def test_what_the_compose_file_calls_it_will_do():
    one, two = TargetKey("local", "abc1"), TargetKey("local", "abc2")
    names = {one: "site-mail-1", two: "mail-2"}
    assert choose("mail", names, {one: "mail", two: ""}) == one
    assert choose("mail-2", names, {one: "mail-2", two: "mail"}) == two, "a name goes before it"
    with pytest.raises(DeliveryRefused, match="2 targets are meant by 'mail'; there is mail-2, site-mail-1"):
        choose("mail", names, {one: "mail", two: "mail"})


async def test_two_processes_do_not_act_on_one_container_by_hand():
    async with alone(KEY):
        with pytest.raises(DeliveryRefused, match="another `certferry deliver` works on it"):
            async with alone(KEY):
                pass
    async with alone(KEY):
        pass


async def test_it_is_not_done_here_beside_a_controller_that_cannot_be_asked():
    ours = Settings(docker_host="unix:///x.sock", label_prefix="mail.").containers
    with announced(ours) as first, announced(ours) as second:
        assert (first, second) == (True, False), "a second one runs all the same"
        with pytest.raises(
            DeliveryRefused, match="certferry runs on this machine and cannot be asked: its CERTFERRY_HTTP is off"
        ):
            async with alone_beside(ours)(KEY):
                pass
        for others in (Settings(docker_host="unix:///x.sock"), Settings(label_prefix="mail.")):
            async with alone_beside(others.containers)(KEY):
                pass
    async with alone_beside(ours)(KEY):
        with pytest.raises(DeliveryRefused, match="another `certferry deliver`"):
            async with alone_beside(ours)(KEY):
                pass


@virtually
async def test_a_worker_of_the_queue_never_works_beside_it():
    queue: WorkQueue[TargetKey] = WorkQueue(retry_min=1, retry_max=300, clock=clock, jitter=lambda: 1.0)
    async with claimed_from(queue)(KEY):
        queue.add(KEY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await queue.get()
    assert await queue.get() == KEY, "afterwards it is looked at as usual"


def test_what_is_no_step_is_not_told():
    assert steps.describe("target.ready", {}) == []


@contextlib.asynccontextmanager
async def serving(act: Callable[[str, Say], Awaitable[Ended]]) -> AsyncIterator[Address]:
    store = Store()
    vitals = Vitals(dead_tasks=lambda: (), first_pass_done=lambda: True)
    async with serve(Address("127.0.0.1", 0), store, metrics=Metrics(store), vitals=vitals, deliver=act) as address:
        assert address is not None
        yield address


class TestBetweenProcesses:
    async def ask(self, address: Address, wanted: str = "mail") -> tuple[Ended, list[str]]:
        said: list[str] = []
        settings = Settings(http=address)
        return await asyncio.to_thread(by_hand.deliver, settings, wanted, said.append), said

    async def test_the_steps_come_as_they_are_told_and_then_the_end(self):
        async def act(wanted: str, say: Say) -> Ended:
            say(f"found {wanted}")
            await asyncio.sleep(0)
            say("done")
            return Ended(True, "served")

        async with serving(act) as address:
            assert await self.ask(address, "a/b c?") == (Ended(True, "served"), ["found a/b c?", "done"])

    @pytest.mark.parametrize(
        ("error", "said"),
        [(DeliveryRefused("it is paused"), "it is paused"), (KeyError("x"), r"a fault in certferry \(KeyError\)")],
    )
    async def test_what_is_refused_or_breaks_there_is_told_here(self, error, said):
        async def act(_wanted: str, _say: Say) -> Ended:
            raise error

        async with serving(act) as address:
            with pytest.raises(DeliveryRefused, match=said):
                await self.ask(address)

    async def test_who_hangs_up_ends_nothing(self):
        begun, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def act(_wanted: str, say: Say) -> Ended:
            begun.set()
            await go_on.wait()
            for _ in range(100):
                say("x" * 10_000)
                await asyncio.sleep(0)
            over.set()
            return Ended(True, "")

        async with serving(act) as address:
            async with aiohttp.ClientSession() as client:
                asked = await client.post(f"http://{address}/deliver/mail", headers={asking.HEADER: "x"})
                await begun.wait()
                asked.close()
            go_on.set()
            async with asyncio.timeout(30):
                await over.wait()

    async def test_a_browser_cannot_be_made_to_ask(self):
        asked = []

        async def act(wanted: str, _say: Say) -> Ended:
            asked.append(wanted)
            return Ended(True, "")

        async with serving(act) as address, aiohttp.ClientSession() as client:
            async with client.post(f"http://{address}/deliver/mail") as answer:
                assert answer.status == 403
            async with client.get(f"http://{address}/deliver/mail", headers={asking.HEADER: "x"}) as answer:
                assert answer.status == 405
        assert asked == []

    async def test_an_address_of_its_own_is_this_machine_too(self):
        """Where CERTFERRY_HTTP names one, the loopback is not listened on."""
        own = "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route, suppress(OSError):  # where it has no other
            route.connect(("192.0.2.1", 9))  # nothing is sent
            own = route.getsockname()[0]

        async def act(_wanted: str, _say: Say) -> Ended:
            return Ended(True, "served")

        store = Store()
        vitals = Vitals(dead_tasks=lambda: (), first_pass_done=lambda: True)
        async with serve(Address(own, 0), store, metrics=Metrics(store), vitals=vitals, deliver=act) as address:
            assert address is not None
            assert await self.ask(address) == (Ended(True, "served"), [])

    @pytest.mark.parametrize("address", ["192.0.2.7", None, "unix"])
    def test_only_this_machine_may_ask(self, address):
        from controller.web.deliver import _is_local

        assert not _is_local(address)
        assert _is_local("127.0.0.1")
        assert _is_local("::1")

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "is not this version of certferry"),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nno json\n", "does not answer"),
            (b"SSH-2.0-x\r\n", "does not answer"),
        ],
    )
    async def test_something_else_that_answers_is_told_and_nothing_is_done(self, answer, error):
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            with pytest.raises(TransientError, match=error):
                await self.ask(Address(*server.sockets[0].getsockname()))

    async def test_a_controller_that_ends_in_the_middle_is_told(self):
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"step": "installed"}\n')
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            with pytest.raises(DeliveryRefused, match="the controller ended in the middle"):
                await self.ask(Address(*server.sockets[0].getsockname()))

    def test_without_a_controller_it_is_done_here(self, monkeypatch):
        async def act(*_: object) -> Ended:
            return Ended(True, "here")

        monkeypatch.setattr(by_hand, "_act", act)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            for address in (Address(*closed.getsockname()), None):
                assert by_hand.deliver(Settings(http=address), "mail", print) == Ended(True, "here")


def test_a_port_is_one_of_the_steps():
    assert steps.describe("target.served", {"ports": f"{IMAPS}, 25/smtp"}) == ["verified 993/imaps", "verified 25/smtp"]
