"""The pages of BoltDB files: every form of them, and every damage."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources.traefik_kv.bolt_pages import find_value
from tests.unit.sources import recorded
from tests.unit.sources.bolt_files import BRANCH, HEADER, LEAF, Builder, meta, page_of

RECORDED = recorded.read("traefik-v1-boltdb/traefik.db")
OBJECT = b"traefik/acme/account/object"
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)

names = st.binary(min_size=1, max_size=40) | st.text("ab", min_size=1, max_size=4).map(str.encode)
values = st.binary(max_size=60) | st.integers(0, 20000).map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256))
contents = st.dictionaries(names, values, max_size=12)


def find(data: bytes, key: bytes = b"key", bucket: bytes = b"traefik") -> bytes | None:
    return find_value(data, bucket, key, where="/data/traefik.db")


def complaint(data: bytes, key: bytes = b"key", bucket: bytes = b"traefik") -> str:
    with pytest.raises((SourceMalformed, SourceUnavailable)) as caught:
        find(data, key, bucket)
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix("/data/traefik.db ")


def damage(data: bytes, key: bytes = b"key") -> str:
    """What is said to be damaged."""
    said = complaint(data, key)
    begin, end = "is damaged: ", "; if it stays so, restore it from a backup"
    assert said.startswith(begin)
    assert said.endswith(end)
    return said[len(begin) : -len(end)]


def put(data: bytes, at: int, form: str, *numbers: int) -> bytes:
    """The data with other numbers at a place."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *numbers)
    return bytes(changed)


