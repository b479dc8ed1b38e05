"""The blocks of a PEM file (RFC 7468), found in one walk from its begin to its end, whatever stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.domain.errors import MalformedPem
from controller.threads import step

MOST = 2000
"""Certificates and keys of one file. All authorities of the web are 150, a chain has two to four, a key is alone."""
CUT_OFF = "it ends in the middle"

_EDGE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_MATTERS = re.compile(rb"(?!OPENSSH )(?:[A-Z0-9 ]*PRIVATE KEY|(?:X509 )?CERTIFICATE)")
"""What blocks that matter are called; keys of SSH are none of TLS."""
_STEP = 1000
"""Edges between two steps; a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block with its edges; it may be a key."""

    label: bytes
    pem: bytes = field(repr=False)

    @property
    def is_certificate(self) -> bool:
        return not self.label.endswith(b"KEY")


def has_blocks(data: bytes) -> bool:
    """Whether any block that matters begins in it."""
    return any(edge[1] == b"BEGIN" and _MATTERS.fullmatch(edge[2]) for edge in _edges(data))


def blocks(data: bytes) -> Iterator[Block]:
    """The certificates and private keys, in their order; what else stands between them is passed over.

    Raises:
        MalformedPem: one of them does not end, or there are more than `MOST`.
    """
    count, begin = 0, None
    for edge in _edges(data):
        if edge[1] == b"BEGIN":
            if begin is not None:
                raise MalformedPem(CUT_OFF)
            begin = edge if _MATTERS.fullmatch(edge[2]) else None
        elif begin is not None and edge[2] == begin[2]:
            count += 1
            if count > MOST:
                raise MalformedPem(f"it holds more than {MOST} certificates and keys; bring only those that are needed")
            yield Block(begin[2], data[begin.start() : edge.end()])
            begin = None
    if begin is not None:
        raise MalformedPem(CUT_OFF)


def _edges(data: bytes) -> Iterator[re.Match[bytes]]:
    for number, edge in enumerate(_EDGE.finditer(data)):
        if number % _STEP == 0:
            step()
        yield edge
