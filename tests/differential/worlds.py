"""Worlds of authorities made after a plan: certificates, and which of them lie where."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.differential import der
from tests.differential.keys import Key, key, key_pem
from tests.differential.plans import ENTITIES, ITSELF, LEAF, NOT_ASCII, Aki, AuthorityPlan, Form, LeafPlan, Plan, Quirk, Usage

NOW = datetime.now(UTC).replace(microsecond=0)
"""All dates are told from the beginning of the process."""
LONGEST_PATH = 6
MOST_PATHS = 40
_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
_FORMS = {Form.PRINTABLE: _ASN1Type.PrintableString, Form.TELETEX: _ASN1Type.T61String, Form.BMP: _ASN1Type.BMPString}


@dataclass(frozen=True)
class World:
    """The certificates of a plan; `own` is the producer's file in its order, the leaf anywhere in it."""

    plan: Plan
    leaf: x509.Certificate
    authorities: tuple[x509.Certificate, ...]

    @property
    def own(self) -> list[x509.Certificate]:
        return self._at(self.plan.own)

    @property
    def pool(self) -> list[x509.Certificate]:
        return self._at(self.plan.pool)

    @property
    def roots(self) -> list[x509.Certificate]:
        return [self.authorities[n] for n, one in enumerate(self.plan.authorities) if one.trusted]

    @cached_property
    def roots_pem(self) -> str:
        return pem(self.roots).decode()

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.plan.leaf.kind, _LEAF_KEY)

    def _at(self, places: Sequence[int]) -> list[x509.Certificate]:
        return [self.leaf if n == LEAF else self.authorities[n] for n in places]

    def paths(self) -> Iterator[tuple[x509.Certificate, ...]]:
        """What could be delivered so that it leads to a root of the client: the leaf, and issuers out of file and folder."""
        here = {n for n in (*self.plan.own, *self.plan.pool) if n != LEAF}
        for places in islice(self._paths_above(self.plan.leaf.by, here, ()), MOST_PATHS):
            yield tuple(self._at((LEAF, *places)))

    def _paths_above(self, who: int, here: set[int], below: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        issuers = [n for n, one in enumerate(self.plan.authorities) if one.who == who]
        if any(self.plan.authorities[n].trusted for n in issuers):
            yield below
        if len(below) == LONGEST_PATH:
            return
        for n in issuers:
            if n in here and n not in below and not self.plan.authorities[n].is_root:
                yield from self._paths_above(self.plan.authorities[n].by, here, (*below, n))


_LEAF_KEY = 100
"""The number of the leaf's key, which is no authority's."""


def make(plan: Plan) -> World:
    """The world of a plan."""
    serials = {one.who: _serial(one) for one in reversed(plan.authorities)}
    names = {one.who: _name(one.by, one.issuer_form) for one in reversed(plan.authorities)}
    issuers = {who: (names[who], serials[who]) for who in names}
    authorities = tuple(_authority(one, issuers.get(one.by)) for one in plan.authorities)
    return World(plan, _leaf(plan.leaf, issuers.get(plan.leaf.by)), authorities)


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates one after another."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


Issuer = tuple[x509.Name, int]
"""Of an issuer's certificate its own issuer's name and its serial number, as an authority key identifier may tell them."""


@lru_cache(maxsize=5000)
def _authority(plan: AuthorityPlan, issuer: Issuer | None) -> x509.Certificate:
    own, signer = _key_of(plan.who), _key_of(plan.by)
    builder = _builder(_name(plan.who, plan.form), _name(plan.by, plan.issuer_form), own, plan.dates.value, _serial(plan))
    for extension, critical in _of_an_authority(plan.quirk, own):
        builder = builder.add_extension(extension, critical)
    builder = _with_aki(builder, plan.aki, signer, issuer)
    return _signed(builder, signer, sha1=plan.quirk is Quirk.SHA1, version_1=plan.quirk is Quirk.VERSION_1)


@lru_cache(maxsize=5000)
def _leaf(plan: LeafPlan, issuer: Issuer | None) -> x509.Certificate:
    own = key(plan.kind, _LEAF_KEY)
    subject = _form("leaf", Form.UTF8)
    signer, signer_name = (own, subject) if plan.by == ITSELF else (_key_of(plan.by), _name(plan.by, plan.issuer_form))
    builder = _builder(subject, signer_name, own, plan.dates.value, _serial(plan))
    for extension, critical in _of_a_leaf(plan.usage):
        builder = builder.add_extension(extension, critical)
    if plan.names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in plan.names]), False)
    builder = _with_aki(builder, plan.aki, signer, issuer)
    by_hand = not isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return _signed(
        builder, signer, sha1=by_hand and plan.usage is Usage.SHA1, version_1=by_hand and plan.usage is Usage.VERSION_1
    )


