"""The guard against calls that block the loop: it is no use unless it would fail."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from sources.files import read_file
from tests.unit.blocking import watched


async def _swallow(path: Path) -> None:
    with suppress(Exception):  # as a source does that must not end the process
        read_file(path, limit=10)


async def test_a_file_that_is_read_on_the_loop_fails_the_test_even_if_the_error_is_caught(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(AssertionError, match=r"the loop was blocked: .* by files\.py:[0-9]+ "), watched():
        await _swallow(tmp_path / "file")


async def test_a_file_that_is_read_beside_the_loop_does_not(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with watched():
        assert await asyncio.to_thread(read_file, tmp_path / "file", limit=10) == b"x"
