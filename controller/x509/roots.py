"""The roots that count as trusted: this system's, and those that the operator adds (``CERTFERRY_EXTRA_ROOTS``)."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from controller.domain.errors import CertificateError
from controller.x509.bundles import open_bundle
from controller.x509.chains import Pool
from controller.x509.distinguished_names import organisation, subject_of
from controller.x509.parsed import UNPARSABLE, ParsedCertificate, parsed
from controller.x509.usage import weak_key

_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and Alpine have them."""
_END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Roots:
    """Trusted certificates by name, and the organisations they belong to."""

    pool: Pool = field(default_factory=Pool)
    organisations: frozenset[str] = frozenset()

    @classmethod
    def of(cls, certificates: Iterable[ParsedCertificate]) -> Roots:
        """These, and no others; those with weak keys are none that clients trust."""
        pool = Pool(one for one in certificates if not weak_key(one))
        return cls(pool, frozenset(filter(None, map(_organisation, pool))))

    def for_path(self, leaf: ParsedCertificate, path: Iterable[ParsedCertificate]) -> tuple[ParsedCertificate, ...]:
        """Those that may end it, or any part of it: OpenSSL looks for them by the names of the issuers."""
        names = dict.fromkeys((leaf.subject, leaf.issuer, *(one.issuer for one in path)))
        return tuple(root for name in names for root in self.pool.named(name))


def _organisation(root: ParsedCertificate) -> str:
    try:
        return organisation(subject_of(root.x509))
    except UNPARSABLE:
        return ""


class _Extra:
    """The operator's own roots; set once at the start."""

    roots: tuple[ParsedCertificate, ...] = ()


def use_extra_roots(path: Path) -> None:
    """Trust the roots of a file, or of all files in a folder, from now on.

    Raises:
        OSError, CertificateError: it cannot be read, or holds no root; then nothing has changed.
    """
    found = tuple(_read_roots(path))
    if not found:
        raise CertificateError("it holds no certificate")
    roots = tuple(one for one in found if one.is_root)
    if not roots:
        raise CertificateError(
            f"it holds no root: {found[0].shown} was signed by {found[0].issuer_shown}, so name the root above it"
        )
    _Extra.roots = roots
    trusted_roots.cache_clear()


@lru_cache(maxsize=1)
def trusted_roots() -> Roots:
    """All of them, read once; the image installs the system's with ``ca-certificates``."""
    return Roots.of((*_system_roots(), *_Extra.roots))


def _system_roots() -> Iterator[ParsedCertificate]:
    bundle = Path(ssl.get_default_verify_paths().cafile or _SYSTEM)
    with suppress(OSError):
        for block in bundle.read_bytes().split(_END)[:-1]:
            with suppress(*UNPARSABLE):
                yield parsed(x509.load_pem_x509_certificate(block + _END))


def _read_roots(path: Path) -> Iterator[ParsedCertificate]:
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    for file in files:
        try:
            yield from open_bundle(file.read_bytes()).certificates
        except CertificateError as error:
            raise CertificateError(f"{file}: {error}") from error
