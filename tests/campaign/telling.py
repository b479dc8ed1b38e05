"""``python -m tests.campaign.telling run``: a certferry that says where all its tasks stand when it gets SIGUSR1.

What a command prints beside its log is thrown away.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from controller import cli
from tests.stacks import everything


def _tell(_number: int, _frame: FrameType | None) -> None:
    sys.stderr.write(f"{everything()}\n{END}\n")
    sys.stderr.flush()


END = "--- that was all"

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    with Path(os.devnull).open("w") as sys.stdout:
        cli.main()
