"""The network's way, against real TLS servers on the loopback that behave."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import cast

import pytest

from controller.domain.certificate import KeyType
from controller.probe import Failure, HandshakeError, handshake
from controller.probe.channel import Channel
from controller.probe.network import _sent_chain, sni_of
from controller.x509.leaves import parse_leaf_der
from tests.unit.dead_ends import NO_ROUTE, black_hole, closed_port
from tests.unit.probe_server import (
    PATIENT,
    SERVERS,
    lonely,
    pair,
    serving,
    smtp_server,
    tls_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("patient_probe")
HOST = "127.0.0.1"


@pytest.mark.parametrize("protocol", SERVERS)
async def test_every_protocol_leads_to_the_certificate(protocol: str) -> None:
    server = SERVERS[protocol]()
    async with serving(server) as port:
        shaken = await handshake(HOST, port, protocol, server_name="mail.example.com", timeout=PATIENT)

    assert hashlib.sha256(shaken.leaf_der).hexdigest() == pair().certificate.fingerprint
    assert shaken.chain_pem == pair().certificate.fullchain_pem
    assert shaken.tls_version == "TLSv1.3"
    assert 0 < shaken.milliseconds < 1000 * PATIENT
    assert server.server_names == ["mail.example.com"]


@pytest.mark.parametrize("protocol", [name for name in SERVERS if name != "tls"])
async def test_the_probe_says_goodbye(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.probe.network.FAREWELL_SECONDS", 30)  # until the server has hung up
    server = SERVERS[protocol]()
    async with serving(server) as port:
        await handshake(HOST, port, protocol, server_name="mail.example.com", timeout=PATIENT)

    assert server.heard[-1].split()[-1] in {b"QUIT", b"LOGOUT"}


async def test_the_client_introduces_itself_by_its_address() -> None:
    server = smtp_server()
    async with serving(server) as port:
        await handshake(HOST, port, "smtp", timeout=PATIENT)

    assert server.heard[0] == b"EHLO [127.0.0.1]"


async def test_ipv6_works_and_introduces_itself_as_such() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "::1", 0)
    async with server:
        channel = await Channel.connect(["::1"], server.sockets[0].getsockname()[1], seconds=PATIENT)
        literal = channel.local_literal
        await channel.close()
        await asyncio.sleep(0.01)

    assert literal == "[IPv6:::1]"


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1", "[::1]", "a..b", f"{'x' * 64}.example.com", ".example.com", "-h"])
def test_no_sni_for_what_is_no_host_name(address: str) -> None:
    assert sni_of(address) == ""


def test_sni_is_sent_in_ascii_without_the_final_dot() -> None:
    assert (sni_of("mail.example.com."), sni_of("bücher.example")) == ("mail.example.com", "xn--bcher-kva.example")


@pytest.mark.parametrize("kind", [KeyType.RSA, KeyType.ECDSA])
async def test_one_of_two_certificates_can_be_asked_for(kind: KeyType) -> None:
    server = smtp_server(context=tls_context(pair("ecdsa"), pair("rsa")))
    async with serving(server) as port:
        shaken = await handshake(HOST, port, "smtp", timeout=PATIENT, key_type=kind)

    assert (parse_leaf_der(shaken.leaf_der).key_type, shaken.tls_version) == (kind, "TLSv1.2")


async def test_a_self_signed_certificate_is_read_like_any_other() -> None:
    async with serving(tls_server(context=tls_context(lonely()))) as port:
        shaken = await handshake(HOST, port, "imaps", timeout=PATIENT)

    assert shaken.chain_pem == lonely().chain


async def test_a_python_that_cannot_tell_the_chain_gives_the_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.probe.network._sent_chain", lambda _session: [])
    async with serving(tls_server()) as port:
        shaken = await handshake(HOST, port, "imaps", timeout=PATIENT)

    assert shaken.chain_pem == pair().certificate.leaf_pem


class Session313:
    """As far as an `ssl.SSLObject` of Python 3.13 matters here."""

    def get_unverified_chain(self) -> list[bytes]:
        return [b"leaf", b"intermediate"]


@pytest.mark.parametrize(("session", "chain"), [(Session313(), [b"leaf", b"intermediate"]), (object(), [])])
def test_the_chain_is_asked_for_by_what_this_python_has(session: object, chain: list[bytes]) -> None:
    assert _sent_chain(cast("ssl.SSLObject", session)) == chain


async def test_a_session_that_is_gone_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "tls", None)
    async with serving(tls_server()) as port:
        with pytest.raises(HandshakeError, match="as soon as TLS stood"):
            await handshake(HOST, port, "imaps", timeout=PATIENT)


async def test_a_closed_port_refuses() -> None:
    with closed_port() as port, pytest.raises(HandshakeError, match="refused the connection") as caught:
        await handshake(HOST, port, "smtp", timeout=PATIENT)

    assert caught.value.kind is Failure.REFUSED


async def test_a_name_without_address_is_unreachable() -> None:
    with pytest.raises(HandshakeError, match="has no address") as caught:
        await handshake("mail.invalid", 25, "smtp", timeout=PATIENT)

    assert caught.value.kind is Failure.UNREACHABLE


async def test_no_route_is_unreachable() -> None:
    with pytest.raises(HandshakeError, match=f"no connection to {NO_ROUTE}: Network is unreachable") as caught:
        await handshake(NO_ROUTE, 25, "smtp", timeout=PATIENT)

    assert caught.value.kind is Failure.UNREACHABLE


async def test_a_connection_that_never_comes_about_is_unreachable() -> None:
    with (
        black_hole(HOST) as port,
        pytest.raises(HandshakeError, match=f"no connection to {HOST}: no answer within 0.05 s") as caught,
    ):
        await handshake(HOST, port, "smtp", timeout=0.05)

    assert caught.value.kind is Failure.UNREACHABLE


@pytest.mark.parametrize("protocol", ["smtp", "imaps"])
async def test_a_cancelled_probe_leaves_nothing_open(protocol: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        begun.set()
        try:
            while await reader.read(4096):  # the beginning of TLS
                pass
        finally:
            ended.set()

    async with serving(wait_for_the_end) as port, asyncio.timeout(30):
        task = asyncio.create_task(handshake(HOST, port, protocol, timeout=PATIENT))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        await ended.wait()

    assert task.cancelled()
