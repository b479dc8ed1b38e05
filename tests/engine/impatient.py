"""``python -m tests.engine.impatient 20 run``: a certferry that gives a silent port 20 seconds where others get a minute."""

from __future__ import annotations

import sys

from controller import cli, delivery, reconciler

if __name__ == "__main__":
    reconciler.SILENT_PAUSE, reconciler.FAILED_PAUSE = 0.5, 1.0
    reconciler.SILENT_LIMIT = delivery.SILENT_LIMIT = float(sys.argv.pop(1))  # type: ignore[attr-defined]
    cli.main()
