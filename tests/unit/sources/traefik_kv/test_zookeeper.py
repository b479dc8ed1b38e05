"""ZooKeeper where there is none."""

from __future__ import annotations

import sys

import pytest

from controller.domain.errors import SettingsError, SourceUnavailable
from sources.traefik_kv import zookeeper_client
from tests.unit.dead_ends import closed_port
from tests.unit.sources.traefik_kv.fakes import OBJECT, client_of, saying, soon


def test_without_kazoo_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "sources.traefik_kv.zookeeper_client", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "kazoo"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "kazoo.client", None)
    with pytest.raises(SettingsError, match=r"needs the Python package kazoo; install certferry\[zookeeper\]"):
        client_of("zookeeper", "zk:2181")


def test_a_name_that_kazoo_cannot_look_for_is_refused():
    with pytest.raises(SettingsError, match="tls-server-name is not known for ZooKeeper"):
        client_of("zookeeper", "zk:2181", options="tls-server-name=x")


@pytest.mark.parametrize("hang", [True, False])
async def test_what_accepts_and_is_no_zookeeper_is_told_from_what_is_away(monkeypatch, hang):
    monkeypatch.setattr(zookeeper_client, "CLOSE", 0.2)
    monkeypatch.setattr(zookeeper_client, "SESSION", 0.6)
    limit = "timeout=3s"  # the first connection has to stand within it, the session never does
    async with saying(b"220 mail.example.test ESMTP\r\n", hang=hang) as server:
        with pytest.raises(SourceUnavailable, match=r"is it ZooKeeper, does it want TLS"):
            await soon(client_of("zookeeper", server, options=limit).get(f"/{OBJECT}"))
    with closed_port() as port, pytest.raises(SourceUnavailable, match=r"cannot be reached \(Connection refused\)"):
        await soon(client_of("zookeeper", f"127.0.0.1:{port}").get(f"/{OBJECT}"))
