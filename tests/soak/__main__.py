"""``python -m tests.soak [ROUNDS]``: 5,000 renewals and 5,000 containers that come and go, and the memory they leave behind."""

from __future__ import annotations

import sys
import time

from tests.soak.life import Measure, growth, live

LIMIT = 256.0
"""KiB by which the memory of such a life may differ from its beginning to its end: a tenth of a KiB for a container."""


def _print(measure: Measure) -> None:
    entries = ", ".join(f"{name} {size}" for name, size in measure.entries.items())
    print(f"{measure.rounds:23}{measure.kib:8.0f}   {entries}", flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    began = time.perf_counter()
    print("renewals and containers   KiB   entries that are remembered", flush=True)
    measures = live(rounds, every=max(rounds // 10, 1), tell=_print)
    grown = growth(measures)
    print(f"{grown:+.0f} KiB from the first third to the last; {time.perf_counter() - began:.0f} s")
    if grown > LIMIT or measures[-1].entries != measures[0].entries:
        sys.exit("memory grows with what came and went")


if __name__ == "__main__":
    main()
