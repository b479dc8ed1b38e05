"""Key-value stores as servers in containers, each with an address that it keeps; written to without certferry's own clients."""

from __future__ import annotations

import base64
import io
import ipaddress
import logging
import random
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import requests
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_digest_acl

from tests.lab import Lab, wait_until

logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # it tells of every attempt to reach a server that is not there yet

STORES_IMAGE, CONSUL_IMAGE = "certferry-test/stores:latest", "certferry-test/consul:latest"
KEY = "traefik/acme/account"
OBJECT = f"{KEY}/object"
PATIENCE = 60.0
"""Seconds that a server may take to be there on a busy machine."""


class Net:
    """A network on which addresses are handed out here, so that who comes back is found at the old one."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._network, self._subnet = self._make()
        self._hosts = self._subnet.hosts()
        next(self._hosts)  # the gateway

    def address(self) -> str:
        return str(next(self._hosts))

    def create(self, image: str, command: str, address: str, files: Mapping[str, bytes]) -> Container:
        """A container with files of ours, which runs a shell command once it is started."""
        container = self._lab.docker.containers.create(
            image,
            ["sh", "-c", f"exec {command}"],
            labels=self._lab.labels(),
            detach=True,
            network=self._network.name,
            networking_config={self._network.name: self._lab.docker.api.create_endpoint_config(ipv4_address=address)},
        )
        container.put_archive("/", _tar(files))
        return container

    def _make(self) -> tuple[Network, ipaddress.IPv4Network]:
        for _ in range(20):
            subnet = ipaddress.IPv4Network(f"10.{random.randrange(64, 128)}.{random.randrange(256)}.0/24")  # noqa: S311
            pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                return self._lab.network(ipam=IPAMConfig(pool_configs=[pool])), subnet
            except APIError as error:  # another one has these addresses
                last = error
        raise last


@dataclass
class Server:
    """One server of a store; `files` lie below its root directory."""

    net: Net
    files: Mapping[str, bytes] = field(default_factory=dict)
    arguments: str = ""
    secure: bool = False
    """Whether `port` speaks TLS, with the files; another one, for the tests themselves, never does."""
    address: str = ""
    started: bool = True
    container: Container = field(init=False)
    kind: ClassVar[str]
    image: ClassVar[str] = STORES_IMAGE
    port: ClassVar[int]

    def __post_init__(self) -> None:
        self.address = self.address or self.net.address()
        self.replace()

    @property
    def url(self) -> str:
        return f"{self.kind}://{self.address}:{self.port}/{KEY}"

    def replace(self) -> None:
        """A new server, with nothing in it, in place of the one before."""
        if hasattr(self, "container"):
            self.container.remove(force=True, v=True)
        self.container = self.net.create(self.image, f"{self.command()} {self.arguments}", self.address, self.files)
        if self.started:
            self.container.start()

    def stop(self) -> None:
        self.container.kill()

    def wait_up(self) -> None:
        """Wait until it can be read from."""
        wait_until(self.is_up, seconds=PATIENCE, what=f"{self.kind} at {self.address} is up; {self.container.logs()[-2000:]!r}")

    def is_up(self) -> bool:
        try:
            self.get()
        except (requests.RequestException, KazooException, KazooTimeoutError, AssertionError):
            return False
        return True

    def command(self) -> str:
        raise NotImplementedError

    def get(self) -> bytes | None:
        """The value."""
        raise NotImplementedError

    def put(self, value: bytes, key: str = OBJECT) -> None:
        """Write it as Traefik's client does: all at once."""
        raise NotImplementedError

    def delete(self) -> None:
        raise NotImplementedError


def _http(method: str, url: str, **options: Any) -> requests.Response:
    response = requests.request(method, url, timeout=30, **options)
    assert response.status_code in {200, 201, 404}, response.text
    return response


class Consul(Server):
    kind, port, image = "consul", 8500, CONSUL_IMAGE

    def command(self) -> str:
        return (
            "consul agent -server -bootstrap-expect=1 -data-dir=/data -client=0.0.0.0 -bind=127.0.0.1 -log-level=err"
            """ -hcl='performance { raft_multiplier = 1 }'"""
        )

    def get(self) -> bytes | None:
        response = _http("GET", self._path(OBJECT), params={"raw": ""}, headers=self.headers)
        return response.content if response.status_code == 200 else None

    def put(self, value: bytes, key: str = OBJECT) -> None:
        _http("PUT", self._path(key), data=value, headers=self.headers)

    def delete(self) -> None:
        _http("DELETE", self._path(OBJECT), headers=self.headers)

    headers: ClassVar[dict[str, str]] = {}

    def _path(self, key: str) -> str:
        return f"http://{self.address}:8500/v1/kv/{key}"


