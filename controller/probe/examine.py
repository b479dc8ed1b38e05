"""What any host serves on its ports, container or not, and what there is to say about it (``certferry probe HOST``)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.domain.certificate import KeyType, Leaf, Trust
from controller.domain.errors import MalformedPem
from controller.domain.observed import Served
from controller.domain.target import ProbePort
from controller.probe.container import NETWORK, failed, read
from controller.probe.failure import HandshakeError
from controller.probe.lookup import addresses_of
from controller.probe.network import handshake
from controller.together import together
from controller.x509.hostnames import covers
from controller.x509.pairs import judge_pem

AT_ONCE = 4
"""Handshakes at a time; mail servers limit connections per client, some to ten."""

NAMES_TOLD = 20
HOSTS_AT_ONCE = 16
"""Of which each may take a thread for its look-up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say about a served certificate. `days_left` is negative when it has ended; no problems is good."""

    trust: Trust | None
    days_left: float | None
    problems: tuple[str, ...]


async def examine(
    host: str,
    ports: Iterable[ProbePort],
    *,
    server_name: str = "",
    timeout: float = 10.0,  # noqa: ASYNC109 -- per handshake, and its end is an answer
    key_type: KeyType | None = None,
) -> list[Served]:
    """Ask every port, `AT_ONCE` at a time, in the order given; `server_name` (SNI) is the host unless given.

    Never raises for what a port does: that is `Served.error`.
    """
    wanted = list(ports)
    try:
        addresses = await addresses_of(host)
    except HandshakeError as error:
        return [failed(port, error, NETWORK) for port in wanted]
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(port: ProbePort) -> Served:
        async with gate:
            try:
                shaken = await handshake(
                    addresses, port.port, port.protocol, server_name=server_name or host, timeout=timeout, key_type=key_type
                )
            except HandshakeError as error:
                return failed(port, error, NETWORK)
            return await read(port, shaken.chain_pem, NETWORK)

    return await together(ask(port) for port in wanted)


async def examine_all(hosts: Iterable[str], ports: Iterable[ProbePort], *, server_name: str = "") -> list[list[Served]]:
    """The same for several hosts, `HOSTS_AT_ONCE` at a time, in the order given."""
    gate, wanted = asyncio.Semaphore(HOSTS_AT_ONCE), list(ports)

    async def ask(host: str) -> list[Served]:
        async with gate:
            return await examine(host, wanted, server_name=server_name)

    return await together(ask(host) for host in hosts)


def judge(served: Served, name: str, now: datetime) -> Verdict:
    """Would a client that asks for `name` accept this? For an address, the name is not judged."""
    if served.leaf is None:
        return Verdict(None, None, (served.error,))
    leaf = served.leaf
    trust, why = _chain(served.chain_pem, now)
    problems = [*_dates(leaf, now), *_name(leaf, name), *filter(None, [why])]
    return Verdict(trust, (leaf.not_after - now).total_seconds() / 86400, tuple(problems))


def _chain(chain_pem: bytes, now: datetime) -> tuple[Trust | None, str]:
    try:
        judged = judge_pem(chain_pem, now)
    except MalformedPem as error:
        return None, f"the chain holds something else: {error}"
    return judged.trust, judged.why


def _dates(leaf: Leaf, now: datetime) -> list[str]:
    if now > leaf.not_after:
        return [f"it ended on {leaf.not_after:%Y-%m-%d}"]
    return [f"it begins on {leaf.not_before:%Y-%m-%d}"] if now < leaf.not_before else []


def _name(leaf: Leaf, name: str) -> list[str]:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return [] if covers(leaf.names, name) else [f"it does not name {name}, but {_some(leaf.names)}"]
    return []


def _some(names: tuple[str, ...]) -> str:
    """A certificate may hold thousands."""
    more = [f"{len(names) - NAMES_TOLD} more"] if len(names) > NAMES_TOLD else []
    return ", ".join((*names[:NAMES_TOLD], *more)) or "nothing"
