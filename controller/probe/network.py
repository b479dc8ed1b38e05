"""One handshake over the network: connect, STARTTLS where the protocol wants it, TLS, read what was handed out.

Nothing is verified here: the probe compares fingerprints, and a certificate that no client would trust must be seen too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from controller.domain.certificate import KeyType
from controller.domain.mail_ports import PROTOCOLS, Protocol
from controller.probe.channel import Channel
from controller.probe.failure import Failure, HandshakeError
from controller.probe.lookup import addresses_of
from controller.probe.starttls import DIALOGUES, FAREWELLS

CONNECT_SECONDS = 3.0
"""At most; containers are near, and a lost SYN is sent again after one second."""
FAREWELL_SECONDS = 0.5
MAXIMUM_HANDSHAKE = "100 KiB"
"""What OpenSSL takes of a chain of certificates (SSL_CTX_set_max_cert_list(3))."""
CIPHERS = {KeyType.RSA: "aRSA", KeyType.ECDSA: "aECDSA"}
"""OpenSSL's names for "authenticated by this kind of certificate"; they have a meaning up to TLS 1.2 only."""
ANY = "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Python's own choice."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a server handed out: the leaf in DER, leaf and all it sent behind it in PEM, and how long that took."""

    leaf_der: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    tls_version: str
    milliseconds: float


async def handshake(
    host: str | Sequence[str],
    port: int,
    protocol: str,
    *,
    server_name: str = "",
    timeout: float,  # noqa: ASYNC109 -- a timeout is an answer here, and the text depends on how far it came
    key_type: KeyType | None = None,
) -> Handshake:
    """Shake hands within `timeout` seconds with a name of `PROTOCOLS`; `server_name` goes out as SNI unless it is an address.

    `host` is a name, whose look-up has a limit of its own, or the addresses of one machine.

    `key_type` RSA or ECDSA asks for that one of two certificates, by TLS 1.2. The greeting of a Postfix with postscreen
    takes 6 s for strangers: allow for it.

    Raises:
        HandshakeError: every way in which no certificate is had.
    """
    addresses = await addresses_of(host) if isinstance(host, str) else host
    started = time.perf_counter()
    channel = await Channel.connect(addresses, port, seconds=min(timeout, CONNECT_SECONDS))
    try:
        left = max(timeout - (time.perf_counter() - started), 0)
        session = await _secure(channel, PROTOCOLS[protocol], sni_of(server_name), seconds=left, key_type=key_type)
        result = _read(session, started)
        if farewell := FAREWELLS.get(protocol):
            await channel.leave(farewell, greeted=channel.heard, seconds=FAREWELL_SECONDS)
        return result
    finally:
        await channel.close()


def sni_of(server_name: str) -> str:
    """The name as SNI can carry it (RFC 6066 §3: ASCII, no address, no final dot), else an empty string."""
    name = server_name.rstrip(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        return ""
    try:
        return name.encode("idna").decode("ascii") if not name.startswith((".", "-")) else ""
    except UnicodeError:
        return ""


async def _secure(
    channel: Channel, protocol: Protocol, server_name: str, *, seconds: float, key_type: KeyType | None
) -> ssl.SSLObject:
    step = "greeting"
    try:
        async with asyncio.timeout(seconds):
            if not protocol.implicit:
                await _ask_for_tls(channel, protocol)
            step = "handshake"
            await channel.start_tls(_context(key_type), server_name, seconds=seconds + 1)
    except TimeoutError as error:
        raise _silent(channel, protocol, step, seconds) from error
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise handshake_failed(reason, protocol, key_type) from error
    except OSError as error:
        place = "during the TLS handshake" if step == "handshake" else "before TLS began"
        raise HandshakeError(Failure.CLOSED, f"closed the connection {place}{_wanted(key_type)}") from error
    if (session := channel.tls) is None:
        raise HandshakeError(Failure.CLOSED, "closed the connection as soon as TLS stood")
    return session


async def _ask_for_tls(channel: Channel, protocol: Protocol) -> None:
    dialogue = DIALOGUES[protocol.starttls](channel.local_literal)
    outgoing = next(dialogue)
    while True:
        if outgoing:
            await channel.send(outgoing)
        incoming = await channel.line()
        try:
            outgoing = dialogue.send(incoming)
        except StopIteration:
            break
    if channel.surplus:  # RFC 3207 §6 and CVE-2011-0411: whoever can put plain text in front of TLS can forge answers
        raise HandshakeError(Failure.GARBLED, f"sent {len(channel.surplus)} bytes between its consent to STARTTLS and TLS")


@lru_cache(maxsize=3)
def _context(key_type: KeyType | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ciphers = CIPHERS.get(key_type) if key_type else None
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    # Without finite-field Diffie-Hellman: its server may send a prime of 10,000 bits, which takes a second in the loop.
    context.set_ciphers(f"{ciphers or ANY}:!kDHE")
    return context


def _read(session: ssl.SSLObject, started: float) -> Handshake:
    elapsed = (time.perf_counter() - started) * 1000
    leaf = session.getpeercert(binary_form=True)
    if not leaf:
        raise HandshakeError(Failure.NO_CERTIFICATE, "TLS stands, but the server sent no certificate")
    chain = "".join(ssl.DER_cert_to_PEM_cert(der) for der in _sent_chain(session) or [leaf])
    return Handshake(leaf, chain.encode(), session.version() or "", elapsed)


def _sent_chain(session: ssl.SSLObject) -> list[bytes]:
    """The certificates as sent, DER; empty where this Python cannot tell."""
    public: Callable[[], list[bytes]] | None = getattr(session, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return list(public())
    private = getattr(getattr(session, "_sslobj", None), "get_unverified_chain", None)  # since 3.10, undocumented
    if private is None:
        return []
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in private() or ()]


def _silent(channel: Channel, protocol: Protocol, step: str, seconds: float) -> HandshakeError:
    if step == "handshake":
        text = "no answer to the TLS handshake"
    elif channel.heard:
        text = "an answer in the dialogue before TLS is missing"
    else:
        implicit = f"{protocol.name}s" if f"{protocol.name}s" in PROTOCOLS else "tls"
        text = f"connected, but no greeting; does the port expect TLS at once ({implicit})?"
    hint = "" if channel.heard else "; Postfix keeps a service silent for 60 s after it failed: see the container's log"
    return HandshakeError(Failure.SILENT, f"{text} ({seconds:.3g} s){hint}")


def handshake_failed(
    reason: str, protocol: Protocol, key_type: KeyType | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> HandshakeError:
    """TLS was begun and failed; `reason` is OpenSSL's, such as ``wrong version number``, `version` that of a `key_type`."""
    if protocol.implicit and reason in {"wrong version number", "record layer failure"}:
        return HandshakeError(Failure.TLS, "speaks plain text where TLS was expected; does the port want STARTTLS?")
    if reason == "sslv3 alert handshake failure" and key_type is None:
        hint = "has the server a certificate, with a key of a kind and on a curve that clients know?"
        return HandshakeError(Failure.TLS, f"the TLS handshake failed; {hint} It says: {reason}")
    if reason in {"excessive message size", "certificate list too long"}:
        return HandshakeError(Failure.TLS, f"sent a chain of certificates that is larger than {MAXIMUM_HANDSHAKE}")
    too_old = key_type in CIPHERS and version is ssl.TLSVersion.TLSv1_2 and "alert protocol version" in reason
    kind = Failure.TLS_VERSION if too_old else Failure.TLS
    return HandshakeError(kind, f"the TLS handshake failed{_wanted(key_type, version)}: {reason}")


def _wanted(key_type: KeyType | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> str:
    by = "1.2" if version is ssl.TLSVersion.TLSv1_2 else "1.3"
    return f" when asked for its {key_type.upper()} certificate by TLS {by}" if key_type in CIPHERS else ""
