"""What hangs in a test is ended, and the failure says where everything stood (tests/hanging.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    ("asyncio_mode", "auto"),
    ("asyncio_default_fixture_loop_scope", "function"),
    ("timeout", "2"),
    ("timeout_func_only", "true"),
    ("timeout_fixtures", "2"),
    ("timeout_unwinding", "5"),
)
"""Seconds in which a good test is over on a busy machine too; and, further apart, those between one alarm and the next."""


def run(folder: Path, tests: str, *more: str) -> tuple[int, str]:
    """Run pytest on a file of its own; exit code and output."""
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.hanging"]\n')
    (folder / "test_it.py").write_text("import asyncio, threading, time\nimport pytest\n" + dedent(tests))
    options = [part for name, value in OPTIONS for part in ("-o", f"{name}={value}")]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", f"--rootdir={folder}", *options, *more, "test_it.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_a_test_that_waits_for_ever_fails_with_the_stacks_of_its_tasks_and_the_next_one_runs(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        async def deep():
            await asyncio.Event().wait()

        async def waiting_task():
            await deep()

        async def test_waits():
            await asyncio.gather(asyncio.create_task(waiting_task(), name="the hanging one"))

        def test_next():
            pass
        """,
    )
    assert code == 1
    assert "after 2 s: the test has not ended" in output
    assert "task the hanging one: waiting_task" in output
    assert "in deep" in output, "the whole chain, not only the task's first coroutine"
    assert "PASSED test_it.py::test_next" in output


def test_a_test_that_blocks_in_a_thread_fails_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        def sleeper():
            time.sleep(50)

        def test_joins():
            thread = threading.Thread(target=sleeper, name="the sleeper", daemon=True)
            thread.start()
            thread.join()
        """,
    )
    assert code == 1
    assert "FAILED test_it.py::test_joins" in output
    assert "thread the sleeper" in output
    assert "in sleeper" in output


def test_the_stacks_are_told_by_a_worker_of_xdist_too(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        async def test_waits():
            await asyncio.Event().wait()
        """,
        *("-n", "1"),
    )
    assert code == 1
    assert "waits for <Future pending" in output


def test_a_task_that_ignores_its_cancellation_does_not_hold_the_run(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        async def stubborn():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        async def test_leaves_it_behind():
            task = asyncio.create_task(stubborn(), name="stubborn")
            await asyncio.sleep(0)

        def test_next():
            pass
        """,
    )
    assert code == 1
    assert "after 2 s: the fixtures have not ended" in output
    assert "task stubborn" in output
    assert "PASSED test_it.py::test_next" in output


def test_a_fixture_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        @pytest.fixture
        def engine():
            threading.Event().wait()

        def test_uses_it(engine):
            pass
        """,
    )
    assert code == 1
    assert "after 2 s: the fixtures are not ready" in output


def test_an_alarm_that_is_swallowed_rings_again(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        def test_swallows():
            try:
                time.sleep(50)
            except BaseException:
                time.sleep(50)
        """,
    )
    assert code == 1
    assert "FAILED test_it.py::test_swallows" in output


def test_what_does_not_listen_at_all_ends_the_process_with_all_stacks(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        import signal

        def test_deaf():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(50)
        """,
    )
    assert code == 1
    assert "Timeout (0:00:17)!" in output
    assert "in test_deaf" in output


def test_a_thread_that_never_ends_does_not_hold_the_end_of_the_run(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        def test_leaves_a_thread_behind():
            threading.Thread(target=time.sleep, args=(50,)).start()
        """,
    )
    assert code == 1
    assert "1 passed" in output
    assert "Timeout (0:00:10)!" in output


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("timeout(3)", "say why it takes long"),
        ("slow(3)", "slow wants seconds and a reason"),
        ("slow(reason='it builds')", "slow wants seconds and a reason"),
    ],
)
def test_a_longer_limit_without_a_reason_is_refused(tmp_path: Path, marker: str, complaint: str) -> None:
    code, output = run(
        tmp_path,
        f"""
        @pytest.mark.{marker}
        def test_long():
            pass
        """,
    )
    assert code == pytest.ExitCode.USAGE_ERROR
    assert complaint in output


def test_a_longer_limit_with_a_reason_holds(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        @pytest.mark.slow(30, reason="it sleeps")
        def test_long():
            time.sleep(2.5)
        """,
    )
    assert code == 0, output
