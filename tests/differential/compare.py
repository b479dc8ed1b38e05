"""Many random worlds, decided by a number."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.differential.plans import Plan, plans
from tests.differential.properties import check

COMMANDS_EVERY = 20
"""Of so many worlds the openssl command is asked about one: it takes longer than all the rest."""
_PHASES = (Phase.generate, Phase.shrink)


def compare(worlds: int, number: int) -> Counter[str]:
    """Compare so many random worlds, and count what was met.

    Raises:
        Difference: with the smallest plan that shows it.
    """
    met = Counter[str]()

    @seed(number)
    @settings(max_examples=worlds, deadline=None, database=None, phases=_PHASES, suppress_health_check=list(HealthCheck))
    @given(plans(), st.integers(1, COMMANDS_EVERY))
    def each(plan: Plan, drawn: int) -> None:
        met["worlds"] += 1
        met.update(check(plan, ask_commands=drawn == COMMANDS_EVERY // 2))

    each()
    return met
