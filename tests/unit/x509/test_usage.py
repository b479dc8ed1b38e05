"""Whether mail clients can use a certificate as a server's."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller.domain.errors import WeakKey, WrongUsage
from controller.x509 import usage
from tests.unit.x509.making import NAME, SERVER, intermediate, key_usage, leaf, make, name, root

CA = intermediate(root())
CLIENT, MAIL, ANY = (
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)
RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"usages": ()},
        {"usages": (SERVER, CLIENT)},
        {"own": ec.generate_private_key(ec.SECP384R1())},
        {"own": ec.generate_private_key(ec.SECP521R1())},
        {"own": RSA},
        {"more": [(key_usage(digital_signature=True), True)]},
    ],
    ids=["P-256", "no EKU", "for clients, too", "P-384", "P-521", "RSA 2048", "digitalSignature"],
)
def test_what_all_clients_accept_is_used_without_a_word(options):
    one = leaf(CA, **options).certificate
    assert (usage.refusal(one), usage.warnings(one)) == (None, ())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"usages": (CLIENT,)}, WrongUsage, "it is not for servers but for client authentication, so every client refuses it"),
        ({"usages": (MAIL, CLIENT)}, WrongUsage, r"for mail signing \(S/MIME\) and client authentication"),
        ({"usages": (ANY,)}, WrongUsage, "it is not for servers but for any use, which OpenSSL and Thunderbird do not accept"),
        ({"ca": True}, WrongUsage, "it is the certificate of a CA, not of a server"),
        ({"more": [(key_usage(key_agreement=True), True)]}, WrongUsage, "digitalSignature is missing"),
        ({"more": [(key_usage(key_encipherment=True), True)]}, WrongUsage, "digitalSignature is missing"),
        ({"own": rsa.generate_private_key(65537, 1024)}, WeakKey, "its key is too weak: RSA with 1024 bits; let its program"),
        ({"own": ec.generate_private_key(ec.SECP224R1())}, WeakKey, "its key is on the curve secp224r1"),
        ({"own": ec.generate_private_key(ec.SECP256K1())}, WeakKey, "its key is on the curve secp256k1"),
        ({"own": ec.generate_private_key(ec.BrainpoolP256R1())}, WeakKey, "its key is on the curve brainpoolP256r1"),
    ],
    ids=[
        "for clients",
        "for mail",
        "anything",
        "CA:TRUE",
        "key agreement",
        "encipherment with ECDSA",
        "RSA 1024",
        "P-224",
        "k1",
        "bp",
    ],
)
def test_what_clients_refuse_is_refused_with_its_reason(options, error, said):
    refused = usage.refusal(leaf(CA, **options).certificate)
    assert isinstance(refused, error)
    with pytest.raises(error, match=said):
        raise refused


def test_a_self_signed_one_may_be_a_ca():
    assert usage.refusal(leaf(None, ca=True).certificate) is None


def test_one_that_only_has_the_name_of_its_issuer_may_not():
    home = make(name(NAME), ca=True, signs=True)
    one = make(name(NAME), home, names=[NAME], ca=True)
    assert isinstance(usage.refusal(one.certificate), WrongUsage)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"own": ed25519.Ed25519PrivateKey.generate()}, "its key is Ed25519"),
        ({"more": [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]}, "must-staple"),
        ({"own": RSA, "more": [(key_usage(key_encipherment=True), True)]}, "its key usage lacks digitalSignature"),
    ],
    ids=["Ed25519", "must-staple", "RSA for encipherment alone"],
)
def test_what_some_clients_refuse_is_used_last(options, said):
    one = leaf(CA, **options).certificate
    assert usage.refusal(one) is None
    (warning,) = usage.warnings(one)
    assert said in warning
