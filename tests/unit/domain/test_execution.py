"""How a command that could not be started is told from one that failed."""

import pytest

from controller.domain.execution import ExecResult

MISSING = b'OCI runtime exec failed: exec failed: unable to start: exec: "/x": stat /x: no such file or directory'
DYING = b"OCI runtime exec failed: exec failed: container_linux.go: open /proc/123/ns/ipc: no such file or directory: unknown"


@pytest.mark.parametrize(
    ("result", "missing", "gave_up"),
    [
        (ExecResult(126, MISSING, b""), True, False),
        (ExecResult(127, b"", b'exec: "timeout": executable file not found in $PATH\n'), True, False),
        (ExecResult(126, DYING, b""), False, True),
        (ExecResult(126, b"", b""), False, True),
        (ExecResult(126, b"", b"sh: 1: /etc/passwd: Permission denied"), False, False),
        (ExecResult(1, b"", b"cat: x: no such file or directory"), False, False),
    ],
)
def test_a_missing_program_and_a_container_that_stops(result, missing, gave_up):
    assert (result.is_missing, result.runtime_gave_up) == (missing, gave_up)
