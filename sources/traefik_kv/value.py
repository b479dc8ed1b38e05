"""The value that Traefik v1 keeps its account in, as bytes in and JSON out.

Traefik 1.5 and newer write gzip around the JSON, older ones base64 (``staert/kv.go``, which on reading tries gzip first, base64
then). Plain JSON is what somebody put there by hand.
"""

from __future__ import annotations

import zlib

from controller.domain.errors import SourceMalformed
from sources.files import MIB
from sources.foreign_base64 import decode_base64

BEING_CREATED = b"\x01"
"""What the ZooKeeper client of Traefik v1 writes into a node that it creates, before the value."""
_GZIP = b"\x1f\x8b"
_MANGLED = b"\x1f\xef\xbf\xbd"
"""How the magic number of gzip looks after a store took the value for UTF-8 text."""
_LAYERS = 3
"""So many wrappings are taken off; Traefik makes one."""


def decode_value(value: bytes, *, where: str, limit: int) -> bytes:
    """The JSON in a value, of at most `limit` bytes; empty for a value that is just being created. `where` is for messages.

    Raises:
        SourceMalformed: it is damaged, too large, or nothing that Traefik writes.
    """
    for _ in range(_LAYERS + 1):
        if not value.strip() or value == BEING_CREATED:
            return b""
        if value.startswith(_MANGLED):
            raise SourceMalformed(
                f"{where} was mangled on its way into the store, as etcd's API v2 does with Traefik's gzip (U+FFFD in place of"
                " bytes), and cannot be restored; set useAPIV3 = true in Traefik's [etcd] section, and read it by etcd://"
            )
        if value.startswith(_GZIP):
            value = _gunzip(value, where, limit)
        elif _looks_like_json(value):
            return _within(limit, value, where)
        else:
            value = _from_base64(value, where)
    raise SourceMalformed(f"{where} is wrapped more often than Traefik does; correct the key")


def _looks_like_json(value: bytes) -> bool:
    return value.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") or value.strip() == b"null"


def _within(limit: int, data: bytes, where: str) -> bytes:
    if len(data) > limit:
        raise SourceMalformed(
            f"{where} unpacks to more than {limit / MIB:g} MiB; correct the key, or raise max-size if it is the right one"
        )
    return data


def _gunzip(value: bytes, where: str, limit: int) -> bytes:
    """Never more than one byte beyond the limit is unpacked, whatever the value claims.

    Go's reader would take further gzip after the first; nothing ever writes that, so whatever follows is damage.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = unpacker.decompress(value, limit + 1)
    except zlib.error:
        raise SourceMalformed(f"{where} is damaged: its gzip does not unpack; restore it from a backup") from None
    _within(limit, data, where)
    if not unpacker.eof:
        raise SourceMalformed(f"{where} ends in the middle of its gzip; if it stays so, restore it from a backup")
    if unpacker.unused_data:
        raise SourceMalformed(f"{where} is damaged: something follows its gzip; restore it from a backup")
    return data


def _from_base64(value: bytes, where: str) -> bytes:
    try:
        return decode_base64(value)
    except ValueError:
        raise SourceMalformed(f"{where} is neither gzip nor base64 nor JSON; name the key of Traefik's acme.storage") from None
