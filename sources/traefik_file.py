"""Traefik's ``acme.json``: one file, truncated and rewritten in place at every change.

So a reader meets the empty or half-written file at almost every renewal. An empty file is normal as long as nothing was read
from it yet; afterwards it means "read again". Entries are never removed by Traefik, and the renewed key may be the old one.
"""

from __future__ import annotations

from datetime import timedelta

from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents
from sources.traefik_store import REMEDY, read_store


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """Every pair of the file, whatever version of Traefik wrote it.

    Raises:
        SourceUnavailable, SourceMalformed: it cannot be read, or does not parse as a whole.
    """
    data = tree.read(tree.focus)
    if not data.strip():
        return Contents(blank=True)
    return read_store(data, where=f"{tree.where.rstrip('/')}/{tree.focus}")


_DAYS = ((365, 120), (90, 30), (30, 10), (6, 2), (1, 1 / 4), (0, 1 / 72))
SCHEDULE = tuple((timedelta(days=life), timedelta(days=left)) for life, left in _DAYS)
"""Traefik v3 renews a certificate that lives so long when so much is left (``getCertificateRenewDurations``). Of 64 days
that is less than a sixth. Where the authority tells when to renew, it does so earlier."""

# The file is rewritten as a whole, so an entry in it is never half of anything: no patience.
TRAEFIK = Layout(kind="traefik", read=read, remedy=REMEDY, shape="file", patience=0.0, quiet=0.02, schedule=SCHEDULE)
