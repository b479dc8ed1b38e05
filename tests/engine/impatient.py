"""``python -m tests.engine.impatient run``: a certferry that gives a silent port seconds where others get a minute."""

from __future__ import annotations

from controller import cli, delivery, reconciler

if __name__ == "__main__":
    reconciler.SILENT_PAUSE, reconciler.FAILED_PAUSE = 0.5, 1.0
    reconciler.SILENT_LIMIT = delivery.SILENT_LIMIT = 20.0  # type: ignore[attr-defined]
    cli.main()
