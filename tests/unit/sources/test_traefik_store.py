"""The layouts of Traefik's store, told apart by content."""

import base64
import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import SourceMalformed
from controller.domain.finding import Reason
from controller.x509.keys import key_fits
from sources.pairs import Contents, Reading, read_pairs
from sources.traefik_store import read_store
from tests import certs
from tests.unit.sources import recorded

WHERE = "/traefik/acme.json"
BACKUP = "restore it from a backup"


FIELDS = ["Account", "Certificates", "certificate", "key", "domain", "Main", "DomainsCertificate", "Certs", "le"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=25,
)


def store(document: object) -> Contents:
    return read_store(json.dumps(document).encode(), where=WHERE)


def judge(data: bytes) -> Reading:
    return read_pairs(read_store(data, where=WHERE), {}, moment=datetime.now(UTC), remedy="")


def encode(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.fixture(scope="module")
def pair() -> certs.Pair:
    return certs.Authority().issue("mail.example.test")


@pytest.fixture(scope="module")
def entry(pair) -> dict[str, object]:
    return {"domain": {"main": "mail.example.test"}, "certificate": encode(pair.chain), "key": encode(pair.key)}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_every_recorded_stage_of_every_version_is_read(name):
    reading = judge(recorded.read(name))
    assert recorded.NAMES[name] == recorded.labels_and_names(reading.entries)
    assert reading.problems == ()


def test_the_old_layout_holds_the_same_certificates_as_the_file_traefik_converted_it_to():
    old, new = (
        judge(recorded.read(f"traefik-v1-file/{n}.json")) for n in ("05-old-format-1.5-backup", "06-old-format-converted")
    )
    assert [e.certificate for e in old.entries] == [e.certificate for e in new.entries]


def test_a_renewal_is_another_certificate_with_the_same_key():
    before, after = (judge(recorded.read(f"traefik-v3/{n}-renewal.json")) for n in ("05-before", "06-after"))
    assert all(
        a.certificate.fingerprint != b.certificate.fingerprint for a, b in zip(after.entries, before.entries, strict=True)
    )
    assert [e.certificate.key_pem for e in after.entries] == [e.certificate.key_pem for e in before.entries]


def test_names_come_from_the_certificate_even_where_traefik_stored_it_under_another_name():
    reading = judge(gzip.decompress(recorded.read("traefik-v1-etcd3/05-renewed-MISLABELLED.object.gz")))
    assert recorded.labels_and_names(reading.entries) == [
        ("imap.example.test", recorded.MAIL),
        ("mail.example.test", recorded.MAIL),
    ]


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    "name",
    [
        "traefik-v3/03-second-certificate-ec256-sans.json",
        "traefik-v1-file/03-both-certificates.json",
        "traefik-v1-file/05-old-format-1.5-backup.json",
    ],
)
def test_field_names_are_read_in_any_case(name, change):
    def renamed(value: object, *, depth: int = 0) -> object:
        if isinstance(value, dict):
            resolver = depth == 0 and "le-" in str(value.keys())
            return {k if resolver else change(k): renamed(v, depth=depth + 1) for k, v in value.items()}
        return [renamed(v, depth=depth + 1) for v in value] if isinstance(value, list) else value

    reading = judge(json.dumps(renamed(recorded.read_json(name))).encode())
    assert recorded.labels_and_names(reading.entries) == recorded.NAMES[name]


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"le": None},
        {"le": {}},
        {"le": {"Account": None, "Certificates": None}},
        {"le": {"Account": {"Email": "admin@example.test"}}},
        {"le": {"Account": None, "Certificates": []}},
        {"le": {"Certificates": [None]}},
        {"Account": {"Email": "", "Registration": None}, "Certificates": None},
        {"Email": "", "Registration": None, "DomainsCertificate": {"Certs": None}, "ChallengeCerts": {}},
        {"Email": "", "DomainsCertificate": None},
        {"DomainsCertificate": {"Certs": [{"Domains": {"Main": "mail.example.test"}, "Certificate": None}]}},
    ],
    ids=json.dumps,
)
def test_a_store_without_certificates_is_a_normal_state(document):
    assert store(document) == Contents()


@pytest.mark.parametrize(("certificate", "key"), [("", ""), (None, None), ("", None)])
def test_an_entry_that_is_being_ordered_is_passed_over(certificate, key, entry):
    assert store({"le": {"Certificates": [{**entry, "certificate": certificate, "key": key}]}}) == Contents()


def test_a_byte_order_mark_does_no_harm(pair):
    assert len(judge(b"\xef\xbb\xbf" + certs.acme_json(pair)).entries) == 1


def test_resolvers_may_be_called_like_fields_of_the_other_layouts(entry):
    resolvers = ("Account", "Certificates", "DomainsCertificate", "certs")
    contents = store({name: {"Account": None, "Certificates": [entry]} for name in resolvers})
    assert [pair.label for pair in contents.pairs] == [f"{name}/mail.example.test" for name in resolvers]


