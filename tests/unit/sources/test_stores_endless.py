"""Stores that no program writes: what they cost has an end, what is said of them is one line, what is good of them is used."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import pytest

from controller.domain.errors import SourceMalformed
from sources import synology
from sources.foreign_json import MOST_VALUES, TooManyValues, parse_json
from sources.pairs import read_pairs
from sources.traefik_kv.etcd_messages import said
from sources.traefik_kv.value import decode_value
from sources.traefik_store import LARGEST_PART, read_store
from tests.certs import Pair
from tests.fuzz.stores import LIMIT, InfoTree
from tests.unit.made import pair

MIB = 2**20


def entry(made: Pair, **changes: object) -> dict[str, object]:
    certificate, key = (base64.b64encode(part).decode() for part in (made.chain, made.key))
    return {"domain": {"main": "mail.example.com"}, "certificate": certificate, "key": key, **changes}


def store(*entries: object) -> bytes:
    return json.dumps({"le": {"Account": {}, "Certificates": entries}}).encode()


@pytest.mark.parametrize(
    "unit", [b"{},", b"[],", b"1,", b'{"key":"!","certificate":"!"},', b'"\\u0041",', b'"",'], ids=lambda unit: unit.decode()
)
def test_a_store_of_64_mib_of_nothing_is_refused_before_it_is_read(unit):
    data = b'{"le":{"Certificates":[' + unit * (64 * MIB // len(unit)) + b"{}]}}"
    begin = time.process_time()
    with pytest.raises(SourceMalformed) as caught:
        read_store(data, where="/acme.json")
    assert str(caught.value) == "/acme.json is no store of Traefik: it has more than 250,000 values; correct the path"
    assert time.process_time() - begin < 3.0  # measured: 0.2 s; more than 30 s without the limit


def test_as_many_certificates_as_the_largest_installations_have_are_read():
    number = 15_000
    entries = [
        {"domain": {"main": f"{n}.example.com", "sans": None}, "certificate": "QQ==", "key": "QQ==", "Store": "x"}
        for n in range(number)
    ]
    assert len(read_store(store(*entries), where="/acme.json").pairs) == number


@pytest.mark.parametrize("field", ["certificate", "key"])
@pytest.mark.parametrize("text", ["A" * (LARGEST_PART + 4), "A " * LARGEST_PART], ids=["letters", "blanks"])
def test_an_endless_certificate_or_key_is_a_problem_of_its_entry_alone(field, text):
    contents = read_store(store(entry(pair(), **{field: text}), entry(pair())), where="/acme.json")
    found = read_pairs(contents, {}, moment=datetime.now(UTC), remedy="")
    assert len(found.entries) == 1
    assert [problem.message.partition(";")[0] for problem in found.problems] == [
        f"the {'certificate' if field == 'certificate' else 'private key'} is larger than 1 MiB"
    ]


@pytest.mark.parametrize("number", ["1" * MIB, f"-{'9' * 5000}", f"0.{'1' * MIB}", "NaN", "-Infinity", "1e999999"])
def test_a_number_that_no_program_writes_hides_no_certificate(number):
    data = store(entry(pair())).replace(b'"Account": {}', b'"Account": {"x": %b}' % number.encode())
    assert len(read_store(data, where="/acme.json").pairs) == 1


def test_of_a_name_given_thousands_of_times_the_last_counts():
    data = b"{" + b'"le":{"Certificates":[]},' * 10_000 + store(entry(pair()))[1:]
    assert len(read_store(data, where="/acme.json").pairs) == 1


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 100_000])
def test_json_that_is_nested_too_deeply_is_refused(text):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


def test_json_with_more_values_than_anything_real_is_refused():
    assert len(parse_json(b"[" + b"1," * (MOST_VALUES - 1) + b"1]")) == MOST_VALUES
    with pytest.raises(TooManyValues, match="it has more than 250,000 values"):
        parse_json(b"[" + b"1," * MOST_VALUES + b"1]")


def test_numbers_are_numbers_as_long_as_they_fit_into_64_bits():
    assert parse_json(b'[7, -1, 18446744073709551615, 1.5, "7"]') == [7, -1, 18446744073709551615, "1.5", "7"]


def test_base64_that_is_mostly_blanks_takes_no_memory_for_each_of_them():
    value = base64.b64encode(b"{}" + b" " * 1000).replace(b"A", b"A \n") + b" " * 32 * MIB
    begin = time.process_time()
    assert decode_value(value, where="the key", limit=LIMIT).strip() == b"{}"
    assert time.process_time() - begin < 2.0  # measured: 0.1 s


@pytest.mark.parametrize("description", [b"[" * 900 + b"]" * 900, b'{"a":"b"}', b"7"])
def test_a_description_of_dsm_that_is_no_text_is_none(description):
    contents = synology.read(InfoTree(b'{"abcdef":{"desc":%b}}' % description), synology.SYNOLOGY.options())
    assert not contents.problems


@pytest.mark.parametrize(
    ("value", "text"),
    [("permission denied", "permission denied"), (7, "7"), (None, ""), ([[]], ""), ({"a": 1}, ""), (1.5, ""), ("a\nb", "a?b")],
)
def test_what_a_server_says_is_shown_when_it_is_a_text(value, text):
    assert said(value) == text


def test_what_a_server_says_without_end_is_cut_and_what_is_nested_without_end_is_not_shown():
    assert len(said("x" * MIB)) < 200
    assert said(parse_json(b"[" * 900 + b"]" * 900)) == ""
