"""A minute of the campaign of random faults, with a fixed seed; `make campaign` plays it for as long as one likes."""

from __future__ import annotations

import pytest

from tests.campaign.campaign import Campaign
from tests.campaign.judge import Limits
from tests.lab import Lab

SECONDS, SEED = 60, 1
PATIENT = Limits(healed=65.0, outage=20.0, mismatch=5.0, start=30.0, notice=10.0, ended=15.0)
"""What is done beside other tests takes longer: no limit but against what does not come at all."""


@pytest.mark.slow(600, reason="a minute of faults, and after each round of them up to a minute until all is whole again")
def test_what_is_promised_holds_under_random_faults(lab: Lab) -> None:
    told: list[str] = []
    verdict = Campaign(lab, SEED, PATIENT, told.append).play(SECONDS)

    print(verdict.figures)  # noqa: T201
    assert verdict.failures == {}, "\n".join(told)
