"""Fuzz one target with coverage guidance, for a time: ``python -m tests.fuzz.one TARGET SECONDS FOLDER``.

In a process of its own, since libFuzzer ends the process it runs in, and an input may hang or eat all memory. What was found
is told by ``FOLDER/report.json``; inputs that lead somewhere new are kept in ``FOLDER/grown``, where the next run goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

import atheris

BEGIN = time.monotonic()

with atheris.instrument_imports(include=["controller", "sources", "sinks", "yaml", "tomllib", "json"]):
    from tests.fuzz.target import Target, attempt
    from tests.fuzz.targets import TARGETS

LARGEST = 64 * 2**10
"""Bytes of an input; what needs more to be slow is in `tests.fuzz.costly`."""
LEAST = 2.0
"""Seconds that a target is fuzzed at least; its part of the time counts from before its modules are instrumented."""
HANGS, MEMORY = 60, 2048
"""Seconds and MiB after which libFuzzer ends the process and keeps the input."""


@dataclass
class Report:
    """What became of one target so far."""

    executions: int = 0
    slowest: float = 0.0
    slowest_input: str = ""
    findings: dict[str, str] = field(default_factory=dict)
    """The first input of each, by what was raised and where."""


class Fuzzer:
    """Tries inputs until the time is over; one finding does not end it."""

    def __init__(self, target: Target, seconds: float, folder: Path) -> None:
        self._target, self._folder, self._report = target, folder, Report()
        self._end = max(BEGIN + seconds, time.monotonic() + LEAST)

    def try_input(self, data: bytes) -> None:
        """One input of libFuzzer's."""
        self._report.executions += 1
        try:
            spent = attempt(self._target, data)
        except Exception as error:
            self._note(error, data)
        else:
            if spent > self._report.slowest:
                self._report.slowest, self._report.slowest_input = spent, str(self._keep("slowest", data))
        if time.monotonic() > self._end:
            self._write()
            os._exit(0)  # libFuzzer knows no other way that keeps quiet

    def _note(self, error: Exception, data: bytes) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__} in {Path(where.filename).name}:{where.name}"
        if name not in self._report.findings:
            self._report.findings[name] = str(self._keep(f"finding-{hashlib.sha256(data).hexdigest()[:12]}", data))
            traceback.print_exception(error)
            self._write()

    def _keep(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(data)
        return path

    def _write(self) -> None:
        (self._folder / "report.json").write_text(json.dumps(asdict(self._report)))


def main() -> None:
    name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    target, grown, begin = TARGETS[name], folder / "grown", folder / "begin"
    for made in (grown, begin):
        made.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate((*target.seeds(), *(path.read_bytes() for path in target.corpus))):
        (begin / str(number)).write_bytes(seed)
    options = [f"-max_len={LARGEST}", f"-timeout={HANGS}", f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={folder}/ended-"]
    atheris.Setup([sys.argv[0], *options, "-verbosity=0", str(grown), str(begin)], Fuzzer(target, seconds, folder).try_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
