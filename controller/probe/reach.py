"""Which addresses of a container certferry may dial: those that are known to lead to it, and to nothing else.

The engine may be another machine's (``tcp://``, a forwarded socket), or a second one of this machine with a network namespace
of its own. What answers here at the address that such an engine gives a container is anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller import machine
from controller.domain.container import Container
from controller.probe.inside import LOOPBACK

HOST = "host"
"""The network mode of a container that has the network of its engine's host."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """What is asked of this machine; see `controller.machine`."""

    is_linked_to: Callable[[Container], bool] = machine.is_linked_to
    shares_our_network: Callable[[Container], bool] = machine.shares_our_network
    is_own_address: Callable[[str], bool] = machine.is_own_address


def within_reach(container: Container, own: Container | None, nearby: Nearby) -> tuple[str, ...]:
    """The addresses to dial; none where only a command inside the container can ask it.

    `own` is certferry's container as this very engine knows it, ``None`` where the engine knows none: then certferry runs on a
    machine itself, or in a container of another engine. Of networks that certferry is not attached to, those count whose
    gateway is this machine: they are bridges, and where the container is on one of *this* machine, that one leads there.
    """
    if own and own.network_mode != HOST:
        return tuple(address for network, address in container.addresses.items() if address and network in own.addresses)
    on_its_host = own is not None
    if container.network_mode == HOST:
        return (LOOPBACK,) if on_its_host or nearby.shares_our_network(container) else ()
    bridged = [
        address
        for network, address in container.addresses.items()
        if address and nearby.is_own_address(container.gateways.get(network, ""))
    ]
    return tuple(bridged) if bridged and (on_its_host or nearby.is_linked_to(container)) else ()


class Reach:
    """The same with what is known of certferry's own container at the moment."""

    def __init__(self, own: Callable[[], Container | None], nearby: Nearby | None = None) -> None:
        self._own, self._nearby = own, nearby or Nearby()

    def addresses(self, container: Container) -> tuple[str, ...]:
        """See `within_reach`."""
        return within_reach(container, self._own(), self._nearby)

    def remedy(self, container: Container) -> str:
        """What makes a container's ports reachable over a network."""
        if self._own() is None:
            return "Docker does not know certferry's container, so only commands inside lead there: add openssl to the image"
        networks = ", ".join(network[:12] for network in container.addresses)
        return f"attach certferry to one of its networks ({networks})" if networks else "give it a network that certferry is on"
