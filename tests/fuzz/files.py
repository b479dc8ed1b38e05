"""What stands in files of certificates: PEM, DER, PKCS#12, and pairs of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from controller.domain.errors import CertificateError
from controller.x509 import bundles, text
from controller.x509.foreign import what_is
from controller.x509.pkcs12 import Opener
from tests.certs import Authority, Pair, certificate_of, new_key
from tests.fuzz.target import Target

PASSWORD = b"fuzz"


@cache
def pair() -> Pair:
    """One for all targets."""
    return Authority().issue("mail.example.com")


def pem_seeds() -> Iterator[bytes]:
    made = pair()
    yield made.chain
    yield made.key
    yield made.chain + made.key
    yield made.key + made.chain.replace(b"\n", b"\r\n")
    yield b"-----BEGIN CERTIFICATE-----\n" * 3


def text_seeds() -> Iterator[bytes]:
    made = pair()
    yield from pem_seeds()
    yield b"".join(b'  "' + line + b'",\r' for line in (made.chain + made.key).splitlines())
    yield made.chain.decode().encode("utf-16")
    yield made.key.replace(b"\n", b"\\n")
    yield made.chain.replace(b"-----BEGIN CERT", b"-----BEGIN TRUSTED CERT").replace(b"-----END CERT", b"-----END TRUSTED CERT")
    yield b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n"
    yield b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----\n"


def _text(data: bytes) -> None:
    """What was put right stays as it is, and each reader of a part gives nothing but such."""
    for read in (text.normalise, text.certificates, text.private_key):
        with suppress(CertificateError):
            made = read(data)
            assert text.normalise(made) == made
    what_is(data)


def pkcs12_seeds() -> Iterator[bytes]:
    key = new_key()
    leaf = bundles.open_bundle(Authority().issue("mail.example.com", key=key).chain).certificates[0].x509
    for protection in (BestAvailableEncryption(PASSWORD), BestAvailableEncryption(b"another")):
        yield pkcs12.serialize_key_and_certificates(b"mail", key, leaf, None, protection)


def _pair(data: bytes) -> None:
    chain, _, key = data.partition(b"\0")
    certificate_of(chain, key)


@cache
def _opener() -> Opener:
    """One process for all inputs; a new one only after an input that was too costly."""
    return Opener()


TARGETS = (
    Target("pem", bundles.open_bundle, pem_seeds),
    Target("pem-text", _text, text_seeds),
    Target("pkcs12", lambda data: _opener().open(data, PASSWORD), pkcs12_seeds),
    Target("pair", _pair, lambda: [b"\0".join((pair().chain, pair().key))]),
)