def _builder(subject: x509.Name, issuer: x509.Name, own: Key, days: tuple[int, int], serial: int) -> x509.CertificateBuilder:
    begin, end = (NOW + timedelta(days=day) for day in days)
    return x509.CertificateBuilder(issuer, subject, own.public_key(), serial, begin, end)


def _signed(builder: x509.CertificateBuilder, signer: Key, *, sha1: bool, version_1: bool) -> x509.Certificate:
    hashed = None if isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    made = builder.sign(signer, hashed)
    if b"Z~rich" in made.tbs_certificate_bytes:  # the library writes UTF-8 where T61String means Latin-1
        made = der.with_text(made, signer, b"Z~rich", "Zürich".encode("latin-1"))
    if sha1:
        return der.signed_with_sha1(made, signer)
    return der.of_version_1(made, signer) if version_1 else made


def _key_of(who: int) -> Key:
    return key(ENTITIES[who][1], who)


def _name(who: int, form: Form) -> x509.Name:
    number = ENTITIES[who][0]
    return _form(f"Authority {number} Zürich" if number == NOT_ASCII else f"Authority {number}", form)


def _form(common: str, form: Form) -> x509.Name:
    if form is Form.PRINTABLE and not common.isascii():
        form = Form.UTF8
    if form is Form.TELETEX:
        common = common.replace("ü", "~")
    kind = _FORMS.get(form, _ASN1Type.UTF8String)
    organisation = "Example Trust"
    if form is Form.UPPER:
        organisation, common = organisation.upper(), common.upper()
    if form is Form.BLANKS:
        organisation, common = f"  {organisation} ", common.replace(" ", "   ")
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation, _type=kind),
            x509.NameAttribute(NameOID.COMMON_NAME, common, _type=kind),
        ]
    )


def _serial(plan: AuthorityPlan | LeafPlan) -> int:
    return int.from_bytes(hashlib.sha256(repr(plan).encode()).digest()[:8], "big") | 1


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _with_aki(builder: x509.CertificateBuilder, aki: Aki, signer: Key, issuer: Issuer | None) -> x509.CertificateBuilder:
    if aki is Aki.MISSING:
        return builder
    identifier: bytes | None = x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest
    name, serial = issuer or (_form("nobody", Form.UTF8), 1)
    tell_serial = aki in (Aki.SERIAL_TOO, Aki.ONLY_SERIAL, Aki.WRONG_SERIAL)
    if aki is Aki.ONLY_SERIAL:
        identifier = None
    if aki is Aki.WRONG_KEY:
        identifier = bytes(20)
    if aki is Aki.WRONG_SERIAL:
        serial += 2
    directory = [x509.DirectoryName(name)] if tell_serial else None
    return builder.add_extension(x509.AuthorityKeyIdentifier(identifier, directory, serial if tell_serial else None), False)


Extensions = list[tuple[x509.ExtensionType, bool]]
"""Each with whether it is critical."""


def _usage(**wanted: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in every})


