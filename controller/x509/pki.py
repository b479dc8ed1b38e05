"""PEM ↔ `Certificate`: chain order, key pairing, name matching, trust.

The only module that knows the ``cryptography`` package. Time does not enter here: whether a certificate is expired is
a decision (`controller.policies`), whether it is well-formed is a fact.
"""

from __future__ import annotations

import hashlib
import ssl
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from controller.domain.certificate import Certificate, KeyType, Leaf, Trust
from controller.domain.errors import (
    BrokenChain,
    CertificateError,
    EncryptedKey,
    KeyMismatch,
    MalformedPem,
    NameMissing,
    WeakKey,
)

MINIMUM_RSA_BITS = 2048
MINIMUM_CURVE_BITS = 256
LARGEST_RSA_BITS, LARGEST_KEY_FILE = 16384, 64 * 1024
"""Bits and bytes; 16384 bits take 13 kB. Arithmetic with larger numbers would hold up everything else."""
LARGEST_CHAIN_FILE, LONGEST_CHAIN, MOST_NAMES = 2**20, 20, 5000
"""Bytes and certificates of a chain, host names of a certificate. Real chains have two to four certificates of 2 kB each, six
at most; public authorities put 100 to 2,000 names into one.
"""
STAGING_MARKS = ("(staging)", "fake le ", "staging ca", "test certificate authority (staging)")
"""Lower-case parts of issuer names used by the public CAs' staging environments (Let's Encrypt, ZeroSSL)."""
SELF_SIGNED_MARK = "certferry self-signed CA"
"""Part of the name of the authority that the self-signed source makes for itself."""
PROTECTED = "the private key is protected by a password; store it without one"

# Odd serial numbers and the like are the issuer's business. Said once, when this module is loaded: to say it anew around each
# call is nothing for threads, which put back each other's filters until the last one stays for ever.
warnings.filterwarnings("ignore", module=r"controller\.x509\.(pki|bundles)\Z")

_UNPARSABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@contextmanager
def parsing() -> Iterator[None]:
    """The library parses late: a malformed field is found wherever it is first looked at, and each has its own exception."""
    try:
        yield
    except _UNPARSABLE as error:
        raise MalformedPem(f"a certificate that does not parse: {error}") from error


@parsing()
def parse_certificate(chain_pem: bytes, key_pem: bytes) -> Certificate:
    """Make a `Certificate` of a PEM chain (leaf first) and a PEM key.

    Raises:
        MalformedPem, EncryptedKey, KeyMismatch, NameMissing, BrokenChain, WeakKey: why the pair must not be delivered.
    """
    chain = _load_chain(chain_pem)
    key = load_key(key_pem)
    leaf = _describe(chain[0])
    _check_pair(chain, key)
    _check_strength(leaf)
    if not leaf.names:
        raise NameMissing("the certificate names no host in its subjectAltName; ask the issuer for one that does")
    _check_order(chain)
    return Certificate(
        leaf=leaf,
        leaf_pem=to_pem(chain[0]),
        chain_pem=b"".join(to_pem(c) for c in chain[1:]),
        key_pem=key_pem.strip() + b"\n",
        trust=_trust(chain),
    )


@parsing()
def parse_leaf(pem: bytes) -> Leaf:
    """The facts of the first certificate in PEM text (a lone leaf, a full chain, or a combined file).

    Raises:
        MalformedPem: there is none, or it does not parse.
    """
    return _describe(_load_chain(pem)[0])


@parsing()
def parse_leaf_der(der: bytes) -> Leaf:
    """The facts of one DER certificate, as a TLS handshake hands it out.

    Raises:
        MalformedPem: it does not parse.
    """
    return _describe(x509.load_der_x509_certificate(der))


@parsing()
def trust_of(pem: bytes) -> Trust:
    """Who vouches for the leaf of a PEM chain.

    Raises:
        MalformedPem: the text holds no certificate, or one that does not parse.
    """
    return _trust(_load_chain(pem))


@parsing()
def chain_problem(pem: bytes) -> str:
    """What is wrong with the order of a PEM chain, or an empty string.

    Raises:
        MalformedPem: the text holds no certificate, or one that does not parse.
    """
    try:
        _check_order(_load_chain(pem))
    except BrokenChain as error:
        return str(error)
    return ""


