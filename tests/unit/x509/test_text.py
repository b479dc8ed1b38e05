"""PEM as people have it: put right where its meaning is certain, else refused by name."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs7, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import EncryptedKey, MalformedPem
from controller.x509 import text
from controller.x509.bundles import open_bundle
from controller.x509.foreign import what_is
from controller.x509.keys import load_key
from controller.x509.text import blocks, certificates, is_legible, normalise, private_key
from tests.certs import Authority, key_pem, new_key

AUTHORITY = Authority()
KEY = new_key()
PAIR = AUTHORITY.issue("mail.example.test", key=KEY)
ALL = PAIR.chain + PAIR.key
BEGIN = b"-----BEGIN CERTIFICATE-----\n"
CHAIN = x509.load_pem_x509_certificates(PAIR.chain)
LEAF_DER = CHAIN[0].public_bytes(Encoding.DER)
KEY_DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
RSA_KEY = new_key("rsa")


def each_line(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda pem: b"".join(change(line) + b"\n" for line in pem.splitlines())


def on_one_line(pem: bytes) -> bytes:
    """Each block, with blanks where there were line ends."""
    return pem.replace(b"\n", b" ").replace(b"----- -----", b"-----\n-----")


def without_line_ends(pem: bytes) -> bytes:
    return pem.replace(b"\n", b"")


def base64_on_one_line(pem: bytes) -> bytes:
    return (
        pem.replace(b"\n", b"")
        .replace(b"-----BEGIN", b"\n-----BEGIN")
        .replace(b"-----END", b"\n-----END")
        .replace(b"ATE-----", b"ATE-----\n")
        .replace(b"KEY-----", b"KEY-----\n")
    )


CERTAIN: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda pem: pem,
    "indented": each_line(lambda line: b"    " + line),
    "tabs": each_line(lambda line: b"\t" + line),
    "blanks at the ends": each_line(lambda line: line + b"   "),
    "a list of YAML": each_line(lambda line: b'  "' + line + b'",'),
    "quoted mail": each_line(lambda line: b"> " + line),
    "CRLF": lambda pem: pem.replace(b"\n", b"\r\n"),
    "CR": lambda pem: pem.replace(b"\n", b"\r"),
    "empty lines": lambda pem: pem.replace(b"\n", b"\n\n"),
    "one line": on_one_line,
    "no line ends": without_line_ends,
    "base64 on one line": base64_on_one_line,
    "no last line end": lambda pem: pem.rstrip(),
    "short lines": lambda pem: b"".join(
        line + b"\n" if b"-----" in line else line[:31] + b"\n" + line[31:] + b"\n" for line in pem.splitlines()
    ),
    "glued": lambda pem: pem.replace(b"-----\n-----BEGIN", b"----------BEGIN"),
    "glued by fewer dashes": lambda pem: pem.replace(b"-----\n-----BEGIN", b"-----BEGIN"),
    "more dashes": lambda pem: pem.replace(b"-----", b"--------"),
    "ends given twice": lambda pem: re.sub(rb"(-----END .*-----\n)", rb"\1\1", pem),
    "marked as UTF-8": lambda pem: b"\xef\xbb\xbf" + pem,
    "each part marked as UTF-8": lambda pem: pem.replace(b"-----BEGIN", b"\xef\xbb\xbf-----BEGIN"),
    "of a web page": each_line(lambda line: b"\xc2\xa0" + line),
    "in quotes": lambda pem: b'"' + pem + b'"',
    "with what openssl says": lambda pem: pem.replace(
        b"-----BEGIN", b"Bag Attributes\n    friendlyName: K\xc3\xb6ln\nsubject=CN = x\n-----BEGIN"
    ),
    "ended by zero": lambda pem: pem + b"\0",
    "YAML": lambda pem: b"tls:\n  cert: |\n" + each_line(lambda line: b"    " + line)(pem),
    "older name": lambda pem: pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "with parameters before": lambda pem: (
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem
    ),
    "with headers": lambda pem: pem.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nComment: mine\n\n", 1),
}


@pytest.mark.parametrize("changed", CERTAIN.values(), ids=CERTAIN)
class TestWhatIsCertain:
    def test_is_put_right(self, changed):
        assert normalise(changed(ALL)) == ALL
        assert certificates(changed(PAIR.chain)) == PAIR.chain
        assert private_key(changed(PAIR.key)) == PAIR.key

    def test_is_read_from_a_file(self, changed):
        found = open_bundle(changed(ALL))
        assert [one.pem for one in found.certificates] == [*map(Authority._pem, CHAIN)]
        assert [one.pem for one in found.keys] == [PAIR.key]


@given(st.data())
def test_blanks_anywhere_and_changes_on_top_of_each_other_are_put_right(data):
    pem = ALL
    for change in data.draw(st.lists(st.sampled_from(sorted(CERTAIN.keys() - {"with headers"})), max_size=3, unique=True)):
        pem = CERTAIN[change](pem)
    assert normalise(pem) == ALL


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "traditional"])
@pytest.mark.parametrize("key", [KEY, RSA_KEY], ids=["ECDSA", "RSA"])
def test_keys_keep_their_form(key, form):
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert private_key(CERTAIN["indented"](pem)) == private_key(pem) == pem


def test_what_is_right_is_not_touched():
    assert normalise(ALL) is ALL


@pytest.mark.parametrize("changed", CERTAIN.values(), ids=CERTAIN)
def test_a_key_is_legible_exactly_where_openssl_reads_it(changed, tmp_path):
    """What an older certferry installed and mail servers cannot read is replaced, and nothing else is."""
    (tmp_path / "chain").write_bytes(PAIR.chain)
    (tmp_path / "key").write_bytes(changed(PAIR.key))
    try:
        load_key(changed(PAIR.key))
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "chain", tmp_path / "key")
        reads = True
    except (ssl.SSLError, MalformedPem):
        reads = False
    assert (is_legible(changed(PAIR.key)) and _parses(changed(PAIR.key))) == reads


def _parses(key: bytes) -> bool:
    try:
        return bool(load_key(key))
    except MalformedPem:
        return False


class TestOtherForms:
    def test_a_trusted_certificate_is_read_without_what_it_is_trusted_for(self):
        """``openssl x509 -trustout``; the second value is what OpenSSL calls auxiliary."""
        trusted = base64.encodebytes(LEAF_DER + b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01")
        pem = b"-----BEGIN TRUSTED CERTIFICATE-----\n" + trusted + b"-----END TRUSTED CERTIFICATE-----\n"
        assert normalise(pem) == CHAIN[0].public_bytes(Encoding.PEM)

    @pytest.mark.parametrize("label", ["PKCS7", "CERTIFICATE", "CMS"])
    def test_pkcs7_is_read(self, label):
        der = pkcs7.serialize_certificates(CHAIN, Encoding.DER)
        pem = b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(der), label.encode())
        assert sorted(normalise(pem).split(b"-----BEGIN")) == sorted(PAIR.chain.split(b"-----BEGIN"))
        for data in (der, pem):
            assert {one.pem for one in open_bundle(data).certificates} == {c.public_bytes(Encoding.PEM) for c in CHAIN}

    def test_pkcs7_that_is_damaged_is_told(self):
        der = pkcs7.serialize_certificates(CHAIN, Encoding.DER)
        with pytest.raises(MalformedPem, match="it is PKCS#7 that is damaged"):
            open_bundle(der[:60] + b"\0" * (len(der) - 60))

    def test_a_single_certificate_in_der_is_read_where_pem_is_usual(self):
        assert certificates(LEAF_DER) == CHAIN[0].public_bytes(Encoding.PEM)

    def test_the_same_key_twice_is_one(self):
        assert private_key(PAIR.key + CERTAIN["indented"](PAIR.key)) == PAIR.key

    def test_a_key_with_a_password_is_told_and_stays_one(self):
        older = (
            b"-----BEGIN RSA PRIVATE KEY-----\n  Proc-Type: 4,ENCRYPTED\n"
            b"  DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n  " + b"A" * 64 + b"\n-----END RSA PRIVATE KEY-----\n"
        )
        for pem in (older, CERTAIN["CRLF"](older), CERTAIN["indented"](key_pem(new_key(), b"secret"))):
            with pytest.raises(EncryptedKey, match="it is protected by a password"):
                private_key(pem)
            with pytest.raises(EncryptedKey):
                load_key(normalise(pem))


def literal(pem: bytes) -> bytes:
    return pem.replace(b"\n", b"\\n")


UTF16 = "it is UTF-16 text, as PowerShell makes it"
LITERAL = r"its line ends are written as \n, a backslash and a letter"
TYPOGRAPHIC = "the dashes around BEGIN and END are typographic ones"
EDGES = "its lines BEGIN and END are damaged"
DAMAGED = "in it is cut off or damaged: that is no base64"


@pytest.mark.parametrize("part", [PAIR.chain, PAIR.key], ids=["certificate", "key"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pem: pem.decode().encode("utf-16"), UTF16),
        (lambda pem: pem.decode().encode("utf-16-le"), UTF16),
        (lambda pem: pem.decode().encode("utf-16-be"), UTF16),
        (lambda pem: pem.decode().replace("\n", "\r\n").encode("utf-16"), UTF16),
        (lambda pem: pem.decode().encode("utf-16")[:-1], UTF16),
        (literal, LITERAL),
        (lambda pem: literal(pem)[:100], LITERAL),
        (lambda pem: json.dumps({"pem": pem.decode()}).encode(), LITERAL),
        (lambda pem: pem.replace(b"\n", b"\\r\\n"), LITERAL),
        (lambda pem: pem.replace(b"-----", "—–".encode()), TYPOGRAPHIC),
        (lambda pem: pem.replace(b"-----", "–".encode("cp1252")), TYPOGRAPHIC),
        (lambda pem: pem.replace(b"-----", b"----"), EDGES),
        (lambda pem: pem.replace(b"BEGIN", b"Begin").replace(b"END", b"End"), EDGES),
        (lambda pem: pem.replace(b"-----BEGIN ", b"----- BEGIN ").replace(b"-----END ", b"----- END "), EDGES),
        (lambda pem: pem[1:], EDGES),
        (lambda pem: pem + pem.replace(b"-----BEGIN", b"BEGIN", 1), EDGES),
        (lambda pem: pem.replace(b"\nMI", b"\n\xc3\x9cMI", 1), DAMAGED),
        (lambda pem: pem.replace(b"\nMI", b"\n<br>MI", 1), DAMAGED),
        (lambda pem: pem[:90] + pem[91:], DAMAGED),
        (lambda pem: pem[: pem.index(b"\n") + 1] + pem[pem.index(b"-----END") :], "in it is empty"),
        (lambda pem: pem[: len(pem) // 3], "it ends in the middle"),
        (lambda pem: pem[:60] + b"\n" + pem, "it ends in the middle"),
    ],
)
def test_what_is_not_certain_is_refused_by_name(part, change, said):
    for read in (normalise, open_bundle, certificates, private_key):
        with pytest.raises(MalformedPem) as caught:
            read(change(part))
        assert str(caught.value).find(said) >= 0, caught.value
        assert "PEM file" not in str(caught.value), "no text of a library"


def test_a_block_larger_than_any_real_one_is_refused():
    with pytest.raises(MalformedPem, match=r"what has 1048\d\d\d bytes is no certificate"):
        normalise(BEGIN + b"A" * text.LARGEST + b"\n-----END CERTIFICATE-----\n")


PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SSH = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
REQUEST = (x509.CertificateSigningRequestBuilder().subject_name(CHAIN[0].subject).sign(KEY, hashes.SHA256())).public_bytes(
    Encoding.PEM
)

FOREIGN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "blanks": (b" \n", "it is empty"),
    "web page": (b"\n<!DOCTYPE html>\n<html><head><title>404</title>", "it is a web page, as a download that failed leaves it"),
    "XHTML": (b'<?xml version="1.0"?>\n<html xmlns="x">', "it is a web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "it is a pointer of Git LFS"),
    "git-crypt": (b"\0GITCRYPT\0\x8a\x01", "it is encrypted by git-crypt"),
    "Ansible Vault": (b"$ANSIBLE_VAULT;1.1;AES256\n6266\n", "it is encrypted by Ansible Vault"),
    "SOPS": (b'{"data": "ENC[AES256_GCM,data:x]"}', "it is encrypted by SOPS"),
    "SOPS in YAML": (b"tls:\n  key: ENC[AES256_GCM,data:x]", "it is encrypted by SOPS"),
    "age": (b"age-encryption.org/v1\n-> X25519 x\n", "it is an encrypted file"),
    "age in text": (b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n", "it is an encrypted file"),
    "PGP": (b"-----BEGIN PGP MESSAGE-----\n\nhQ==\n-----END PGP MESSAGE-----\n", "it is an encrypted file"),
    "gzip": (b"\x1f\x8b\x08\0", "it is packed by gzip; unpack it"),
    "ZIP": (b"PK\x03\x04\x14\0", "it is a ZIP archive; unpack it"),
    "keystore": (b"\xfe\xed\xfe\xed\0\0\0\x02", "it is a Java keystore"),
    "base64 of PEM": (base64.b64encode(ALL), "it is PEM in base64 once more, as Kubernetes and acme.json keep it"),
    "base64 alone": (b"\n".join(PAIR.chain.splitlines()[1:5]), "it is base64 without the lines BEGIN and END"),
    "JWK": (b'{"kty": "EC", "crv": "P-256", "d": "x"}', "it is a key in JSON (JWK)"),
    "JSON": (b'{"le": {"Certificates": null}}', "it is JSON, not PEM"),
    "request": (REQUEST, "it is a request for a certificate"),
    "new request": (REQUEST.replace(b"CERTIFICATE", b"NEW CERTIFICATE"), "it is a request for a certificate"),
    "public key": (PUBLIC, "it is a public key; bring the private key that belongs to it"),
    "key of SSH": (SSH, "it is a key in the form of OpenSSH"),
    "public key of SSH": (b"ssh-ed25519 AAAAC3 me@example", "it is a key in the form of OpenSSH"),
    "key of PuTTY": (b"PuTTY-User-Key-File-3: ssh-rsa", "it is a key in the form of OpenSSH"),
    "DH": (b"-----BEGIN DH PARAMETERS-----\nMA==\n-----END DH PARAMETERS-----\n", "it holds parameters only"),
    "revoked": (b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n", "it is a list of revoked certificates"),
    "link": (b"../../archive/mail.example.test/fullchain7.pem", "it holds the text of a symbolic link"),
    "link with line end": (b"./mail.example.test/key.pem\n", "it holds the text of a symbolic link"),
    "UTF-16": ("nothing of it".encode("utf-16"), "it is UTF-16 text"),
}


@pytest.mark.parametrize(("data", "said"), FOREIGN.values(), ids=FOREIGN)
class TestWhatIsNeither:
    def test_is_told_by_name_where_a_certificate_or_a_key_should_be(self, data, said):
        for read in (certificates, private_key):
            with pytest.raises(MalformedPem) as caught:
                read(data)
            assert str(caught.value).startswith(said)

    def test_is_nothing_in_a_folder(self, data, said):
        assert normalise(data) == b""
        found = what_is(data)
        assert found is not None
        assert found.text.startswith(said)


class TestTheWrongPart:
    def test_a_key_in_place_of_the_certificate(self):
        with pytest.raises(MalformedPem, match="it holds a private key and no certificate; were the two files swapped"):
            certificates(PAIR.key)

    def test_a_certificate_in_place_of_the_key(self):
        with pytest.raises(MalformedPem, match="it holds a certificate and no private key; were the two files swapped"):
            private_key(PAIR.chain)

    def test_of_two_keys_the_first_counts_as_in_openssl(self):
        assert private_key(PAIR.key + key_pem(new_key())) == PAIR.key

    @pytest.mark.parametrize(
        "data", [KEY_DER, pkcs12.serialize_key_and_certificates(None, KEY, CHAIN[0], None, NoEncryption())]
    )
    def test_a_key_in_binary(self, data):
        with pytest.raises(MalformedPem, match="it is binary"):
            private_key(data)

    def test_a_certificate_in_binary(self):
        with pytest.raises(MalformedPem, match="it is binary"):
            private_key(LEAF_DER)

    def test_what_has_no_name(self):
        with pytest.raises(MalformedPem, match="it holds neither a certificate nor a key"):
            certificates(b"hello")


class TestBlocks:
    def test_are_found_in_order_with_what_stands_between_them_passed_over(self):
        pem = b"subject=x\n" + PAIR.chain + b"-----BEGIN EC PARAMETERS-----\nx\n-----END EC PARAMETERS-----\n" + PAIR.key
        assert [block.is_certificate for block in blocks(pem)] == [True, True, False]
        assert b"".join(block.pem for block in blocks(pem)) == ALL

    @pytest.mark.parametrize(
        "pem",
        [
            PAIR.chain + BEGIN,
            BEGIN + PAIR.chain,
            PAIR.key[:60],
            PAIR.key[:60] + b"\n-----END CERTIFICATE-----\n",
            BEGIN + b"-----BEGIN DH PARAMETERS-----\n-----END DH PARAMETERS-----\n",
        ],
    )
    def test_that_do_not_end_are_told(self, pem):
        with pytest.raises(MalformedPem, match="it ends in the middle"):
            open_bundle(pem)

    def test_that_do_not_end_and_do_not_matter_are_passed_over(self):
        pem = b"-----BEGIN DH PARAMETERS-----\n" + PAIR.chain + b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
        assert len(open_bundle(pem).certificates) == 2

    def test_are_looked_for_in_steps(self, monkeypatch):
        steps = []
        monkeypatch.setattr(text, "step", lambda: steps.append(1))
        assert not normalise(b"-----BEGIN X-----\n" * 5000)
        assert len(steps) >= 5
