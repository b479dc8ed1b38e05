"""What the value of a setting means, and how one is written again. Each reader raises `ValueError` with what is expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from controller.domain.duration import parse_duration

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|self-signed:")  # that one needs neither host nor path


_COMMA = re.compile(r"[,;](?:[a-z][a-z0-9+.-]*:///?|self-signed:)")


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back, to the millisecond: 0.25 is ``250ms``, 600 is ``10m``."""
    milliseconds = round(seconds * 1000)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= length and milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def read_duration(raw: object) -> object:
    if not isinstance(raw, str):
        return None if isinstance(raw, bool) else raw
    try:
        return parse_duration(raw)
    except ValueError:
        return None  # no float either, so that the message names the range as well


def read_address(raw: object) -> object:
    if raw is None or isinstance(raw, Address):
        return raw
    text = str(raw).strip()
    if text.lower() == "off":
        return None
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)]|([^\s:\[\]/]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65535:
        raise ValueError("expected host:port such as 127.0.0.1:9469, 0.0.0.0:9469 or [::1]:9469, or off")
    return Address(found[1] or found[2], int(found[3]))


def read_path(raw: object) -> object:
    if raw is None:
        return None
    path = Path(str(raw).strip())
    if not path.is_absolute():
        raise ValueError("expected a whole path, such as /roots or /roots/my-ca.pem")
    return path


def read_urls(raw: object) -> object:
    urls = raw.split() if isinstance(raw, str) else raw
    if not isinstance(urls, list | tuple) or not all(_URL.match(str(url)) for url in urls):
        raise ValueError("expected URLs separated by blanks, such as traefik:///traefik/acme.json")
    if any(_COMMA.search(str(url)) for url in urls):
        raise ValueError("expected blanks between the URLs, not commas")
    return tuple(map(str, urls))


def read_docker_host(raw: object) -> object:
    parts = urlsplit(str(raw).strip())
    if (parts.scheme == "unix" and parts.path) or (parts.scheme in {"tcp", "http", "https"} and parts.hostname):
        return str(raw).strip()
    raise ValueError("expected unix:///path/of/the.sock, or tcp://, http:// or https:// with a host")


def read_label_prefix(raw: object) -> object:
    prefix = f"{str(raw).strip().removesuffix('.')}."
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._/-]*[a-z0-9])?\.", prefix):
        raise ValueError("expected lower-case letters, digits, dots and dashes, such as certferry.")
    return prefix


def read_word(raw: object) -> object:
    return raw.strip().lower() if isinstance(raw, str) else raw


def read_switch(raw: object) -> object:
    """``on`` or ``off``, also where it is said as labels say it."""
    return {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}.get(
        word := str(raw).strip().lower(), word
    )


def shown(value: object) -> str:
    """A value as an error message may carry it: on one line, and without what a URL holds of passwords and tokens."""
    text = repr(value if len(str(value)) <= 200 else f"{str(value)[:200]}…")
    return re.sub(r"(://)(?:[^/@\s]*:[^\s'\"]*|[^/@\s]*)@|((?:token|password|secret|tls-key)=)[^&\s'\"]*", r"\1\2…", text)
