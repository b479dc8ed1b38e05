"""Writes the tables of labels, settings and reasons into the pages that have markers for them.

``python docs/tables.py`` rewrites README.md and docs/*.md; with ``--check`` it only tells whether they are up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from controller.domain.finding import MEANING
from controller.labels import LABELS
from controller.settings import CONFIG, Settings, describe_default, variable

ROOT = Path(__file__).resolve().parent.parent
CONFIG_ROW = (f"`{CONFIG}`", "none", "A TOML file with any of the settings below, named in lower case and without the prefix.")


def label_table() -> str:
    """One row for each label of a mail container."""
    return _table(
        ("label", "example", "default", "meaning"),
        ((f"`certferry.{d.name}`", f"`{d.example}`", d.default, d.description) for d in LABELS),
    )


def setting_table() -> str:
    """One row for each setting."""
    fields = Settings.model_fields.items()
    return _table(
        ("variable", "default", "meaning"),
        [
            CONFIG_ROW,
            *((f"`{variable(name)}`", _code(describe_default(name)), info.description or "") for name, info in fields),
        ],
    )


def reason_table() -> str:
    """One row for each reason why a container is not ready or a certificate was not chosen."""
    return _table(("reason", "meaning", "what to do"), ((f"`{reason}`", *texts) for reason, texts in MEANING.items()))


TABLES: dict[str, Callable[[], str]] = {"labels": label_table, "settings": setting_table, "reasons": reason_table}


def fill(text: str) -> str:
    """The page with each table between its markers made anew.

    Raises:
        ValueError: a marker without its end, or with a name that no table has.
    """
    for name in re.findall(r"<!-- ([\w-]+):begin -->", text):
        if name not in TABLES:
            raise ValueError(f"no table is called {name}; there are {', '.join(TABLES)}")
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{begin} has no {end} after it")
        text = f"{before}{begin}\n{TABLES[name]()}{end}{after}"
    return text


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that may hold tables."""
    return [page for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if page.is_file()]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Rewrite or check; 1 when a page was, or would have been, changed in a check."""
    wanted = {page: fill(page.read_text(encoding="utf-8")) for page in pages(root)}
    stale = [page for page, text in wanted.items() if page.read_text(encoding="utf-8") != text]
    for page in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{page.relative_to(root)} is out of date; run python docs/tables.py\n")
        else:
            page.write_text(wanted[page], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`" if text else "empty"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
