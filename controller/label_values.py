"""What the value of a label means, one function for each kind of value. Each raises `ValueError` with what is expected."""

from __future__ import annotations

import re
import shlex
import signal
import unicodedata
from pathlib import PurePosixPath

from controller.domain.target import Reload

AUTO = ("auto",)
SELF_PATIENCE = 20.0
"""Seconds that a container which watches its own files may take; docker-mailserver and Mailu need one or two."""
LONGEST_NAME, LONGEST_PATH, HIGHEST_ID = 253, 4095, 2**32 - 2
MOST_DOMAINS = 250
"""Names that one certificate must cover; public authorities put 100 to 250 into one."""
LONGEST_VALUE, LONGEST_DOMAINS = 4 * 2**10, 32 * 2**10
"""Characters of a label, and of one that lists domains: a hundred names of the longest kind. A command of that length
belongs into a script."""

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_STEP = re.compile(rf"(?:{_QUOTED.pattern}|[^;\n])+", re.DOTALL)
_SHELL_SIGN = re.compile(r"[&|<>`]|\$\(")


def shown(text: str) -> str:
    """A value as a message may carry it: quoted, on one line, not endless."""
    return repr(text if len(text) <= 120 else f"{text[:120]}…")


def printable(text: str) -> str:
    """The name of a label, escaped where it could garble a line, and not endless."""
    text = text if len(text) <= 120 else f"{text[:120]}…"
    return text if text.isprintable() else repr(text)[1:-1]


def check_length(text: str, longest: int) -> str:
    """The text itself.

    Raises:
        ValueError: it is longer than real ones are; time and memory that it takes to read are for others.
    """
    if len(text) > longest:
        raise ValueError(f"{len(text):,} characters long; expected at most {longest:,}")
    return text


def split_list(text: str) -> list[str]:
    """The members of a list separated by commas or blanks.

    Raises:
        ValueError: there is none.
    """
    members = [member for member in re.split(r"[,\s]+", text) if member]
    if not members:
        raise ValueError("expected at least one name")
    return members


def parse_domains(text: str) -> tuple[str, ...]:
    """Host names in lower case as they stand in DNS, or `AUTO`."""
    members = split_list(check_length(text, LONGEST_DOMAINS))
    if "auto" in (member.lower() for member in members):
        if len(members) > 1:
            raise ValueError("auto stands alone")
        return AUTO
    if len(members) > MOST_DOMAINS:
        raise ValueError(f"expected at most {MOST_DOMAINS} names: one certificate must cover them all")
    return tuple(dict.fromkeys(map(_parse_domain, members)))


def _parse_domain(text: str) -> str:
    name = _to_ascii(text.lower().removesuffix(".")) if len(text) <= 2 * LONGEST_NAME else text
    labels = name.removeprefix("*.").split(".")
    if len(name) > LONGEST_NAME or not all(_DNS_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shown(text)} is no host name; expected one such as mail.example.com or *.example.com")
    if labels[-1].isdigit():
        raise ValueError(f"{shown(text)} is an address; expected a host name, for certificates are chosen by name")
    return name


def _to_ascii(name: str) -> str:
    if name.isascii():
        return name
    plain = unicodedata.normalize("NFC", name)
    try:
        encoded = plain.encode("idna")
        same = encoded.decode("idna") == plain
    except UnicodeError:
        same = False
    if not same:  # the codec is of 2003; where that differs from today's rules (ß, ς) it would name another host
        raise ValueError(f"{shown(name)} cannot be written in DNS with certainty; write its xn-- form")
    return encoded.decode("ascii")


def parse_path(text: str) -> PurePosixPath:
    """An absolute path of a file."""
    if not text.isprintable() or len(text) > LONGEST_PATH:
        raise ValueError("expected a path without control characters, of at most 4095 characters")
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError("expected the absolute path of a file, such as /etc/ssl/mail/cert.pem")
    if {".", ".."} & set(text.split("/")):
        raise ValueError("expected a path without . and .. in it")
    return PurePosixPath(re.sub("^/+", "/", text))


def parse_owner(text: str) -> tuple[int, int]:
    """User and group id."""
    found = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if found is None or max(int(found[1]), int(found[2])) > HIGHEST_ID:
        raise ValueError("expected user and group as numbers, such as 101:101")
    return int(found[1]), int(found[2])


def parse_mode(text: str) -> int:
    """Octal; such that the owner can read and others have no access, since the files hold a private key."""
    if not re.fullmatch(r"0?o?[0-7]{3}", text):
        raise ValueError("expected an octal mode such as 0600 or 0640")
    mode = int(text[-3:], 8)
    if mode & 0o007:
        raise ValueError("others could read the private key; expected 0 as the last digit, such as 0640")
    if not mode & 0o400:
        raise ValueError("not even the owner could read the file; expected a mode such as 0600 or 0640")
    return mode


def parse_user(text: str) -> str:
    """Name or number of a user, with or without a group."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", text):
        raise ValueError("expected user or user:group, by name or number")
    return text


def parse_flag(text: str) -> bool:
    """Yes or no."""
    if text.lower() not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError("expected true or false")
    return text.lower() in ("true", "yes", "on", "1")


def parse_check(text: str) -> tuple[str, ...]:
    """One command; empty for ``none``."""
    commands = () if text.lower() == "none" else _split_commands(text)
    if len(commands) > 1:
        raise ValueError("expected one command; write sh -c '…' for several")
    return commands[0] if commands else ()


def parse_reload(text: str) -> tuple[Reload, ...]:
    """Steps in their order; empty for ``none``."""
    if text.lower() == "none":
        return ()
    if text.lower() == "self":
        return (Reload("self", patience=SELF_PATIENCE),)
    return tuple(map(_parse_step, _split_commands(text)))


def _parse_step(argv: tuple[str, ...]) -> Reload:
    if len(argv) == 1 and argv[0].lower() in ("none", "self"):
        raise ValueError(f"{argv[0].lower()} stands alone")
    if argv[0].lower().startswith("signal:"):
        return Reload("signal", signal=_parse_signal(argv))
    return Reload("exec", argv=argv)


def _parse_signal(argv: tuple[str, ...]) -> str:
    name = argv[0].upper().removeprefix("SIGNAL:").removeprefix("SIG")
    if name in ("KILL", "STOP"):
        raise ValueError(f"signal {name} would end or halt the container; expected one that reloads, such as signal:HUP")
    if len(argv) > 1 or f"SIG{name}" not in signal.Signals.__members__:
        raise ValueError("expected the name of one signal, such as signal:HUP or signal:USR2")
    return name


def _split_commands(text: str) -> tuple[tuple[str, ...], ...]:
    """Commands separated by ``;`` or line ends outside of quotes, each as argv. No shell will see them."""
    if "\0" in text:
        raise ValueError("expected a command without NUL characters")
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError("a quotation mark in it is not closed, or a backslash ends it") from error
    if sign := _SHELL_SIGN.search(_QUOTED.sub("", text)):
        raise ValueError(f"no shell runs this, so {sign[0]} has no meaning; separate commands by ; or write sh -c '…'")
    commands = tuple(tuple(argv) for argv in map(shlex.split, _STEP.findall(text)) if argv)
    if not commands or any(not argv[0] for argv in commands):
        raise ValueError("expected a command such as postfix reload")
    return commands
