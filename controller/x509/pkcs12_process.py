"""The process that opens PKCS#12 files, one after the other, for `controller.x509.pkcs12`, which alone starts it.

A question is a line with two numbers, the length of the password (-1 for none) and that of the file, and then both. The answer
is one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from base64 import b64encode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

MEMORY = 2**30
"""Bytes; the password of a file may ask for any amount (scrypt, RFC 7914 §2)."""


def main() -> None:
    """Answer until there are no more questions. The argument is the seconds of computing that each may take."""
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold keys
    _limit(resource.RLIMIT_AS, MEMORY)
    while line := sys.stdin.buffer.readline():
        password_length, data_length = map(int, line.split())
        password = None if password_length < 0 else sys.stdin.buffer.read(password_length)
        data = sys.stdin.buffer.read(data_length)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + limit + 1)
        sys.stdout.write(json.dumps(_answer(data, password)) + "\n")
        sys.stdout.flush()


def _limit(what: int, value: int) -> None:
    """Never more than whoever started us allows."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _answer(data: bytes, password: bytes | None) -> dict[str, object]:
    try:
        return _open(data, password)
    except (ValueError, UnsupportedAlgorithm, MemoryError) as error:
        if "password" not in str(error).lower():
            return {"is": "nothing"}
    if password is not None:  # it may be that of other files
        try:
            return _open(data, None)
        except (ValueError, UnsupportedAlgorithm, MemoryError):
            pass
    return {"is": "protected"}


def _open(data: bytes, password: bytes | None) -> dict[str, object]:
    key, certificate, more = pkcs12.load_key_and_certificates(data, password)
    certificates = [one.public_bytes(Encoding.DER) for one in (certificate, *more) if one is not None]
    plain = key and key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "is": "open",
        "certificates": [b64encode(one).decode() for one in certificates],
        "key": b64encode(plain).decode() if plain else "",
    }


if __name__ == "__main__":
    main()
