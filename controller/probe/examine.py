"""What any host serves on its ports, container or not (``certferry probe HOST``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from controller.domain.certificate import KeyType
from controller.domain.observed import Served
from controller.domain.target import ProbePort
from controller.probe.container import NETWORK, failed, read
from controller.probe.failure import HandshakeError
from controller.probe.lookup import addresses_of
from controller.probe.network import handshake
from controller.together import together

AT_ONCE = 4
"""Handshakes at a time; mail servers limit connections per client, some to ten."""

HOSTS_AT_ONCE = 16
"""Of which each may take a thread for its look-up."""


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
