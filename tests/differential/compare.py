"""Many random worlds, decided by a number."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.differential.plans import Plan, plans
from tests.differential.properties import check

COMMANDS_EVERY = 20
"""Of so many worlds the openssl command is asked about one: it takes longer than all the rest."""
_SETTINGS = settings(
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def compare(worlds: int, number: int) -> Counter[str]:
    """Compare so many random worlds, and count what was met.

    Raises:
        Difference: with the smallest plan that shows it.
    """
    met = Counter[str]()

    @seed(number)
    @settings(_SETTINGS, max_examples=worlds)
    @given(plans(), st.integers(1, COMMANDS_EVERY))
    def each(plan: Plan, drawn: int) -> None:
        met["worlds"] += 1
        met.update(check(plan, ask_commands=drawn == COMMANDS_EVERY // 2))

    each()
    return met
