"""Fixtures of the tests with a real engine. Where it is missing they fail: these tests are the point."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from controller.engine import Engine
from tests.engine.delivery import connected
from tests.hanging import limit
from tests.lab import IMAGES_LIMIT, PROCESS, Lab, build_images, remove_everything, remove_leftovers
from tests.sdk import connect

LONGEST = (
    "test_stores",
    "test_campaign",
    "test_leftovers",
    "test_promises",
    "test_kill",
    "test_commands",
    "test_discover_proxies",
)
"""Files whose tests take two minutes together. They come first, so that none of them is left for the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the engine."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engine)
    items.sort(key=lambda item: item.path.stem not in LONGEST)


IMAGES = ("plain", "bolt", "stores", "consul", "mail24", "mail", "acme", "producers", "noshell")
"""All but certferry's own, which its test builds."""


@pytest.fixture(scope="session", autouse=True)
def _clean_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """The images are there, and nothing of a run that was killed is in the way; at the end nothing of this one is left."""
    with limit(request.config, IMAGES_LIMIT, "the images are not built"):
        build_images(*IMAGES)
    client = connect(timeout=120)
    remove_leftovers(client)
    yield
    ours = {"label": f"{PROCESS}={os.getpid()}"}
    left = [container.name for container in client.containers.list(all=True, filters=ours, ignore_removed=True)]
    remove_everything(client, ours)
    client.close()
    assert left == [], "tests left containers behind"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A laboratory of the test's own."""
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """This machine's Docker, as certferry talks to it."""
    async with connected() as engine:
        yield engine


@pytest.fixture(scope="session")
def idle_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One laboratory for the tests that need a container, but not one of their own."""
    laboratory = Lab(tmp_path_factory.mktemp("idle"))
    yield laboratory
    laboratory.close()


@pytest.fixture(scope="session")
def idle(idle_lab: Lab) -> Container:
    """A running container that does nothing; each test keeps to its own `folder`, and leaves it running."""
    return idle_lab.container()


@pytest.fixture
def folder() -> str:
    """A folder of the test's own; it does not exist yet."""
    return f"/test-{secrets.token_hex(4)}"
