"""Files that their writer locks: read between two writings, and never in its way."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from controller.domain.errors import SourceUnavailable
from sources import files, locks
from sources.files import MIB, read_file

HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, int(sys.argv[2])); print(flush=True); sys.stdin.read()"


LIMIT = 30.0
"""Seconds for what takes none; only against hanging."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "traefik.db").write_bytes(b"content")
    return tmp_path / "traefik.db"


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[subprocess.Popen[bytes]]:
    """Another program holds the file locked."""
    argv = [sys.executable, "-c", HOLD, str(path), str(how)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        yield holder
        holder.kill()
        holder.wait(LIMIT)


def is_free(path: Path) -> bool:
    """Whether a writer would get its lock at once."""
    with path.open("rb") as file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


def test_a_writer_is_waited_for_and_then_the_file_is_read(path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", LIMIT)
    with locked(path) as writer:
        let_go = threading.Event()

        def end() -> None:
            let_go.set()
            writer.kill()

        timer = threading.Timer(0.2, end)
        timer.start()
        assert read_file(path, limit=MIB, locked=True) == b"content"
        assert let_go.is_set(), "it was not read before"
        timer.join(LIMIT)


def test_what_was_written_while_it_waited_is_read_and_is_no_half_of_it(path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", LIMIT)
    with locked(path) as writer:

        def finish() -> None:
            path.write_bytes(b"other content")
            writer.kill()

        timer = threading.Timer(0.1, finish)
        timer.start()
        assert read_file(path, limit=MIB, locked=True) == b"other content"
        timer.join(LIMIT)


def test_a_file_that_stays_locked_is_told_with_the_remedy(path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with locked(path), pytest.raises(SourceUnavailable) as caught:
        read_file(path, limit=MIB, locked=True)
    assert str(caught.value) == (f"{path} is kept locked by another program; stop that program, or name a copy of the file")
    assert read_file(path, limit=MIB, locked=True) == b"content"


def test_others_may_read_meanwhile(path):
    with locked(path, fcntl.LOCK_SH):
        assert read_file(path, limit=MIB, locked=True) == b"content"


def test_the_lock_is_held_while_the_file_is_read_and_no_longer(path, monkeypatch):
    seen = []
    read = files._read

    def watched(descriptor: int, limit: int) -> bytes:
        seen.append(is_free(path))
        return read(descriptor, limit)

    monkeypatch.setattr(files, "_read", watched)
    assert read_file(path, limit=MIB, locked=True) == b"content"
    assert (seen, is_free(path)) == ([False], True)


def test_the_lock_is_let_go_when_reading_fails_although_a_child_has_the_descriptor(path, monkeypatch):
    copies = []

    def fail(descriptor: int, _limit: int) -> bytes:
        copies.append(os.dup(descriptor))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "_read", fail)
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        read_file(path, limit=MIB, locked=True)
    assert is_free(path)
    os.close(copies[0])


def test_files_that_nobody_locks_are_read_without(path):
    with locked(path):
        assert read_file(path, limit=MIB) == b"content"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_where_the_file_system_knows_no_locks_it_is_read_without(path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing(code))
    assert read_file(path, limit=MIB, locked=True) == b"content"


def test_a_file_system_that_fails_is_told(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(SourceUnavailable, match="cannot be read \\(Input/output error\\)"):
        read_file(path, limit=MIB, locked=True)


@pytest.mark.parametrize("what", ["folder", "pipe", "missing"])
def test_what_is_no_file_is_told_as_without_a_lock(tmp_path, what):
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    told = []
    for is_locked in (False, True):
        with pytest.raises(SourceUnavailable) as caught:
            read_file(path, limit=MIB, locked=is_locked)
        told.append(str(caught.value))
    assert told[0] == told[1]


def failing(code: int):
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(code, os.strerror(code))

    return flock
