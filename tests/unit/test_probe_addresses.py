"""Hosts of several addresses of which some are dead, and name servers that do not answer."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controller.domain.target import ProbePort
from controller.probe import Failure, HandshakeError, examine, handshake
from controller.probe import connect as connecting
from controller.probe.connect import connect
from controller.probe.lookup import MAXIMUM_ADDRESSES, addresses_of
from tests.unit.dead_ends import NO_ROUTE, black_hole, closed_port
from tests.unit.probe_server import PATIENT, pair, serving, smtp_server
from tests.unit.test_probe_container import Exec, probe, target

pytestmark = pytest.mark.usefixtures("patient_probe")
HERE, ALSO_HERE = "127.0.0.1", "127.9.9.9"
NAME = "mail.example.com"


@contextmanager
def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> Iterator[None]:
    """`NAME` has these addresses, in this order; numeric ones are still understood."""
    real = socket.getaddrinfo

    def ask(host: str, *args: int, **options: int) -> object:
        if host != NAME:
            return real(host, *args, **options)
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in addresses for entry in real(address, *args, **options)]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", ask)
        yield


async def test_an_ipv6_that_never_answers_does_not_hide_a_working_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(smtp_server()) as port:
        with black_hole("::1", port), named(monkeypatch, "::1", HERE):
            seen = await examine(NAME, [ProbePort(port, "smtp")], timeout=PATIENT)

    assert [(one.error, one.leaf) for one in seen] == [("", pair().certificate.leaf)]


@pytest.mark.parametrize("dead", ["::1", NO_ROUTE, ALSO_HERE], ids=["IPv6 refuses", "no route", "IPv4 refuses"])
async def test_an_address_that_fails_at_once_does_not_hide_one_that_works(dead: str) -> None:
    async with serving(smtp_server()) as port:
        shaken = await handshake([dead, HERE], port, "smtp", timeout=PATIENT)

    assert shaken.chain_pem == pair().certificate.fullchain_pem


async def test_several_dead_addresses_do_not_hide_the_last_one() -> None:
    async with serving(smtp_server()) as port:
        with black_hole(ALSO_HERE, port), black_hole("127.9.9.8", port):
            shaken = await handshake([ALSO_HERE, "127.9.9.8", NO_ROUTE, HERE], port, "smtp", timeout=PATIENT)

    assert shaken.chain_pem == pair().certificate.fullchain_pem


async def test_a_dead_network_of_a_container_does_not_hide_the_other_one() -> None:
    async with serving(smtp_server()) as port:
        with black_hole(ALSO_HERE, port):
            asked = target(first=ALSO_HERE, second=HERE)
            seen = await probe(Exec(), "first", "second").served(asked, ProbePort(port, "smtp"))

    assert (seen.way, seen.leaf) == ("network", pair().certificate.leaf)


async def test_a_closed_port_is_closed_although_ipv6_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "ATTEMPT_DELAY", 0.01)  # long before all ends, the second one has refused
    with closed_port(HERE) as port, black_hole("::1", port), pytest.raises(HandshakeError) as caught:
        await connect(["::1", HERE], port, seconds=2)

    assert caught.value.kind is Failure.REFUSED
    expected = f"nothing listens there: {HERE} refused the connection (::1: no answer within 2 s)"
    assert str(caught.value) == expected


async def test_a_closed_port_is_closed_although_no_ipv6_leads_there() -> None:
    with closed_port(HERE) as port, pytest.raises(HandshakeError) as caught:
        await connect([NO_ROUTE, HERE], port, seconds=PATIENT)

    assert caught.value.kind is Failure.REFUSED


async def test_a_host_that_no_address_leads_to_is_told_with_each_reason() -> None:
    with black_hole("::1") as port, pytest.raises(HandshakeError) as caught:
        await connect([NO_ROUTE, "::1"], port, seconds=1)

    assert caught.value.kind is Failure.UNREACHABLE
    assert str(caught.value) == f"no connection to {NO_ROUTE}: Network is unreachable; ::1: no answer within 1 s"


async def test_a_machine_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *args: int, **options: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *args, **options)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with pytest.raises(HandshakeError, match="no connection to ::1: Address family not supported by protocol"):
        await connect(["::1"], 25, seconds=PATIENT)


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_cancelled_connection_ends_at_whatever_step_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library swallows a cancellation that comes while it ends the attempts that lost."""
    monkeypatch.setattr(connecting, "ATTEMPT_DELAY", 0.0001)
    ended = {"cancelled": 0, "connected": 0}
    async with serving(smtp_server()) as port:
        with black_hole("::1", port):
            for steps in range(60):
                task = asyncio.create_task(connect(["::1", HERE], port, seconds=PATIENT))
                for _ in range(steps):
                    await asyncio.sleep(0)
                done = task.done()
                task.cancel()
                await asyncio.wait({task}, timeout=60)
                assert task.cancelled() is not done
                ended["connected" if done else "cancelled"] += 1
                if done:
                    task.result().close()
    gc.collect()

    assert ended["cancelled"] > 3


