"""One parser as the fuzzer meets it, and what an input may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.domain.errors import Error

CORPUS = Path(__file__).parent / "corpus"
CPU_FIRST, CPU_PER_MIB = 0.5, 20.0
"""Seconds of processor time that any input may cost, and what each MiB of it may cost on top: some ten times what the slowest
parsers take, so that only what grows faster than its input is found."""


class TooSlow(Exception):
    """An input cost more than its size allows."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser. `run` gets any bytes; it may raise `allowed`, nothing else. `seeds` are inputs to begin with, made by code."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]] = tuple
    allowed: tuple[type[Exception], ...] = (Error,)

    @property
    def corpus(self) -> list[Path]:
        """The kept inputs."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


def attempt(target: Target, data: bytes) -> float:
    """Run a target once; how many seconds of processor time it took.

    Raises:
        TooSlow: more than an input of this size may cost.
        Exception: what the parser should not have raised.
    """
    begin = time.process_time()
    try:
        target.run(data)
    except target.allowed as error:
        check_message(error)
    spent = time.process_time() - begin
    if spent > CPU_FIRST + CPU_PER_MIB * len(data) / 2**20:
        raise TooSlow(f"{target.name}: {spent:.1f} s for {len(data)} bytes")
    return spent


LONGEST_MESSAGE = 16 * 2**10
"""Characters; a container may have some dozens of wrong labels, and each is told."""


def check_message(error: Exception) -> None:
    """A message must be fit for a log: bounded, whatever the input was."""
    text = str(error)
    assert len(text) <= LONGEST_MESSAGE, f"a message of {len(text)} characters: {text[:200]}"
