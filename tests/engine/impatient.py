"""``python -m tests.engine.impatient 20 run``: a certferry that gives a silent port 20 seconds where others get a minute."""

from __future__ import annotations

import sys

from controller import cli, delivery, reconciler, resting

if __name__ == "__main__":
    reconciler.FAILED_PAUSE, resting.SHORTEST_LOOK = 1.0, 0.5
    moments = tuple(number / 2 for number in range(1, 2 * int(sys.argv.pop(1)) + 1))
    for module in (reconciler, delivery):
        module.SILENT_MOMENTS, module.SILENT_LIMIT = moments, moments[-1]  # type: ignore[attr-defined]
    reconciler.SHORTEST_LOOK = resting.SHORTEST_LOOK  # type: ignore[attr-defined]
    cli.main()
