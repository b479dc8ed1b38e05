"""Fuzz all targets, each for its part of the time, and say what came of it: ``python -m tests.fuzz [SECONDS] [TARGET …]``.

SECONDS (default 600) are for all together; two targets run at a time where there are two processors. Ends with 1 when
something was found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS

FOLDER = Path(".fuzz")
SECONDS = 600.0
SPARE = 120.0
"""Seconds that a process may take on top: to start, and until libFuzzer ends an input that hangs."""


def fuzz(name: str, seconds: float) -> dict[str, Any]:
    """Fuzz one target in a process of its own; its report, with `ended` where the process did not end as it should."""
    folder = FOLDER / name
    shutil.rmtree(folder / "begin", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    with (folder / "log").open("wb") as log:
        command = (sys.executable, "-m", "tests.fuzz.one", name, str(seconds), str(folder))
        try:
            ended = subprocess.run(command, stdout=log, stderr=log, timeout=seconds + SPARE, check=False).returncode
        except subprocess.TimeoutExpired:
            ended = -1
    path = folder / "report.json"
    report: dict[str, Any] = {"executions": 0, "findings": {}, "slowest": 0.0}
    if path.exists():
        report = json.loads(path.read_text())
    if ended:
        report["findings"][f"the process ended with {ended}, see {folder}/log and {folder}/ended-*"] = ""
    return {"name": name, **report}


def show(report: dict[str, Any]) -> None:
    """One line for a target, and one for each finding."""
    found = len(report["findings"])
    print(
        f"{report['name']:<16} {report['executions']:>9,} executions   {found or 'no'} finding{'s' if found != 1 else ''}"
        f"   slowest {report['slowest']:.3f} s",
        flush=True,
    )
    for what, where in report["findings"].items():
        print(f"    {what}   {where}", flush=True)


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    names = sys.argv[2:] or list(TARGETS)
    at_a_time = min(os.cpu_count() or 1, 4, len(names))
    print(f"{len(names)} targets, {seconds * at_a_time / len(names):.0f} s each, {at_a_time} at a time", flush=True)
    found = 0
    with ThreadPoolExecutor(at_a_time) as pool:
        for done in pool.map(lambda name: fuzz(name, seconds * at_a_time / len(names)), names):
            show(done)
            found += len(done["findings"])
    print(f"{found or 'nothing'} found", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
