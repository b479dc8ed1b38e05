"""A certificate, its chain and its private key, as `Certificate`: known to fit, and to be usable by mail clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from controller.domain.certificate import Certificate, Trust
from controller.domain.errors import KeyMismatch, NameMissing, OnlyAddresses
from controller.x509 import usage
from controller.x509.chains import Pool
from controller.x509.judging import Judged, judge
from controller.x509.keys import load_key, public_key_hash, to_pkcs8
from controller.x509.parsed import ParsedCertificate, parse_all
from controller.x509.roots import trusted_roots


def parse_certificate(chain_pem: bytes, key_pem: bytes, moment: datetime, pool: Pool | None = None) -> Certificate:
    """Make a `Certificate` of PEM certificates in any order and a PEM key; the chain is judged as of a `moment`.

    The leaf is the certificate of the key; `pool` as in `judge`.

    Raises:
        MalformedPem, EncryptedKey, KeyMismatch, NameMissing, WeakKey, WeakSignature, WrongUsage: why the pair must not be
            delivered.
    """
    key = load_key(key_pem)
    leaf, own = _find_leaf(parse_all(chain_pem), public_key_hash(key.public_key()), moment)
    facts = leaf.leaf
    if not facts.names:
        raise _nameless(leaf)
    if (refused := usage.refusal(leaf)) is not None:
        raise refused
    judged = judge(leaf, own, trusted_roots(), moment, pool)
    return Certificate(
        leaf=facts,
        leaf_pem=leaf.pem,
        chain_pem=b"".join(one.pem for one in judged.chain),
        key_pem=to_pkcs8(key),
        trust=judged.trust,
        why=judged.why,
        warnings=usage.warnings(leaf),
        root_unknown=judged.root_unknown,
        until=judged.until,
    )


def completed(certificate: Certificate, others: Iterable[ParsedCertificate], moment: datetime) -> Certificate:
    """The same with intermediates that its producer left out and `others` have, where clients accept it with them."""
    leaf, *own = parse_all(certificate.fullchain_pem)
    judged = judge(leaf, own, trusted_roots(), moment, Pool(others))
    if judged.trust is not Trust.PUBLIC:
        return certificate
    chain = b"".join(one.pem for one in judged.chain)
    return replace(certificate, chain_pem=chain, trust=judged.trust, why="", root_unknown=False, until=judged.until)


def _find_leaf(
    certificates: Sequence[ParsedCertificate], key: str, moment: datetime
) -> tuple[ParsedCertificate, Sequence[ParsedCertificate]]:
    """The certificate of the key, and the others in their order.

    Of several one of a server comes before one of a CA, then one that is valid, then the one that ends last: a program that
    keeps the key may leave what it renewed in the file.
    """
    fitting = [one for one in certificates if one.public_key_hash == key]
    if not fitting:
        raise KeyMismatch("the private key belongs to another certificate")
    leaf = max(fitting, key=lambda one: (not one.is_authority, one.is_valid_at(moment), one.not_after))
    return leaf, [one for one in certificates if one != leaf]


def _nameless(leaf: ParsedCertificate) -> NameMissing:
    if leaf.has_addresses:
        return OnlyAddresses("it is for IP addresses, and mail servers are asked for by name")
    return NameMissing("the certificate names no host in its subjectAltName; ask the issuer for one that does")


def judge_pem(pem: bytes, moment: datetime) -> Judged:
    """Judge a chain as it lies in a file or was handed out, leaf first.

    Raises:
        MalformedPem: the text holds no certificate, or one that does not parse.
    """
    leaf, *own = parse_all(pem)
    return judge(leaf, own, trusted_roots(), moment)


def trust_of(pem: bytes, moment: datetime) -> Trust:
    """Who vouches for the leaf of a PEM chain.

    Raises:
        MalformedPem: as `judge_pem`.
    """
    return judge_pem(pem, moment).trust
