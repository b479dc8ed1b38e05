"""What the value of Traefik v1's account is wrapped in, and what damage to it leads to."""

from __future__ import annotations

import base64
import gzip
import json
import re
import tracemalloc
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import SourceMalformed
from sources.files import MIB
from sources.layout import StoreOptions
from sources.pairs import Reading, read_pairs
from sources.traefik_kv.account import read_value
from sources.traefik_kv.value import BEING_CREATED, decode_value
from tests.unit.sources import recorded

WHERE = "Consul at consul:8500, key traefik/acme/account/object"
LIMIT = int(StoreOptions().max_size)
JSON = b'{"Email": "admin@example.test", "DomainsCertificate": {"Certs": null}}'
RECORDED = "traefik-v1-consul/04-both-certificates.object.gz"
OLD = "traefik-v1-etcd2/object.base64-DERIVED.txt"
PLAIN = gzip.decompress(recorded.read(RECORDED))


def decode(value: bytes, *, limit: int = LIMIT) -> bytes:
    return decode_value(value, where=WHERE, limit=limit)


def judge(value: bytes) -> Reading:
    contents = read_value(value, where=WHERE, limit=LIMIT)
    reading = read_pairs(contents, {}, moment=datetime.now(UTC), remedy="")
    return Reading(reading.entries, (*contents.problems, *reading.problems), {})


def complaint(value: bytes, *, limit: int = LIMIT) -> str:
    with pytest.raises(SourceMalformed) as caught:
        decode(value, limit=limit)
    said = str(caught.value)
    assert said.startswith(f"{WHERE} ")
    assert said.isprintable()
    return said.removeprefix(f"{WHERE} ")


def mangled() -> bytes:
    """What etcd's API v2 made of Traefik's gzip."""
    found = re.search(
        r'"key": "/traefik/acme/account/object",\s*"value": ("(?:[^"\\]|\\.)*")',
        recorded.read("traefik-v1-etcd2/keys-recursive.json").decode(),
    )
    assert found
    value: str = json.loads(found[1])
    return value.encode()