def test_the_same_certificate_twice_is_two_entries(pair):
    assert len(judge(certs.acme_json(pair, pair)).entries) == 2


def test_a_label_shows_no_control_characters_and_has_an_end(entry):
    names = ["a\n\x1b[31m\udc80b", "x" * 5000, "", 7]
    contents = store({"le": {"Certificates": [{**entry, "domain": {"main": name}} for name in names]}})
    assert [pair.label for pair in contents.pairs] == ["le/a??[31m?b", "le/" + "x" * 117, "le/#3", "le/#4"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"le": {"Certificates": [', "ends in the middle (line 1); if it stays so, " + BACKUP),
        (b'{"le": {"Certificates": [{"key": "LS0t', "ends in the middle (line 1); if it stays so, " + BACKUP),
        (b'{"le" {}}', "is not JSON (line 1, column 7); if it stays so, " + BACKUP),
        (b'{"le": {}}}', "is not JSON (line 1, column 11); if it stays so, " + BACKUP),
        (b"\x1f\x8b\x08\x00\xff", "is binary or damaged, not JSON; correct the path, or " + BACKUP),
        (b"\0" * 4096, "is binary or damaged, not JSON; correct the path, or " + BACKUP),
        (b'{"le": ' + b"9" * 5000 + b"}", "is JSON, but no store of Traefik; name the file of its option acme.storage"),
        (b"[" * 100_000, "is nested too deeply for a store of Traefik; correct the path"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is nested too deeply for a store of Traefik; correct the path"),
        (b"[]", "holds a JSON list, not an object; correct the path"),
        (b'"text"', "holds a JSON str, not an object; correct the path"),
        (b"false", "holds a JSON bool, not an object; correct the path"),
        (b'{"name": "app", "version": "1"}', "is JSON, but no store of Traefik; name the file of its option acme.storage"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_file_that_is_no_store_is_described_in_one_line_with_a_remedy(data, message):
    with pytest.raises(SourceMalformed) as caught:
        read_store(data, where=WHERE)
    assert str(caught.value) == f"{WHERE} {message}"


def test_the_exception_keeps_no_reference_to_the_text_that_holds_keys(pair):
    with pytest.raises(SourceMalformed) as caught:
        read_store(certs.acme_json(pair)[:-5], where=WHERE)
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)


@pytest.mark.parametrize(
    ("document", "label", "message"),
    [
        ({"le": {"Certificates": {"a": 1}}}, "le/Certificates", "not a list of certificates"),
        ({"Account": {}, "Certificates": "none"}, "Certificates", "not a list of certificates"),
        ({"le": {"Certificates": ["text"]}}, "le/#1", "the certificate is not base64 text"),
        ({"le": {"Certificates": [{"certificate": 1, "key": "LS0t"}]}}, "le/#1", "the certificate is not base64 text"),
        ({"le": {"Certificates": [{"certificate": "LS0t", "key": "§§§"}]}}, "le/#1", "the private key is not base64 text"),
        ({"le": {"Certificates": [{"certificate": "LS0t", "key": ["LS0t"]}]}}, "le/#1", "the private key is not base64 text"),
        ({"le": {"Certificates": [{"certificate": "LS0", "key": "LS0t"}]}}, "le/#1", "the certificate is not base64 text"),
    ],
)
def test_an_entry_that_cannot_be_decoded_is_a_problem_and_the_others_are_used(document, label, message, entry):
    contents = store({**document, "other": {"Certificates": [entry]}})
    remedy = "Traefik cannot read its store so, either: restore it from a backup"
    reading = read_pairs(contents, {}, moment=datetime.now(UTC), remedy=remedy)
    assert [(p.label, p.reason, p.message) for p in (*contents.problems, *reading.problems)] == [
        (label, Reason.SOURCE_MALFORMED, f"{message}; {remedy}")
    ]
    assert [entry.label for entry in reading.entries] == ["other/mail.example.test"]


@given(data=st.data())
def test_no_damage_delivers_a_wrong_certificate_or_raises_anything_else(data):
    name = "traefik-v3/04-third-certificate-wildcard.json"
    whole = recorded.read(name)
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(0, 4))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + cut :]
    known = {e.certificate.fingerprint for e in judge(whole).entries}
    try:
        entries = judge(damaged).entries
    except SourceMalformed:
        return
    assert {e.certificate.fingerprint for e in entries} <= known
    assert all(key_fits(e.certificate.leaf, e.certificate.key_pem) for e in entries)


@given(JSON)
def test_no_json_at_all_raises_anything_else(document):
    try:
        contents = store(document)
    except SourceMalformed:
        return
    assert read_pairs(contents, {}, moment=datetime.now(UTC), remedy="").entries == ()
