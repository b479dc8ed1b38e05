"""``python -m tests.campaign [SECONDS [SEED]]``: random faults for so long; exit code 1 when anything did not hold."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.campaign.campaign import Campaign
from tests.campaign.journal import clock
from tests.campaign.judge import Limits
from tests.lab import Lab, build_images, remove_leftovers

DEFAULTS = 1200, 1


def _tell(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    given = [int(value) for value in sys.argv[1:]]
    seconds, seed = (*given, *DEFAULTS[len(given) :])
    build_images("mail")
    with TemporaryDirectory(prefix="certferry-campaign-") as folder:
        lab = Lab(Path(folder))
        remove_leftovers(lab.docker)
        try:
            _tell(f"{clock(time.time())} seed {seed}, {seconds} s: six containers start")
            verdict = Campaign(lab, seed, Limits(), _tell).play(seconds)
        finally:
            lab.close()
    _tell(verdict.figures)
    if verdict.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