def bomb(mebibytes: int) -> bytes:
    """Gzip of that many mebibytes, of which one is packed: full flushes make each look like the next."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    head = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (mebibytes - 1) + packer.flush()


@cache
def secrets() -> frozenset[bytes]:
    """Every twelve characters of the keys in what was recorded: those of certificates, and that of the account."""
    document = json.loads(PLAIN)
    keys = [entry["Certificate"]["PrivateKey"] for entry in document["DomainsCertificate"]["Certs"]]
    texts = [document["PrivateKey"].encode(), *(text.encode() for text in keys), *map(base64.b64decode, keys)]
    return frozenset(text[at : at + 12] for text in texts for at in range(0, len(text) - 12))


def shows_a_key(said: str) -> bool:
    data = said.encode()
    return any(data[at : at + 12] in secrets() for at in range(len(data)))


class TestWrappings:
    @pytest.mark.parametrize(
        "value",
        [
            JSON,
            b" \n" + JSON,
            gzip.compress(JSON),
            base64.b64encode(JSON),
            base64.encodebytes(JSON * 3)[:-1].replace(b"\n", b"\r\n"),
            base64.b64encode(gzip.compress(JSON)),
            gzip.compress(base64.b64encode(JSON)),
        ],
        ids=["none", "blanks", "gzip", "base64", "base64 in lines", "gzip in base64", "base64 in gzip"],
    )
    def test_each_is_taken_off(self, value):
        assert decode(value).strip() in (JSON, JSON * 3)

    @pytest.mark.parametrize("document", [b"[]", b"null", b"\xef\xbb\xbf{}"])
    def test_whatever_is_json_is_left_as_it_is(self, document):
        assert decode(document) == document

    @pytest.mark.parametrize(
        "value",
        [b"", b" \n", BEING_CREATED, gzip.compress(b""), base64.b64encode(BEING_CREATED)],
        ids=["empty", "blanks", "being created", "nothing in gzip", "being created in base64"],
    )
    def test_a_value_that_is_being_created_is_empty_and_no_error(self, value):
        assert decode(value) == b""
        assert read_value(value, where=WHERE, limit=LIMIT).blank

    def test_more_than_three_are_refused(self):
        value = JSON
        for _ in range(3):
            value = base64.b64encode(value)
        assert decode(value) == JSON
        assert complaint(base64.b64encode(value)) == "is wrapped more often than Traefik does; correct the key"

    @pytest.mark.parametrize("name", [OLD, RECORDED])
    def test_what_traefik_wrote_is_read(self, name):
        reading = judge(recorded.read(name))
        assert sorted(recorded.labels_and_names(reading.entries)) == [
            ("imap.example.test", recorded.IMAP),
            ("mail.example.test", recorded.MAIL),
        ]
        assert reading.problems == ()


class TestRefused:
    @pytest.mark.parametrize(
        "value", [b"true", b'"text"', b"127.0.0.1:2379", b"\x02", b"\0" * 64, b"\x1f", "ä".encode(), b"==="]
    )
    def test_what_is_none_of_them_is_another_key(self, value):
        assert complaint(value) == "is neither gzip nor base64 nor JSON; name the key of Traefik's acme.storage"

    def test_the_value_that_etcds_old_api_mangled_is_named_with_the_remedy(self):
        said = complaint(mangled())
        assert said.startswith("was mangled on its way into the store, as etcd's API v2 does with Traefik's gzip")
        assert said.endswith("set useAPIV3 = true in Traefik's [etcd] section, and read it by etcd://")

    @pytest.mark.parametrize("end", [1, 8, 9, 100, 5000])
    def test_gzip_that_ends_in_the_middle_may_be_whole_the_next_time(self, end):
        assert complaint(recorded.read(RECORDED)[:-end]) == (
            "ends in the middle of its gzip; if it stays so, restore it from a backup"
        )

    @pytest.mark.parametrize(
        "more",
        [b"\0", b"garbage", gzip.compress(b""), gzip.compress(b"{}")],
        ids=["NUL", "garbage", "gzip of nothing", "gzip of JSON"],
    )
    def test_nothing_may_follow_the_gzip_be_it_more_of_it(self, more):
        said = complaint(gzip.compress(JSON) + more)
        assert said == "is damaged: something follows its gzip; restore it from a backup"

    def test_gzip_that_does_not_unpack_is_damaged(self):
        value = gzip.compress(JSON)
        for damaged in (value[:-8] + bytes(8), value[:2] + b"\xff" + value[3:], value[:10] + b"\xff" * 40):
            assert complaint(damaged) == "is damaged: its gzip does not unpack; restore it from a backup"


class TestSize:
    def test_a_gigabyte_of_gzip_is_unpacked_up_to_the_limit_only(self):
        value = bomb(1024)
        assert len(value) < 2 * MIB
        tracemalloc.start()
        try:
            said = complaint(value)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert said == "unpacks to more than 16 MiB; correct the key, or raise max-size if it is the right one"
        assert peak < 3 * LIMIT

    def test_the_bomb_is_what_it_claims_to_be(self):
        assert zlib.decompress(bomb(3)[10:-8], wbits=-zlib.MAX_WBITS) == bytes(3 * MIB)

    @pytest.mark.parametrize("wrap", [bytes, gzip.compress, base64.b64encode], ids=["none", "gzip", "base64"])
    def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(self, wrap):
        assert decode(wrap(JSON), limit=len(JSON)) == JSON
        assert complaint(wrap(JSON), limit=len(JSON) - 1).startswith("unpacks to more than ")

    def test_gzip_in_gzip_is_bounded_at_each_step(self):
        assert complaint(gzip.compress(bomb(2)), limit=MIB).startswith("unpacks to more than 1 MiB")


class TestDamage:
    @given(st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"{", b"\x1f\xef\xbf\xbd", b"e30"]))
    def test_random_bytes_are_an_error_of_ours_or_nothing(self, data, head):
        with suppress(SourceMalformed):
            assert judge(head + data).entries == ()

    @pytest.mark.parametrize(
        "whole", [recorded.read(RECORDED), recorded.read(OLD), PLAIN], ids=["gzip", "base64", "plain JSON"]
    )
    @given(data=st.data())
    def test_a_damaged_value_delivers_the_right_certificates_or_none_and_shows_no_key(self, whole, data):
        right = {(names, entry.certificate.fingerprint, entry.certificate.key_pem) for names, entry in named(judge(whole))}
        at, cut = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 4))
        put = data.draw(st.binary(max_size=4) | st.just(bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))])))
        try:
            reading = judge(whole[:at] + put + whole[at + cut :])
        except SourceMalformed as error:
            said = [str(error), repr(error.__context__), repr(error.__cause__)]
        else:
            said = [f"{problem.label} {problem.message}" for problem in reading.problems]
            found = {(names, entry.certificate.fingerprint, entry.certificate.key_pem) for names, entry in named(reading)}
            assert found <= right
        assert not any(map(shows_a_key, said))


def named(reading: Reading):
    return [(tuple(sorted(entry.certificate.leaf.names)), entry) for entry in reading.entries]
