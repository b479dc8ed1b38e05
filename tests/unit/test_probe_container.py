"""Which way leads to a container's port: network, exec, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import PurePosixPath

import pytest

from controller.domain.certificate import KeyType
from controller.domain.container import Container, State
from controller.domain.errors import ProbeUnavailable, TargetGone
from controller.domain.execution import ExecResult
from controller.domain.observed import Served
from controller.domain.target import Place, ProbePort, Slot, Target, TargetKey
from controller.ports import Probe
from controller.probe import ContainerProbe, Nearby, Reach
from controller.probe.container import server_name_of
from tests.unit import dead_ends
from tests.unit.dead_ends import NO_ROUTE
from tests.unit.probe_server import PATIENT, openssl_server, pair, serving, smtp_server, tls_context

pytestmark = pytest.mark.usefixtures("patient_probe")
HERE = "127.0.0.1"
GATEWAY = "172.17.0.1"
FOUND = ExecResult(0, pair().chain, b"")
REFUSED = ExecResult(1, b"", b"connect:errno=111\n")
MISSING = ExecResult(127, b"", b"timeout: failed to run command 'openssl': No such file or directory\n")


class Exec:
    """Answers each command by the address it connects to, and remembers the addresses."""

    def __init__(self, *results: ExecResult | Exception) -> None:
        self._results = list(results)
        self.asked: list[str] = []

    async def __call__(
        self,
        _container_id: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        user: str = "",
        timeout: float,  # noqa: ASYNC109
    ) -> ExecResult:
        self.asked.append(argv[argv.index("-connect") + 1])
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def target(*domains: str, mode: str = "mail", **addresses: str) -> Target:
    gateways = dict.fromkeys(addresses, GATEWAY)
    container = Container("c" * 64, "mail", "image", State.RUNNING, network_mode=mode, addresses=addresses, gateways=gateways)
    place = Place(Slot(), certificate=PurePosixPath("/c"), key=PurePosixPath("/k"))
    return Target(TargetKey("local", container.id), container, "generic", domains or ("mail.example.com",), (place,))


def probe(execute: Exec, *own: str, host: bool = False, timeout: float = PATIENT) -> ContainerProbe:
    """On the host of the engine, or in a container of it that is on some networks."""
    addresses = dict.fromkeys(own, "192.0.2.9")
    beside = Container("b" * 64, "certferry", "image", State.RUNNING, network_mode="x", addresses=addresses)
    nearby = Nearby(lambda _: True, lambda _: True, lambda gateway: gateway == GATEWAY)
    return ContainerProbe(execute=execute, reach=Reach(lambda: None if host else beside, nearby), timeout=timeout)


@pytest.fixture
async def open_port() -> AsyncIterator[int]:
    async with serving(smtp_server(context=tls_context(pair("ecdsa"), pair("rsa")))) as port:
        yield port


@pytest.fixture
def closed_port() -> Iterator[int]:
    with dead_ends.closed_port(HERE) as port:
        yield port


def is_a_probe(_probe: Probe) -> None:
    """Type checkers judge this."""


def test_it_is_what_the_port_asks_for() -> None:
    is_a_probe(probe(Exec()))


async def test_a_shared_network_leads_there(open_port: int) -> None:
    seen = await probe(Exec(), "net").served(target(other="192.0.2.1", net=HERE), ProbePort(open_port, "smtp"))

    assert seen == Served(
        ProbePort(open_port, "smtp"), pair().certificate.leaf, "network", chain_pem=pair().certificate.fullchain_pem
    )


async def test_the_wanted_kind_of_key_is_asked_for(open_port: int) -> None:
    seen = await probe(Exec(), "net").served(target(net=HERE), ProbePort(open_port, "smtp"), key_type=KeyType.RSA)

    assert seen.leaf == pair("rsa").certificate.leaf


class TestAServerWithoutTls12:
    """One of its certificates can be asked for from inside only."""

    NO_OPENSSL = ExecResult(127, b"", b'exec: "openssl": executable file not found in $PATH')

    @pytest.fixture
    def port(self) -> Iterator[ProbePort]:
        with openssl_server(pair("ecdsa"), pair("rsa"), options=["-tls1_3"]) as number:
            yield ProbePort(number, "imaps")

    async def test_is_asked_from_inside(self, port: ProbePort) -> None:
        seen = await probe(Exec(FOUND), "net").served(target(net=HERE), port, key_type=KeyType.ECDSA)
        assert (seen.way, seen.leaf) == ("exec", pair().certificate.leaf)

    async def test_is_seen_without_openssl_as_far_as_it_prefers_that_one(self, port: ProbePort) -> None:
        seen = await probe(Exec(*[self.NO_OPENSSL] * 3), "net").served(target(net=HERE), port, key_type=KeyType.ECDSA)
        assert (seen.way, seen.leaf) == ("network", pair().certificate.leaf)

    async def test_of_another_nobody_knows(self, port: ProbePort) -> None:
        seen = await probe(Exec(*[self.NO_OPENSSL] * 3), "net").served(target(net=HERE), port, key_type=KeyType.RSA)
        assert (seen.unknown, seen.leaf) == (True, None)
        assert seen.error == (
            f"port {port} speaks no TLS 1.2, so its RSA certificate was not seen: there is no openssl in the container"
        )


async def test_on_the_host_every_address_is_tried(open_port: int) -> None:
    addresses = {"none": "", "deaf": "127.9.9.9", "net": HERE}
    seen = await probe(Exec(), host=True).served(target(**addresses), ProbePort(open_port, "smtp"))

    assert (seen.way, seen.leaf) == ("network", pair().certificate.leaf)


async def test_a_container_on_the_hosts_network_is_reached_by_the_loopback_from_there(open_port: int) -> None:
    seen = await probe(Exec(), host=True).served(target(mode="host"), ProbePort(open_port, "smtp"))

    assert (seen.way, seen.leaf) == ("network", pair().certificate.leaf)


@pytest.mark.parametrize(
    "asked",
    [
        target(net="192.0.2.1"),
        target(mode="host"),
        target(mode=f"container:{'d' * 64}"),
        target(mode="none"),
    ],
    ids=["no shared network", "host's network", "another container's network", "no network"],
)
async def test_without_a_network_exec_leads_there(asked: Target) -> None:
    execute = Exec(FOUND)
    seen = await probe(execute, "own").served(asked, ProbePort(25, "smtp"))

    assert (seen.way, seen.leaf, execute.asked) == ("exec", pair().certificate.leaf, ["127.0.0.1:25"])
    assert seen.chain_pem == pair().certificate.fullchain_pem


async def test_an_address_that_does_not_answer_is_asked_from_inside() -> None:
    seen = await probe(Exec(FOUND), "net").served(target(net=NO_ROUTE), ProbePort(25, "smtp"))

    assert seen.way == "exec"


async def test_a_port_of_the_loopback_only_is_asked_from_inside(closed_port: int) -> None:
    seen = await probe(Exec(FOUND), "net").served(target(net=HERE), ProbePort(closed_port, "smtp"))

    assert (seen.way, seen.refused, seen.leaf) == ("exec", False, pair().certificate.leaf)


async def test_a_port_that_refuses_both_ways_is_refused(closed_port: int) -> None:
    seen = await probe(Exec(REFUSED), "net").served(target(net=HERE), ProbePort(closed_port, "smtp"))

    assert (seen.way, seen.refused, seen.leaf) == ("exec", True, None)
    assert seen.error


async def test_a_service_bound_to_an_address_only_is_found_from_inside() -> None:
    execute = Exec(REFUSED, FOUND)
    seen = await probe(execute).served(target(net="192.0.2.1"), ProbePort(25, "smtp"))

    assert (seen.leaf, execute.asked) == (pair().certificate.leaf, ["127.0.0.1:25", "192.0.2.1:25"])


async def test_a_refusal_stands_where_exec_cannot_ask(closed_port: int) -> None:
    seen = await probe(Exec(MISSING), "net").served(target(net=HERE), ProbePort(closed_port, "smtp"))

    assert (seen.way, seen.refused, seen.leaf) == ("network", True, None)
    assert "no openssl" in seen.error


async def test_an_answer_over_the_network_is_not_asked_again_from_inside() -> None:
    server = smtp_server(replies={b"EHLO": b"250-me\r\n250 8BITMIME\r\n"})
    async with serving(server) as port:
        seen = await probe(Exec(), "net").served(target(net=HERE), ProbePort(port, "smtp"))

    assert (seen.way, seen.refused, seen.leaf) == ("network", False, None)
    assert "does not offer STARTTLS" in seen.error


async def test_an_error_seen_from_inside_is_an_answer() -> None:
    seen = await probe(Exec(ExecResult(124, b"", b""))).served(target(), ProbePort(25, "smtp"))

    assert (seen.way, seen.refused, seen.leaf, "no TLS within 20 s" in seen.error) == ("exec", False, None, True)


async def test_a_certificate_that_does_not_parse_is_an_error_of_the_port() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    seen = await probe(Exec(ExecResult(0, broken, b""))).served(target(), ProbePort(25, "smtp"))

    assert (seen.leaf, seen.error.startswith("handed out no certificate")) == (None, True)


async def test_neither_way_names_the_remedy() -> None:
    with pytest.raises(ProbeUnavailable) as caught:
        await probe(Exec(MISSING), "own").served(target(abcdefabcdefabcdef="192.0.2.1"), ProbePort(25, "smtp"))

    assert str(caught.value) == (
        "mail: port 25/smtp cannot be probed: there is no openssl in the container and no network leads there; "
        "attach certferry to one of its networks (abcdefabcdef), or set certferry.probe=off"
    )


async def test_neither_way_and_no_network_at_all_names_the_remedy() -> None:
    with pytest.raises(ProbeUnavailable, match=r"give it a network that certferry is on, or set certferry\.probe=off"):
        await probe(Exec(MISSING), "own").served(target(mode="none"), ProbePort(25, "smtp"))


async def test_errors_of_the_engine_pass_through() -> None:
    with pytest.raises(TargetGone):
        await probe(Exec(TargetGone("no such container"))).served(target(), ProbePort(25, "smtp"))


@pytest.mark.parametrize(
    ("domains", "name"),
    [
        (("mx.example.com", "a.example.com"), "mx.example.com"),
        (("*.example.com",), "mail.example.com"),
    ],
)
def test_the_name_to_ask_for_is_the_first_one(domains: tuple[str, ...], name: str) -> None:
    assert server_name_of(target(*domains)) == name
