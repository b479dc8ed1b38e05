"""PEM as people have it, made what every program reads (RFC 7468, strict), or refused with what is wrong with it.

Text is changed on its way: indented in YAML, put on one line, glued together, given other line ends. Where its meaning is
certain it is put right here, so that whatever reads or delivers it has one form to deal with. Nothing but text is judged here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.domain.errors import EncryptedKey, MalformedPem, WrongForm
from controller.threads import step
from controller.x509 import pkcs7
from controller.x509.foreign import what_is

MOST = 2000
"""Certificates and keys of one file. All authorities of the web are 150, a chain has two to four, a key is alone."""
LARGEST = 2**20
"""Bytes of one of them. The largest certificates that authorities issue have 100 kB, the largest keys 13 kB."""
CUT_OFF = "it ends in the middle"

_EDGE = re.compile(rb"(?<=-----)(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
"""The dashes before it may be those after another one, where the two were put on one line."""
_PART, _LONGEST_EDGE = 2**20, 128
"""Bytes that are searched at once, in a tenth of a second at most; what lies on the border of two parts is in both."""
_SHORT = 64 * 1024
_STRICT = re.compile(
    rb"(?:-----BEGIN (?P<label>CERTIFICATE|(?:RSA |EC )?PRIVATE KEY)-----\n(?!-)"
    rb"(?:[A-Za-z0-9+/]{64}\n)*+(?:(?!-)(?:[A-Za-z0-9+/]{4}){0,15}+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?+\n)?+"
    rb"-----END (?P=label)-----\n)++"
)
"""What certbot, Traefik, Caddy, acme.sh and OpenSSL write: it needs no second look."""
_CERTIFICATE = re.compile(rb"(?:X509 |TRUSTED )?CERTIFICATE")
_KEY = re.compile(rb"(?!OPENSSH )[A-Z0-9 ]*PRIVATE KEY")
"""Keys of SSH are none of TLS."""
_ENCRYPTED = re.compile(rb"-----BEGIN (?:ENCRYPTED PRIVATE KEY-----|[A-Z0-9 ]*-----\n[^\n]*ENCRYPTED)")
_PKCS7 = re.compile(rb"PKCS7|CMS")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?+")
_NO_MEANING = b" \t\r\n\v\f\0\"',>"
"""What base64 has not and text gets on its way: blanks, the quotes and commas of other languages, the mark of quoted mail."""
_SPACES = (b"\xc2\xa0", b"\xe2\x80\x8b", b"\xef\xbb\xbf")
"""The no-break space of web pages, the space without width, the mark of UTF-8."""
_CERTIFICATE_BEGINS = re.compile(rb"^(?:\xef\xbb\xbf)?-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[ \t\r]*\n", re.MULTILINE)
_KEY_BEGINS = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|\n)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\0- ]*?\n")
_KEY_ENDS = re.compile(rb"\n-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----[\0- ]*?(?:\n|\Z)")
_UTF16 = "-----BEGIN".encode("utf-16-le")
"""Both byte orders have this, since both have zeros in between."""
_NAMED = rb"(?:BEGIN|END) (?:[A-Z0-9]{1,20} ){0,3}(?:CERTIFICATE|PRIVATE KEY)\b"
_DAMAGED_EDGE = re.compile(rb"(?i)(?:(?<=--)|(?<=-- ))" + _NAMED)
_TYPOGRAPHIC = re.compile(rb"(?:(?<=[\x90-\x97])|(?<=[\x90-\x97] ))" + _NAMED)
"""After the last byte of dashes and the minus sign, in UTF-8 or in the code page of Windows."""

_IS_UTF16 = (
    "it is UTF-16 text, as PowerShell makes it by >, and mail servers do not read that; save it as ASCII or UTF-8,"
    " by Set-Content -Encoding ascii for example"
)
_IS_LITERAL = (
    "its line ends are written as \\n, a backslash and a letter, as in environment variables and JSON; write real line ends,"
    " by printf '%b' for example"
)
_HAS_TYPOGRAPHIC = (
    "the dashes around BEGIN and END are typographic ones, as word processors and web pages make them; copy the original file"
)
_HAS_DAMAGED_EDGES = "its lines BEGIN and END are damaged: they are in capitals, with five dashes on each side"
_NOTHING = "it holds neither a certificate nor a key"
_IS_BINARY = "it is binary (DER or PKCS#12), and PEM is needed here; convert a copy by openssl pkey or openssl pkcs12"


@dataclass(frozen=True, slots=True)
class Block:
    """One certificate or key in the strict form."""

    is_certificate: bool
    pem: bytes = field(repr=False)


def normalise(data: bytes) -> bytes:
    """The certificates and private keys of a text, in their order and in the strict form; empty where it has none.

    Raises:
        MalformedPem: what is wrong with it and what helps, as the rest of a sentence that begins with the file's name.
    """
    return data if _is_strict(data) else b"".join(block.pem for block in blocks(data))


def certificates(data: bytes) -> bytes:
    """The certificates of a file that is to hold some, in PEM; a single one may be in DER.

    Raises:
        MalformedPem: there are none, or something is wrong with it; as `normalise`.
    """
    if _is_strict(data) and b" KEY-----" not in data:
        return data
    if data.startswith(b"\x30") and not any(_search(_EDGE, data)):
        data = _pem(b"CERTIFICATE", data)
    found = list(blocks(data))
    if text := b"".join(block.pem for block in found if block.is_certificate):
        return text
    if found:
        raise WrongForm("it holds a private key and no certificate; were the two files swapped?")
    raise _neither(data)


def private_key(data: bytes) -> bytes:
    """The private key of a file that is to hold one, in PEM; of several the first, as OpenSSL takes it.

    Raises:
        EncryptedKey: it is protected by a password.
        MalformedPem: there is none, or something is wrong with it; as `normalise`.
    """
    if _is_strict(data) and b" CERTIFICATE-----" not in data and data.count(b"-----BEGIN ") == 1:
        return data
    found = list(blocks(data))
    if key := next((block.pem for block in found if not block.is_certificate), b""):
        if _ENCRYPTED.match(key):
            raise EncryptedKey("it is protected by a password; store it without one, as openssl pkey -in … -out … writes it")
        return key
    if found:
        raise WrongForm("it holds a certificate and no private key; were the two files swapped?")
    if data.startswith(b"\x30"):
        raise WrongForm(_IS_BINARY)
    raise _neither(data)


def is_legible(key: bytes) -> bool:
    """Whether OpenSSL, and so a mail server, finds the private key in a file: its edges must have lines of their own.

    Without that libraries may well read it, and certferry delivered such keys once.
    """
    begin = _KEY_BEGINS.search(key)
    return begin is not None and _KEY_ENDS.search(key, begin.end() - 1) is not None


def count_legible(certificates: bytes) -> int:
    """How many certificates OpenSSL finds in a file; as `is_legible`."""
    return len(_CERTIFICATE_BEGINS.findall(certificates))


def _neither(data: bytes) -> MalformedPem:
    if not data.strip():
        return MalformedPem("it is empty")
    foreign = what_is(data)
    return WrongForm(foreign.text) if foreign else MalformedPem(_NOTHING)


def _is_strict(data: bytes) -> bool:
    return len(data) <= _SHORT and _STRICT.fullmatch(data) is not None


def blocks(data: bytes) -> Iterator[Block]:
    """The certificates and private keys of a text, one by one; as `normalise`."""
    if _UTF16 in data:
        raise WrongForm(_IS_UTF16)
    count, begin, end = 0, None, 0
    for edge in _search(_EDGE, data):
        label = edge[2].strip()
        if edge[1] == b"BEGIN":
            if begin is not None:
                raise MalformedPem(CUT_OFF)
            begin = edge if _matters(label) else None
        elif begin is None:
            if _matters(label) and data[end : edge.start()].strip(b"- \t\r\n"):  # else it is the last one, given twice
                raise MalformedPem(_HAS_DAMAGED_EDGES)
        elif label == begin[2].strip():
            for block in _read(label, data[begin.end() : edge.start()].strip(b"-")):
                count += 1
                if count > MOST:
                    raise MalformedPem(f"it holds more than {MOST} certificates and keys; bring only those that are needed")
                yield block
            begin, end = None, edge.end()
    if begin is not None:
        if data[begin.end() : begin.end() + 1] == b"\\":
            raise WrongForm(_IS_LITERAL)
        raise MalformedPem(CUT_OFF)
    if not count:
        _check_edges(data)


def _check_edges(data: bytes) -> None:
    """Of text without a block: whether that is for its edges."""
    if any(_search(_TYPOGRAPHIC, data)):
        raise WrongForm(_HAS_TYPOGRAPHIC)
    if not any(_search(_EDGE, data)) and any(_search(_DAMAGED_EDGE, data)):
        raise MalformedPem(_HAS_DAMAGED_EDGES)


def _search(pattern: re.Pattern[bytes], data: bytes) -> Iterator[re.Match[bytes]]:
    position = 0
    while position < len(data):
        step()
        end = position + _PART
        if found := pattern.search(data, position, end):
            yield found
            position = found.end()
        else:
            position = end - _LONGEST_EDGE if end < len(data) else end


def _matters(label: bytes) -> bool:
    return any(kind.fullmatch(label) for kind in (_CERTIFICATE, _KEY, _PKCS7))


def _read(label: bytes, body: bytes) -> Iterator[Block]:
    """What stands between two edges."""
    is_key = _KEY.fullmatch(label) is not None
    what = "private key" if is_key else "certificate"
    if len(body) > (pkcs7.LARGEST * 2 if _PKCS7.fullmatch(label) else LARGEST):
        raise MalformedPem(f"what has {len(body)} bytes is no {what}")
    if b"\\" in body:
        raise WrongForm(_IS_LITERAL)
    headers, body = _headers(body)
    plain = _plain(body, what)
    if is_key:
        yield Block(is_certificate=False, pem=_pem_of(label, plain, headers))
        return
    der = base64.b64decode(plain)
    if pkcs7.is_pkcs7(der) or _PKCS7.fullmatch(label):
        yield from (Block(is_certificate=True, pem=pem) for pem in pkcs7.certificates_of(der))
    elif label == b"TRUSTED CERTIFICATE":  # what OpenSSL is to trust it for stands behind it
        yield Block(is_certificate=True, pem=_pem(b"CERTIFICATE", der[: _length(der)]))
    else:
        yield Block(is_certificate=True, pem=_pem_of(b"CERTIFICATE", plain))


def _headers(body: bytes) -> tuple[bytes, bytes]:
    """Those that say how a key is encrypted (RFC 1421 §4.6), and the rest; others say nothing that matters."""
    if b":" not in body:
        return b"", body
    lines = body.splitlines()
    headers = b"".join(line.strip() + b"\n" for line in lines if b":" in line)
    return headers + b"\n" if b"ENCRYPTED" in headers else b"", b"".join(line for line in lines if b":" not in line)


def _plain(body: bytes, what: str) -> bytes:
    """The base64 alone."""
    plain = body.translate(None, _NO_MEANING)
    if not plain.isascii():
        for space in _SPACES:
            plain = plain.replace(space, b"")
    if not plain:
        raise MalformedPem(f"a {what} in it is empty")
    if not _BASE64.fullmatch(plain):
        raise MalformedPem(f"a {what} in it is cut off or damaged: that is no base64")
    return plain


def _length(der: bytes) -> int:
    """How long the first value is (X.690 §8.1.3); as long as all of it where that is not to be had."""
    digits = der[1] & 0x7F if len(der) > 1 and der[1] & 0x80 else 0
    return 2 + digits + int.from_bytes(der[2 : 2 + digits], "big") if 0 < digits <= 4 else len(der)


def _pem(label: bytes, der: bytes) -> bytes:
    return _pem_of(label, base64.b64encode(der))


def _pem_of(label: bytes, plain: bytes, headers: bytes = b"") -> bytes:
    lines = b"".join(plain[start : start + 64] + b"\n" for start in range(0, len(plain), 64))
    return b"-----BEGIN %b-----\n%b%b-----END %b-----\n" % (label, headers, lines, label)