async def test_nothing_stays_open_after_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    real = socket.socket

    def remembered(*args: int) -> socket.socket:
        opened.append(real(*args))
        return opened[-1]

    async with serving(smtp_server()) as port:
        with black_hole("::1", port):
            monkeypatch.setattr(socket, "socket", remembered)
            connection = await connect(["::1", HERE], port, seconds=PATIENT)
            monkeypatch.undo()

    assert [one.fileno() >= 0 for one in opened] == [False, True]
    connection.close()


@pytest.mark.parametrize("address", [HERE, "::1"])
async def test_an_address_asks_no_name_server(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _thread: pytest.fail("asked"))

    assert await addresses_of(address) == (address,)


async def test_a_link_local_address_keeps_its_interface() -> None:
    index = socket.if_nametoindex("lo")

    assert await addresses_of("fe80::1%lo") == (f"fe80::1%{index}",)


async def test_a_host_of_very_many_addresses_is_asked_at_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    with named(monkeypatch, *(f"127.0.1.{number}" for number in range(200))):
        assert len(await addresses_of(NAME)) == MAXIMUM_ADDRESSES


@pytest.mark.parametrize("host", ["a\0b", "\udcff.example.com", f"{'x' * 64}.example.com", "..", "mail.invalid", "-\x1b[2J"])
async def test_what_is_no_host_has_no_address(host: str) -> None:
    with pytest.raises(HandshakeError, match="has no address: ") as caught:
        await addresses_of(host)

    assert (caught.value.kind, str(caught.value).isprintable()) == (Failure.UNREACHABLE, True)


async def test_a_name_server_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr("controller.probe.lookup._ask", lambda _host, flags: ask_slowly(answered, flags))
    with pytest.raises(HandshakeError, match=r"the look-up of mail\.example\.com took longer than 0\.05 s") as caught:
        await addresses_of(NAME, seconds=0.05)
    answered.set()

    assert caught.value.kind is Failure.UNREACHABLE


def ask_slowly(answered: threading.Event, flags: int) -> tuple[str, ...]:
    if not flags:
        answered.wait(60)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


HANGING = """
import socket, sys, time
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, flags=0, **o: real(host, *a, flags=flags, **o) if flags else time.sleep(3600)
from controller.probe import lookup
lookup.addresses_of.__kwdefaults__["seconds"] = 0.2
from controller.cli import main
sys.argv = ["certferry", "probe", "mail.example.com", "mail.example.org"]
main()
"""


def test_a_resolver_that_hangs_holds_neither_the_probe_nor_the_end_of_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout.count("took longer than 0.2 s") > 1) == (1, True)
    assert "mail.example.org: no port handed out a certificate" in ended.stderr
