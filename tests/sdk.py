"""The Docker SDK, without the loss of what a command in a container prints.

It reads the output from the bare socket, although `http.client` may have taken the beginning of it off there, together with the
header of the answer (docker-py, issue 3332). Seen with one command in a hundred on a busy machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from typing import Any

import docker
from docker.api import APIClient
from docker.utils.socket import consume_socket_output, demux_adaptor

_HEADER = struct.Struct(">BxxxL")
"""Number of the stream and size of each piece (Docker Engine API, ContainerAttach, "Stream format")."""


def connect(*, timeout: float) -> docker.DockerClient:
    """This machine's Docker."""
    client = docker.from_env(timeout=timeout)
    client.api._read_from_socket = partial(_read, client.api)
    return client


def _read(api: APIClient, response: Any, stream: bool, tty: bool = True, demux: bool = False) -> Any:
    """In place of `APIClient._read_from_socket`, from the buffer in front of the socket."""
    assert not stream
    assert not tty
    api._raise_for_status(response)
    with response:
        pieces = _pieces(response.raw._fp.fp)
        return consume_socket_output((demux_adaptor(*piece) if demux else piece[1] for piece in pieces), demux=demux)


def _pieces(buffer: BufferedReader) -> Iterator[tuple[int, bytes]]:
    while len(header := buffer.read(_HEADER.size)) == _HEADER.size:
        number, size = _HEADER.unpack(header)
        yield number, buffer.read(size)
