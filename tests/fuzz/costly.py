"""Inputs made to cost much more than their size, too large to keep: each by the target it is for, its name, and how it is made.

`make` gets a size in bytes and makes about so many. Each is as long as what certferry reads at most, or as makes it slow to
read where that is not linear.
"""

from __future__ import annotations

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


COSTLY: tuple[Costly, ...] = (
    Costly("imap", "one capability after the other", repeated(b"A ", begin=b"* OK\r\n* CAPABILITY "), 64 * KIB),
    Costly("sieve", "lines of nothing", repeated(b"\n", begin=b'"a" {4096}\r\n'), 64 * KIB),
    Costly("etcd-messages", "messages of nothing", repeated(b"{}\n")),
)
