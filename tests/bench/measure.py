"""What was measured, beside what was expected."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.lab import Lab

notes = Console(stderr=True, highlight=False)
"""Where it says what is being done; the results alone go to standard output."""


@dataclass(frozen=True)
class Measure:
    """One number; `limit` is the expectation: at most that, or at least that with `at_least`."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the expectation is met; ``None`` where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def expected(self) -> str:
        return "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}".strip()

    @property
    def measured(self) -> str:
        digits = 0 if self.unit == "ms" or self.value == int(self.value) else 2
        return f"{self.value:,.{digits}f} {self.unit}".strip()


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": platform.python_version()}


@contextmanager
def laboratory() -> Iterator[Lab]:
    """A laboratory that goes whatever happens."""
    with TemporaryDirectory(prefix="certferry-bench-") as folder:
        lab = Lab(Path(folder))
        try:
            yield lab
        finally:
            lab.close()


def table(part: str, measures: list[Measure]) -> Table:
    """One part; what was missed stands out."""
    result = Table(title=f"{part}: expected and measured", title_justify="left")
    result.add_column("what")
    for column in ("expected", "measured"):
        result.add_column(column, justify="right", no_wrap=True)
    result.add_column("")
    result.add_column("how")
    marks = {True: "[green]ok[/]", False: "[bold red]MISSED[/]", None: ""}
    for m in measures:
        result.add_row(m.what, m.expected, m.measured, marks[m.met], f"[dim]{m.note}[/]")
    return result


def as_data(results: dict[str, list[Measure]]) -> dict[str, Any]:
    """The same for machines."""
    parts = {part: [asdict(m) | {"met": m.met} for m in measures] for part, measures in results.items()}
    return {"environment": environment(), "parts": parts}
