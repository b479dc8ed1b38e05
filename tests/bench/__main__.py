"""Runs the parts that are named, all when none is; always ends with 0, for it measures and does not judge."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable

from rich.console import Console

from tests.bench import entries, keyed, latency, load, stores
from tests.bench.measure import Measure, as_data, environment, notes, table
from tests.lab import build_images, remove_leftovers
from tests.sdk import connect

PARTS: dict[str, Callable[[int], list[Measure]]] = {
    "latency": latency.run,
    "idle": load.idle,
    "big": load.big,
    "entries": entries.run,
    "many": load.many,
    "folder": stores.folder,
    "polling": stores.polling,
    "keyed": keyed.latency,
    "keyed-idle": keyed.idle,
    "keyed-many": keyed.many,
}
WIDTH = 150


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures certferry with real containers.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all when none is named")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each way of the part latency (7)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    notes.print("building the images that are missing; the first time takes a few minutes")
    build_images("mail", "plain", "stores", "consul")
    remove_leftovers(connect(timeout=120))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    results: dict[str, list[Measure]] = {}
    for part in given.parts or PARTS:
        try:
            results[part] = PARTS[part](given.rounds)
        except AssertionError as error:
            notes.print(f"[bold red]{part} could not be measured:[/] {error}", markup=True)
            continue
        if not given.json:  # as soon as it is there: an interrupted run has shown what it had
            console.print(table(part, results[part]))
    if given.json:
        print(json.dumps(as_data(results), indent=2))
        return
    facts = ", ".join(f"{name} {value}" for name, value in environment().items())
    console.print(f"{facts}. A machine that does something else at the same time gives other numbers.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
