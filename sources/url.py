"""A source as one line: ``kind://host:port/path?option=value``. What the options mean stands in the file of each kind."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from controller.domain.duration import parse_duration
from controller.domain.errors import SettingsError

# RFC 3986, appendix B. Not urllib's, which knows one host only: of newer Pythons it refuses IPv6 among several.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_CREDENTIALS = re.compile(
    r"(?:[^:/?#]*:)?//[^/?#]*@"  # where the host belongs
    r"|[^:/?#]*://[^/?#:@[]+:(?![0-9]+(?:[,/?#]|$))[^@]*@"  # no port after the colon, but a password that breaks the URL
    r"|[^/?#:@[]+:(?![/?#])[^@]*@"  # without a kind
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXAMPLE = "traefik:///traefik/acme.json"

Duration = Annotated[float, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)]


class SourceOptions(BaseModel):
    """Base of the options of one kind: written with hyphens in the URL, with underscores here."""

    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


Options = TypeVar("Options", bound=SourceOptions)


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """The parts of a source's URL; `name` is its option of that name, and options may hold secrets."""

    kind: str
    host: str
    path: str
    name: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """The URL without options, fit for messages."""
        return f"{self.kind}://{self.host}{self.path}"

    def file_path(self) -> Path:
        """The path of a source that is a file or directory.

        Raises:
            SettingsError: empty, relative, or leading upwards.
        """
        if self.host:
            raise SettingsError(
                f"{self}: {self.host!r} stands where a host name belongs; did you mean {self.kind}:///{self.host}{self.path}?"
            )
        if not self.path.strip("/"):
            raise SettingsError(f"{self} names no path; write one such as {EXAMPLE}")
        if not self.path.startswith("/"):
            raise SettingsError(f"{self.kind}:{self.path} is relative; did you mean {self.kind}:///{self.path}?")
        if "\0" in self.path or ".." in self.path.split("/"):
            raise SettingsError(f"{self} leads upwards with '..' or holds a NUL; write the plain path")
        return Path("/" + self.path.lstrip("/"))

    def read_options(self, model: type[Options]) -> Options:
        """The options as the kind's model.

        Raises:
            SettingsError: unknown options, each with the nearest known one, and wrong values.
        """
        try:
            return model.model_validate(self.options)
        except ValidationError as error:
            known = [*(info.alias or name for name, info in model.model_fields.items()), "name"]
            seconds = [info.alias for info in model.model_fields.values() if info.annotation in (float, float | None)]
            lines = [_explain(str(part["loc"][0]), part, known, seconds) for part in error.errors()]
        # Raised out here, because pydantic's error quotes the values, and they may be secrets.
        raise SettingsError("; ".join(f"{self}: {line}" for line in lines))


def parse_url(text: str) -> SourceUrl:
    """Take a source's URL apart.

    Raises:
        SettingsError: it is none.
    """
    text = text.strip()
    if _CREDENTIALS.match(text):  # said without the URL: where a password ends in it is only guessed
        raise SettingsError("a source's URL holds no user:password@; write them as its options user=… and password-file=…")
    parts = _URL.fullmatch(text)
    if not parts:
        raise SettingsError(f"{re.split('[?#]', text)[0][:200]!r} is no URL of a source; write one such as {EXAMPLE}")
    kind, host, path, query, fragment = parts.groups(default="")
    url = SourceUrl(kind.lower(), host, unquote(path))
    if fragment:
        raise SettingsError(f"{url}: write a # in a path as %23")
    options = _parse_query(url, query)
    name = options.pop("name", None)
    if name is not None and not _NAME.fullmatch(name):
        raise SettingsError(f"{url}: {name!r} is no name for a source; use letters, digits, '.', '_' and '-'")
    return SourceUrl(url.kind, url.host, url.path, name, options)


def nearest(word: str, known: Collection[str]) -> str:
    """A half-sentence that points to the known word that was probably meant."""
    match = difflib.get_close_matches(word[:80], known, n=1)
    return f"did you mean {match[0]}?" if match else f"known are {', '.join(sorted(known))}"


def _parse_query(url: SourceUrl, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise SettingsError(f"{url}: options are written ?option=value&other=value") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise SettingsError(f"{url}: an option is given twice; keep one")
    return options


_EXPECTED = {
    "bool_parsing": "expected on or off",
    "byte_size": "expected a size such as 500KiB, 16MiB or 1GiB",
    "int_parsing": "expected a whole number",
    "string_too_short": "expected something that is not empty",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected at least {ge:g}",
    "less_than_equal": "expected at most {le:g}",
}
"""By pydantic's names of what is wrong, in place of its own words."""


def _explain(option: str, wrong: ErrorDetails, known: Collection[str], seconds: Collection[str | None]) -> str:
    kind = wrong["type"]
    if kind == "extra_forbidden":
        return f"unknown option {option}; {nearest(option, known)}"
    if kind not in _EXPECTED:
        return f"option {option}: {wrong['msg'].removeprefix('Value error, ')}"
    limit = wrong.get("ctx", {})
    return f"option {option}: {_EXPECTED[kind].format_map(limit)}{' s' if option in seconds and any(limit.values()) else ''}"
