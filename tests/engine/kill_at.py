"""``python -m tests.engine.kill_at STEP run``: a certferry that dies by SIGKILL when it comes to a step of the act."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from controller import cli
from controller.proof import Prover
from sinks.container import ContainerSink

STEPS: dict[str, tuple[type, str, bool]] = {
    "before the stage": (ContainerSink, "_stage", False),
    "between stage and swap": (ContainerSink, "_stage", True),
    "between swap and reload": (ContainerSink, "_run_apart", False),
    "between reload and proof": (Prover, "verify", False),
    "after the proof": (Prover, "verify", True),
}
"""Where it dies, and whether when that is done (or before it begins). Only where the commands are another user's is there
anything between swap and reload."""


def _arm(step: str) -> None:
    owner, name, after = STEPS[step]
    original = getattr(owner, name)

    async def fatal(*args: Any, **options: Any) -> None:
        if after:
            await original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, fatal)


if __name__ == "__main__":
    _arm(sys.argv.pop(1))
    cli.main()