class Etcd(Server):
    kind, port = "etcd", 2379

    def command(self) -> str:
        scheme = "https" if self.secure else "http"
        return (
            f"etcd --data-dir=/data --listen-client-urls={scheme}://0.0.0.0:2379,http://0.0.0.0:12379"
            f" --advertise-client-urls={scheme}://{self.address}:2379 --log-level=error"
        )

    def call(self, path: str, **message: Any) -> dict[str, Any]:
        """A call of API v3."""
        return dict(_http("POST", f"http://{self.address}:12379/v3{path}", json=message, headers=self.headers).json())

    headers: ClassVar[dict[str, str]] = {}

    def get(self) -> bytes | None:
        pairs = self.call("/kv/range", key=to_base64(OBJECT)).get("kvs")
        return base64.b64decode(pairs[0]["value"]) if pairs else None

    def put(self, value: bytes, key: str = OBJECT) -> None:
        self.call("/kv/put", key=to_base64(key), value=to_base64(value))

    def delete(self) -> None:
        self.call("/kv/deleterange", key=to_base64(OBJECT))


class EtcdV2(Etcd):
    kind = "etcd2"

    def command(self) -> str:
        return f"{super().command()} --enable-v2"

    def get(self) -> bytes | None:
        response = _http("GET", self._path(OBJECT), params={"quorum": "true"})
        return str(response.json()["node"]["value"]).encode() if response.status_code == 200 else None

    def put(self, value: bytes, key: str = OBJECT) -> None:
        _http("PUT", self._path(key), data={"value": value})

    def delete(self) -> None:
        _http("DELETE", self._path(OBJECT))

    def _path(self, key: str) -> str:
        return f"http://{self.address}:12379/v2/keys/{key}"


class ZooKeeper(Server):
    kind, port = "zookeeper", 2181
    config: ClassVar[str] = "tickTime=1000\ndataDir=/data\nclientPort=2181\nadmin.enableServer=false\n"

    def __post_init__(self) -> None:
        self.files = {"zoo/zoo.cfg": self.config.encode(), **self.files}
        super().__post_init__()

    def command(self) -> str:
        jars = ":".join(f"/usr/share/java/{name}.jar" for name in ("zookeeper", "slf4j-api", "slf4j-simple", "netty-all"))
        return f"java -Xmx128m -cp '{jars}:/usr/share/java/*' org.apache.zookeeper.server.quorum.QuorumPeerMain /zoo/zoo.cfg"

    @contextmanager
    def client(self) -> Iterator[KazooClient]:
        client = KazooClient(f"{self.address}:2181", timeout=30)
        client.start(timeout=30)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def get(self) -> bytes | None:
        with self.client() as client:
            return bytes(client.get(f"/{OBJECT}")[0]) if client.exists(f"/{OBJECT}") else None

    def put(self, value: bytes, key: str = OBJECT) -> None:
        with self.client() as client:
            client.ensure_path(f"/{key}")
            client.set(f"/{key}", value)

    def delete(self) -> None:
        with self.client() as client:
            client.delete(f"/{OBJECT}")

    def protect(self, user: str, password: str) -> None:
        """Only a user with a password may read the value from now on."""
        with self.client() as client:
            client.set_acls(f"/{OBJECT}", [make_digest_acl(user, password, all=True)])


KINDS: dict[str, type[Server]] = {kind.kind: kind for kind in (Consul, Etcd, EtcdV2, ZooKeeper)}


def as_stored(kind: str, value: bytes) -> bytes:
    """A value as Traefik writes it into a store of a kind: gzip, and base64 where only text survives."""
    import gzip

    return base64.b64encode(gzip.decompress(value)) if kind == "etcd2" else value


def to_base64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            header = tarfile.TarInfo(path)
            header.size, header.mode = len(content), 0o644
            tar.addfile(header, io.BytesIO(content))
    return archive.getvalue()
