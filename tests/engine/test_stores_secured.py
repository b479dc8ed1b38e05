"""Stores that want to know who asks, and prove who they are: what is refused is told apart, and taken up once it is mended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from tests.certs import Authority, Pair, traefik_v1_account
from tests.engine.stores import OBJECT, Consul, Etcd, EtcdV2, Net, Server, ZooKeeper, as_stored, to_base64
from tests.engine.test_stores import do, following, told
from tests.lab import Lab, wait_until

PASSWORD = "hunter2 & more"
MASTER, READER, BLIND = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "123")
"""Tokens of Consul."""


@pytest.fixture
def net(lab: Lab) -> Net:
    return Net(lab)


@dataclass
class Guarded:
    """A server that holds a value which not everybody may read, and the options of those who may, and may not."""

    server: Server
    right: str
    wrong: str
    refusal: tuple[str, ...]
    secret: Path


class ClosedConsul(Consul):
    headers: ClassVar[dict[str, str]] = {"X-Consul-Token": MASTER}


def consul(net: Net, secret: Path, value: bytes) -> Guarded:
    acl = f'acl {{ enabled = true default_policy = "deny" tokens {{ master = "{MASTER}" }} }}'
    server = ClosedConsul(net, arguments=f"-hcl='{acl}'")
    server.wait_up()
    rule = f'key "{OBJECT}" {{ policy = "read" }}'
    for token, rules in ((READER, rule), (BLIND, 'key "other" { policy = "read" }')):
        name = f"policy-{token[0]}"
        _consul(server, "acl/policy", {"Name": name, "Rules": rules})
        _consul(server, "acl/token", {"SecretID": token, "Policies": [{"Name": name}]})
    server.put(value)
    return Guarded(server, f"&token-file={secret}", f"&token-file={secret}", ("does not know the token",), secret)


def _consul(server: Server, path: str, body: Any) -> None:
    address = f"http://{server.address}:8500/v1/{path}"
    wait_until(lambda: requests.put(address, json=body, headers={"X-Consul-Token": MASTER}, timeout=5).ok, seconds=30)


def etcd(net: Net, secret: Path, value: bytes) -> Guarded:
    server = Etcd(net)
    server.wait_up()
    server.put(value)
    key, permission = to_base64(OBJECT), "READ"
    server.call("/auth/role/add", name="root")
    server.call("/auth/role/add", name="reader")
    server.call("/auth/role/grant", name="reader", perm={"permType": permission, "key": key})
    for user, role in (("root", "root"), ("bob", "reader"), ("eve", "")):
        server.call("/auth/user/add", name=user, password=PASSWORD)
        if role:
            server.call("/auth/user/grant", user=user, role=role)
    server.call("/auth/enable")
    options = f"&user=bob&password-file={secret}"
    return Guarded(server, options, options, ("refuses the password of bob",), secret)


def etcd2(net: Net, secret: Path, value: bytes) -> Guarded:
    server = EtcdV2(net)
    server.wait_up()
    server.put(value)
    root = ("root", PASSWORD)
    address = f"http://{server.address}:2379/v2/auth"
    steps: tuple[tuple[str, Any], ...] = (
        ("users/root", {"user": "root", "password": PASSWORD}),
        ("enable", None),
        ("roles/guest", {"role": "guest", "revoke": {"kv": {"read": ["/*"], "write": ["/*"]}}}),
        ("roles/reader", {"role": "reader", "permissions": {"kv": {"read": [f"/{OBJECT}"], "write": []}}}),
        ("users/bob", {"user": "bob", "password": PASSWORD, "roles": ["reader"]}),
    )
    for path, body in steps:
        requests.put(f"{address}/{path}", json=body, auth=root, timeout=5).raise_for_status()
    options = f"&user=bob&password-file={secret}"
    return Guarded(server, options, options, ("permission denied", "password of bob is wrong"), secret)


def zookeeper(net: Net, secret: Path, value: bytes) -> Guarded:
    server = ZooKeeper(net)
    server.wait_up()
    server.put(value)
    server.protect("bob", PASSWORD)
    options = f"&user=bob&password-file={secret}"
    return Guarded(server, options, options, ("permission denied", "password of bob is wrong"), secret)


@pytest.mark.parametrize("make", [consul, etcd, etcd2, zookeeper])
async def test_a_wrong_secret_is_refused_as_such_and_the_right_one_is_taken_up_by_itself(
    net: Net, lab: Lab, make: Callable[[Net, Path, bytes], Guarded]
) -> None:
    pair, secret = lab.issue(), lab.folder / "secret"
    kind = make.__name__
    guarded = await asyncio.to_thread(make, net, secret, as_stored(kind, traefik_v1_account(pair)))
    secret.write_text("no such\n")
    async with following(guarded.server, options=guarded.wrong) as it:
        await told(it, *guarded.refusal)
        assert "not ready" not in it.message
        secret.write_text(f"{READER if kind == 'consul' else PASSWORD}\n")
        await it.holds(pair)
        assert PASSWORD not in it.told


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (consul, "", ("permission denied", "without a token nobody", 'policy = "read"')),
        (consul, f"&token={BLIND}", ("permission denied", "the token may not read", 'policy = "read"')),
        (etcd, "", ("wants a user", "password-file")),
        (etcd, "&user=eve&password=hunter2%20%26%20more", ("permission denied", "eve may not read", "role")),
        (etcd2, "", ("permission denied", "only users")),
        (zookeeper, "", ("permission denied", "only users")),
    ],
    ids=["consul-nobody", "consul-another-policy", "etcd-nobody", "etcd-another-role", "etcd2-nobody", "zookeeper-nobody"],
)
async def test_who_may_not_read_the_key_is_told_what_to_grant(
    net: Net, lab: Lab, make: Callable[[Net, Path, bytes], Guarded], options: str, words: tuple[str, ...]
) -> None:
    value = as_stored(make.__name__, traefik_v1_account(lab.issue()))
    guarded = await asyncio.to_thread(make, net, lab.folder / "secret", value)
    async with following(guarded.server, options=options) as it:
        await told(it, *words)


async def test_a_token_of_etcd_that_ended_is_renewed(net: Net, lab: Lab) -> None:
    """Tokens end after five minutes, and at once when the server starts anew."""
    old, new, secret = lab.issue(), lab.issue(), lab.folder / "secret"
    secret.write_text(PASSWORD)
    guarded = await asyncio.to_thread(etcd, net, secret, traefik_v1_account(old))
    async with following(guarded.server, options=guarded.right) as it:
        await it.holds(old)
        await do(guarded.server.container.restart)
        await it.until(lambda: it.message)
        await it.holds(old)
        root = guarded.server
        assert isinstance(root, Etcd)
        token = await asyncio.to_thread(root.call, "/auth/authenticate", name="root", password=PASSWORD)
        headers = {"Authorization": token["token"]}
        message = {"key": to_base64(OBJECT), "value": to_base64(traefik_v1_account(new))}
        address = f"http://{root.address}:2379/v3/kv/put"
        assert (await asyncio.to_thread(requests.post, address, json=message, headers=headers, timeout=5)).ok
        await it.holds(new)


@dataclass
class Papers:
    """An authority that both sides trust, and what it made for them; as files."""

    folder: Path

    def __post_init__(self) -> None:
        self.authority = Authority("the store's own CA")
        self.write("ca", self.authority.root_pem)

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(content)
        return path

    def issue(self, name: str, *names: str) -> Pair:
        pair = self.authority.issue(*names)
        self.write(f"{name}-cert", pair.chain)
        self.write(f"{name}-key", pair.key)
        return pair

    def files(self, address: str) -> dict[str, bytes]:
        """For a server: its own pair, and whom to trust."""
        pair = self.issue("server", "store.example.test", address)
        trust = self.authority.root_pem + self.authority.intermediate_pem
        return {"tls/cert.pem": pair.chain, "tls/key.pem": pair.key, "tls/both.pem": pair.key + pair.chain, "tls/ca.pem": trust}

    def option(self, name: str) -> str:
        return f"{self.folder}/{name}.pem"


class SecureConsul(Consul):
    port = 8501


class SecureZooKeeper(ZooKeeper):
    port = 2182
    config = ZooKeeper.config + (
        "secureClientPort=2182\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
        "ssl.keyStore.location=/tls/both.pem\nssl.trustStore.location=/tls/ca.pem\nssl.clientAuth=need\n"
    )


ARGUMENTS = {
    "consul": """-hcl='ports { https = 8501 } ca_file = "/tls/ca.pem" cert_file = "/tls/cert.pem" key_file = "/tls/key.pem"'""",
    "etcd": "--cert-file=/tls/cert.pem --key-file=/tls/key.pem",
    "etcd2": "--cert-file=/tls/cert.pem --key-file=/tls/key.pem",
    "zookeeper": "",
}
CLIENTS_TOO = {
    "consul": "-hcl='verify_incoming_https = true'",
    "etcd": "--trusted-ca-file=/tls/ca.pem --client-cert-auth",
    "etcd2": "--trusted-ca-file=/tls/ca.pem --client-cert-auth",
    "zookeeper": "",  # it always does
}
"""With these a server wants to see a certificate of its own authority."""


def secure(kind: type[Server], net: Net, papers: Papers, value: bytes, *, name: str = "", clients_too: bool = True) -> Server:
    """A server that speaks TLS and holds a value; `name` is in its certificate in place of its address."""
    address = net.address()
    arguments = f"{ARGUMENTS[kind.kind]} {CLIENTS_TOO[kind.kind] if clients_too else ''}"
    server = kind(net, files=papers.files(name or address), arguments=arguments, secure=True, address=address)
    server.wait_up()
    server.put(as_stored(kind.kind, value))
    return server


@pytest.mark.parametrize("kind", [SecureConsul, Etcd, EtcdV2, SecureZooKeeper], ids=lambda kind: kind.kind)
async def test_tls_with_an_authority_and_a_client_certificate_of_ones_own(net: Net, lab: Lab, kind: type[Server]) -> None:
    papers, pair = Papers(lab.folder), lab.issue()
    server = await asyncio.to_thread(secure, kind, net, papers, traefik_v1_account(pair))
    papers.issue("client", "certferry.example.test")
    trust = f"&tls-ca={papers.option('ca')}"
    client = f"&tls-cert={papers.option('client-cert')}&tls-key={papers.option('client-key')}"

    async with following(server, options="&tls=on" + client) as it:  # the system does not know this authority
        await told(it, "is not trusted", "tls-ca")
    async with following(server, options=trust) as it:
        await told(it, "tls-cert")
    async with following(server) as it:
        await told(it, "TLS")
    async with following(server, options=trust + client) as it:
        await it.holds(pair)
    async with following(server, options="&tls-insecure-skip-verify=on" + client) as it:
        await it.holds(pair)


@pytest.mark.parametrize("kind", [SecureConsul, Etcd, EtcdV2], ids=lambda kind: kind.kind)
async def test_the_name_in_a_certificate_need_not_be_that_in_the_url(net: Net, lab: Lab, kind: type[Server]) -> None:
    papers, pair = Papers(lab.folder), lab.issue()
    another = "192.0.2.1"  # RFC 5737
    server = await asyncio.to_thread(
        lambda: secure(kind, net, papers, traefik_v1_account(pair), name=another, clients_too=False)
    )
    trust = f"&tls-ca={papers.option('ca')}"
    async with following(server, options=trust) as it:
        await told(it, "is not trusted", server.address)
    async with following(server, options=f"{trust}&tls-server-name=store.example.test") as it:
        await it.holds(pair)
