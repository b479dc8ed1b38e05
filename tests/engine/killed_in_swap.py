"""``python -m tests.engine.killed_in_swap LINE run``: a certferry whose swap waits before one of its lines, to be killed there.

The script says where it is by the file `REACHED`, and goes on by itself after `PAUSE` seconds.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from controller import cli
from sinks import script

REACHED = "/reached"
PAUSE = 2

_PREAMBLE = script._WRITE.count("\n") + 1
_swap = script.swap


def steps(text: str) -> list[str]:
    """The lines of a swap that do something."""
    return text.split("\n")[_PREAMBLE:]


def _paused(line: int, *args: Any, **options: Any) -> str:
    lines = _swap(*args, **options).split("\n")
    at = _PREAMBLE + line
    return "\n".join((*lines[:at], f": >{REACHED}; sleep {PAUSE}", *lines[at:]))


if __name__ == "__main__":
    number = int(sys.argv.pop(1))
    os.environ["CERTFERRY_EXEC_TIMEOUT"] = "30s"
    script.swap = lambda *args, **options: _paused(number, *args, **options)
    cli.main()
