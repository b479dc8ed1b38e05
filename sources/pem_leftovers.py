"""What lies beside pairs in a folder of files: keys of accounts, remains of orders, and files that are something else."""

from __future__ import annotations

import re
from collections.abc import Collection
from posixpath import basename

from controller.domain.errors import SourceMalformed
from controller.x509.foreign import what_is
from sources.layout import Tree
from sources.parts import named_by

BRING = "bring the right file"
_PROMISING = (".pem", ".crt", ".cer", ".der", ".key", ".p12", ".pfx", ".p7b", ".p7c")
"""Endings of files that hold certificates or keys, and are being written while they are empty; others may hold anything."""
_OF_AN_ORDER = re.compile(r"(?:cert|chain|fullchain|key|privkey)-\d{4,}\.pem|privkey\.roll\.pem|newkey\.pem")
"""What dehydrated and uacme keep of orders beside the current files: of those that failed keys without certificate, and empty
certificates.
"""
_OF_AN_ACCOUNT = re.compile(
    r"(?i)(?:.*/)?(?:accounts?|users?|ca)/.*|(?:.*/)?(?:[^/]*[._+-])?account(?:[._+-][^/]*)?|private/letsencrypt\.key"
)
"""Where ACME clients, and the dumpers of Traefik's store, keep the key of the account, which belongs to no certificate."""
_OF_UACME = "private/key.pem"
"""The account's, where there are folders with keys beside it."""


def is_of_no_certificate(path: str, keys: Collection[str]) -> bool:
    """Whether a key without certificate is nobody's business: an account's, or of an order. `keys` are the files with keys."""
    if path == _OF_UACME:
        return any(other.startswith("private/") and other.count("/") > 1 for other in keys)
    return _OF_AN_ACCOUNT.fullmatch(path) is not None or _OF_AN_ORDER.fullmatch(basename(path)) is not None


def explain(tree: Tree, path: str, data: bytes) -> str:
    """What a file without certificate and key is, if that is odd only where half a pair lies beside it; empty if it never is.

    Raises:
        SourceMalformed: it is odd in any case; with the remedy.
    """
    is_named = path == tree.focus
    if not is_named and (not path.lower().endswith(_PROMISING) or _is_awaited(path, data) or named_by(tree, path)):
        return ""
    foreign = what_is(data)
    if foreign is None:
        raise SourceMalformed(f"{path} holds neither a certificate nor a key; {BRING}, or correct the path")
    if foreign.usual and not is_named:
        return f"{path}: {foreign.text}"
    raise SourceMalformed(f"{path}: {foreign.text}" if data.strip() else f"{path} is empty; {BRING}, or correct the path")


def _is_awaited(path: str, data: bytes) -> bool:
    """Whether an order fills it when it succeeds."""
    return not data and _OF_AN_ORDER.fullmatch(basename(path)) is not None