_SIGNS = _usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
_PATH_LENGTHS = {Quirk.PATHLEN_0: 0, Quirk.PATHLEN_1: 1}
_AUTHORITY_USAGES = {
    Quirk.SERVER_ONLY: [ExtendedKeyUsageOID.SERVER_AUTH],
    Quirk.ANY_USAGE: [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    Quirk.CLIENT_ONLY: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Quirk.MAIL_ONLY: [ExtendedKeyUsageOID.EMAIL_PROTECTION],
}
_HOSTS, _OTHER_HOSTS = [x509.DNSName("example.com")], [x509.DNSName("example.net")]
_ADDRESSES = [x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))]
_CONSTRAINTS: dict[Quirk, tuple[list[x509.GeneralName] | None, list[x509.GeneralName] | None]] = {
    Quirk.PERMITS: ([*_HOSTS], None),
    Quirk.PERMITS_OTHERS: ([*_OTHER_HOSTS], None),
    Quirk.PERMITS_ADDRESSES: ([*_ADDRESSES], None),
    Quirk.EXCLUDES: (None, [*_HOSTS]),
    Quirk.EXCLUDES_OTHERS: (None, [*_OTHER_HOSTS]),
}


def _of_an_authority(quirk: Quirk, own: Key) -> Extensions:
    made: Extensions = []
    if quirk not in (Quirk.NO_CONSTRAINTS, Quirk.NOTHING_SAID):
        says = quirk is not Quirk.NO_AUTHORITY
        made.append((x509.BasicConstraints(says, _PATH_LENGTHS.get(quirk)), quirk is not Quirk.NOT_CRITICAL))
    if quirk not in (Quirk.NO_KEY_USAGE, Quirk.NOTHING_SAID):
        signs = quirk is not Quirk.USAGE_WITHOUT_SIGN
        made.append((_SIGNS if signs else _usage(digital_signature=True, crl_sign=True), True))
    if quirk is Quirk.OTHER_SKI:
        made.append((x509.SubjectKeyIdentifier(b"\x01" * 20), False))
    elif quirk is not Quirk.NO_SKI:
        made.append((x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False))
    if usages := _AUTHORITY_USAGES.get(quirk):
        made.append((x509.ExtendedKeyUsage(usages), False))
    if limits := _CONSTRAINTS.get(quirk):
        made.append((x509.NameConstraints(*limits), True))
    if quirk is Quirk.UNKNOWN_CRITICAL:
        made.append((_UNKNOWN, True))
    return made


_LEAF_USAGES = {
    Usage.ONLY_ENCIPHERMENT: _usage(key_encipherment=True),
    Usage.ONLY_AGREEMENT: _usage(key_agreement=True),
    Usage.ONLY_DATA: _usage(data_encipherment=True),
    Usage.ONLY_CERT_SIGN: _usage(key_cert_sign=True),
    Usage.AUTHORITY_THAT_SIGNS: _SIGNS,
}
_LEAF_PURPOSES = {
    Usage.ANY: [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    Usage.SERVER_AND_CLIENT: [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    Usage.CLIENT_ONLY: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Usage.MAIL_ONLY: [ExtendedKeyUsageOID.EMAIL_PROTECTION],
}


def _of_a_leaf(usage: Usage) -> Extensions:
    made: Extensions = []
    if usage is not Usage.NOTHING_SAID:
        made.append((x509.BasicConstraints(usage in (Usage.AUTHORITY, Usage.AUTHORITY_THAT_SIGNS), None), True))
    if usage not in (Usage.NO_KEY_USAGE, Usage.NOTHING_SAID):
        made.append((_LEAF_USAGES.get(usage) or _usage(digital_signature=True), True))
    if usage not in (Usage.NO_EKU, Usage.NOTHING_SAID):
        made.append((x509.ExtendedKeyUsage(_LEAF_PURPOSES.get(usage, [ExtendedKeyUsageOID.SERVER_AUTH])), False))
    if usage is Usage.MUST_STAPLE:
        made.append((x509.TLSFeature([x509.TLSFeatureType.status_request]), False))
    if usage is Usage.UNKNOWN_CRITICAL:
        made.append((_UNKNOWN, True))
    return made