def is_issued_by(pem: bytes, issuer_pem: bytes) -> bool:
    """Whether the first certificate of one PEM text signed the first of another; what does not parse did not."""
    try:
        _load_chain(pem)[0].verify_directly_issued_by(_load_chain(issuer_pem)[0])
    except (MalformedPem, TypeError, InvalidSignature, UnsupportedAlgorithm, *_UNPARSABLE):
        return False
    return True


def key_fits(leaf: Leaf, key_pem: bytes) -> bool:
    """Whether a PEM key belongs to a leaf; text that is no usable key does not."""
    try:
        key = load_key(key_pem)
    except CertificateError:
        return False
    return public_key_hash(key.public_key()) == leaf.public_key_hash


def covers(names: Collection[str], wanted: str) -> bool:
    """Whether DNS names of a certificate cover a host name (RFC 6125 §6.4.3: ``*`` is one whole left-most label).

    Of many names make a set first: each is looked up twice.
    """
    wanted = wanted.lower().rstrip(".")
    return wanted in names or wildcard_of(wanted) in names


def wildcard_of(name: str) -> str:
    """The wildcard name that would cover a host name."""
    return f"*.{name.partition('.')[2]}"


def _load_chain(pem: bytes) -> list[x509.Certificate]:
    if len(pem) > LARGEST_CHAIN_FILE:
        raise MalformedPem(f"what has {len(pem)} bytes is no chain of certificates")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise MalformedPem("no certificate in PEM form, or one that does not parse") from error
    if len(chain) < pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise MalformedPem("a certificate in PEM form is cut off")
    if len(chain) > LONGEST_CHAIN:
        raise MalformedPem(f"a chain of {len(chain)} certificates; real ones have two to four")
    return chain


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


def load_key(pem: bytes) -> PrivateKey:
    """The private key in PEM text, as the library has it.

    Raises:
        MalformedPem, EncryptedKey, WeakKey: there is none that can be used.
    """
    if len(pem) > LARGEST_KEY_FILE:
        raise MalformedPem(f"what has {len(pem)} bytes is no private key")
    try:
        # The library's own check of RSA keys takes 0.1 s for 4096 bits, since it tests primes; see `_is_consistent`.
        key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise EncryptedKey(PROTECTED) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedPem("no private key in PEM form, or one that does not parse") from error
    if isinstance(key, rsa.RSAPrivateKey) and (key.key_size > LARGEST_RSA_BITS or not _is_consistent(key)):
        raise MalformedPem("the numbers of the private key do not fit each other; it is damaged")
    if not isinstance(key, PrivateKey):
        raise WeakKey(f"keys of type {type(key).__name__} are not used for TLS")
    return key


def _is_consistent(key: rsa.RSAPrivateKey) -> bool:
    """Whether a key that says it belongs to a public key can sign for it (RFC 8017 §3.2)."""
    private = key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    p, q, d = private.p, private.q, private.d
    if p < 2 or q < 2 or p * q != n:
        return False
    exponents = private.dmp1 == d % (p - 1) and private.dmq1 == d % (q - 1)
    inverse = e * d % (p - 1) == 1 and e * d % (q - 1) == 1
    return exponents and inverse and private.iqmp * q % p == 1


def _check_pair(chain: Sequence[x509.Certificate], key: PrivateKey) -> None:
    wanted = public_key_hash(key.public_key())
    if public_key_hash_of(chain[0]) == wanted:
        return
    if wanted in map(public_key_hash_of, chain[1:]):
        raise BrokenChain("the chain is in the wrong order: the certificate of the key must come first")
    raise KeyMismatch("the private key belongs to another certificate")


