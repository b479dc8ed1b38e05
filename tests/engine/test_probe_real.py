"""The probe against real Postfix and Dovecot, over the network and by exec; certferry is taken to run on the host."""

from __future__ import annotations

import asyncio
import io
import socket
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial

import docker
import pytest
from docker.models.containers import Container as Running

from controller.domain.certificate import KeyType
from controller.domain.errors import ProbeUnavailable
from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.observed import Served
from controller.domain.target import ProbePort, Target, TargetKey
from controller.engine import Engine
from controller.probe import ContainerProbe, Nearby, Reach, examine, network
from tests.certs import Authority, Pair
from tests.lab import GENEROUS, LABEL, wait_until
from tests.sdk import connect

pytestmark = pytest.mark.engine

IMAGE = "certferry-test/docker-mailserver:15.1.0"
NAME = "mail.example.test"
FOLDER = "/etc/ssl/mail"
SOCKET = "unix:///var/run/docker.sock"
TIMEOUT = 10.0
ALONE = Nearby(lambda _: False, lambda _: False, lambda _: False)
"""No container is of this machine, whatever the kernel says."""
Ask = Callable[..., ContainerProbe]


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = connect(timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="module")
def pairs() -> dict[KeyType, Pair]:
    authority = Authority()
    return {KeyType.ECDSA: authority.issue(NAME), KeyType.RSA: authority.issue(NAME, kind="rsa")}


@pytest.fixture(scope="module")
def mail(client: docker.DockerClient, pairs: dict[KeyType, Pair]) -> Iterator[Running]:
    """A mail container with two certificates, up and answering."""
    paths = {
        "TLS_CERT_FILE": "cert.pem",
        "TLS_KEY_FILE": "key.pem",
        "TLS_ALT_CERT_FILE": "alt-cert.pem",
        "TLS_ALT_KEY_FILE": "alt-key.pem",
    }
    environment = {"SSL_TYPE": "paths"} | {variable: f"{FOLDER}/{file}" for variable, file in paths.items()}
    container = client.containers.create(IMAGE, hostname=NAME, environment=environment, labels={LABEL: "probe"})
    try:
        first, second = pairs[KeyType.ECDSA], pairs[KeyType.RSA]
        files = {"cert.pem": first.chain, "key.pem": first.key, "alt-cert.pem": second.chain, "alt-key.pem": second.key}
        container.put_archive("/etc", archive_of({f"ssl/mail/{name}": content for name, content in files.items()}))
        container.start()
        wait_for(address_of(container), 25, 465, 587, 143, 993, 110, 995, 4190)
        yield container
    finally:
        container.remove(force=True, v=True)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(SOCKET, timeout=10, exec_timeout=30)
    yield engine
    await engine.close()


@pytest.fixture
def by_network(engine: Engine) -> ContainerProbe:
    return ContainerProbe(execute=engine.execute, reach=Reach(lambda: None), timeout=TIMEOUT)


@pytest.fixture
def by_exec(engine: Engine) -> ContainerProbe:
    return ContainerProbe(execute=engine.execute, reach=Reach(lambda: None, ALONE), timeout=TIMEOUT)


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def address_of(container: Running) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["IPAddress"])


def wait_for(address: str, *ports: int) -> None:
    for port in ports:
        wait_until(partial(is_open, address, port), what=f"port {port} of the mail container is open")


