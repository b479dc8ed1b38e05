"""``python -m tests.engine.killed_in_swap LINE run``: a certferry whose swap waits before one of its lines, to be killed there.

The script says where it is by the file `REACHED`, and goes on by itself after `PAUSE` seconds.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from controller import cli
from sinks import act, script

REACHED = "/reached"
PAUSE = 2

_script = act.script


def steps(text: str) -> list[str]:
    """The lines of a swap that do something, up to its mark."""
    return text.partition(script.WRITE + "\n")[2].partition(f"\nmark {act.SWAPPED}")[0].split("\n")


def _paused(line: int, *args: Any, **options: Any) -> str:
    text = _script(*args, **options)
    head, preamble, rest = text.partition(script.WRITE + "\n")
    lines = rest.split("\n")
    return head + preamble + "\n".join((*lines[:line], f": >{REACHED}; sleep {PAUSE}", *lines[line:]))


if __name__ == "__main__":
    number = int(sys.argv.pop(1))
    os.environ["CERTFERRY_EXEC_TIMEOUT"] = "30s"
    act.script = lambda *args, **options: _paused(number, *args, **options)
    cli.main()
