"""The server, asked by a real client."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from structlog.testing import capture_logs

from controller.domain.errors import SettingsError
from controller.setting_values import Address
from controller.store import Store
from controller.web.health import Vitals
from controller.web.metrics import Metrics
from controller.web.server import serve

LOOPBACK = Address("127.0.0.1", 0)


def vitals(*, dead: tuple[str, ...] = (), done: bool = True) -> Vitals:
    return Vitals(dead_tasks=lambda: dead, first_pass_done=lambda: done)


@pytest.fixture
async def ask(store):
    """Asks a running server: status, headers, text."""
    async with (
        serve(LOOPBACK, store, metrics=Metrics(store), vitals=vitals(), clock=lambda: 1060.0) as address,
        aiohttp.ClientSession(f"http://{address}") as client,
    ):

        async def ask(path: str, method: str = "GET"):
            async with client.request(method, path) as answer:
                return answer.status, answer.headers, await answer.text()

        yield ask


async def ask_once(address: Address | None, path: str):
    async with aiohttp.ClientSession() as client, client.get(f"http://{address}{path}") as answer:
        return answer.status, await answer.json()


async def test_the_index_names_every_page(ask):
    status, headers, text = await ask("/")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    for page in ("/status", "/metrics", "/healthz", "/readyz"):
        assert page in text
        assert (await ask(page))[0] in (200, 503)


async def test_the_status_page_is_json_that_nobody_caches(ask):
    status, headers, text = await ask("/status")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert headers["Cache-Control"] == "no-store"
    assert '"age_seconds": 60.0' in text
    assert "PRIVATE KEY" not in text


async def test_the_measures_are_in_the_format_of_prometheus(ask):
    status, headers, text = await ask("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'certferry_source_up{source="traefik"} 1.0' in text


async def test_an_unknown_page_is_told_in_json(ask):
    status, headers, text = await ask("/nothing")
    assert (status, headers["Content-Type"]) == (404, "application/json; charset=utf-8")
    assert '"error": "Not Found"' in text
    assert '"/status"' in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed_from_outside(ask, method):
    status, headers, text = await ask("/status", method)
    assert (status, headers["Allow"]) == (405, "GET,HEAD")
    assert '"error": "Method Not Allowed"' in text


async def test_a_head_request_is_answered_for_health_checks_that_send_it(ask):
    assert (await ask("/healthz", "HEAD"))[0] == 200


async def test_healthy_and_ready():
    store = Store(engine_up=True)
    async with serve(LOOPBACK, store, metrics=Metrics(store), vitals=vitals()) as address:
        assert await ask_once(address, "/healthz") == (200, {"ok": True, "missing": []})
        assert await ask_once(address, "/readyz") == (200, {"ok": True, "missing": []})


async def test_not_healthy_and_not_ready_say_why():
    store = Store(engine_message="connection refused")
    async with serve(LOOPBACK, store, metrics=Metrics(store), vitals=vitals(dead=("events",))) as address:
        gone = "the task events has ended; restart certferry"
        assert await ask_once(address, "/healthz") == (503, {"ok": False, "missing": [gone]})
        assert await ask_once(address, "/readyz") == (
            503,
            {"ok": False, "missing": [gone, "the Docker Engine: connection refused"]},
        )


async def test_serving_can_be_switched_off():
    async with serve(None, Store(), metrics=Metrics(Store()), vitals=vitals()) as address:
        assert address is None


async def test_the_port_is_free_again_after_the_end_even_with_an_open_connection():
    store = Store()
    with socket.socket() as holder:  # it does not listen, so who does may share the port; nobody else is given it meanwhile
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", holder.getsockname()[1])
        async with serve(address, store, metrics=Metrics(store), vitals=vitals()):
            _, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(60):
            async with serve(address, store, metrics=Metrics(store), vitals=vitals()):
                pass
    writer.close()


async def test_a_port_in_use_is_a_settings_error_with_its_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(SettingsError) as caught:
            async with serve(address, Store(), metrics=Metrics(Store()), vitals=vitals()):
                pass
    assert str(caught.value) == f"CERTFERRY_HTTP='{address}': the port is in use; choose another one, or off"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "this machine has no such address; choose 127.0.0.1 or 0.0.0.0, or off"),
        ("fe80::1%nowhere", "the host has no address"),
        (f"{'a' * 64}.example", "the host has no address"),
    ],
)
async def test_an_address_that_is_not_ours_is_a_settings_error(host, reason):
    with pytest.raises(SettingsError) as caught:
        async with serve(Address(host, 0), Store(), metrics=Metrics(Store()), vitals=vitals()):
            pass
    assert str(caught.value) == f"CERTFERRY_HTTP='{Address(host, 0)}': {reason}"


async def test_a_fault_in_a_page_costs_that_answer_alone_and_is_logged_once():
    def crash() -> bool:
        raise ZeroDivisionError("a bug")

    store = Store()
    broken = Vitals(dead_tasks=tuple, first_pass_done=crash)
    with capture_logs() as lines:
        async with serve(LOOPBACK, store, metrics=Metrics(store), vitals=broken) as address:
            for _ in range(3):
                status, body = await ask_once(address, "/readyz")
                assert (status, body) == (500, {"error": "a fault in certferry (ZeroDivisionError), see its log"})
            assert (await ask_once(address, "/healthz"))[0] == 200
    told = [line for line in lines if line["log_level"] == "error"]
    assert [(line["event"], line["page"]) for line in told] == [("page.crashed", "/readyz")]
    assert isinstance(told[0]["exc_info"], ZeroDivisionError)
