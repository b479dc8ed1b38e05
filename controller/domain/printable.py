"""Text of others, so that it cannot steer a terminal: names, labels, banners, subjects, what a command prints."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    r"""The text with everything that does not print as Python writes it in strings (``\x1b``): control characters, marks that
    turn the direction of reading, line ends."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """The same with its line ends."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """JSON of the same meaning in which nothing steers a terminal either; its line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
