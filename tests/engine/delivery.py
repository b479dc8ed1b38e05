"""Engine and sink on one real container, without the rest of certferry; and a look at the outcome that uses neither."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from docker.errors import NotFound
from docker.models.containers import Container

from controller.domain.observed import Acted, Observed, Receipt
from controller.domain.target import Place, Slot, Target, TargetKey
from controller.engine import Engine
from sinks.container import ContainerSink
from tests.certs import Pair

_LOOK = 'for f; do if [ -e "$f" ]; then stat -Lc "%a %u %g %i" "$f"; base64 -w0 "$f"; echo; else echo; echo; fi; done'


@asynccontextmanager
async def connected(host: str = "unix:///var/run/docker.sock", *, exec_timeout: float = 30) -> AsyncIterator[Engine]:
    """An engine, closed at the end."""
    engine = Engine(host, timeout=20, exec_timeout=exec_timeout)
    try:
        yield engine
    finally:
        await engine.close()


@dataclass(frozen=True)
class Seen:
    """A file as found in the container."""

    content: bytes = field(repr=False)
    mode: str
    owner: str
    inode: int = field(default=0, compare=False)


def seen(content: bytes, mode: int, owner: str = "0:0") -> Seen:
    """What a look should show."""
    return Seen(content, f"{mode:o}", owner)


def look(container: Container, *paths: str | PurePosixPath) -> list[Seen | None]:
    """The files, by the container's own tools; they must be there, so not for images without."""
    code, output = container.exec_run(["sh", "-c", _LOOK, "look", *map(str, paths)], user="0")
    lines = output.decode().split("\n")
    assert (code, len(lines)) == (0, 2 * len(paths) + 1), output
    return [_parse(header, body) for header, body in zip(lines[:-1:2], lines[1::2], strict=True)]


def _parse(header: str, body: str) -> Seen | None:
    import base64

    if not header:
        return None
    mode, uid, gid, inode = header.split()
    return Seen(base64.b64decode(body), mode, f"{uid}:{gid}", int(inode))


def look_from_outside(container: Container, *paths: str | PurePosixPath) -> list[Seen | None]:
    """The files, by the archive API: for containers in which nothing runs."""
    return [_from_outside(container, str(path)) for path in paths]


def _from_outside(container: Container, path: str) -> Seen | None:
    try:
        chunks, _ = container.get_archive(path)
    except NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.getmembers()[0]
        content = tar.extractfile(member)
        return Seen(content.read() if content else b"", f"{member.mode & 0o7777:o}", f"{member.uid}:{member.gid}")


def litter(container: Container, *folders: str) -> list[str]:
    """What certferry left behind, in the container's own file system or below some folders or mounts."""
    code, output = container.exec_run(["find", *(folders or "/"), "-xdev", "-name", ".certferry*"], user="0")
    assert code == 0, output
    return sorted(set(output.decode().split()))


class Delivery:
    """Brings pairs to one container."""

    def __init__(
        self,
        engine: Engine,
        container: Container,
        places: tuple[Place, ...] | Place | str = "/tls",
        *,
        sink: ContainerSink | None = None,
        **wishes: Any,
    ) -> None:
        self.engine, self.container = engine, container
        self.places = places if isinstance(places, tuple) else (place_in(places) if isinstance(places, str) else places,)
        self.sink = sink or ContainerSink(engine)
        self._wishes = wishes

    @property
    def place(self) -> Place:
        return self.places[0]

    async def target(self) -> Target:
        """As discovery would make it now."""
        found = await self.engine.inspect(str(self.container.id))
        assert found is not None
        return Target(TargetKey("local", found.id), found, "generic", ("mail.example.test",), self.places, **self._wishes)

    async def observe(self) -> Observed:
        return await self.sink.observe(await self.target())

    async def bring(self, pair: Pair) -> Receipt:
        """Put a pair in place and confirm it, as two looks do."""
        return await self.bring_contents(self.place.contents(pair.certificate))

    async def bring_contents(self, contents: Mapping[PurePosixPath, bytes]) -> Receipt:
        receipt = (await self.act(contents)).receipt
        assert receipt is not None
        await self.settle()
        return receipt

    async def act(self, wanted: Pair | Mapping[PurePosixPath, bytes], **options: Any) -> Acted:
        """Put it in place, to be confirmed later."""
        contents = self.place.contents(wanted.certificate) if isinstance(wanted, Pair) else wanted
        target = await self.target()
        return await self.sink.act(target, await self.sink.observe(target), contents, **options)

    async def settle(self) -> None:
        target = await self.target()
        await self.sink.settle(target, await self.sink.observe(target))

    def look(self) -> tuple[Seen | None, ...]:
        """Certificate and key, as the container's own tools show them."""
        certificate, key = look(self.container, self.place.certificate or "", self.place.key or "")
        return certificate, key


def place_in(folder: str) -> Place:
    """Certificate and key beside each other."""
    return Place(Slot(), PurePosixPath(folder, "cert.pem"), PurePosixPath(folder, "key.pem"))


def files_of(pair: Pair, *, owner: str = "0:0", mode: int = 0o600) -> tuple[Seen, Seen]:
    """Certificate and key as they should be found."""
    return seen(pair.certificate.fullchain_pem, 0o644, owner), seen(pair.certificate.key_pem, mode, owner)