def pages(data: bytes, kind: int, size: int = 4096) -> list[int]:
    """Where the pages of a kind begin."""
    return [at for at in range(2 * size, len(data), size) if struct.unpack_from("<QH", data, at) == (at // size, kind)]


class TestForms:
    @given(st.dictionaries(names, contents, max_size=6), st.sampled_from(PAGE_SIZES), st.integers(1, 5), st.booleans())
    def test_every_value_is_found_and_nothing_else(
        self, buckets: Mapping[bytes, Mapping[bytes, bytes]], page_size: int, most: int, inline: bool
    ) -> None:
        data = Builder(page_size, most, inline).build(buckets)
        for bucket, content in buckets.items():
            for key, value in content.items():
                assert find(data, key, bucket) == value
                assert find(data, key + b"\0", bucket) == content.get(key + b"\0")
        for bucket in {*buckets, b"other"} - buckets.keys():
            assert "has no bucket other" in complaint(data, b"key", bucket)

    def test_many_keys_on_several_levels(self):
        content = {b"%04d" % number: b"%d" % number for number in range(3000)}
        data = Builder(most=4).build({b"traefik": content})
        assert all(find(data, key) == value for key, value in content.items())
        assert [find(data, key) for key in (b"", b"0000\0", b"2999a", b"3")] == [None] * 4

    def test_a_value_that_runs_over_several_pages(self):
        value = os.urandom(50_000)
        assert find(Builder().build({b"traefik": {b"a": b"1", b"key": value, b"z": b"2"}})) == value

    def test_what_traefik_wrote(self):
        value = find(RECORDED, OBJECT)
        assert value is not None
        assert (len(value), value[:10]) == (13751, b"\x3c" + bytes(7) + b"\x1f\x8b")
        assert find(RECORDED, b"/traefik/loglevel") == b"\x36" + bytes(7) + b"DEBUG"
        assert find(RECORDED, b"/" + OBJECT) is None

    def test_a_bucket_is_no_value_and_a_value_no_bucket(self):
        inner = struct.pack("<QQ", 0, 0) + page_of(LEAF, [(b"k", b"v", 0)])
        data = bytearray(Builder(inline=True).build({b"traefik": {b"key": inner}}))
        assert find(bytes(data)) == inner
        at = data.rindex(struct.pack("<IIII", 0, HEADER, 3, len(inner)))
        data[at] = 1
        assert find(bytes(data)) is None
        outer = Builder(inline=True).build({b"traefik": {}})
        at = outer.index(struct.pack("<III", 1, HEADER, len(b"traefik")))
        assert "has no bucket traefik" in complaint(put(outer, at, "<I", 0))


class TestMetaPages:
    OLD, NEW = ({b"traefik": {b"key": value}} for value in (b"old", b"new"))

    def both(self, old: int, new: int, page_size: int = 4096) -> bytes:
        """A file in which two transactions left their meta page."""
        builder = Builder(page_size)
        one = builder.build(self.OLD, transaction=old)
        two = builder.build(self.NEW, transaction=new)
        metas = [one[: 2 * page_size], two[: 2 * page_size]]
        first, second = (metas[0], metas[1]) if old % 2 == 0 else (metas[1], metas[0])
        return first[:page_size] + second[page_size:] + two[2 * page_size :]

    @pytest.mark.parametrize(("old", "new"), [(4, 5), (5, 6), (2**40 - 1, 2**40)])
    @pytest.mark.parametrize("page_size", PAGE_SIZES)
    def test_the_newest_counts_and_the_other_one_where_it_is_damaged(self, old, new, page_size):
        data = self.both(old, new, page_size)
        assert find(data) == b"new"
        assert find(put(data, old % 2 * page_size + 40, "<I", 99)) == b"new"
        assert find(put(data, new % 2 * page_size + 40, "<I", 99)) == b"old"

    @pytest.mark.parametrize("at", [0, 4, 8, *range(16, 80, 4)])
    def test_every_number_of_it_is_covered(self, at):
        data = Builder().build(self.NEW, transaction=8)
        (before,) = struct.unpack_from("<I", data, at)
        assert complaint(put(data, at, "<I", before ^ 0x01010101)).startswith("has no bucket traefik (yet)")

    @pytest.mark.parametrize("page_size", PAGE_SIZES)
    def test_none_that_is_whole(self, page_size):
        data = self.both(4, 5, page_size)
        for number in range(2):
            data = put(data, number * page_size + 70, "<H", 0xBEEF)
        assert damage(data) == "neither of its first two pages is whole"

    def test_one_that_is_of_another_place_is_none(self):
        builder = Builder()
        data = builder.build(self.NEW)
        assert damage(meta(1, 4096, 3, 9, 1).ljust(4096, b"\0") + bytes(4096) + data[8192:]).startswith("neither")
        assert damage(meta(0, 512, 3, 9, 1).ljust(4096, b"\0") + bytes(4096) + data[8192:]).startswith("neither")

    @pytest.mark.parametrize("data", [b"\0", b"{}", b"SQLite format 3\0" + bytes(9000), os.urandom(70_000)])
    def test_other_files_are_none_of_bolt(self, data):
        assert complaint(data) == "is no BoltDB file; name that of Traefik's [boltdb] section"


class TestBuckets:
    def test_those_that_are_there_are_named(self):
        data = Builder().build({b"edge": {}, b"x\ny\xff": {}})
        assert (
            complaint(data)
            == "has no bucket traefik but edge, x?y\N{REPLACEMENT CHARACTER}; name Traefik's by the option bucket"
        )

    def test_of_many_some_are_named(self):
        data = Builder(most=500).build({b"%03d" % number: {} for number in range(500)})
        assert complaint(data).startswith("has no bucket traefik but 000, 001, 002, 003, 004, 005, 006, 007, …; name")

    def test_a_file_that_was_just_made_has_none(self):
        assert complaint(Builder().build({})) == (
            "has no bucket traefik (yet), nor any other; correct the path if it never will"
        )


class TestDamage:
    DATA = Builder(most=2).build({b"traefik": {b"%d" % number: b"v" for number in range(5)} | {b"key": b"v" * 5000}})

    def on_the_way(self, kind: int) -> int:
        """The page on the way to the last key: the branch on top, or the leaf."""
        found = pages(self.DATA, kind)
        return found[-1] if kind == BRANCH else next(at for at in found if b"key" in self.DATA[at : at + 100])

    def test_a_circle_ends(self):
        branch = self.on_the_way(BRANCH)
        assert damage(put(self.DATA, branch + HEADER * 2 + 8, "<Q", branch // 4096)) == "its pages lead in a circle"

    @pytest.mark.parametrize(
        ("offset", "form", "number", "message"),
        [
            (0, "<Q", 99, "another one than should be there"),
            (8, "<H", 16, "another one than should be there"),
            (8, "<H", LEAF | BRANCH, "another one than should be there"),
            (10, "<H", 0, "another one than should be there"),
            (10, "<H", 0xFFFF, "one of its pages holds more than fits"),
            (12, "<I", 0xFFFFFFFF, "reaches beyond the end"),
            (12, "<I", 200, "reaches beyond the end"),
            (HEADER * 2, "<I", 0xFFFFFFFF, "something in it reaches beyond the end of its page"),
            (HEADER * 2 + 4, "<I", 0x7FFF, "something in it reaches beyond the end of its page"),
            (HEADER * 2 + 4, "<I", 0xFFFFFFFF, "a key in it is larger than keys can be"),
            (HEADER * 2 + 8, "<Q", 2**64 - 1, "it has no page 18446744073709551615, but leads there"),
            (HEADER * 2 + 8, "<Q", 1, "it has no page 1, but leads there"),
            (HEADER * 2 + 8, "<Q", 0, "it has no page 0, but leads there"),
        ],
    )
    def test_every_number_of_a_branch_is_checked(self, offset, form, number, message):
        assert message in damage(put(self.DATA, self.on_the_way(BRANCH) + offset, form, number))

    def test_a_page_does_not_reach_into_what_is_not_in_use(self):
        """Files are longer than what is in use, for the next transactions."""
        longer = self.DATA + bytes(4096 * 50)
        assert find(longer) == b"v" * 5000
        assert damage(put(longer, self.on_the_way(LEAF) + 12, "<I", 20)).endswith("reaches beyond the end")

    @pytest.mark.parametrize("field", [4, 8, 12])
    def test_every_number_of_a_leaf_is_checked(self, field):
        leaf = self.on_the_way(LEAF)
        last = leaf + HEADER * struct.unpack_from("<H", self.DATA, leaf + 10)[0]
        assert damage(put(self.DATA, last + field, "<I", 0xFFFFFFFF)) == "something in it reaches beyond the end of its page"

    @pytest.mark.parametrize(
        ("bucket", "message"),
        [
            (b"", "a bucket in it has no header"),
            (bytes(16), "a bucket in it has no page"),
            (bytes(16) + page_of(BRANCH, []), "a bucket in it holds no page"),
            (bytes(16) + b"\1" + page_of(LEAF, [])[1:], "a bucket in it holds no page"),
            (bytes(16) + put(page_of(LEAF, []), 10, "<H", 9), "one of its pages holds more than fits"),
            (b"\1" + bytes(15), "it has no page 1, but leads there"),
        ],
    )
    def test_every_number_of_a_bucket_is_checked(self, bucket, message):
        builder = Builder()
        root = builder._tree([(b"traefik", bucket, 1)])
        metas = [meta(number, 4096, root, builder._next, number).ljust(4096, b"\0") for number in range(2)]
        assert damage(b"".join(metas) + builder.pages) == message

    def test_a_file_may_end_anywhere(self):
        for size in [*range(0, 9000, 7), *range(9000, len(RECORDED), 101)]:
            cut = RECORDED[:size]
            try:
                assert find(cut, OBJECT) == find(RECORDED, OBJECT)
            except SourceMalformed as error:
                assert str(error).isprintable()  # noqa: PT017 -- some lengths do hold it

    def test_a_file_made_to_take_long_does_not(self):
        """A page that claims to be large, with elements that point to each other's keys, at every level."""
        count, size = 65000, 4096 * 300
        table = b"".join(struct.pack("<IIQ", 0, 32768, 2) for _ in range(count))
        page = (struct.pack("<QHHI", 2, BRANCH, count, 299) + table).ljust(size, b"\xff")
        metas = [meta(number, 4096, 2, 400, number).ljust(4096, b"\0") for number in range(2)]
        begin = time.process_time()
        assert damage(b"".join(metas) + page) == "its pages lead in a circle"
        assert time.process_time() - begin < 1


@given(st.data())
def test_whatever_bytes_are_wrong_it_is_an_error_of_ours_or_an_answer(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([RECORDED, TestDamage.DATA, Builder(inline=True).build({b"traefik": {b"key": b"v"}})]))
    changed = bytearray(whole)
    page = st.integers(0, len(whole) // 4096 - 1)
    place = st.builds(lambda number, offset: number * 4096 + offset, page, st.integers(0, 95) | st.integers(0, 4087))
    for at in data.draw(st.lists(place, min_size=1, max_size=6)):
        changed[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\0\0", b"\xff\xff\xff\xff"]))
    for at in (0, 4096):  # as a program would do that means harm
        body = changed[at + 16 : at + 72]
        changed[at + 72 : at + 80] = (
            meta(0, *struct.unpack("<8xI4xQ16xQQ", body))[-8:] if data.draw(st.booleans()) else b"x" * 8
        )
    key = OBJECT if whole is RECORDED else b"key"
    try:
        found = find(bytes(changed), key)
    except (SourceMalformed, SourceUnavailable) as error:
        assert str(error).isprintable()  # noqa: PT017 -- both are right
    else:
        assert found is None or isinstance(found, bytes)
