"""A pair that clients refuse, of each kind that is about the certificate itself, never reaches a container with a good one.

Wrong names, dates and keys, RSA 1024 and a leaf alone are in `tests.engine.test_promises`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.certs import Pair, acme_json
from tests.lab import DOMAIN, Lab
from tests.odd_certificates import CLIENT, SERVER, SIGNS, Made, make

QUICK = {"settle": "200ms", "verify_timeout": "20s", "resync": "1d"}
CA = {"authority": True, "usage": SIGNS, "begin": timedelta(days=-200), "days": 900.0}
ROOT = make("Kinds root", number=101, **CA)  # type: ignore[arg-type]
BETWEEN = make("Kinds CA", ROOT, number=102, **CA)  # type: ignore[arg-type]
ENDED = make("Kinds CA", ROOT, number=102, **CA | {"days": 100.0})  # type: ignore[arg-type]
STAGING = make("(STAGING) Kinds CA", ROOT, number=103, **CA)  # type: ignore[arg-type]


def issued(issuer: Made = BETWEEN, **options: object) -> Pair:
    given = {"number": 104, "names": [DOMAIN], "authority": False, "extended": [SERVER], **options}
    return make(DOMAIN, issuer, **given).with_chain(ENDED if issuer is ENDED else issuer)  # type: ignore[arg-type]


def by_sha1(folder: Path) -> Pair:
    """As the openssl command signs it."""
    key = BETWEEN.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, content in (("ca.pem", BETWEEN.pem), ("ca.key", key), ("ext", f"subjectAltName=DNS:{DOMAIN}\n".encode())):
        (folder / name).write_bytes(content)
    request = f"openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /CN={DOMAIN} -out request.pem"
    sign = "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -sha1 -days 90 -extfile ext -set_serial 7 -out leaf.pem"
    for command in (request, sign):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)
    return Pair((folder / "leaf.pem").read_bytes() + BETWEEN.pem, (folder / "key.pem").read_bytes())


STAPLE = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]
KINDS: dict[str, tuple[Callable[[Path], Pair], str, str]] = {
    "P-224": (lambda _: issued(kind="p224"), "WeakKey", "curve secp224r1"),
    "secp256k1": (lambda _: issued(kind="secp256k1"), "WeakKey", "curve secp256k1"),
    "SHA-1": (by_sha1, "WeakSignature", "signed with SHA-1"),
    "for clients": (lambda _: issued(extended=[CLIENT]), "WrongUsage", "not for servers but for client authentication"),
    "of a CA": (lambda _: issued(authority=True), "WrongUsage", "CA:TRUE"),
    "no usable key usage": (lambda _: issued(usage={"key_agreement"}), "WrongUsage", "digitalSignature is missing"),
    "staging": (lambda _: issued(STAGING), "UntrustedIssuer", "(Staging) would replace"),
    "an ended intermediate": (lambda _: issued(ENDED), "UntrustedIssuer", "(ChainRefused) would replace"),
    "Ed25519": (lambda _: issued(kind="ed25519"), "SomeClientsRefuse", "its key is Ed25519"),
    "must-staple": (lambda _: issued(more=STAPLE), "SomeClientsRefuse", "must-staple"),
    "encipherment alone": (
        lambda _: issued(kind="rsa2048", usage={"key_encipherment"}),
        "SomeClientsRefuse",
        "lacks digitalSignature",
    ),
}


def test_a_pair_of_a_refused_kind_never_reaches_a_container_that_has_a_good_one(lab: Lab, tmp_path: Path) -> None:
    mail = lab.mail()
    mail.wait_up()
    good = issued(begin=timedelta(days=-3))
    lab.acme.write(good)
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name, good)
    before = mail.stamp(), mail.reloads()

    bad = {kind: make_pair(tmp_path) for kind, (make_pair, _, _) in KINDS.items()}
    for kind, (_, reason, words) in KINDS.items():
        lab.acme.write_raw(acme_json(bad[kind], main=DOMAIN))
        assert words in certferry.wait_reason(mail.name, reason), kind
        assert (mail.stamp(), mail.reloads()) == before, kind
        lab.acme.write(good)
        certferry.wait_ready(mail.name, good)
    assert (mail.stamp(), mail.reloads()) == before
    assert mail.serves(good)

    renewed = issued(begin=timedelta(days=-2))
    lab.acme.write_raw(acme_json(*bad.values(), renewed, *bad.values(), main=DOMAIN))
    certferry.wait_ready(mail.name, renewed)
    assert mail.serves(renewed), "older than all of them, and the only one that clients accept"
