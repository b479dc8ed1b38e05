"""From an error to the reason that is reported: the one table. Pure."""

from __future__ import annotations

from controller.domain.errors import (
    CheckFailed,
    Error,
    FilesUnreadable,
    ReloadFailed,
    RollbackFailed,
    VerifyFailed,
    WriteFailed,
    WriteRefused,
)
from controller.domain.finding import Finding, Reason


class RolledBack(VerifyFailed):
    """The new pair did not work; the previous one is back."""


_REASONS: tuple[tuple[type[Error], Reason], ...] = (
    (FilesUnreadable, Reason.FILES_UNREADABLE),
    (WriteRefused, Reason.WRITE_REFUSED),
    (WriteFailed, Reason.WRITE_FAILED),
    (CheckFailed, Reason.CHECK_FAILED),
    (ReloadFailed, Reason.RELOAD_FAILED),
    (RolledBack, Reason.ROLLED_BACK),
    (VerifyFailed, Reason.VERIFY_FAILED),
    (RollbackFailed, Reason.VERIFY_FAILED),
    (Error, Reason.UNREACHABLE),
)
"""The first that fits counts; what says nothing about the target but that it could not be looked at comes last."""


def describe(error: Error) -> Finding:
    """An error as the finding to report."""
    return Finding(next(reason for kind, reason in _REASONS if isinstance(error, kind)), str(error))
