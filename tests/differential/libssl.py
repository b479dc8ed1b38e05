"""What libssl says, as a server that loads a certificate and as a client that is to accept it; both within the process."""

from __future__ import annotations

import atexit
import os
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

MOST_ROUNDS = 20
"""Of a handshake; TLS 1.3 needs three."""


class NotLoaded(Exception):
    """A server does not start with these files."""


@dataclass(frozen=True)
class Answer:
    """Whether a client accepts what a server hands out, or why not; `code` is OpenSSL's (0: no fault of the certificate)."""

    accepted: bool
    why: str = ""
    code: int = 0


def server(chain: bytes, key: bytes) -> ssl.SSLContext:
    """A server with a file of certificates, leaf first, and their key.

    Raises:
        NotLoaded: it refuses them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    file = _folder() / f"{os.getpid()}.pem"
    file.write_bytes(chain + key)
    try:
        context.load_cert_chain(file)
    except ssl.SSLError as error:
        raise NotLoaded(error.reason or str(error)) from error
    return context


@cache
def _folder() -> Path:
    """One for all, as to make and remove one takes as long as a handshake; it goes with the process."""
    made = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@lru_cache(maxsize=200)
def client(roots: str, *, compares_names: bool = True) -> ssl.SSLContext:
    """A client that trusts these roots."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = compares_names
    if roots:
        context.load_verify_locations(cadata=roots)
    return context


def accepts(chain: bytes, key: bytes, roots: str, name: str) -> Answer:
    """Serve a certificate and have a client shake hands; without a name it compares none."""
    try:
        return _shaken(server(chain, key), client(roots, compares_names=bool(name)), name)
    except NotLoaded as error:
        return Answer(False, f"the server does not load it: {error}")


def _shaken(serving: ssl.SSLContext, asking: ssl.SSLContext, name: str) -> Answer:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        asking.wrap_bio(to_client, to_server, server_hostname=name or None),
        serving.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    for _ in range(MOST_ROUNDS):
        for place, end in enumerate(ends):
            try:
                end.do_handshake()
                done[place] = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return Answer(False, error.verify_message, error.verify_code)
            except ssl.SSLError as error:
                return Answer(False, error.reason or str(error))
        if all(done):
            return Answer(True)
    raise AssertionError("a handshake in memory that does not end")
