"""What a file is that holds neither a certificate nor a key in a form that can be read: told by name, with what helps."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD = 4096
"""Bytes at the begin that are looked at."""
_TEXT_OF_A_LINK = re.compile(rb"/?(?:[\w@+=.*-]{1,255}/){0,32}[\w@+=.*-]{1,255}\.(?:pem|crt|cer|key|der)\s?")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file is, as the rest of a sentence that begins with its name; `usual`: it is nothing odd beside certificates."""

    text: str
    usual: bool = False


_REQUEST = Foreign(
    "it is a request for a certificate, not the certificate; bring the file that the authority sent back", usual=True
)
_PUBLIC = Foreign("it is a public key; bring the private key that belongs to it", usual=True)
_SSH = Foreign(
    "it is a key in the form of OpenSSH; bring the key of the certificate, or convert a copy by ssh-keygen -p -m PEM -f COPY",
    usual=True,
)
_PARAMETERS = Foreign("it holds parameters only, neither a certificate nor a key; name the files of the pair", usual=True)
_REVOKED = Foreign("it is a list of revoked certificates, not a certificate; name the files of the pair", usual=True)
_ENCRYPTED = Foreign("it is an encrypted file; decrypt it first")

_LABELS: tuple[tuple[bytes, Foreign], ...] = (
    (b"CERTIFICATE REQUEST", _REQUEST),
    (b"OPENSSH PRIVATE KEY", _SSH),
    (b"SSH2 PUBLIC KEY", _SSH),
    (b"PUBLIC KEY", _PUBLIC),
    (b"PARAMETERS", _PARAMETERS),
    (b"CRL", _REVOKED),
    (b"AGE ENCRYPTED FILE", _ENCRYPTED),
    (b"PGP MESSAGE", _ENCRYPTED),
)
"""By the end of what the block is called."""

_KEYSTORE = Foreign("it is a Java keystore; convert it by keytool -importkeystore -deststoretype pkcs12")
_BEGINS: tuple[tuple[bytes, Foreign], ...] = (
    (rb"\xff\xfe|\xfe\xff", Foreign("it is UTF-16 text; save it as ASCII or UTF-8")),
    (
        rb"(?i)(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype html|html|head|body)\b",
        Foreign("it is a web page, as a download that failed leaves it; download it again, and read what the page says"),
    ),
    (rb"(?s).*ENC\[AES256_GCM", Foreign("it is encrypted by SOPS; bring what sops decrypt shows of it")),
    (rb'(?s)\{.*"kty"', Foreign("it is a key in JSON (JWK), not in PEM; export it anew in PEM")),
    (rb"\{", Foreign("it is JSON, not PEM; bring the certificate or the key itself")),
    (rb"version https://git-lfs", Foreign("it is a pointer of Git LFS, not the file itself; fetch that by git lfs pull")),
    (rb"\0GITCRYPT\0", Foreign("it is encrypted by git-crypt; run git-crypt unlock where it comes from, and bring it again")),
    (rb"\$ANSIBLE_VAULT", Foreign("it is encrypted by Ansible Vault; bring what ansible-vault view shows of it")),
    (rb"age-encryption\.org", _ENCRYPTED),
    (rb"PuTTY-User-Key-File|ssh-|ecdsa-sha2-", _SSH),
    (rb"\x1f\x8b", Foreign("it is packed by gzip; unpack it")),
    (rb"PK\x03\x04", Foreign("it is a ZIP archive; unpack it")),
    (rb"\xfd7zXZ\0", Foreign("it is packed by xz; unpack it")),
    (rb"BZh", Foreign("it is packed by bzip2; unpack it")),
    (rb"\x28\xb5\x2f\xfd", Foreign("it is packed by zstd; unpack it")),
    (rb"7z\xbc\xaf\x27\x1c", Foreign("it is a 7z archive; unpack it")),
    (rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce", _KEYSTORE),
    (rb"LS0tLS1CRUdJTi", Foreign("it is PEM in base64 once more, as Kubernetes and acme.json keep it; decode it by base64 -d")),
    (rb"MII[A-Za-z0-9+/]", Foreign("it is base64 without the lines BEGIN and END; bring the original file")),
)
"""By what it begins with; the first that fits counts."""
_SIGNS = tuple((re.compile(begin), foreign) for begin, foreign in _BEGINS)
_IS_EMPTY = Foreign("it is empty")
_IS_LINK = Foreign(
    "it holds the text of a symbolic link, which was copied as a file; copy what links lead to, by cp -L or rsync --copy-links"
)
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


def what_is(data: bytes) -> Foreign | None:
    """What a file is that holds nothing to be used; ``None`` for what has no name."""
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    if not head.strip():
        return _IS_EMPTY if len(data) <= _HEAD else None
    if label := _LABEL.search(head):
        return next((foreign for end, foreign in _LABELS if label[1].endswith(end)), None)
    if is_text_of_a_link(data):
        return _IS_LINK
    return next((foreign for sign, foreign in _SIGNS if sign.match(head.lstrip())), None)


def is_text_of_a_link(data: bytes) -> bool:
    """Whether a file says nothing but where another one lies: what becomes of links where a copy cannot have any."""
    return len(data) <= _HEAD and _TEXT_OF_A_LINK.fullmatch(data) is not None
