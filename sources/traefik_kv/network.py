"""What a store behind a network needs: where it is, who asks, and whom to trust. All of it from the source's URL."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from controller.domain.errors import SettingsError, SourceMalformed, SourceUnavailable
from controller.threads import step
from sources.files import MIB, read_file
from sources.layout import StoreOptions
from sources.url import Duration, SourceUrl

_PEM = "-----BEGIN "
_SERVER = re.compile(r"(?:\[([^]]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


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
    tls_cert: str = Field(default="", repr=False)
    tls_key: str = Field(default="", repr=False)
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
        SourceUnavailable: the file cannot be read, or holds no text.
    """
    if file is None:
        return value.get_secret_value()
    with suppress(ValueError):
        return _read(file).decode().rstrip("\r\n")
    # Raised out here, because the decoder's error holds the secret.
    raise SourceUnavailable(f"the secret in {file} is not text; write it as UTF-8, or correct the path")


def _read(file: Path) -> bytes:
    """A file of secrets, which are small."""
    try:
        return read_file(file, limit=MIB)
    except SourceMalformed as error:  # being written to: as good as not there yet
        raise SourceUnavailable(str(error)) from None


def check_options(url: SourceUrl, options: NetworkOptions) -> None:
    """Find what contradicts itself.

    Raises:
        SettingsError: a secret given twice, a password without a user, half of a client certificate, no path where one belongs.
    """
    if options.password_file and options.password.get_secret_value():
        raise SettingsError(f"{url}: give password or password-file, not both")
    if not options.user and (options.password_file or options.password.get_secret_value()):
        raise SettingsError(f"{url}: a password needs a user; add user=…")
    if ":" in options.user:
        raise SettingsError(f"{url}: a user's name holds no ':'; give the password by password-file=…")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise SettingsError(f"{url}: tls-cert and tls-key belong together; give both")
    for option, value in (("tls-ca", options.tls_ca), ("tls-cert", options.tls_cert), ("tls-key", options.tls_key)):
        if value and not _is_pem(value) and (not value.startswith("/") or "\0" in value):
            raise SettingsError(f"{url}: {option} is neither an absolute path nor PEM, percent-encoded; correct it")


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
    found = _SERVER.fullmatch(text)
    number = int(found[3] or port) if found else 0
    if not found or not 0 < number < 65536 or (found[1] and not _is_ipv6(found[1])):
        raise SettingsError(f"{url}: {text!r} is no server; write host:port or [IPv6]:port, several separated by commas")
    return Endpoint(found[1] or found[2], number)


def _is_ipv6(text: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.IPv6Address(text))
    return False


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
        step()
        if options.tls_insecure_skip_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if options.tls_cert:
            _identify(context, options.tls_cert, options.tls_key)
        return context


@contextmanager
def as_file(value: str) -> Iterator[str]:
    """A path of PEM in memory, for OpenSSL reads clients' keys from paths only; `value` is the PEM, or the path of a file.

    That is read by us: OpenSSL names no file, and waits for ever at a pipe.

    Raises:
        SourceUnavailable: the file cannot be read.
    """
    pem = value.encode(errors="replace") if _is_pem(value) else _read(Path(value))
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _trusting(authorities: str) -> ssl.SSLContext:
    """A context that trusts the given authorities, or the system's where none are given."""
    if not authorities:
        return ssl.create_default_context()
    try:
        with as_file(authorities) as path:
            return ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one
        raise SourceUnavailable(f"tls-ca cannot be used ({_reason(error)}); name a PEM file of the store's authority") from None


def _identify(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        with as_file(certificate) as chain, as_file(key) as secret:
            context.load_cert_chain(chain, secret, password=_refuse_password)
    except OSError as error:
        raise SourceUnavailable(f"tls-cert and tls-key cannot be used ({_reason(error)}); give a pair in PEM") from None


def _refuse_password() -> str:
    """In place of OpenSSL's own way, which is to ask at the terminal."""
    raise SourceUnavailable("tls-key is protected by a password; store it without one")


def _is_pem(value: str) -> bool:
    return _PEM in value


def explain_tls(error: ssl.SSLError) -> str:
    """OpenSSL's reason in plain words; nothing of what it was given, which may be a key."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    reason: str | None = getattr(error, "reason", None)  # only OpenSSL's own errors have it
    return (reason or "no reason given").replace("_", " ").lower()


def explain_os(error: OSError) -> str:
    """The system's own word for an error: asyncio puts another in its place, which tells the address only."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__


def _reason(error: OSError) -> str:
    return explain_tls(error) if isinstance(error, ssl.SSLError) and error.reason else "no PEM"


def _signature(value: str) -> object:
    """What tells one content of a file from the next; for PEM that is itself."""
    if not value or _is_pem(value):
        return hash(value)
    step(value)
    try:
        status = Path(value).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
