"""What is missing behind a leaf that a port hands out. Pure.

Whatever a server sends besides (a root, a cross-sign, something twice) harms no client and is no difference.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence

from controller.domain.errors import MalformedPem
from controller.x509.parsed import parse_der

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def gap(wanted: bytes, served: bytes) -> str:
    """How the chain that a port sent, leaf first, falls short of the `wanted` intermediates; empty where it does not."""
    behind = _blocks(served)[1:]
    if missing := [block for block in _blocks(wanted) if block not in behind]:
        several = "s" if len(missing) > 1 else ""
        return f"without the intermediate{several} {' and '.join(map(_name, missing))}: clients cannot verify it"
    if not _is_in_order(_blocks(wanted), behind):
        names = ", ".join(map(_name, _blocks(wanted)))
        return f"with its intermediates in another order than {names}: some clients cannot verify it"
    return ""


def _blocks(pem: bytes) -> tuple[bytes, ...]:
    """The certificates of PEM text in DER, in order: line ends and comments say nothing."""
    return tuple(b64decode(b"".join(block.split(b"-----")[2].split())) for block in _PEM.findall(pem))


def _is_in_order(wanted: Sequence[bytes], behind: Sequence[bytes]) -> bool:
    rest = iter(behind)
    return all(block in rest for block in dict.fromkeys(wanted))


def _name(der: bytes) -> str:
    try:
        return parse_der(der).shown
    except MalformedPem:
        return "(unreadable)"
