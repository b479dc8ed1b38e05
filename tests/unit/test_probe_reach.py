"""Which addresses may be dialled: those that surely lead to the container, whatever engine it runs on."""

from __future__ import annotations

import pytest

from controller.domain.container import Container, State
from controller.probe.reach import Nearby, Reach, within_reach

OURS, THEIRS = "172.17.0.1", "10.9.9.1"
"""The gateway that is this machine, and one that is not."""


def make(mode: str = "net", gateway: str = OURS, **addresses: str) -> Container:
    gateways = dict.fromkeys(addresses, gateway)
    return Container("c" * 64, "mail", "image", State.RUNNING, network_mode=mode, addresses=addresses, gateways=gateways)


def nearby(*, linked: bool = False, shared: bool = False) -> Nearby:
    return Nearby(lambda _: linked, lambda _: shared, lambda address: address == OURS)


BRIDGED = make(net="172.17.0.2")
ON_HOST = make(mode="host")
BESIDE = make(net="172.17.0.9", other="172.20.0.9")
"""Certferry's own container."""


@pytest.mark.parametrize(
    ("asked", "own", "where", "dialled"),
    [
        # In a container of this engine, be the engine's socket here, or a proxy's at tcp://.
        (BRIDGED, BESIDE, nearby(), ("172.17.0.2",)),
        (make(lonely="172.30.0.2"), BESIDE, nearby(linked=True, shared=True), ()),
        (make(lonely="172.30.0.2", other="172.20.0.2"), BESIDE, nearby(), ("172.20.0.2",)),
        (make(net=""), BESIDE, nearby(), ()),
        (ON_HOST, BESIDE, nearby(shared=True), ()),
        (BRIDGED, make(mode=f"container:{'d' * 64}"), nearby(linked=True), ()),
        # In a container of this engine that has the host's network.
        (BRIDGED, ON_HOST, nearby(), ("172.17.0.2",)),
        (ON_HOST, ON_HOST, nearby(), ("127.0.0.1",)),
        (make(gateway=THEIRS, overlay="10.9.9.2"), ON_HOST, nearby(), ()),
        (make(gateway="", internal="172.31.0.2"), ON_HOST, nearby(), ()),
        # The engine knows no container of certferry's: on the host itself ...
        (BRIDGED, None, nearby(linked=True), ("172.17.0.2",)),
        (make(net="172.17.0.2", none=""), None, nearby(linked=True), ("172.17.0.2",)),
        (make(gateway=THEIRS, macvlan="10.9.9.2"), None, nearby(linked=True), ()),
        (ON_HOST, None, nearby(shared=True), ("127.0.0.1",)),
        (make(mode="none"), None, nearby(linked=True), ()),
        # ... or anywhere else: a remote engine, or one with a bridge of the same address in a namespace of its own.
        (BRIDGED, None, nearby(), ()),
        (ON_HOST, None, nearby(), ()),
        (ON_HOST, None, nearby(linked=True), ()),
    ],
)
def test_only_what_is_known_to_lead_there_is_dialled(asked, own, where, dialled):
    assert within_reach(asked, own, where) == dialled


def test_what_the_engine_says_of_certferry_counts_anew_each_time():
    known: list[Container | None] = [None, BESIDE]
    reach = Reach(lambda: known.pop(0), nearby())
    assert [reach.addresses(BRIDGED), reach.addresses(BRIDGED)] == [(), ("172.17.0.2",)]


def test_where_no_network_can_be_shared_openssl_is_the_remedy():
    reach = Reach(lambda: None, nearby())
    assert "add openssl to the image" in reach.remedy(BRIDGED)
