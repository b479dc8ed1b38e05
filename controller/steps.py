"""The steps of the work on a target, told to whoever asked for it: whatever is logged of them is told, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog

Tell = Callable[[str, dict[str, Any]], None]
"""Is given the name of a log event and its fields."""

_tell: ContextVar[Tell | None] = ContextVar("steps", default=None)


@contextmanager
def told_to(tell: Tell) -> Iterator[None]:
    """Have `tell` called for each step of what is done within, by this task and those that it starts."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


class StepLog:
    """As structlog's logger, for the modules that do the steps. They are told whatever the log level is."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def info(self, event: str, **fields: Any) -> None:
        self._step(event, fields)
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._step(event, fields)
        self._log.warning(event, **fields)

    @staticmethod
    def _step(event: str, fields: dict[str, Any]) -> None:
        if tell := _tell.get():
            tell(event, fields)


_WORDS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "target.differs": lambda said: [f"differs: {said['reason']}: {said['message']}"],
    "target.installed": lambda said: [f"installed {said['fingerprint']} until {said['not_after'][:10]} from {said['source']}"],
    "target.checked": lambda said: [f"checked by {said['by']}"],
    "target.reloaded": lambda said: [f"reloaded by {said['by']}"],
    "target.served": lambda said: [f"verified {port}" for port in said["ports"].split(", ")],
    "reload.not_noticed": lambda _: ["the container did not notice by itself; certferry reloads"],
    "ports.silent": lambda said: [f"waiting for silent ports: {said['message']}"],
    "target.rolling_back": lambda said: [f"taking it back: {said['reason']}: {said['message']}"],
}
"""By the name of the log event."""


def describe(event: str, fields: dict[str, Any]) -> list[str]:
    """A step in words, one line or several; none for what is no step of the act."""
    return _WORDS[event](fields) if event in _WORDS else []
