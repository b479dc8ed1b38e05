"""What the viewer sees: one line for each thing that is done, and a table that fills while it happens."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.demo.scene import PORTS

NAMES = {25: "SMTP", 465: "SMTPS", 587: "submission", 143: "IMAP", 993: "IMAPS"}
STEPS = {
    "target.differs": "noticed",
    "target.installed": "installed",
    "target.reloaded": "reloaded",
    "target.served": "proven",
}
"""The events of certferry's log, in their order."""
LEGEND = (
    "Above: the certificate that a client gets (the first digits of its SHA-256), and how long after acme.json was rewritten."
    " Below, from certferry's log: noticed = file read, difference found, ports asked; installed = both files swapped;"
    " reloaded = Dovecot and Postfix told; proven = handshakes on all mail ports, 110, 995 and 4190 too, show the new one."
)


class Screen:
    """On a terminal the table is alive; elsewhere the lines come as they are, and the table at the end."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._started = time.time()
        self._columns: list[str] = []
        self._cells: dict[tuple[str, str], Text] = {}
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=10)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._columns:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line, with the seconds since the beginning."""
        line = Text.assemble((f"{time.time() - self._started:5.0f} s  ", "dim"), (text, style))
        self._console.print(line, soft_wrap=True)

    def plain(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def column(self, name: str) -> None:
        """Begin a column; the table appears with the first one."""
        if not self._columns:
            self._live.start()
        self._columns.append(name)

    def fill(self, row: str | int, column: str, text: str, style: str = "") -> None:
        self._cells[str(row), column] = Text(text, style=style, justify="right")

    def _render(self) -> Group:
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("port", no_wrap=True)
        for name in self._columns:
            table.add_column(name, no_wrap=True, justify="right")
        for port in PORTS:
            table.add_row(f"{port:>3} {NAMES[port]}", *self._row(port))
        table.add_section()
        for event, name in STEPS.items():
            table.add_row(name, *self._row(event))
        return Group(Text(), table, Text(), Text(LEGEND, style="dim"), Text())

    def _row(self, row: str | int) -> list[Text]:
        return [self._cells.get((str(row), column), Text("…", style="dim")) for column in self._columns]
