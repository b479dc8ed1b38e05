"""Logging: structlog, JSON in a container, readable on a terminal. Nothing else configures it."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, TextIO

import structlog

from controller.domain.printable import printable, printable_json, printable_lines


def configure(level: str, form: str) -> None:
    """`form` is ``json``, ``console`` or ``auto``: console on a terminal. Everything goes to standard error.

    Tracebacks come without the local variables that structlog would add: keys are among them. What others wrote cannot steer
    the terminal that shows it.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        [_disarm, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
        if console
        else [
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through the standard module; they have something to say to an operator only when it is serious.
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Formatter(logging.Formatter):
    """Of what libraries say."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _disarm(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Of other values than text the renderer shows the `repr`, which steers nothing."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(printable_lines(text.getvalue()))


def _to_json(event: structlog.typing.EventDict, **options: Any) -> str:
    return printable_json(json.dumps(event, ensure_ascii=False, **options))