def _check_strength(leaf: Leaf) -> None:
    if leaf.key_type is KeyType.RSA and leaf.key_bits < MINIMUM_RSA_BITS:
        raise WeakKey(f"RSA with {leaf.key_bits} bits; at least {MINIMUM_RSA_BITS} are needed")
    if leaf.key_type is KeyType.ECDSA and leaf.key_bits < MINIMUM_CURVE_BITS:
        raise WeakKey(f"a curve of {leaf.key_bits} bits; at least {MINIMUM_CURVE_BITS} are needed")


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    for position, (subject, issuer) in enumerate(pairwise(chain), start=2):
        try:
            subject.verify_directly_issued_by(issuer)
        except UnsupportedAlgorithm:
            continue  # the names fit, the signature cannot be judged here
        except (ValueError, TypeError, InvalidSignature) as error:
            raise BrokenChain(
                f"the chain is in the wrong order or incomplete: certificate {position} ({_common_name(issuer.subject)})"
                f" did not issue the one before it ({_common_name(subject.subject)})"
            ) from error


def _describe(certificate: x509.Certificate) -> Leaf:
    public_key = certificate.public_key()
    key_type, bits = _key_kind(public_key)
    return Leaf(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        names=dns_names(certificate),
        subject=_common_name(certificate.subject),
        issuer=_common_name(certificate.issuer),
        organisation=_organisation(certificate.issuer),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_type=key_type,
        key_bits=bits,
        public_key_hash=public_key_hash(public_key),
    )


def _key_kind(key: object) -> tuple[KeyType, int]:
    if isinstance(key, rsa.RSAPublicKey):
        return KeyType.RSA, key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyType.ECDSA, key.key_size
    return KeyType.OTHER, 256


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of the subjectAltName, in lower case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = (name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
    found = tuple(dict.fromkeys(name for name in names if name.isprintable()))
    if len(found) > MOST_NAMES:
        raise MalformedPem(f"the certificate names {len(found)} hosts; more than {MOST_NAMES} are not read")
    return found


def _common_name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[0].value) if common else name.rfc4514_string() or "(no name)"
    return text if text.isprintable() else repr(text)[1:-1]  # for messages: whoever wrote it, it must not steer a terminal


def _organisation(name: x509.Name) -> str:
    organisation = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(organisation[0].value) if organisation else _common_name(name)


def public_key_hash_of(certificate: x509.Certificate) -> str:
    """The same of a certificate; empty where its key is of no known kind."""
    try:
        return public_key_hash(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return ""


def public_key_hash(key: object) -> str:
    """The SHA-256 of a public key's DER (SubjectPublicKeyInfo), hex: what tells whether key and certificate belong together."""
    encoded = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(encoded).hexdigest()


def to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate in PEM form, with a line end."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _trust(chain: Sequence[x509.Certificate]) -> Trust:
    leaf = chain[0]
    if leaf.issuer == leaf.subject or SELF_SIGNED_MARK in _common_name(leaf.issuer):
        return Trust.SELF_SIGNED
    issuers = " ".join(certificate.issuer.rfc4514_string() for certificate in chain).lower()
    if any(mark in issuers for mark in STAGING_MARKS):
        return Trust.STAGING
    return Trust.PUBLIC if _publicly_trusted(chain) else Trust.PRIVATE


def _publicly_trusted(chain: Sequence[x509.Certificate]) -> bool:
    """Whether the chain leads to a root of this system, judged at the middle of the leaf's life: an ended one stays public."""
    roots = _system_roots()
    names = dns_names(chain[0])
    if roots is None or not names:
        return False
    leaf = chain[0]
    moment = leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 2
    try:
        name = x509.DNSName(names[0].replace("*", "any", 1))
        PolicyBuilder().store(roots).time(moment).build_server_verifier(name).verify(leaf, list(chain[1:]))
    except (VerificationError, ValueError, UnsupportedAlgorithm):
        return False
    return True


@lru_cache(maxsize=1)
def _system_roots() -> Store | None:
    """The system's trusted roots, read once; the image installs them with ``ca-certificates``."""
    bundle = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    try:
        blocks = bundle.read_bytes().split(b"-----END CERTIFICATE-----")[:-1]
    except OSError:
        return None
    roots = []
    for block in blocks:
        with suppress(*_UNPARSABLE):
            roots.append(x509.load_pem_x509_certificate(block + b"-----END CERTIFICATE-----"))
    return Store(roots) if roots else None
