"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.unit.blocking import watched
from tests.unit.probe_server import PATIENT

# On a busy machine an example may take long for no reason of its own.
settings.register_profile("some", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("many", deadline=None, max_examples=500)
settings.load_profile("some")
"""Some examples, the same ones in each run; `make properties` tries many, and others each time."""


@pytest.fixture(scope="module")
def patient_probe() -> Iterator[None]:
    """On a busy machine even a connection to the machine itself may take seconds to be noticed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.probe.network.CONNECT_SECONDS", PATIENT)
        yield


@pytest.fixture(autouse=True)
def loop_that_nothing_blocks() -> Iterator[None]:
    """See `tests.unit.blocking`."""
    with watched():
        yield