def is_open(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


async def target_of(engine: Engine, container: Running) -> Target:
    inspected = await engine.inspect(str(container.id))
    assert inspected is not None
    return Target(TargetKey("local", inspected.id), inspected, "docker-mailserver", (NAME,), ())


async def ask_all(probe: ContainerProbe, target: Target, key_type: KeyType | None = None) -> list[Served]:
    return await asyncio.gather(*(probe.served(target, port, key_type=key_type) for port in STANDARD_PORTS))


def listen(container: Running, address: str, port: int, *, silent: bool = False) -> None:
    """Start one more server inside the container."""
    source = f"import socket, time; s = socket.create_server(('{address}', {port})); time.sleep(60)"
    tls = [
        "openssl",
        "s_server",
        "-accept",
        f"{address}:{port}",
        "-cert",
        f"{FOLDER}/cert.pem",
        "-key",
        f"{FOLDER}/key.pem",
        "-quiet",
    ]
    container.exec_run(["python3", "-c", source] if silent else tls, detach=True)
    opened = f"until grep -q ':{port:04X} ' /proc/net/tcp; do sleep 0.05; done"
    assert container.exec_run(["timeout", "60", "sh", "-c", opened]).exit_code == 0


async def test_every_port_is_proved_over_the_network(
    engine: Engine, mail: Running, by_network: ContainerProbe, pairs: dict[KeyType, Pair]
) -> None:
    seen = await ask_all(by_network, await target_of(engine, mail), KeyType.ECDSA)

    expected = pairs[KeyType.ECDSA].certificate
    assert [(one.port, one.leaf, one.way, one.error) for one in seen] == [
        (port, expected.leaf, "network", "") for port in STANDARD_PORTS
    ]
    assert {one.chain_pem for one in seen} == {expected.fullchain_pem}


async def test_every_port_is_proved_by_exec(
    engine: Engine, mail: Running, by_exec: ContainerProbe, pairs: dict[KeyType, Pair]
) -> None:
    seen = await ask_all(by_exec, await target_of(engine, mail), KeyType.ECDSA)

    expected = pairs[KeyType.ECDSA].certificate
    assert [(one.port, one.leaf, one.way, one.error) for one in seen] == [
        (port, expected.leaf, "exec", "") for port in STANDARD_PORTS
    ]
    assert {one.chain_pem for one in seen} == {expected.fullchain_pem}


@pytest.mark.parametrize("way", ["by_network", "by_exec"])
async def test_the_second_certificate_is_proved_too(
    engine: Engine, mail: Running, pairs: dict[KeyType, Pair], way: str, request: pytest.FixtureRequest
) -> None:
    probe: ContainerProbe = request.getfixturevalue(way)
    seen = await ask_all(probe, await target_of(engine, mail), KeyType.RSA)

    assert {one.leaf for one in seen} == {pairs[KeyType.RSA].certificate.leaf}


async def test_without_a_wish_one_of_the_two_is_handed_out(
    engine: Engine, mail: Running, by_network: ContainerProbe, pairs: dict[KeyType, Pair]
) -> None:
    seen = await ask_all(by_network, await target_of(engine, mail))

    assert {one.leaf for one in seen} <= {pair.certificate.leaf for pair in pairs.values()}


async def test_any_host_can_be_examined(mail: Running, pairs: dict[KeyType, Pair]) -> None:
    ports = [*STANDARD_PORTS, ProbePort(2525, "smtp")]
    seen = await examine(address_of(mail), ports, server_name=NAME, timeout=TIMEOUT, key_type=KeyType.RSA)

    assert [one.leaf for one in seen] == [pairs[KeyType.RSA].certificate.leaf] * 8 + [None]
    assert [one.refused for one in seen] == [False] * 8 + [True]


async def test_postfix_sees_a_polite_client(
    engine: Engine, mail: Running, by_network: ContainerProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "FAREWELL_SECONDS", GENEROUS)
    target = await target_of(engine, mail)
    log = ""
    while log != (log := mail.logs().decode()):  # noqa: ASYNC110 -- what the tests before left may still come
        await asyncio.sleep(1)
    before = len(log)
    await asyncio.gather(*(by_network.served(target, ProbePort(*port)) for port in ((25, "smtp"), (465, "smtps"))))
    await asyncio.to_thread(wait_until, lambda: mail.logs().decode()[before:].count("quit=1") >= 2, what="both have left")
    log = mail.logs().decode()[before:]
    log = "\n".join(line for line in log.splitlines() if "[127.0.0.1]" not in line)  # those by exec are not

    assert "ehlo=1 starttls=1 quit=1 commands=3" in log
    assert "lost connection" not in log
    assert "improper" not in log


async def test_a_port_where_nothing_listens_is_refused(engine: Engine, mail: Running, by_network: ContainerProbe) -> None:
    seen = await by_network.served(await target_of(engine, mail), ProbePort(2525, "smtp"))

    assert (seen.refused, seen.leaf) == (True, None)


async def test_a_server_on_the_loopback_only_is_proved_by_exec(
    engine: Engine, mail: Running, by_network: ContainerProbe, pairs: dict[KeyType, Pair]
) -> None:
    listen(mail, "127.0.0.1", 7001)
    seen = await by_network.served(await target_of(engine, mail), ProbePort(7001, "tls"))

    assert (seen.way, seen.leaf) == ("exec", pairs[KeyType.ECDSA].certificate.leaf)


async def test_a_server_on_the_address_only_is_proved_by_exec(
    engine: Engine, mail: Running, by_exec: ContainerProbe, pairs: dict[KeyType, Pair]
) -> None:
    listen(mail, address_of(mail), 7002)
    seen = await by_exec.served(await target_of(engine, mail), ProbePort(7002, "tls"))

    assert (seen.way, seen.leaf) == ("exec", pairs[KeyType.ECDSA].certificate.leaf)


async def test_a_hanging_server_leaves_no_command_behind_in_the_container(engine: Engine, mail: Running) -> None:
    listen(mail, "127.0.0.1", 7003, silent=True)
    probe = ContainerProbe(execute=engine.execute, reach=Reach(lambda: None, ALONE), timeout=1)
    seen = await probe.served(await target_of(engine, mail), ProbePort(7003, "smtp"))

    assert (seen.way, seen.refused, "no TLS within 1 s" in seen.error) == ("exec", False, True)
    left = mail.exec_run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]_client'"])
    assert left.output == b"0\n"


async def test_what_the_image_has_decides_whether_exec_can_ask(
    client: docker.DockerClient, engine: Engine, by_exec: ContainerProbe
) -> None:
    container = client.containers.run(
        IMAGE, entrypoint=["/bin/sleep", "60"], environment={"PATH": "/opt"}, labels={LABEL: "probe"}, detach=True
    )
    try:
        target = await target_of(engine, container)
        with pytest.raises(ProbeUnavailable, match=r"there is no openssl in the container.*: add openssl to the image"):
            await by_exec.served(target, ProbePort(25, "smtp"))

        container.exec_run(["/bin/ln", "-s", "/usr/bin/timeout", "/opt/timeout"])
        with pytest.raises(ProbeUnavailable, match="there is no openssl in the container"):
            await by_exec.served(target, ProbePort(25, "smtp"))

        container.exec_run(["/bin/ln", "-s", "/usr/bin/openssl", "/opt/openssl"])
        container.exec_run(["/bin/rm", "/opt/timeout"])
        assert (await by_exec.served(target, ProbePort(25, "smtp"))).refused
    finally:
        container.remove(force=True, v=True)
