"""The `Probe` port: which way leads to a container's port, and what was seen there.

The network comes first, because it shows what clients get. Exec comes in where no address is known to lead to the container
(`controller.probe.reach`), where no connection can be had, and where the port refuses it (it may listen on the loopback only).
A container in another one's network namespace (``network_mode: container:…``) has no address of its own: exec as well.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

from controller.domain.certificate import KeyType
from controller.domain.container import Container
from controller.domain.errors import MalformedPem, ProbeUnavailable
from controller.domain.observed import Served
from controller.domain.target import ProbePort, Target
from controller.probe.failure import Failure, HandshakeError
from controller.probe.inside import LOOPBACK, Execute, Question, handshake_inside
from controller.probe.network import handshake
from controller.probe.reach import Reach
from controller.x509.leaves import parse_leaf

NETWORK, EXEC = "network", "exec"
MAXIMUM_CHAIN, MOMENT = 160 * 1024, 16 * 1024
"""Bytes in PEM: more than OpenSSL takes of a server; and what is parsed within a millisecond. Real chains have 4 to 8 KiB."""


class ContainerProbe:
    """Asks ports of containers on one Docker endpoint. `timeout`: seconds per handshake."""

    def __init__(self, *, execute: Execute, reach: Reach, timeout: float) -> None:
        self._execute = execute
        self._reach = reach
        self._timeout = timeout

    async def served(self, target: Target, port: ProbePort, *, key_type: KeyType | None = None) -> Served:
        """Ask one port; see `controller.ports.Probe`.

        Raises:
            ProbeUnavailable: no network leads there and the container has no ``openssl``; with the remedy.
            TargetGone, TargetNotRunning, EngineUnavailable, ExecTimeout: the exec way failed on the engine's side.
        """
        question = Question(port, server_name_of(target), self._timeout, key_type)
        try:
            return await self._ask(target.container, question)
        except HandshakeError:
            return await self._ask_by_tls13(target.container, question)

    async def _ask(self, container: Container, question: Question) -> Served:
        """What the port said.

        Raises:
            HandshakeError: it does not speak the version of TLS by which a key type was asked for.
        """
        addresses = self._reach.addresses(container)
        seen = await self._by_network(addresses, question) if addresses else None
        if seen is not None and not seen.refused:
            return seen
        return await self._by_exec(container, question, refused=seen is not None, asked=addresses)

    async def _ask_by_tls13(self, container: Container, question: Question) -> Served:
        """From inside: only ``openssl s_client`` can say which certificate it wants then. Without it what the server prefers
        is seen, and of another certificate it is only known that nobody knows."""
        try:
            return await self._by_exec(container, replace(question, version=ssl.TLSVersion.TLSv1_3), refused=False, asked=())
        except ProbeUnavailable as error:
            seen = await self._ask(container, replace(question, key_type=None))
            if seen.leaf is None or question.key_type in (None, seen.leaf.key_type):
                return seen
            asked = f"its {question.key_type.upper()} certificate was not seen"
            text = f"port {question.port} speaks no TLS 1.2, so {asked}: {error.__cause__ or error}"
            return Served(question.port, None, EXEC, text, unknown=True)

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
            if error.kind is Failure.TLS_VERSION:
                raise
            return None if error.kind is Failure.UNREACHABLE else failed(question.port, error, NETWORK)
        return await read(question.port, shaken.chain_pem, NETWORK)

    async def _by_exec(self, container: Container, question: Question, *, refused: bool, asked: tuple[str, ...]) -> Served:
        others = (address for address in container.addresses.values() if address and address not in asked)
        answer: Served | None = None
        for host in dict.fromkeys((LOOPBACK, *others)):
            try:
                chain = await handshake_inside(self._execute, container.id, question, host)
            except HandshakeError as error:
                if error.kind is Failure.TLS_VERSION:
                    raise
                answer = failed(question.port, error, EXEC)
                if answer.refused:
                    continue  # a service may listen on one address and not on the other
                return answer
            except ProbeUnavailable as error:
                if refused:  # the network's answer stands
                    text = f"nothing listens there: refused over the network ({error}, to ask for a loopback-only listener)"
                    return Served(question.port, None, NETWORK, error=text, refused=True)
                why = f"{container.name}: port {question.port} cannot be probed: {error} and no network leads there"
                raise ProbeUnavailable(f"{why}; {self._reach.remedy(container)}, or set certferry.probe=off") from error
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
        leaf = parse_leaf(chain_pem)
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
