"""One value out of the bytes of a BoltDB file; nothing is opened here, and nothing written.

The bytes are a copy, maybe of a damaged file or of one that was being written to: every number in them is checked before it is
followed. What the pages hold (bbolt 1.3: ``db.go``, ``page.go``, ``bucket.go``; all numbers little-endian):

    every page       its number u64, flags u16, count u16, overflow u32: so many pages follow that belong to it
    meta, 0 and 1    magic, version, page size, flags u32; root page, sequence, free list, end, transaction, checksum u64
    branch           count times: position, key size u32, child u64; then the keys, of which each is the first below its child
    leaf             count times: flags, position, key size, value size u32; then the keys and values
    bucket           a value with flag 1: root page u64, sequence u64; where the root is 0, a leaf follows in the value itself

The two meta pages are written in turn, so one of them is whole at any time; the newest whole one counts.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources.pairs import label_of

_HEADER = struct.Struct("<QHHI")
_META = struct.Struct("<IIIIQQQQQQ")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BUCKET = struct.Struct("<QQ")
_ELEMENT_SIZE = 16
_BRANCH, _LEAF, _IS_META = 1, 2, 4
_IS_BUCKET = 1
_MAGIC, _VERSION = 0xED0CDAED, 2
_PAGE_SIZES = tuple(4096 << shift for shift in range(5))
"""Those of the operating system of who made the file: 4 KiB, and up to 64 KiB on some other processors."""
_FIRST_PAGE = 2
"""Those before are meta pages."""
_LARGEST_KEY = 32768
_DEPTH = 32
"""More levels than a file of any size has; a circle of pages has more."""
_NAMED = 8
"""So many buckets are named in a message."""


class _Damaged(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True, slots=True)
class _Meta:
    page_size: int
    root: int
    end: int
    """The number of the first page that is not in use."""
    transaction: int


@dataclass(frozen=True, slots=True)
class _Page:
    """A branch or leaf with all that belongs to it; positions in it count from the element that tells them."""

    content: memoryview = field(repr=False)
    is_leaf: bool
    count: int

    def elements(self) -> Iterator[tuple[int, memoryview, memoryview]]:
        """Flags, key and value of each element of a leaf."""
        for at in self._places():
            flags, position, key_size, value_size = _LEAF_ELEMENT.unpack_from(self.content, at)
            begin = at + position
            yield flags, self._part(begin, key_size), self._part(begin + key_size, value_size)

    def child_for(self, key: bytes) -> int:
        """The page below a branch in which a key stands if there is one."""
        position = bisect_right(self._places(), key, key=self._branch_key) - 1
        child: int = _BRANCH_ELEMENT.unpack_from(self.content, self._places()[max(position, 0)])[2]
        return child

    def _places(self) -> range:
        return range(_HEADER.size, _HEADER.size + self.count * _ELEMENT_SIZE, _ELEMENT_SIZE)

    def _branch_key(self, at: int) -> bytes:
        position, size, _ = _BRANCH_ELEMENT.unpack_from(self.content, at)
        if size > _LARGEST_KEY:
            raise _Damaged("a key in it is larger than keys can be")
        return bytes(self._part(at + position, size))

    def _part(self, begin: int, size: int) -> memoryview:
        if begin + size > len(self.content):
            raise _Damaged("something in it reaches beyond the end of its page")
        return self.content[begin : begin + size]


def find_value(data: bytes, bucket: bytes, key: bytes, *, where: str) -> bytes | None:
    """The value of a key in a bucket; ``None`` when there is no such key. `where` names the file in messages.

    Raises:
        SourceUnavailable: there is no such bucket.
        SourceMalformed: it is no BoltDB file, or damaged.
    """
    file = memoryview(data)
    try:
        meta = _newest(file)
        in_root = _leaf_for(file, meta, meta.root, bucket)
        held = _find(in_root, bucket, _IS_BUCKET)
        if held is None:
            raise SourceUnavailable(f"{where} has no bucket {_show(memoryview(bucket))}{_others(in_root)}")
        value = _find(_leaf_in(file, meta, held, key), key, 0)
        return None if value is None else bytes(value)
    except _Damaged as error:
        if _has_magic(file):
            raise SourceMalformed(f"{where} is damaged: {error}; if it stays so, restore it from a backup") from error
        raise SourceMalformed(f"{where} is no BoltDB file; name that of Traefik's [boltdb] section") from error


def _find(leaf: _Page, wanted: bytes, flags: int) -> memoryview | None:
    """What stands under a key of a leaf, if it is a bucket or a value, as `flags` say."""
    found = (value for marks, key, value in leaf.elements() if key == wanted and marks & _IS_BUCKET == flags)
    return next(found, None)


def _others(leaf: _Page) -> str:
    """Which buckets there are, as the end of a message."""
    names = [_show(key) for key in islice((key for flags, key, _ in leaf.elements() if flags & _IS_BUCKET), _NAMED)]
    if not names:
        return " (yet), nor any other; correct the path if it never will"
    more = ", …" if len(names) == _NAMED else ""
    return f" but {', '.join(names)}{more}; name Traefik's by the option bucket"


def _show(name: memoryview) -> str:
    return label_of(bytes(name[:_LARGEST_KEY]).decode(errors="replace"))


def _leaf_in(file: memoryview, meta: _Meta, bucket: memoryview, key: bytes) -> _Page:
    """The leaf of a bucket in which a key stands if there is one."""
    if len(bucket) < _BUCKET.size:
        raise _Damaged("a bucket in it has no header")
    root = _BUCKET.unpack_from(bucket)[0]
    return _leaf_for(file, meta, root, key) if root else _inline(bucket[_BUCKET.size :])


def _leaf_for(file: memoryview, meta: _Meta, number: int, key: bytes) -> _Page:
    """The leaf at or below a page in which a key stands if there is one."""
    for _ in range(_DEPTH):
        page = _page(file, meta, number)
        if page.is_leaf:
            return page
        number = page.child_for(key)
    raise _Damaged("its pages lead in a circle")


def _page(file: memoryview, meta: _Meta, number: int) -> _Page:
    begin = number * meta.page_size
    if not _FIRST_PAGE <= number < meta.end:
        raise _Damaged(f"it has no page {number}, but leads there")
    if begin + meta.page_size > len(file):
        raise _Damaged(f"it ends before page {number}")
    found, flags, count, overflow = _HEADER.unpack_from(file, begin)
    end = begin + (1 + overflow) * meta.page_size
    if found != number or flags not in (_BRANCH, _LEAF) or (flags == _BRANCH and not count):
        raise _Damaged(f"page {number} is another one than should be there")
    if number + overflow >= meta.end or end > len(file):
        raise _Damaged(f"page {number} reaches beyond the end")
    return _fitting(_Page(file[begin:end], flags == _LEAF, count))


def _inline(content: memoryview) -> _Page:
    if len(content) < _HEADER.size:
        raise _Damaged("a bucket in it has no page")
    number, flags, count, _ = _HEADER.unpack_from(content)
    if number or flags != _LEAF:
        raise _Damaged("a bucket in it holds no page")
    return _fitting(_Page(content, True, count))


def _fitting(page: _Page) -> _Page:
    if _HEADER.size + page.count * _ELEMENT_SIZE > len(page.content):
        raise _Damaged("one of its pages holds more than fits")
    return page


def _newest(file: memoryview) -> _Meta:
    """The whole meta page of the last transaction. The second stands at the page size, which a damaged first does not tell."""
    first = _meta(file, 0)
    sizes = (first.page_size,) if first else _PAGE_SIZES
    metas = [meta for meta in (first, *(_meta(file, size) for size in sizes)) if meta]
    if not metas:
        raise _Damaged("neither of its first two pages is whole")
    return max(metas, key=lambda meta: meta.transaction)


def _meta(file: memoryview, at: int) -> _Meta | None:
    """The meta page at a place, if it is whole."""
    if at + _HEADER.size + _META.size > len(file):
        return None
    number, kind, _, _ = _HEADER.unpack_from(file, at)
    begin = at + _HEADER.size
    magic, version, page_size, _, root, _, _, end, transaction, checksum = _META.unpack_from(file, begin)
    is_meta = (kind, magic, version) == (_IS_META, _MAGIC, _VERSION) and checksum == _fnv(file[begin : begin + _META.size - 8])
    is_here = page_size in _PAGE_SIZES and at == number * page_size and number < _FIRST_PAGE
    return _Meta(page_size, root, end, transaction) if is_meta and is_here else None


def _has_magic(file: memoryview) -> bool:
    """Whether this is, or was, a BoltDB file."""
    magic = _MAGIC.to_bytes(4, "little")
    return any(file[at + _HEADER.size : at + _HEADER.size + 4] == magic for at in (0, *_PAGE_SIZES))


def _fnv(data: memoryview) -> int:
    """FNV-1a of 64 bits."""
    result = 0xCBF29CE484222325
    for byte in data:
        result = (result ^ byte) * 0x100000001B3 % 2**64
    return result
