"""The labels of a mail container: the table of them, and how a container's labels are read.

Pure: nothing is looked up in the container. What a value means is in `controller.label_values`; what to do where a label
is missing is the profile's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Literal, TypeVar, cast

from controller import label_values as values
from controller.domain.errors import LabelError
from controller.domain.mail_ports import parse_probe_list
from controller.domain.target import ProbePort, Reload

OLDER_DOMAIN = "mailserver-traefik.renew.domain"
"""What the older tool calls the label ``domain``; read the same, whatever the prefix."""

MOST_UNKNOWN = 20
"""Unknown labels that are told one by one; a container has that many at most, and for each the nearest known is looked for."""

KeyChoice = Literal["any", "rsa", "ecdsa", "both"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LabelDefinition:
    """One row of the table; `name` without the prefix, `description` one sentence in Markdown."""

    name: str
    example: str
    default: str
    description: str


LABELS: tuple[LabelDefinition, ...] = (
    LabelDefinition(
        "domain",
        "mail.example.com",
        "required; its presence opts in",
        "The names the certificate must cover, separated by commas, at most 250. `auto` takes the container's own host name"
        " settings.",
    ),
    LabelDefinition(
        "profile", "docker-mailserver", "recognised from image and environment", "What kind of mail container this is."
    ),
    LabelDefinition("cert-path", "/etc/ssl/mail/cert.pem", "from the profile", "Where the certificate goes, with its chain."),
    LabelDefinition("key-path", "/etc/ssl/mail/key.pem", "from the profile", "Where the private key goes."),
    LabelDefinition(
        "chain-path",
        "/etc/ssl/mail/chain.pem",
        "none",
        "Where the chain goes, if the server wants it apart from the certificate.",
    ),
    LabelDefinition(
        "combined-path", "/etc/ssl/mail/all.pem", "none", "Where key, certificate and chain go together, in this order."
    ),
    LabelDefinition(
        "alt-cert-path", "/etc/ssl/mail/rsa-cert.pem", "from the profile", "Where a second certificate goes: RSA beside ECDSA."
    ),
    LabelDefinition("alt-key-path", "/etc/ssl/mail/rsa-key.pem", "from the profile", "Where the key of the second one goes."),
    LabelDefinition("owner", "101:101", "as the replaced file", "Owner of the files, as numbers: names differ inside."),
    LabelDefinition("mode", "0640", "as the replaced file", "Mode of the files that hold a key; never readable for others."),
    LabelDefinition(
        "reload",
        "doveadm reload; postfix reload",
        "from the profile",
        "What makes the services use new files: commands (without a shell, unless you write `sh -c '…'`) or `signal:USR2`,"
        " several separated by `;`. `none`: nothing is needed. `self`: the container notices by itself.",
    ),
    LabelDefinition("check", "doveconf -n", "from the profile", "A command that must end with 0 before the reload, or `none`."),
    LabelDefinition("user", "root", "the container's", "Who runs the commands inside the container."),
    LabelDefinition(
        "probe",
        "25/smtp,465/smtps,993/imaps",
        "from the profile, listening ports only",
        "The ports that must hand out the new certificate, each with its protocol, or `off`.",
    ),
    LabelDefinition("key-type", "ecdsa", "any", "The wanted key: `any`, `rsa`, `ecdsa`, or `both` for a pair of each."),
    LabelDefinition(
        "source", "traefik", "all", "Names of the sources to choose from, separated by commas, in order of preference."
    ),
    LabelDefinition(
        "allow-untrusted", "true", "false", "Whether a staging, private or self-signed certificate may replace a better one."
    ),
    LabelDefinition(
        "pause", "true", "false", "Whether certferry only looks and reports what it would do: nothing is written or reloaded."
    ),
)

NAMES = tuple(definition.name for definition in LABELS)


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """What the labels of one container say; ``None`` leaves a question to the profile."""

    domains: tuple[str, ...] = ()
    auto: bool = False
    profile: str | None = None
    cert_path: PurePosixPath | None = None
    key_path: PurePosixPath | None = None
    chain_path: PurePosixPath | None = None
    combined_path: PurePosixPath | None = None
    alt_cert_path: PurePosixPath | None = None
    alt_key_path: PurePosixPath | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    reload: tuple[Reload, ...] | None = None
    check: tuple[str, ...] | None = field(default=None, repr=False)
    user: str = ""
    probe: tuple[ProbePort, ...] | Literal["off"] | None = None
    key_type: KeyChoice = "any"
    sources: tuple[str, ...] = ()
    allow_untrusted: bool = False
    pause: bool = False


def is_opted_in(labels: Mapping[str, str], prefix: str) -> bool:
    """Whether any label of ours is there; one without a domain is worth a report."""
    return any(label.startswith(prefix) or label == OLDER_DOMAIN for label in labels)


def parse_labels(
    labels: Mapping[str, str], *, prefix: str, profiles: Collection[str], sources: Collection[str] | None
) -> LabelSpec:
    """Read the labels that begin with `prefix`. Sources are not checked where `sources` is ``None``.

    Raises:
        LabelError: every problem at once, each with the full label and its value.
    """
    reader = _Reader(labels, prefix)
    reader.report_unknown()
    domains, auto = _read_domains(reader)
    spec = LabelSpec(
        domains=domains,
        auto=auto,
        profile=reader.read("profile", lambda text: _one_of(text, profiles)),
        **{name: reader.read(name.replace("_", "-"), values.parse_path) for name in _PATHS},
        owner=reader.read("owner", values.parse_owner),
        mode=reader.read("mode", values.parse_mode),
        reload=reader.read("reload", values.parse_reload),
        check=reader.read("check", values.parse_check),
        user=reader.read("user", values.parse_user) or "",
        probe=reader.read("probe", _parse_probe),
        key_type=reader.read("key-type", _parse_key_type) or "any",
        sources=reader.read("source", lambda text: _parse_sources(text, sources)) or (),
        allow_untrusted=reader.read("allow-untrusted", values.parse_flag) or False,
        pause=reader.read("pause", values.parse_flag) or False,
    )
    _check_paths(reader, spec)
    if reader.problems:
        raise LabelError(tuple(reader.problems))
    return spec


COMMANDS = frozenset({"reload", "check"})
"""The labels whose values are commands."""
_PATHS = ("cert_path", "key_path", "chain_path", "combined_path", "alt_cert_path", "alt_key_path")


@dataclass
class _Reader:
    """Reads one label after the other and keeps the problems."""

    labels: Mapping[str, str] = field(repr=False)
    prefix: str
    problems: list[str] = field(default_factory=list)

    def read(self, name: str, parse: Callable[[str], T]) -> T | None:
        """A label that is longer than any real one is a problem, whatever stands in it."""
        return self.read_label(f"{self.prefix}{name}", lambda text: parse(values.check_length(text, values.LONGEST_VALUE)))

    def read_label(self, label: str, parse: Callable[[str], T]) -> T | None:
        if label not in self.labels:
            return None
        text = self.labels[label].strip()
        try:
            if not text:
                raise ValueError("the label is empty; give it a value or remove it")
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{label}={self._shown(label.removeprefix(self.prefix), text)}: {error}")
            return None

    def _shown(self, name: str, text: str) -> str:
        """A value for a message; of commands their beginning, since passwords may stand in their arguments."""
        if name not in COMMANDS:
            return values.shown(text)
        program = re.match(r"[\w:./-]*", text).group()  # type: ignore[union-attr]  # it matches nothing at least
        return values.shown(program + (" …" if program != text else ""))

    def has(self, name: str) -> bool:
        return f"{self.prefix}{name}" in self.labels

    def report_unknown(self) -> None:
        ours = {f"{self.prefix}{name}" for name in NAMES} | {OLDER_DOMAIN}
        unknown = sorted(label for label in self.labels if label.startswith(self.prefix) and label not in ours)
        for label in unknown[:MOST_UNKNOWN]:
            nearest = get_close_matches(label.removeprefix(self.prefix)[:80].lower(), NAMES, n=1, cutoff=0.0)[0]
            self.problems.append(
                f"{values.printable(label)}={self._shown(nearest, self.labels[label])}: unknown label;"
                f" the nearest known is {self.prefix}{nearest}"
            )
        if len(unknown) > MOST_UNKNOWN:
            more = len(unknown) - MOST_UNKNOWN
            self.problems.append(f"{more:,} more labels that begin with {self.prefix} are unknown; remove them")


def _read_domains(reader: _Reader) -> tuple[tuple[str, ...], bool]:
    label = f"{reader.prefix}domain"
    found = {name: reader.read_label(name, values.parse_domains) for name in (label, OLDER_DOMAIN) if name in reader.labels}
    if not found:
        reader.problems.append(f"{label} is missing; without it the container gets no certificate")
    if len({frozenset(domains) for domains in found.values() if domains}) > 1:
        reader.problems.append(f"{label} and {OLDER_DOMAIN} name different domains; remove one of them")
    domains = next((domains for domains in found.values() if domains), ())
    return ((), True) if domains == values.AUTO else (domains, False)


def _check_paths(reader: _Reader, spec: LabelSpec) -> None:
    """What the path labels must be to each other."""
    paths = {f"{reader.prefix}{name.replace('_', '-')}": path for name in _PATHS if (path := getattr(spec, name)) is not None}
    for one, other in (("cert-path", "key-path"), ("alt-cert-path", "alt-key-path")):
        for there, missing in ((one, other), (other, one)):
            if reader.has(there) and not reader.has(missing):
                reader.problems.append(f"{reader.prefix}{there} needs {reader.prefix}{missing} beside it")
    if reader.has("chain-path") and not (reader.has("cert-path") and reader.has("key-path")):
        reader.problems.append(
            f"{reader.prefix}chain-path needs {reader.prefix}cert-path and {reader.prefix}key-path beside it"
        )
    for label, path in paths.items():
        for other_label, other_path in paths.items():
            same = path == other_path
            if (same and label < other_label) or (not same and path.is_relative_to(other_path)):
                both = f"{values.printable(str(path))} and {values.printable(str(other_path))}"
                reader.problems.append(f"{label} and {other_label} are in each other's way: {both}")


def _one_of(text: str, known: Collection[str]) -> str:
    if text in known:
        return text
    nearest = get_close_matches(text[:80].lower(), known, n=1, cutoff=0.0)
    raise ValueError(f"unknown; the nearest known is {nearest[0]}" if nearest else "unknown; none is known")


def _parse_probe(text: str) -> tuple[ProbePort, ...] | Literal["off"]:
    return "off" if text.lower() == "off" else parse_probe_list(text)


def _parse_key_type(text: str) -> KeyChoice:
    if text.lower() not in ("any", "rsa", "ecdsa", "both"):
        raise ValueError("expected any, rsa, ecdsa or both")
    return cast("KeyChoice", text.lower())


def _parse_sources(text: str, known: Collection[str] | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(values.split_list(text)))
    return names if known is None else tuple(_one_of(name, known) for name in names)
