"""Inputs made to cost much more than their size, too large to keep: each by the target it is for, its name, and how it is made.

`make` gets a size in bytes and makes about so many. Each is as long as what certferry reads at most, or as makes it slow to
read where that is not linear.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True, slots=True)
class Costly:
    """One kind of input, tried with `size` bytes and with half of that."""

    target: str
    name: str
    make: Callable[[int], bytes]
    size: int = MIB

    def __str__(self) -> str:
        return f"{self.target}: {self.name}"


def repeated(unit: bytes, *, begin: bytes = b"", end: bytes = b"") -> Callable[[int], bytes]:
    """The same again and again."""
    return lambda size: begin + unit * (size // len(unit)) + end


def numbered(unit: str, *, begin: str = "", end: str = "") -> Callable[[int], bytes]:
    """The same again and again, but for a number in place of ``#``."""
    return lambda size: (begin + "".join(unit.replace("#", str(n)) for n in range(size // (len(unit) + 4))) + end).encode()


CONFIG = 256 * KIB
"""What is read of a proxy's configuration at most."""
_AS_LIST, _AS_ENTRIES = b'{"le":{"Certificates":[', b"{}]}}"


def _aliases(size: int) -> bytes:
    """Lines that each name the one before it ten times: 10^(a tenth of the size) entries."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, size // 60)]
    return "\n".join([*lines, f"certificatesResolvers: {{le: {{acme: {{storage: *a{len(lines) - 1}}}}}}}"]).encode()


def _merged(size: int) -> bytes:
    """As `_aliases`, by merge keys."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, size // 60)]
    return "\n".join([*lines, f"certificatesResolvers: {{le: *a{len(lines) - 1}}}"]).encode()


def _long_name(size: int) -> bytes:
    """A resolver whose name is half of the store, with unusable entries as the other half."""
    return b'{"%s":{"Certificates":[%s1]}}' % (b"r" * (size // 2), b"1," * (size // 4))


COSTLY: tuple[Costly, ...] = (
    Costly("traefik-yaml", "aliases of aliases", _aliases, 600),
    Costly("traefik-yaml", "merge keys of merge keys", _merged, 600),
    Costly("traefik-yaml", "a flat list", repeated(b"1,", begin=b"[", end=b"]"), CONFIG),
    Costly("traefik-yaml", "resolvers", numbered("  r#: {acme: {}}\n", begin="certificatesResolvers:\n"), CONFIG),
    Costly("traefik-yaml", "brackets", repeated(b"["), CONFIG),
    Costly("traefik-yaml", "braces", repeated(b"{"), CONFIG),
    Costly("traefik-yaml", "lists in lists", repeated(b"- "), CONFIG),
    Costly("traefik-yaml", "the same name", repeated(b"a: 1\n"), CONFIG),
    Costly("traefik-yaml", "anchors", numbered("- &a# x\n"), CONFIG),
    Costly("traefik-yaml", "a number to the base of 60", repeated(b":1", begin=b"- 1"), CONFIG),
    Costly("traefik-yaml", "short forms of tags", numbered("%TAG !a#! b\n", end="---\na: b\n"), CONFIG),
    Costly("traefik-yaml", "escapes", repeated(b"\\n", begin=b'- "', end=b'"'), CONFIG),
    Costly("traefik-toml", "a name with dots", repeated(b"a.", end=b"a=1"), CONFIG),
    Costly("traefik-toml", "a section with dots", repeated(b"a.", begin=b"[", end=b"a]"), CONFIG),
    Costly("traefik-toml", "names of as many parts as may be", numbered("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a#=1\n"), CONFIG),
    Costly("traefik-toml", "brackets", repeated(b"[", begin=b"a="), CONFIG),
    Costly("traefik-toml", "tables in tables", repeated(b"{a=", begin=b"a="), CONFIG),
    Costly("traefik-toml", "a flat list", repeated(b"1,", begin=b"a=[", end=b"]"), CONFIG),
    Costly("traefik-toml", "tables of an array", repeated(b"[[a.b]]\n"), CONFIG),
    Costly("traefik-toml", "strings without end", repeated(b'\\"""', begin=b'a="""'), CONFIG),
    Costly("traefik-toml", "quotes", repeated(b"'"), CONFIG),
    Costly("pem-text", "dashes", repeated(b"-"), 4 * MIB),
    Costly("pem-text", "half an edge", repeated(b"-----BEGIN "), 4 * MIB),
    Costly("pem-text", "edges that are damaged", repeated(b"----BEGIN A A A "), 4 * MIB),
    Costly("pem-text", "typographic dashes", repeated(b"\xe2\x80\x93BEGIN A A A "), 4 * MIB),
    Costly(
        "pem-text", "headers", repeated(b"A: b\n", begin=b"-----BEGIN CERTIFICATE-----\n", end=b"\n-----END CERTIFICATE-----")
    ),
    Costly("pem-text", "ends given again", repeated(b"-----END CERTIFICATE-----\n", begin=b"x"), 4 * MIB),
    Costly("pem-text", "values in PKCS#7", repeated(b"MIAw", begin=b"-----BEGIN PKCS7-----\n", end=b"\n-----END PKCS7-----\n")),
    Costly("pem-text", "folders of a link", repeated(b"../", end=b"x"), 4 * KIB),
    Costly("pem-text", "names of a link", repeated(b"a.pem."), 4 * KIB),
    Costly("pem-text", "a web page", repeated(b"<?xml "), 4 * KIB),
    Costly("caddyfile", "storage without end", repeated(b" ", begin=b"storage"), CONFIG),
    Costly("caddyfile", "storage again and again", repeated(b"storage a {\n\n"), CONFIG),
    Costly("caddyfile", "blanks on every line", repeated(b"\t\t\t\n"), CONFIG),
    Costly("caddy-json", "lists in lists", repeated(b"["), CONFIG),
    Costly("caddy-json", "a number", repeated(b"1", begin=b'{"storage":', end=b"}"), CONFIG),
    Costly("proxy-start", "words", repeated(b"a "), CONFIG),
    Costly("proxy-start", "options", numbered("--certificatesresolvers.r#.acme.storage=/a\n"), CONFIG),
    Costly("proxy-start", "a name with dots", repeated(b".a", begin=b"--certificatesresolvers"), CONFIG),
    Costly("proxy-start", "a path", repeated(b"../a/", begin=b"--configfile=/"), CONFIG),
    Costly("proxy-start", "variables", numbered("TRAEFIK_CERTIFICATESRESOLVERS_#_ACME_STORAGE=/a\n", begin="\n\n"), CONFIG),
    *(
        Costly("label-value", f"only {unit!r}", repeated(unit.encode(), begin=b"a", end=b"a"), size)
        for unit in ("\\", '"', "'", "a ", "a;", "a,", ".", "/a", "25/smtp,", "$(", "\u00e4")
        for size in (4 * KIB, MIB)
    ),
    Costly("labels", "unknown ones", numbered("x#=1\n")),
    Costly("label-value", "domains", numbered("a#.example.com,"), 32 * KIB),
    Costly("source-url", "users", repeated(b"a@")),
    Costly("source-url", "hosts", repeated(b"://a:")),
    Costly("source-url", "options", repeated(b"c=d&", begin=b"a:///b?")),
    Costly("acme-json", "empty entries", repeated(b"{},", begin=_AS_LIST, end=_AS_ENTRIES)),
    Costly(
        "acme-json", "entries that cannot be used", repeated(b'{"key":"!","certificate":"!"},', begin=_AS_LIST, end=_AS_ENTRIES)
    ),
    Costly("acme-json", "resolvers", numbered('"r#":{},', begin="{", end='"le":{"Certificates":[]}}')),
    Costly(
        "acme-json",
        "as many resolvers as are read",
        numbered('"r#":{},', begin="{", end='"le":{"Certificates":[]}}'),
        512 * KIB,
    ),
    Costly("acme-json", "the name of a resolver", _long_name, 256 * KIB),
    Costly("acme-json", "the same name", repeated(b'"Certificates":[],', begin=b"{", end=b'"a":1}')),
    Costly("acme-json", "lists in lists", repeated(b"[", begin=_AS_LIST)),
    Costly("acme-json", "a number", repeated(b"1", begin=_AS_LIST, end=b"]}}"), 8 * MIB),
    Costly(
        "acme-json",
        "a certificate without end",
        repeated(b"QUFB", begin=b'{"Certificates":[{"key":"QQ==","certificate":"', end=b'"}]}'),
        8 * MIB,
    ),
    Costly("acme-json", "escapes", repeated(b"\\u0041", begin=b'{"Certificates":["', end=b'"]}')),
    Costly("acme-json", "blanks", repeated(b" "), 8 * MIB),
    Costly("kv-value", "base64 of blanks", lambda size: base64.b64encode(b" " * (size // 4 * 3))),
    Costly("kv-value", "a gzip bomb", lambda size: gzip.compress(b"{" + b" " * size * 500, mtime=0), 64 * KIB),
    Costly("etcd-messages", "messages of nothing", repeated(b"{}\n"), 256 * KIB),
    Costly("etcd-messages", "lists in lists", repeated(b"[")),
    Costly("synology-info", "folders", numbered('"f#":{},', begin="{", end='"abcdef":{}}')),
    Costly("synology-info", "services", numbered('{"subscriber":"s#"},', begin='{"abcdef":{"services":[', end="{}]}}")),
    Costly("imap", "one capability after the other", repeated(b"A ", begin=b"* OK\r\n* CAPABILITY "), 64 * KIB),
    Costly("sieve", "lines of nothing", repeated(b"\n", begin=b'"a" {4096}\r\n'), 64 * KIB),
    Costly("smtp", "lines of one reply", repeated(b"220-a\r\n"), 64 * KIB),
    Costly("pop3", "capabilities", repeated(b"A\r\n", begin=b"+OK\r\n+OK\r\n"), 64 * KIB),
    Costly("s-client", "certificates that begin", repeated(b"-----BEGIN CERTIFICATE-----\n"), CONFIG),
    Costly("s-client", "a certificate without end", repeated(b"\n", begin=b"-----BEGIN CERTIFICATE-----\n"), CONFIG),
    Costly("observed", "boundaries", repeated(b"\n--boundary\n")),
    Costly("pair", "certificates that begin", repeated(b"-----BEGIN CERTIFICATE-----\n")),
)
