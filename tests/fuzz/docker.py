"""What Docker answers: containers as JSON, archives, and what the scripts print inside of a container."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from controller.domain.errors import Error
from controller.engine_files import first_member
from controller.inspection import read_container
from sinks import script
from sources import archive
from tests.fuzz.target import Target

_PATHS = (PurePosixPath("/tls/cert.pem"), PurePosixPath("/tls/key.pem"))
_BOUNDARY = "--boundary"
_CONTAINER: dict[str, Any] = {
    "Id": "c" * 64,
    "Name": "/mail",
    "Image": "sha256:1",
    "Path": "sh",
    "Args": ["-c", "x"],
    "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00.123456789Z"},
    "Config": {"Image": "mail", "Labels": {"certferry.domain": "auto"}, "Env": ["A=b", "C"], "Hostname": "mail"},
    "HostConfig": {"Tmpfs": {"/run": "rw"}, "CapDrop": ["ALL"], "NetworkMode": "bridge"},
    "Mounts": [{"Type": "volume", "Name": "v", "Source": "/x", "Destination": "/tls", "RW": True}],
    "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n", "IPAddress": "172.17.0.2"}}},
}


def _inspect(data: bytes) -> None:
    raw = json.loads(data)
    read_container(raw, (raw.get("Config") or {}) if isinstance(raw, dict) else {})


def _unpack(data: bytes) -> None:
    nodes = archive.unpack(data, PurePosixPath("/data"), limit=2**20)
    tree = archive.ArchiveTree("proxy", PurePosixPath("/data"), nodes, focus="", limit=2**20)
    for path in list(nodes)[:20]:
        tree.kind(str(path))


def _archives() -> Iterator[bytes]:
    for kind, link in ((tarfile.REGTYPE, ""), (tarfile.SYMTYPE, "../a"), (tarfile.DIRTYPE, "")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("data/ä" + "x" * 120)
            info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"abc"))
        yield out.getvalue()


def _observed(data: bytes) -> None:
    script.parse_observed(data, _PATHS, _BOUNDARY)


_PRINTED = b"F 0 0 600 /tls/cert.pem\nx\n--boundary\n\n--boundary\nN /tls/key.pem\n\n--boundary\nL\n\n--boundary\n"
_SOCKETS = b"  sl  local_address rem_address   st\n   0: 00000000:0019 00000000:0000 0A 0 0 0 0 0\n"

TARGETS = (
    # What is no JSON is refused before.
    Target("inspect", _inspect, lambda: [json.dumps(_CONTAINER).encode()], (Error, ValueError, RecursionError)),
    Target("archive", _unpack, _archives),
    Target("archive-head", first_member, _archives),
    Target("observed", _observed, lambda: [_PRINTED + _SOCKETS], (Error, ValueError)),
)
