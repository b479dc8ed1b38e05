"""Where certferry and OpenSSL may differ, and why. Nothing else may.

`STRICTER` names the client that refuses what OpenSSL accepts, or the limit that certferry has. `MILDER` has no rows: certferry
is never milder than OpenSSL. The other tables are about the openssl command, which is not what mail programs verify with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.judged import Verdict
from tests.differential.plans import ENTITIES, NOT_ASCII, Aki, Form, Plan, Usage, host_of


@dataclass(frozen=True)
class Row:
    """A difference: whose the other opinion is, why, and where it may be met."""

    name: str
    client: str
    why: str
    applies: Callable[[Plan, Verdict], bool]


_WITH_NAME = (Aki.SERIAL_TOO, Aki.ONLY_SERIAL, Aki.WRONG_SERIAL)
_NO_SIGNATURE = (Usage.ONLY_ENCIPHERMENT, Usage.ONLY_AGREEMENT)


def _names_an_issuer_in_latin_1(plan: Plan) -> bool:
    """Whether the leaf's authority key identifier holds a name with an umlaut in a T61String: its issuer's issuer."""
    names = (one for one in plan.authorities if one.who == plan.leaf.by and one.issuer_form is Form.TELETEX)
    return plan.leaf.aki in _WITH_NAME and any(ENTITIES[one.by][0] == NOT_ASCII for one in names)


STRICTER: tuple[Row, ...] = (
    Row(
        "key usage",
        "GnuTLS, BoringSSL (Android)",
        "they sign a handshake only with a key whose certificate allows digitalSignature; OpenSSL does not ask with TLS 1.3",
        lambda plan, verdict: plan.leaf.usage in _NO_SIGNATURE and not verdict.is_usable,
    ),
    Row(
        "authority as a server",
        "Thunderbird",
        "MOZILLA_PKIX_ERROR_CA_CERT_USED_AS_END_ENTITY: CA:TRUE is not for a server; OpenSSL does not look at it in a leaf",
        lambda plan, verdict: plan.leaf.usage in (Usage.AUTHORITY, Usage.AUTHORITY_THAT_SIGNS) and not verdict.is_usable,
    ),
    Row(
        "Latin-1 in an authority key identifier",
        "none: a limit of certferry's",
        "where one extension holds text that the cryptography package does not read, it reads none of the certificate's",
        lambda plan, verdict: _names_an_issuer_in_latin_1(plan) and not verdict.is_usable,
    ),
    Row(
        "no name",
        "all that compare names",
        "the certificate names no host, so nobody asks for it",
        lambda plan, verdict: not host_of(plan.leaf.names) and not verdict.is_usable,
    ),
)

MILDER: tuple[Row, ...] = ()

VERIFY_MILDER: tuple[Row, ...] = (
    Row(
        "part of a label",
        "openssl verify, openssl s_client",
        "they take m*.example.com for mail.example.com; programs set X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS (RFC 9525 §6.3)",
        lambda plan, verdict: any("*" in name.removeprefix("*.") for name in plan.leaf.names),
    ),
    Row(
        "no handshake",
        "openssl verify",
        "it does not ask whether a server loads the certificate, and whether the two have a way of signing in common",
        lambda plan, verdict: plan.leaf.kind in ("p224", "k1", "ed448", "rsa1024"),
    ),
)

VERIFY_STRICTER: tuple[Row, ...] = (
    Row(
        "first issuer",
        "openssl verify with many certificates",
        "OpenSSL takes the first issuer that fits by name and dates and never goes back (X509_verify_cert(3)), so a wrong one"
        " among all of them hides the right one; certferry tries every path and delivers the right one alone",
        lambda plan, verdict: len(plan.own) + len(plan.pool) > 1,
    ),
)

ROWS = (*STRICTER, *MILDER, *VERIFY_MILDER, *VERIFY_STRICTER)
