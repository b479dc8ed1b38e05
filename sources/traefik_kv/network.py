"""What a store behind a network needs: where it is, who asks, and whom to trust. All of it from the source's URL."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from controller.domain.errors import SettingsError, SourceUnavailable
from sources.layout import StoreOptions
from sources.url import Duration, SourceUrl

_PEM = "-----BEGIN "


class NetworkOptions(StoreOptions):
    """Query options of every store behind a network."""

    timeout: Annotated[Duration, Field(gt=0, le=300)] = 5.0
    """How long the store may take to answer."""
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    """Read at each use, so that it may change."""
    tls: bool = False
    """Speak TLS; any option below says so, too."""
    tls_ca: str = ""
    """The authorities to trust in place of the system's: a PEM file, or the PEM itself."""
    tls_cert: str = ""
    tls_key: str = ""
    """A client certificate and its key, likewise."""
    tls_server_name: str = ""
    """The name to look for in the store's certificate, in place of the host in the URL."""
    tls_insecure_skip_verify: bool = False

    @property
    def uses_tls(self) -> bool:
        return self.tls or bool(self.tls_ca or self.tls_cert or self.tls_server_name or self.tls_insecure_skip_verify)


def read_secret(value: SecretStr, file: Path | None) -> str:
    """A secret given by itself or in a file, whose last line break is none of it.

    Raises:
        SourceUnavailable: the file cannot be read.
    """
    if file is None:
        return value.get_secret_value()
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SourceUnavailable(f"the secret in {file} cannot be read ({reason}); mount it, or correct the path") from None


def check_options(url: SourceUrl, options: NetworkOptions) -> None:
    """Find what contradicts itself.

    Raises:
        SettingsError: a secret given twice, a password without a user, half of a client certificate.
    """
    if options.password_file and options.password.get_secret_value():
        raise SettingsError(f"{url}: give password or password-file, not both")
    if not options.user and (options.password_file or options.password.get_secret_value()):
        raise SettingsError(f"{url}: a password needs a user; add user=…")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise SettingsError(f"{url}: tls-cert and tls-key belong together; give both")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host and port of one server; `host` without the brackets of IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_endpoints(url: SourceUrl, *, port: int) -> tuple[Endpoint, ...]:
    """The servers of a URL, in order, separated by commas; `port` is for those that name none.

    Raises:
        SettingsError: none, or one that cannot be read.
    """
    endpoints = tuple(_read_endpoint(url, text, port) for text in url.host.split(",") if text)
    if not endpoints:
        example = f"{url.kind}://{url.kind}:{port}/traefik/acme/account"
        raise SettingsError(f"{url} names no server; write one such as {example}")
    return endpoints


def _read_endpoint(url: SourceUrl, text: str, port: int) -> Endpoint:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        found, digits = closed and (not rest or rest.startswith(":")), rest[1:]
    else:
        host, _, digits = text.partition(":")
        found = ":" not in digits
    if not (found and host) or (digits and not (digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65536)):
        raise SettingsError(f"{url}: {text!r} is no server; write host:port or [IPv6]:port, several separated by commas")
    return Endpoint(host, int(digits) if digits else port)


@dataclass
class TlsMaterial:
    """Makes the TLS context of a source, and makes it anew when one of its files changed."""

    options: NetworkOptions
    _made: tuple[object, ssl.SSLContext] | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """What to connect with.

        Raises:
            SourceUnavailable: a file cannot be read, or does not hold what it should.
        """
        options = self.options
        signature = tuple(_signature(value) for value in (options.tls_ca, options.tls_cert, options.tls_key))
        if self._made is None or self._made[0] != signature:
            self._made = signature, self._make()
        return self._made[1]

    def _make(self) -> ssl.SSLContext:
        options = self.options
        context = _trusting(options.tls_ca)
        if options.tls_insecure_skip_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if options.tls_cert:
            try:
                with as_file(options.tls_cert) as certificate, as_file(options.tls_key) as key:
                    context.load_cert_chain(certificate, key, password="")
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                raise SourceUnavailable(f"tls-cert and tls-key cannot be used ({_reason(error)}); give a pair in PEM") from None
        return context


@contextmanager
def as_file(value: str) -> Iterator[str]:
    """A path for what is one already, or is PEM: that stays in memory, for OpenSSL reads clients' keys from paths only."""
    if not value.startswith(_PEM):
        yield value
        return
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, value.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _trusting(authorities: str) -> ssl.SSLContext:
    """A context that trusts the given authorities, or the system's where none are given."""
    try:
        if not authorities or authorities.startswith(_PEM):
            return ssl.create_default_context(cadata=authorities or None)
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ValueError) as error:
        raise SourceUnavailable(f"tls-ca cannot be used ({_reason(error)}); name a PEM file of the store's authority") from None


def explain_tls(error: ssl.SSLError) -> str:
    """OpenSSL's reason in plain words; nothing of what it was given, which may be a key."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or "no reason given").replace("_", " ").lower()


def explain_os(error: OSError) -> str:
    """The system's own word for an error: asyncio puts another in its place, which tells the address only."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return explain_tls(error) if error.reason else "no PEM"
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else "no PEM"


def _signature(value: str) -> object:
    """What tells one content of a file from the next; for PEM that is itself."""
    if not value or value.startswith(_PEM):
        return hash(value)
    try:
        status = Path(value).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
