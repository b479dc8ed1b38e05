"""How what certferry starts in a container comes to its end: text for POSIX sh with ``sleep`` and ``kill``, no ``timeout``.

Docker ends no exec: when its connection goes, it closes the input and throws the output away, and the processes run on (moby,
``daemon/exec.go``). So each script looks after itself. While the work is done, a process that sleeps is waited for; it is ended
by the work when that is done, and by a reader when the input is at its end. Nothing is left, and nothing is left to be reaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller.domain.execution import ExecResult

MARGIN = 5.0
"""Seconds that certferry waits longer than the limit inside, so that it is told of it."""

OVERDUE = "certferry: not done within"
"""Begins a line of the error output of what took too long. Its exit code is 124, or 137 where it had to be killed."""

_END = """_end() {
read -r _g <"/proc/$$/stat"
_g=${_g##*) }
_g=${_g#* }
_g=${_g#* }
[ "${_g%% *}" = $$ ] && _g=0 || _g=$_w
trap : TERM
kill -TERM "$_g"
sleep 1
kill -0 "$_w" && kill -KILL "$_g"
} 2>/dev/null"""
"""Ends the work, by force if need be. An exec has a process group of its own; where a runtime gives it none, only the work
itself is ended, since others would be in that group."""

_WATCH = '(while read -r _; do :; done; kill -HUP "$_s" || _end) <&3 >/dev/null 2>&1 3<&- & _e=$!'

_RUN = """command -v "$1" >/dev/null 2>&1 || { printf 'exec: "%s": executable file not found\\n' "$1" >&2; exit 127; }
"$@\""""
"""The work of `command`; what is said of a missing program is what the engine says."""


def script(work: str, *, seconds: float, tied: bool, before: str = "") -> str:
    """Shell text that does some work and ends it after `seconds`; `tied` work also ends when the input does.

    `before` is done first, by the same shell and without limit: it may read lines of the input, which is empty for the work.
    No name of a variable or function in either begins with an underscore.
    """
    limit = max(1, math.ceil(seconds))
    lines = [before] if before else []
    lines += [
        _END,
        "exec 3<&0 </dev/null",
        f"sleep {limit} >/dev/null 2>&1 3<&- & _s=$!",
        "(",
        "trap '_c=$?; kill \"$_s\" 2>/dev/null || :; exit $_c' EXIT",
        "trap 'exit 143' TERM",
        work,
        ") 3<&- & _w=$!",
        *([_WATCH] if tied else []),
        "exec 3<&-",
        'wait "$_s" 2>/dev/null',
        "case $? in",
        f"0) printf '%s\\n' '{OVERDUE} {limit} s' >&2; _end; exit 124 ;;",
        "129) _end; exit 129 ;;",
        "esac",
        'wait "$_w"; _c=$?',
        *(['kill "$_e"; wait "$_e" 2>/dev/null'] if tied else []),
        "exit $_c",
    ]
    return "\n".join(lines)


def command(argv: Sequence[str], *, seconds: float, tied: bool) -> tuple[str, ...]:
    """Argv that runs another argv, with an empty input, and ends it as `script` does."""
    return ("sh", "-c", script(_RUN, seconds=seconds, tied=tied), "certferry", *argv)


def is_overdue(result: ExecResult) -> bool:
    """Whether it was ended because its time was up."""
    return result.exit_code in (124, 137) and OVERDUE.encode() in result.stderr
