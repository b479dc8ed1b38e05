"""Exceptions that nobody foresaw: told once each, with where they came from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog

from controller.domain.recent import Recent

log = structlog.get_logger()

MOST = 1000
"""Things of which it is remembered what was told: containers come and go."""

Place = tuple[str, str, int]
"""The type of an exception, and the file and line that raised it."""

_ENDS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""What is meant to pass through everything."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Make a `RuntimeError` of a panic in a library written in Rust, which is no `Exception` (PyO3, ``PanicException``)."""
    try:
        yield
    except (Exception, *_ENDS):
        raise
    except BaseException as panic:
        raise RuntimeError(f"a library failed for good: {type(panic).__name__}") from panic


class Faults:
    """What was told already of each thing, so that a fault that comes again and again fills no log."""

    def __init__(self) -> None:
        self._told: Recent[str, Place] = Recent(MOST)

    def tell(self, event: str, error: BaseException, *, about: str, secret: bool = False, **fields: object) -> None:
        """Log an error with its traceback; the same one of the same thing again on level debug only, until `over`.

        `secret`: the text of the exception may hold keys or passwords, so only its type is shown.
        """
        place = _place(error)
        if self._told.get(about) == place:
            log.debug(event, error=type(error).__name__, **fields)
            return
        self._told.put(about, place)
        log.error(event, exc_info=_without_text(error) if secret else error, **fields)

    def over(self, about: str) -> None:
        """It works again, so that the next fault is news."""
        self._told.forget(about)


def _place(error: BaseException) -> Place:
    frame, file, line = error.__traceback__, "", 0
    while frame is not None:
        file, line, frame = frame.tb_frame.f_code.co_filename, frame.tb_lineno, frame.tb_next
    return type(error).__name__, file, line


def _without_text(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    return kind, kind("(not shown: it may hold a key)"), error.__traceback__
