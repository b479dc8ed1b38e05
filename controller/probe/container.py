"""The `Probe` port: which way leads to a container's port, and what was seen there.

The network comes first, because it shows what clients get. Exec comes in where certferry shares no network with the
container, where no connection can be had, and where the port refuses the network (it may listen on the loopback only).
A container in another one's network namespace (``network_mode: container:…``) has no address of its own: exec as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller import pki
from controller.domain.certificate import KeyType
from controller.domain.container import Container
from controller.domain.errors import MalformedPem, ProbeUnavailable
from controller.domain.observed import Served
from controller.domain.target import ProbePort, Target
from controller.probe.failure import Failure, HandshakeError
from controller.probe.inside import LOOPBACK, Execute, Question, handshake_inside
from controller.probe.network import handshake

NETWORK, EXEC = "network", "exec"
MAXIMUM_CHAIN, MOMENT = 160 * 1024, 16 * 1024
"""Bytes in PEM: more than OpenSSL takes of a server; and what is parsed within a millisecond. Real chains have 4 to 8 KiB."""


class ContainerProbe:
    """Asks ports of containers on one Docker endpoint.

    `own_networks` gives the ids of the Docker networks certferry is on; ``None`` when it has the host's network, so that every
    bridge address and, for containers on the host's network, the loopback are worth a try. `timeout`: seconds per handshake.
    """

    def __init__(self, *, execute: Execute, own_networks: Callable[[], frozenset[str] | None], timeout: float) -> None:
        self._execute = execute
        self._own_networks = own_networks
        self._timeout = timeout

    async def served(self, target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        """Ask one port; see `controller.ports.Probe`.

        Raises:
            ProbeUnavailable: no network leads there and the container has no ``openssl``; with the remedy.
            TargetGone, TargetNotRunning, EngineUnavailable, ExecTimeout: the exec way failed on the engine's side.
        """
        question = Question(port, server_name_of(target), self._timeout, key_type)
        addresses = self._addresses(target.container)
        seen = await self._by_network(addresses, question) if addresses else None
        if seen is not None and not seen.refused:
            return seen
        return await self._by_exec(target.container, question, refused=seen is not None, asked=addresses)

    def _addresses(self, container: Container) -> tuple[str, ...]:
        own = self._own_networks()
        if container.network_mode == "host":
            return (LOOPBACK,) if own is None else ()
        return tuple(address for network, address in container.addresses.items() if address and (own is None or network in own))

    async def _by_network(self, addresses: tuple[str, ...], question: Question) -> Served | None:
        """What the port said; ``None`` when it could not be reached."""
        try:
            shaken = await handshake(
                addresses,
                question.port.port,
                question.port.protocol,
                server_name=question.server_name,
                timeout=question.timeout,
                key_type=question.key_type,
            )
        except HandshakeError as error:
            return None if error.kind is Failure.UNREACHABLE else failed(question.port, error, NETWORK)
        return await read(question.port, shaken.chain_pem, NETWORK)

    async def _by_exec(self, container: Container, question: Question, *, refused: bool, asked: tuple[str, ...]) -> Served:
        others = (address for address in container.addresses.values() if address and address not in asked)
        answer: Served | None = None
        for host in dict.fromkeys((LOOPBACK, *others)):
            try:
                chain = await handshake_inside(self._execute, container.id, question, host)
            except HandshakeError as error:
                answer = failed(question.port, error, EXEC)
                if answer.refused:
                    continue  # a service may listen on one address and not on the other
                return answer
            except ProbeUnavailable as error:
                if refused:  # the network's answer stands
                    text = f"nothing listens there: refused over the network ({error}, to ask for a loopback-only listener)"
                    return Served(question.port, None, NETWORK, error=text, refused=True)
                raise ProbeUnavailable(_remedy(container, question.port, error)) from error
            return await read(question.port, chain, EXEC)
        assert answer is not None  # noqa: S101 -- the loop has at least the loopback
        return answer


def server_name_of(target: Target) -> str:
    """The name to ask for (SNI): the first domain, and one that a wildcard covers."""
    first = target.domains[0] if target.domains else ""
    return f"mail.{first[2:]}" if first.startswith("*.") else first


async def read(port: ProbePort, chain_pem: bytes, way: str) -> Served:
    """The same, with the work outside the loop when it is more than a moment's."""
    if len(chain_pem) <= MOMENT:
        return handed_out(port, chain_pem, way)
    return await asyncio.to_thread(handed_out, port, chain_pem, way)


def handed_out(port: ProbePort, chain_pem: bytes, way: str) -> Served:
    """What was seen; a certificate that does not parse is an error of the port."""
    if len(chain_pem) > MAXIMUM_CHAIN:
        return Served(port, None, way, error=f"handed out certificates of more than {MAXIMUM_CHAIN // 1024} KiB")
    try:
        leaf = pki.parse_leaf(chain_pem)
    except MalformedPem as error:
        return Served(port, None, way, error=f"handed out {error}")
    return Served(port, leaf, way, chain_pem=chain_pem)


def failed(port: ProbePort, error: HandshakeError, way: str) -> Served:
    """Why nothing was seen."""
    return Served(
        port,
        None,
        way,
        error=str(error),
        refused=error.kind is Failure.REFUSED,
        plain=error.kind is Failure.NO_STARTTLS,
        silent=error.kind is Failure.SILENT,
    )


def _remedy(container: Container, port: ProbePort, error: ProbeUnavailable) -> str:
    networks = ", ".join(network[:12] for network in container.addresses)
    attach = f"attach certferry to one of its networks ({networks})" if networks else "give it a network that certferry is on"
    why = f"{container.name}: port {port} cannot be probed: {error} and no network leads there"
    return f"{why}; {attach}, or set certferry.probe=off"
