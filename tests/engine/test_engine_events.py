"""The engine's events: nothing is missed, nothing is echoed, and a cut stream is said so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath

import pytest
from docker.models.containers import Container

from controller.domain.errors import EngineUnavailable
from controller.engine import Engine, Event
from tests.certs import Authority
from tests.engine.delivery import Delivery, connected
from tests.engine.socket_proxy import SocketProxy
from tests.lab import GENEROUS, Lab


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[SocketProxy]:
    proxy = SocketProxy(tmp_path / "docker.sock")
    yield proxy
    proxy.close()


async def gather(events: AsyncIterator[Event], container: Container, *, until: str, seconds: float = GENEROUS) -> list[str]:
    """The actions of one container up to one of them."""
    actions: list[str] = []
    async with asyncio.timeout(seconds):
        while not actions or actions[-1] != until:
            event = await anext(events)
            if event.container_id == container.id:
                actions.append(event.action)
    return actions


async def test_what_happened_before_the_subscription_stood_is_replayed(engine: Engine, lab: Lab) -> None:
    since = await engine.now()
    container = await asyncio.to_thread(lab.container)

    async with engine.events(since) as events:
        assert await gather(events, container, until="start") == ["create", "start"]


async def test_what_happened_before_that_moment_is_not(engine: Engine, lab: Lab) -> None:
    container = await asyncio.to_thread(lab.container)
    since = await engine.now()

    async with engine.events(since) as events:
        await asyncio.to_thread(container.kill)
        assert await gather(events, container, until="die") == ["die"]


async def test_a_life_is_told_without_our_own_calls(engine: Engine, lab: Lab) -> None:
    authority = Authority()
    container = await asyncio.to_thread(lab.container, start=False)
    delivery = Delivery(engine, container)
    async with engine.events(await engine.now()) as events:
        await delivery.bring(authority.issue("mail.example.test"))
        await asyncio.to_thread(container.start)
        await delivery.bring(authority.issue("mail.example.test"))
        await delivery.settle()
        await engine.execute(str(container.id), ("true",))
        await engine.get_file(str(container.id), PurePosixPath("/etc/passwd"))
        await asyncio.to_thread(container.rename, f"{container.name}-new")
        await asyncio.to_thread(container.pause)
        await asyncio.to_thread(container.unpause)
        await asyncio.to_thread(container.update, mem_limit="64m", memswap_limit="64m")
        await asyncio.to_thread(container.restart, timeout=0)
        await asyncio.to_thread(container.remove, force=True)
        told = await gather(events, container, until="destroy")

    # Docker tells the end of a pause twice at times: when it was asked for, and when its runtime reports it, maybe later.
    once = [action for number, action in enumerate(told) if action != "unpause" or "unpause" not in told[:number]]
    assert once == ["start", "rename", "unpause", "update", "die", "start", "die", "destroy"]


async def test_health_is_told(engine: Engine, lab: Lab) -> None:
    second = 1_000_000_000
    async with engine.events(await engine.now()) as events:
        container = await asyncio.to_thread(
            lab.container, healthcheck={"test": ["CMD", "true"], "interval": second // 5, "timeout": second}
        )
        assert await gather(events, container, until="health_status") == ["create", "start", "health_status"]


async def test_a_cut_stream_is_an_error_and_the_next_one_misses_nothing(proxy: SocketProxy, lab: Lab) -> None:
    async with connected(proxy.url) as engine:
        since = await engine.now()
        with pytest.raises(EngineUnavailable, match=r"event stream of unix://.* ended"):
            async with engine.events(since) as events:
                first = await asyncio.to_thread(lab.container)
                assert await gather(events, first, until="start") == ["create", "start"]
                proxy.cut()
                async with asyncio.timeout(GENEROUS):
                    async for _ in events:  # what happened before, to containers of others
                        pass
        second = await asyncio.to_thread(lab.container)
        with pytest.raises(EngineUnavailable, match="Docker at|Docker could not"):
            await engine.now()
        with pytest.raises(EngineUnavailable, match=r"Docker at .* cannot tell what happens"):
            async with engine.events(since) as events, asyncio.timeout(GENEROUS):
                await anext(events)

        proxy.mend()
        for _ in range(2):
            async with engine.events(since) as events:
                assert await gather(events, first, until="start") == ["create", "start"]
                assert await gather(events, second, until="start") == ["create", "start"]


async def test_who_is_told_to_stop_in_the_moment_the_stream_ends_does_stop(proxy: SocketProxy) -> None:
    async with connected(proxy.url) as engine:

        async def follow() -> None:
            async with engine.events(await engine.now()) as events:
                async for _ in events:
                    pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
