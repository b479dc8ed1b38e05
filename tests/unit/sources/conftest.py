"""What the tests of sources share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter; `tmp_path` belongs to the user of the tests alone."""
    path = Path(tempfile.mkdtemp(prefix="certferry-test-"))
    path.chmod(0o755)
    yield path
    for entry in path.iterdir():
        entry.chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """A context in which modes count; root would pass over them."""

    @contextmanager
    def drop() -> Iterator[None]:
        user = os.geteuid()
        os.seteuid(user or NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return drop
