"""``python -m tests.engine.as_of 2026-11-24 run``: a certferry for which that day does not end, as recorded data needs it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from controller import app, cli

if __name__ == "__main__":
    day = datetime.fromisoformat(sys.argv.pop(1)).replace(tzinfo=UTC)
    app.now = lambda: day
    cli.main()
