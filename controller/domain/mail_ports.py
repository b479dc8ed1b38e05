"""The protocols in which mail servers offer TLS, and lists of ports such as ``25/smtp,465/smtps``.

Which of them begin with TLS and how the others are asked for it; the dialogues themselves are `controller.probe`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from controller.domain.target import ProbePort

MAXIMUM_PORT = 65535
MOST_PROBLEMS = 10
"""Mistakes of a list that are told; a list with more is no list of ports."""
_LONGEST_QUOTE = 40
"""Characters of an entry that a message shows."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to TLS. `starttls` is the name that ``openssl s_client -starttls`` has for it, empty where TLS comes first."""

    name: str
    starttls: str = ""

    @property
    def implicit(self) -> bool:
        """The connection begins with TLS; no word is said before."""
        return not self.starttls


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("smtp", "smtp"),
        Protocol("smtps"),
        Protocol("imap", "imap"),
        Protocol("imaps"),
        Protocol("pop3", "pop3"),
        Protocol("pop3s"),
        Protocol("sieve", "sieve"),
        Protocol("tls"),
    )
}
"""By the name that labels use; ``tls`` is for anything else that begins with TLS."""

_OTHER_NAMES = {
    "submission": "smtp",
    "starttls": "smtp",
    "submissions": "smtps",
    "ssmtp": "smtps",
    "managesieve": "sieve",
    "ssl": "tls",
    "https": "tls",
}
"""What people write instead, where the spelling alone would not lead to the right name."""

STANDARD_PORTS: tuple[ProbePort, ...] = (
    ProbePort(25, "smtp"),
    ProbePort(465, "smtps"),
    ProbePort(587, "smtp"),
    ProbePort(143, "imap"),
    ProbePort(993, "imaps"),
    ProbePort(110, "pop3"),
    ProbePort(995, "pop3s"),
    ProbePort(4190, "sieve"),
)
"""What IANA registered for mail (RFC 5321, 8314, 9051, 1939, 5804); for profiles that know no better."""

_USUAL = {port.port: port.protocol for port in STANDARD_PORTS}


class ProbeListError(ValueError):
    """A list of ports that cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def parse_probe_list(text: str) -> tuple[ProbePort, ...]:
    """Read ``port/protocol`` entries separated by commas, in their order; blanks do not count.

    Raises:
        ProbeListError: (a `ValueError`) with the problems of the list, not only the first.
    """
    ports: list[ProbePort] = []
    problems: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        port, found = _parse_entry(entry)
        ports.append(port)
        problems += found
        if len(problems) > MOST_PROBLEMS:
            raise ProbeListError((*problems[:MOST_PROBLEMS], "and more of that kind"))
    seen = Counter(port.port for port in ports if 1 <= port.port <= MAXIMUM_PORT)
    problems += [f"port {port} is listed more than once" for port, times in seen.items() if times > 1][:MOST_PROBLEMS]
    if problems:
        raise ProbeListError(tuple(dict.fromkeys(problems)))
    return tuple(ports)


def _parse_entry(entry: str) -> tuple[ProbePort, list[str]]:
    digits, slash, name = (part.strip() for part in entry.partition("/"))
    port, shown = ProbePort(_number(digits), name.lower()), _quote(entry)
    if not entry:
        return port, ["an entry is empty; write port/protocol entries such as 25/smtp,993/imaps"]
    problems = []
    if not 1 <= port.port <= MAXIMUM_PORT:
        problems.append(f"{shown}: the port must be a number from 1 to {MAXIMUM_PORT}")
    if not slash or not name:
        problems.append(f"{shown}: the protocol is missing; write {port.port or 993}/{_USUAL.get(port.port, 'imaps')}")
    elif port.protocol not in PROTOCOLS:
        problems.append(f"{shown}: unknown protocol {_quote(name)}; {_nearest(port.protocol)}")
    return port, problems


def _quote(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def _number(digits: str) -> int:
    """The number, or 0 for what is none; `int` alone would take signs, blanks, underscores and foreign digits."""
    short = digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MAXIMUM_PORT))
    return int(digits) if short else 0


def _nearest(name: str) -> str:
    guess = _OTHER_NAMES.get(name) or next(iter(get_close_matches(name[:_LONGEST_QUOTE], PROTOCOLS, n=1)), "")
    return f"did you mean {guess}?" if guess else f"known are {', '.join(PROTOCOLS)}"
