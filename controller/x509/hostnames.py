"""Which host names a certificate covers (RFC 6125 §6.4, RFC 9525 §6.3). Pure."""

from __future__ import annotations

from collections.abc import Collection


def covers(names: Collection[str], wanted: str) -> bool:
    """Whether DNS names of a certificate, in lower case, cover a host name.

    Of many names make a set first: each is looked up twice.
    """
    wanted = wanted.lower().rstrip(".")
    return bool(wanted) and (wanted in names or wildcard_of(wanted) in names)


def wildcard_of(name: str) -> str:
    """The wildcard name that would cover a host name; empty where none does.

    ``*`` is one whole left-most label, for OpenSSL of letters, digits and hyphens; and at least two follow it: OpenSSL and
    Thunderbird accept no ``*.com``.
    """
    label, _, above = name.partition(".")
    return f"*.{above}" if "." in above and label.isascii() and label.replace("-", "").isalnum() else ""
