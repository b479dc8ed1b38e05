"""The key-value stores of the older tool: its ``KV_…`` variables as the URL of a source.

What the options of such a URL mean is the business of each source.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from controller.setting_values import shown

KINDS = ("consul", "etcd", "etcdv3", "zookeeper", "boltdb")
"""What its ``CERTS_SOURCE`` may say besides ``file``; it knows the third as ``KV_ETCD_VERSION`` only."""
HIDDEN = "***"
_ETCD_KINDS = {"etcd": "etcd2", "etcdv3": "etcd"}
"""Our kinds by its name of the version: the plain name is API v2 there, and v3 here."""
_PATHS = {"KV_TLS_CA": "tls-ca", "KV_TLS_CERT": "tls-cert", "KV_TLS_KEY": "tls-key"}
_TLS = frozenset({*_PATHS, "KV_TLS_TRUST_INSECURE"})
_WITHOUT_MEANING = ("KV_TLS_CA_OPTIONAL", "KV_BOLTDB_PERSIST_CONNECTION", "KV_ETCD_SYNC_PERIOD")
_KEY = ("KV_PREFIX", "KV_SUFFIX")
_VARIABLES = frozenset(
    {*_TLS, *_WITHOUT_MEANING, *_KEY, "KV_ENDPOINTS", "KV_USERNAME", "KV_PASSWORD", "KV_TIMEOUT", "KL_TLS_ENABLED"}
    | {"KV_CONSUL_TOKEN", "KV_BOLTDB_BUCKET", "KV_ETCD_VERSION"}
)
_ENDPOINT = re.compile(r"(?:(https?)://)?((?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?)/?", re.ASCII)


@dataclass
class Reading:
    """A store as the URL of a source, the same as a message may carry it, and what there is to be said.

    `names`: the variables that became part of the URL.
    """

    url: str = field(default="", repr=False)
    shown: str = ""
    names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Option:
    """An option of the URL, and the variable that it comes from."""

    variable: str
    name: str
    value: str = field(repr=False)
    secret: bool = False

    def written(self, *, hide: bool) -> str:
        return f"{self.name}={HIDDEN if hide and self.secret else quote(self.value, safe='/:')}"


def is_of_store(name: str) -> bool:
    """Whether a variable describes a key-value store."""
    return name.startswith("KV_") or name in _VARIABLES


def read_store(kind: str, variables: Mapping[str, str]) -> Reading:
    """Read the store of one of `KINDS`; with problems there is no URL."""
    reading = Reading()
    given = {name: value for name, value in variables.items() if is_of_store(name)}
    if unreadable := sorted(name for name, value in given.items() if not _is_text(value)):
        reading.problems += [f"{name}: expected UTF-8" for name in unreadable]
        return reading
    if kind == "boltdb":
        _read_file(given, reading)
    else:
        _read_network(kind, given, reading)
    _explain_unused(kind, given, reading)
    return reading


def _read_file(given: Mapping[str, str], reading: Reading) -> None:
    path = given.get("KV_ENDPOINTS", "")
    if not path or "," in path:
        said = f"KV_ENDPOINTS={shown(path)}" if path else "KV_ENDPOINTS is not set"
        reading.problems.append(f"{said}: expected the path of one BoltDB file, because CERTS_SOURCE is boltdb")
    bucket = given.get("KV_BOLTDB_BUCKET", "traefik")
    options = [_Option("", "key", _key(given)), _Option("KV_BOLTDB_BUCKET", "bucket", bucket)]
    _write(f"boltdb:///{quote(path.lstrip('/'))}", options, given, reading)


def _read_network(kind: str, given: Mapping[str, str], reading: Reading) -> None:
    url_kind = _read_etcd_kind(kind, given, reading) if kind in _ETCD_KINDS else kind
    flags = _read_flags(given, reading)
    endpoints, https = _read_endpoints(kind, given.get("KV_ENDPOINTS", ""), reading)
    options = [*_login_options(kind, given, reading)]
    if "KL_TLS_ENABLED" in flags or https:
        options += _tls_options(given, flags)
    path = quote(_key(given).removesuffix("/object"))
    _write(f"{url_kind}://{','.join(endpoints)}/{path}", options, given, reading)
    if kind == "etcd":
        reading.names |= {"KV_ETCD_VERSION"} & given.keys()


def _write(base: str, options: Collection[_Option], given: Mapping[str, str], reading: Reading) -> None:
    reading.names = {"KV_ENDPOINTS", *_KEY, *(option.variable for option in options)} & given.keys()
    if not reading.problems:
        reading.url, reading.shown = (
            "?".join(filter(None, (base, "&".join(option.written(hide=hide) for option in options)))) for hide in (False, True)
        )


def _read_etcd_kind(kind: str, given: Mapping[str, str], reading: Reading) -> str:
    version = kind if kind == "etcdv3" else given.get("KV_ETCD_VERSION", kind)
    if version.lower() not in _ETCD_KINDS:
        reading.problems.append(f"KV_ETCD_VERSION={shown(version)}: expected etcd (API v2) or etcdv3 (API v3)")
    return _ETCD_KINDS.get(version.lower(), kind)


def _read_endpoints(kind: str, text: str, reading: Reading) -> tuple[list[str], bool]:
    """Host and port of each, and whether any asks for TLS by its scheme."""
    endpoints = [part.strip() for part in text.split(",") if part.strip()]
    if not endpoints:
        reading.problems.append(
            f"KV_ENDPOINTS is not set: expected host:port, several separated by commas, because CERTS_SOURCE is {kind}"
        )
    found = [_ENDPOINT.fullmatch(endpoint) for endpoint in endpoints]
    for endpoint, match in zip(endpoints, found, strict=True):
        if "@" in endpoint:  # not quoted: a password stands before it
            reading.problems.append(
                "KV_ENDPOINTS: expected host:port without credentials; KV_USERNAME and KV_PASSWORD hold them"
            )
        elif match is None:
            reading.problems.append(
                f"KV_ENDPOINTS={shown(endpoint)}: expected host:port, such as kv.example:2379 or [::1]:2379"
            )
    return [match[2] for match in found if match], any(match[1] == "https" for match in found if match)


def _login_options(kind: str, given: Mapping[str, str], reading: Reading) -> Iterator[_Option]:
    timeout = given.get("KV_TIMEOUT", "0")
    if not re.fullmatch("[0-9]{1,9}", timeout):
        reading.problems.append(f"KV_TIMEOUT={shown(timeout)}: expected a whole number of seconds, such as 5")
    elif int(timeout):
        yield _Option("KV_TIMEOUT", "timeout", f"{int(timeout)}s")
    if user := given.get("KV_USERNAME"):
        yield _Option("KV_USERNAME", "user", user)
    if password := given.get("KV_PASSWORD"):
        yield _Option("KV_PASSWORD", "password", password, secret=True)
    if kind == "consul" and (token := given.get("KV_CONSUL_TOKEN")):
        yield _Option("KV_CONSUL_TOKEN", "token", token, secret=True)


def _tls_options(given: Mapping[str, str], flags: Collection[str]) -> Iterator[_Option]:
    yield _Option("KL_TLS_ENABLED" if "KL_TLS_ENABLED" in flags else "", "tls", "on")
    for variable, name in _PATHS.items():
        if value := given.get(variable):
            yield _Option(variable, name, value, secret=not _is_path(value))
    if "KV_TLS_TRUST_INSECURE" in flags:
        yield _Option("KV_TLS_TRUST_INSECURE", "tls-insecure-skip-verify", "on")


def _read_flags(given: Mapping[str, str], reading: Reading) -> set[str]:
    """The flags that are on. That tool takes 1 alone for on, so no other word is guessed at."""
    flags = {name: given.get(name, "0") for name in ("KL_TLS_ENABLED", "KV_TLS_CA_OPTIONAL", "KV_TLS_TRUST_INSECURE")}
    for name, value in flags.items():
        if value not in ("0", "1"):
            reading.problems.append(f"{name}={shown(value)}: expected 1 or 0")
    return {name for name, value in flags.items() if value == "1"}


def _explain_unused(kind: str, given: Mapping[str, str], reading: Reading) -> None:
    """Say what was not read, and why; what is off anyway needs no word."""
    unused = {name for name, value in given.items() if value != "0" and name not in reading.names}
    without_tls = unused & _TLS if kind != "boltdb" else set()
    for names, why in (
        (without_tls, "ignored, as that tool does where KL_TLS_ENABLED is not 1"),
        (unused & _VARIABLES - without_tls, f"not needed where CERTS_SOURCE is {kind}"),
        (unused - _VARIABLES, "unknown to that tool, so ignored here as well"),
    ):
        if names:
            reading.notes.append(f"{', '.join(sorted(names))}: {why}")


def _key(given: Mapping[str, str]) -> str:
    """The key of the value itself; whether it begins with a slash is for the source to find out."""
    return f"{given.get('KV_PREFIX', 'traefik')}{given.get('KV_SUFFIX', '/acme/account/object')}".strip("/")


def _is_path(value: str) -> bool:
    """Whether it can be shown. Nothing of a key in PEM, not even its bare Base64, begins with a slash."""
    return value.startswith("/") and len(value) < 256 and value.isprintable() and "-----" not in value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
