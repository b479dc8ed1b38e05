"""What a server may hand out: each case with what is wrong about it, and where openssl accepts it, the client that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from controller.domain.certificate import Trust
from tests.certs import Pair
from tests.odd_certificates import CLIENT, SERVER, SIGNS, Made, for_pss_alone, make, named, tampered, version_1, with_serial

NAME = "mail.example.com"
ADDRESS = "192.0.2.7"


@dataclass(frozen=True)
class Case:
    """A chain as it is sent, the roots that a client has, and what it asks for; made when it is asked for.

    `wrong`: the judgements that find something. `refuses`: who refuses what ``openssl s_client`` accepts, and where that is
    written.
    """

    id: str
    make: Callable[[], Sent]
    wrong: frozenset[str] = frozenset()
    refuses: str = ""
    warned: bool = False
    """Some clients refuse it, so there is a word of warning."""
    name: str = NAME
    said: Trust | None = None

    @property
    def trust(self) -> Trust | None:
        """The kind of trust: as `said`, else a bad chain is refused and a good one leads to a root; none without TLS."""
        if "connection" in self.wrong:
            return None
        return self.said if self.said is not None else (Trust.REFUSED if "chain" in self.wrong else Trust.PUBLIC)


@dataclass(frozen=True)
class Sent:
    """`roots` is PEM."""

    pair: Pair = field(repr=False)
    roots: bytes = field(repr=False)


# the usual authority


@cache
def root() -> Made:
    return make("Test Root", authority=True, usage=SIGNS, number=1, days=3650, begin=timedelta(days=-400))


@cache
def between(**options: Any) -> Made:
    return authority("Test Issuer", root(), **options)


def authority(common: str, issuer: Made | None, **options: Any) -> Made:
    usual: dict[str, Any] = {"authority": True, "usage": SIGNS, "number": 2, "days": 1000, "begin": timedelta(days=-400)}
    return make(common, issuer, **usual | options)


def leaf(issuer: Made | None = None, **options: Any) -> Made:
    usual: dict[str, Any] = {
        "names": (NAME,),
        "authority": False,
        "usage": {"digital_signature"},
        "extended": (SERVER,),
        "number": 3,
    }
    return make("mail", issuer or between(), **usual | options)


def sent(held: Made, *chain: Made, roots: Made | None = None) -> Sent:
    return Sent(held.with_chain(*chain), (roots or root()).pem)


def plain(**options: Any) -> Callable[[], Sent]:
    """A leaf with some mistake, by the usual authority."""
    return lambda: sent(leaf(**options), between())


def below(**options: Any) -> Callable[[], Sent]:
    """A right leaf, by an intermediate with some mistake."""

    def made() -> Sent:
        issuer = authority("Odd Issuer", root(), **options)
        return sent(leaf(issuer), issuer)

    return made


# single ones


def _reversed() -> Sent:
    upper = authority("Upper", root(), number=4)
    lower = authority("Lower", upper, number=5)
    return sent(leaf(lower), upper, lower)


def _one_of_two_missing() -> Sent:
    upper = authority("Upper", root(), number=4)
    lower = authority("Lower", upper, number=5)
    return sent(leaf(lower), lower)


def _too_deep() -> Sent:
    upper = authority("Upper", root(), number=4, path_length=0)
    lower = authority("Lower", upper, number=5)
    return sent(leaf(lower), lower, upper)


def _upper_ended() -> Sent:
    upper = authority("Upper", root(), number=4, days=100)
    lower = authority("Lower", upper, number=5)
    return sent(leaf(lower), lower, upper)


def _two_generations() -> Sent:
    ended = authority("Test Issuer", root(), days=10)
    return sent(leaf(), ended, between())


def _nowhere() -> Made:
    """The intermediate's name and key, and another issuer's."""
    return authority("Test Issuer", root(), issuer_key_id=_OTHER_KEY)


def _nowhere_first() -> Sent:
    return sent(leaf(), _nowhere(), between())


def _nowhere_last() -> Sent:
    return sent(leaf(), between(), _nowhere())


def _foreign() -> Made:
    return authority("Foreign", None, number=6)


def _self_signed(**options: Any) -> Made:
    return make("mail", names=(NAME,), extended=(SERVER,), number=3, **options)


def _staging() -> Sent:
    top = authority("(STAGING) Pretend Pear X1", None, number=7)
    issuer = authority("(STAGING) Ersatz Edamame E1", top)
    return sent(leaf(issuer), issuer)


def _differing_names() -> Sent:
    issuer = authority("x", root(), subject=named("Test  Issuer", _type=_ASN1Type.PrintableString))
    return sent(leaf(issuer, issuer_name=named("test issuer", _type=_ASN1Type.UTF8String)), issuer)


def _rsa_chain(*, sha1_leaf: bool = False, sha1_between: bool = False, sha1_root: bool = False) -> Sent:
    top = authority("RSA Root", None, kind="rsa2048", number=1, sha1=sha1_root)
    issuer = authority("RSA Issuer", top, kind="rsa2048", sha1=sha1_between)
    return sent(leaf(issuer, sha1=sha1_leaf), issuer, roots=top)


def _two_signatures(*, sha1_first: bool) -> Sent:
    top = authority("RSA Root", None, kind="rsa2048", number=1)
    weak, right = (authority("RSA Issuer", top, kind="rsa2048", sha1=sha1) for sha1 in (True, False))
    return sent(leaf(right), *((weak, right) if sha1_first else (right, weak)), roots=top)


def _weak_root() -> Sent:
    top = authority("Weak Root", None, kind="rsa1024", number=1)
    issuer = authority("Issuer", top)
    return sent(leaf(issuer), issuer, roots=top)


def _odd_root(**options: Any) -> Callable[[], Sent]:
    def made() -> Sent:
        top = make("Odd Root", number=8, days=3650, **options)
        issuer = authority("Issuer", top)
        return sent(leaf(issuer), issuer, roots=top)

    return made


def _below_nothing() -> Sent:
    return sent(leaf(root()))


def _ended_root() -> Sent:
    top = authority("Ended Root", None, number=9, days=100)
    issuer = authority("Issuer", top)
    return sent(leaf(issuer), issuer, roots=top)


def _foreign_root() -> Sent:
    return sent(leaf(), between(), roots=_foreign())


def _new_root() -> Sent:
    return sent(leaf(more=_PUBLIC), between(), roots=_foreign())


def _private_root_sent() -> Sent:
    return sent(leaf(), between(), root(), roots=_foreign())


def _constraints(*, permitted: str = "", excluded: str = "") -> Callable[[], Sent]:
    extension = x509.NameConstraints(
        [x509.DNSName(permitted)] if permitted else None, [x509.DNSName(excluded)] if excluded else None
    )
    return below(more=((extension, True),))


_PUBLIC = ((x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.140.1.2.1"), None)]), False),)
"""What a public authority says of how it issued a certificate (CA/Browser Forum, Baseline Requirements 7.1.6.1)."""
_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
_SGC = ObjectIdentifier("2.16.840.1.113730.4.1")
_NETSCAPE_CLIENT = x509.UnrecognizedExtension(ObjectIdentifier("2.16.840.1.113730.1.1"), b"\x03\x02\x07\x80")
_OTHER_ISSUER = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(named("Another Root"))], 1)
_OTHER_KEY = b"\x01" * 20

PKIX = "Thunderbird (mozilla::pkix, pkixcheck.cpp"
PKIX_NAMES = "Thunderbird (mozilla::pkix, pkixnames.cpp"
DATES, WHO, CHAIN, TRUST, USAGE, KEY, SIGNATURE, CONNECTION = (
    frozenset({one}) for one in ("dates", "name", "chain", "trust", "usage", "key", "signature", "connection")
)

CASES = [
    Case("good", plain()),
    Case("good, issued by the root", _below_nothing),
    Case("good, with both uses", plain(extended=(SERVER, CLIENT))),
    Case("good, with many names, of which another is the first", plain(names=("a.example.org", "b.example.org", NAME))),
    # dates
    Case("expired", plain(begin=timedelta(days=-100)), DATES),
    Case("not yet valid", plain(begin=timedelta(days=1)), DATES),
    Case("expired, and for another name", plain(begin=timedelta(days=-100), names=("a.example.com",)), DATES | WHO),
    # names
    Case("another name", plain(names=("imap.example.com",)), WHO),
    Case("capital letters", plain(names=("MAIL.Example.COM",))),
    Case("capital letters asked for", plain(), name="Mail.Example.COM"),
    Case("wildcard", plain(names=("*.example.com",))),
    Case("wildcard with capital letters", plain(names=("*.EXAMPLE.com",))),
    Case("wildcard, too deep", plain(names=("*.example.com",)), WHO, name="a.mail.example.com"),
    Case("wildcard of what is asked for", plain(names=("*.mail.example.com",)), WHO),
    Case("wildcard of a top-level domain", plain(names=("*.test",)), WHO, name="mail.test"),
    Case("wildcard alone", plain(names=("*",)), WHO, name="mail"),
    Case("wildcard in part of a label", plain(names=("m*.example.com",)), WHO, f"{PKIX_NAMES}: a wildcard is a whole label)"),
    Case("wildcard in the middle", plain(names=("mail.*.com",)), WHO),
    Case("common name only", plain(names=(), subject=named(NAME)), WHO, f"{PKIX_NAMES}: the common name counts no more)"),
    Case("common name beside another name", plain(names=("a.example.com",), subject=named(NAME)), WHO),
    Case("no name at all", plain(names=(), subject=x509.Name([])), WHO),
    Case("no subject", plain(subject=x509.Name([]))),
    Case("international name", plain(names=("xn--mller-kva.example.com",)), name="xn--mller-kva.example.com"),
    Case("final dot", plain(names=(f"{NAME}.",)), WHO),
    Case("address", plain(names=(NAME, ADDRESS)), name=ADDRESS),
    Case("address of IPv6", plain(names=("2001:db8::7",)), name="2001:db8:0::7"),
    Case("address missing", plain(), WHO, name=ADDRESS),
    Case("another address", plain(names=(NAME, "192.0.2.8")), WHO, name=ADDRESS),
    Case("address beside no name", plain(names=(ADDRESS,)), WHO),
    Case("address as a name", plain(names=(f"dns:{ADDRESS}",)), WHO, name=ADDRESS),
    Case("address as common name", plain(subject=named(ADDRESS)), WHO, name=ADDRESS),
    # the chain
    Case("leaf only", lambda: sent(leaf()), CHAIN, said=Trust.INCOMPLETE),
    Case("leaf only, of a public authority", lambda: sent(leaf(more=_PUBLIC)), CHAIN, said=Trust.INCOMPLETE),
    Case("one of two intermediates missing", _one_of_two_missing, TRUST, said=Trust.ROOT_UNKNOWN),
    Case("intermediate expired", below(days=100), CHAIN),
    Case("intermediate not yet valid", below(begin=timedelta(days=1)), CHAIN),
    Case("intermediate expired, with its next generation", _two_generations),
    Case("reversed", _reversed),
    Case("intermediate twice", lambda: sent(leaf(), between(), between())),
    Case("leaf twice", lambda: sent(held := leaf(), held, between())),
    Case("root appended", lambda: sent(leaf(), between(), root())),
    Case("root before the intermediate", lambda: sent(leaf(), root(), between())),
    Case("foreign appended", lambda: sent(leaf(), between(), _foreign())),
    Case("foreign before the intermediate", lambda: sent(leaf(), _foreign(), between())),
    Case("one that leads nowhere before the intermediate", _nowhere_first, CHAIN, said=Trust.PUBLIC),
    Case("one that leads nowhere behind the intermediate", _nowhere_last),
    Case("intermediate without basicConstraints", below(authority=None), CHAIN),
    Case("intermediate without basicConstraints and keyUsage", below(authority=None, usage=None), CHAIN),
    Case("intermediate with CA:FALSE", below(authority=False), CHAIN),
    Case("intermediate of version 1", below(change=version_1), CHAIN),
    Case("intermediate that may not sign", below(usage={"digital_signature"}), CHAIN),
    Case("intermediate without keyUsage", below(usage=None)),
    Case("path length exceeded", _too_deep, CHAIN),
    Case("upper intermediate expired", _upper_ended, CHAIN, said=Trust.ROOT_UNKNOWN),
    Case("path length kept", below(path_length=0)),
    Case("intermediate for clients only", below(extended=(CLIENT,)), CHAIN),
    Case("intermediate for servers", below(extended=(SERVER, CLIENT))),
    Case("intermediate for any use", below(extended=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), CHAIN),
    Case("name not permitted", _constraints(permitted="example.org"), CHAIN),
    Case("name permitted", _constraints(permitted="example.com")),
    Case("name excluded", _constraints(excluded="example.com"), CHAIN),
    Case("wrong signature", lambda: sent(tampered(leaf()), between()), CHAIN, said=Trust.INCOMPLETE),
    Case("wrong signature of the intermediate", lambda: sent(leaf(), tampered(between())), CHAIN),
    Case("without authorityKeyIdentifier", plain(issuer_key_id=False)),
    Case("another authorityKeyIdentifier", plain(issuer_key_id=_OTHER_KEY), CHAIN),
    Case("another issuer in the authorityKeyIdentifier", plain(issuer_key_id=False, more=((_OTHER_ISSUER, False),)), CHAIN),
    Case("intermediate without subjectKeyIdentifier", below(key_id=False)),
    Case("no key identifiers at all", below(key_id=False, issuer_key_id=False)),
    Case("names of the issuer in different spelling", _differing_names),
    Case("unknown critical extension", plain(more=((_UNKNOWN, True),)), CHAIN),
    Case("unknown extension", plain(more=((_UNKNOWN, False),))),
    Case("intermediate with an unknown critical extension", below(more=((_UNKNOWN, True),)), CHAIN),
    # trust
    Case("only the intermediate is trusted", lambda: sent(leaf(), between(), roots=between()), TRUST, said=Trust.ROOT_UNKNOWN),
    Case("only the leaf is trusted", lambda: sent(held := leaf(), between(), roots=held), TRUST, said=Trust.ROOT_UNKNOWN),
    Case("unknown root", _foreign_root, TRUST, said=Trust.ROOT_UNKNOWN),
    Case("unknown root of a public authority", _new_root, TRUST, said=Trust.ROOT_UNKNOWN),
    Case("unknown root, which is sent", _private_root_sent, TRUST, said=Trust.PRIVATE),
    Case("self-signed", lambda: sent(_self_signed()), TRUST, said=Trust.SELF_SIGNED),
    Case("self-signed, known", lambda: sent(held := _self_signed(), roots=held)),
    Case("self-signed authority, known", lambda: sent(held := _self_signed(authority=True), roots=held)),
    Case("staging", _staging, TRUST, said=Trust.STAGING),
    Case("root expired", _ended_root, CHAIN),
    Case("root without keyUsage", _odd_root(authority=True)),
    Case("root without basicConstraints", _odd_root(usage=SIGNS)),
    Case("root of version 1", _odd_root(change=version_1)),
    # usage
    Case("no extended key usage", plain(extended=None)),
    Case("no key usage", plain(usage=None)),
    Case("for clients only", plain(extended=(CLIENT,)), USAGE, said=Trust.REFUSED),
    Case("for mail signing only", plain(extended=(ExtendedKeyUsageOID.EMAIL_PROTECTION,)), USAGE, said=Trust.REFUSED),
    Case("for any use", plain(extended=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), USAGE, said=Trust.REFUSED),
    Case("for Server Gated Cryptography", plain(extended=(_SGC,)), USAGE, f"{PKIX}: MatchEKU takes only serverAuth)"),
    Case("CA:TRUE", plain(authority=True), USAGE, f"{PKIX}: ERROR_CA_CERT_USED_AS_END_ENTITY)"),
    Case("no basicConstraints", plain(authority=None)),
    Case("for clients only, as Netscape said it", plain(extended=None, more=((_NETSCAPE_CLIENT, False),)), CHAIN),
    Case(
        "key usage without digitalSignature",
        plain(usage={"key_agreement"}),
        USAGE,
        "Android (BoringSSL, ssl_cert_check_key_usage) and GnuTLS (KEY_USAGE_VIOLATION): who signs needs digitalSignature",
    ),
    Case("key usage for signing certificates only", plain(usage={"key_cert_sign"}), USAGE, said=Trust.REFUSED),
    Case("RSA for key encipherment only", plain(kind="rsa2048", usage={"key_encipherment"}), warned=True),
    Case("must-staple", plain(more=((_STAPLE, False),)), warned=True),
    # keys
    Case("RSA with 2048 bits", plain(kind="rsa2048", usage={"digital_signature", "key_encipherment"})),
    Case("RSA with 1024 bits", plain(kind="rsa1024"), KEY),
    Case("RSASSA-PSS key", plain(kind="rsa2048", change=for_pss_alone), KEY, f"{PKIX}: ERROR_UNSUPPORTED_KEYALG)"),
    Case("P-384", plain(kind="p384")),
    Case("P-521", plain(kind="p521")),
    Case("P-224", plain(kind="p224"), CONNECTION),
    Case("secp256k1", plain(kind="secp256k1"), CONNECTION),
    Case("brainpool", plain(kind="brainpool"), CONNECTION),
    Case("Ed25519", plain(kind="ed25519"), warned=True),
    Case("Ed448", plain(kind="ed448"), warned=True),
    Case("intermediate with a weak key", below(kind="rsa1024"), CHAIN),
    Case("intermediate with Ed25519", below(kind="ed25519")),
    Case("intermediate on P-224", below(kind="p224"), CHAIN, f"{PKIX}: ERROR_UNSUPPORTED_ELLIPTIC_CURVE of any key)"),
    Case("root with a weak key", _weak_root, TRUST, said=Trust.ROOT_UNKNOWN),
    # signatures
    Case("signed with SHA-256 by RSA", _rsa_chain),
    Case("signed with SHA-1", lambda: _rsa_chain(sha1_leaf=True), SIGNATURE),
    Case("intermediate signed with SHA-1", lambda: _rsa_chain(sha1_between=True), CHAIN),
    Case(
        "SHA-1 intermediate before its next generation",
        lambda: _two_signatures(sha1_first=True),
        CHAIN,
        said=Trust.PUBLIC,
    ),
    Case("SHA-1 intermediate behind its next generation", lambda: _two_signatures(sha1_first=False)),
    Case("root signed with SHA-1", lambda: _rsa_chain(sha1_root=True)),
    Case("ECDSA with SHA-1", plain(sha1=True), SIGNATURE),
    # forms
    Case("huge serial", plain(change=with_serial(b"\x7f" * 40))),
    Case("negative serial", plain(change=with_serial(b"\x80\x01"))),
    Case("serial zero", plain(change=with_serial(b"\0"))),
    Case("version 1", plain(change=version_1, subject=named(NAME)), WHO, f"{PKIX_NAMES}: the common name counts no more)"),
]
