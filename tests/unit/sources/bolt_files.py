"""BoltDB files as bytes, in every form that the library knows: branches, leaves, pages that run over, buckets in values."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.certs import Pair

BRANCH, LEAF, META = 1, 2, 4
IN_BUCKET = 1
KEY = b"traefik/acme/account/object"
HEADER = 16
"""Bytes before the elements of a page; an element has as many."""


@dataclass
class Builder:
    """Lays out pages from number 2 on; no page has more elements than `most`."""

    page_size: int = 4096
    most: int = 8
    inline: bool = False
    pages: bytearray = field(default_factory=bytearray)

    def build(self, buckets: Mapping[bytes, Mapping[bytes, bytes]], *, transaction: int = 7) -> bytes:
        """A file with these buckets; the other meta page is that of a transaction before, which had none of them."""
        empty = self._place(LEAF, page_of(LEAF, []))
        root = self._tree([(name, self._bucket(content), IN_BUCKET) for name, content in sorted(buckets.items())])
        roots = [root, empty] if transaction % 2 == 0 else [empty, root]
        numbers = [transaction, transaction - 1] if transaction % 2 == 0 else [transaction - 1, transaction]
        metas = [meta(n, self.page_size, roots[n], self._next, numbers[n]).ljust(self.page_size, b"\0") for n in range(2)]
        return b"".join(metas) + bytes(self.pages)

    @property
    def _next(self) -> int:
        return 2 + len(self.pages) // self.page_size

    def _bucket(self, content: Mapping[bytes, bytes]) -> bytes:
        elements = [(key, value, 0) for key, value in sorted(content.items())]
        if self.inline:
            return struct.pack("<QQ", 0, 0) + page_of(LEAF, elements)
        return struct.pack("<QQ", self._tree(elements), 0)

    def _tree(self, elements: list[tuple[bytes, bytes, int]]) -> int:
        """The number of the page on top."""
        leaves = [elements[at : at + self.most] for at in range(0, len(elements), self.most)] or [[]]
        level = [(leaf[0][0] if leaf else b"", self._place(LEAF, page_of(LEAF, leaf))) for leaf in leaves]
        fan = max(self.most, 2)
        while len(level) > 1:
            parts = [level[at : at + fan] for at in range(0, len(level), fan)]
            level = [(part[0][0], self._place(BRANCH, page_of(BRANCH, part))) for part in parts]
        return level[0][1]

    def _place(self, kind: int, page: bytes) -> int:
        """Put a page at the end, under its number, with as many pages as it takes."""
        number, size = self._next, -(-len(page) // self.page_size) * self.page_size
        count = struct.unpack_from("<H", page, 10)[0]
        header = struct.pack("<QHHI", number, kind, count, size // self.page_size - 1)
        self.pages += (header + page[HEADER:]).ljust(size, b"\0")
        return number


def page_of(kind: int, elements: Iterable[tuple[bytes, int] | tuple[bytes, bytes, int]]) -> bytes:
    """A page of number 0: of leaves from keys, values and flags, of branches from keys and children."""
    elements = list(elements)
    table, data = b"", b""
    for index, element in enumerate(elements):
        position = (len(elements) - index) * HEADER + len(data)
        if len(element) == 3:
            key, value, flags = element
            table += struct.pack("<IIII", flags, position, len(key), len(value))
            data += key + value
        else:
            key, child = element
            table += struct.pack("<IIQ", position, len(key), child)
            data += key
    return struct.pack("<QHHI", 0, kind, len(elements), 0) + table + data


def meta(number: int, page_size: int, root: int, end: int, transaction: int) -> bytes:
    """A meta page with its checksum."""
    body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, page_size, 0, root, 0, 3, end, transaction)
    checksum = 0xCBF29CE484222325
    for byte in body:
        checksum = (checksum ^ byte) * 0x100000001B3 % 2**64
    return struct.pack("<QHHI", number, META, 0, 0) + body + struct.pack("<Q", checksum)


def account(*pairs: Pair) -> bytes:
    """The account with these pairs as Traefik v1 puts it into a store: gzip around its JSON."""
    certificates = [
        {
            "Domains": {"Main": pair.certificate.leaf.names[0], "SANs": None},
            "Certificate": {
                "PrivateKey": base64.b64encode(pair.key).decode(),
                "Certificate": base64.b64encode(pair.chain).decode(),
            },
        }
        for pair in pairs
    ]
    return gzip.compress(json.dumps({"Email": "", "DomainsCertificate": {"Certs": certificates or None}}).encode(), mtime=0)


def store(payload: bytes, key: bytes = KEY, bucket: bytes = b"traefik") -> bytes:
    """A file with one value of Traefik's beside some others."""
    content = {b"/traefik/loglevel": b"\x01" + bytes(7) + b"DEBUG", key: b"\x02" + bytes(7) + payload}
    return Builder().build({bucket: content})
