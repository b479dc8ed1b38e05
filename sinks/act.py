"""The shell script of the act: keep what was there, swap, check, and reload, in one shell. Pure text building.

Two files cannot be read as one: what starts between the two renames, or reads between them, has no TLS until the reload. So the
reload follows at once, in the same script. From its first rename on it runs to its end without certferry (design §7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from shlex import join, quote

from controller.domain import guarded
from controller.domain.target import Reload
from sinks.script import WRITE, FileWrite, Staged, discard, own, q, read_contents
from sinks.services import DOVECOT, service_of, waits_for_dovecot

PUT_BACK = 4
"""Exit code of a script whose check failed, and which has put the files back that were there before."""
SWAPPED, CHECK, STOPPED = "swapped", "check", "s"
"""What the marks in the output say; a step of the reload is its number, and with an s whether its service does not run."""

_RUN = """run() {
command -v "$1" >/dev/null 2>&1 || { printf 'exec: "%s": executable file not found\\n' "$1"; return 127; }
"$@" </dev/null
}"""
"""What is said of a missing program is what the engine says; see `guarded.command`."""

_SOCKET = """dovecot_socket() {
[ -n "$sasl" ] || return 0
while read -r _ _ _ flags _ _ inode path; do
if [ "$flags" = 00010000 ] && [ "$path" = "$sasl" ]; then printf '%s ' "$inode"; fi
done </proc/net/unix 2>/dev/null
return 0
}
sasl=$(postconf -h queue_directory smtpd_sasl_type smtpd_sasl_path 2>/dev/null | {
IFS= read -r queue; IFS= read -r kind; IFS= read -r path
case $kind:$path in dovecot:inet:*) ;; dovecot:/*) printf '%s' "$path" ;; dovecot:?*) printf '%s/%s' "$queue" "$path" ;; esac
}) || :
socket=$(dovecot_socket)"""
"""The socket at which Postfix asks Dovecot who may log in, and whether Dovecot listens there, by the kernel's table."""

_SOCKET_AGAIN = """n=0
while [ $c -eq 0 ] && [ -n "$socket" ] && [ $n -lt 100 ]; do
now=$(dovecot_socket)
if [ -n "$now" ] && [ "$now" != "$socket" ]; then break; fi
sleep 0.02 2>/dev/null || { sleep 1; n=$((n + 49)); }
n=$((n + 1))
done"""
"""Dovecot's reload comes back before its new processes listen. A Postfix service that starts before they do is silent for a
minute, so this is waited for, two seconds at most."""


@dataclass(frozen=True, slots=True)
class Swap:
    """The files to put in place: `moves` out of their stages, `in_place` by rewriting, and `removals`.

    `keeps` go first: the ``previous`` of each folder. `drops` go last: those that are not needed any more. Nothing is done
    unless each file of `modified` is still the one that was written then, or still missing where that is empty.
    """

    moves: tuple[Staged, ...] = ()
    in_place: tuple[FileWrite, ...] = ()
    removals: tuple[FileWrite, ...] = ()
    keeps: tuple[Staged, ...] = ()
    drops: tuple[PurePosixPath, ...] = ()
    modified: tuple[tuple[PurePosixPath, str], ...] = ()

    @property
    def staged(self) -> tuple[Staged, ...]:
        """What must be made ready before."""
        return (*self.keeps, *self.moves)


@dataclass(frozen=True, slots=True)
class Use:
    """What is done with the files: a check, and the steps of the reload. `undo` is done where the check fails."""

    check: tuple[str, ...] = field(default=(), repr=False)
    steps: tuple[Reload, ...] = ()
    undo: Swap | None = None


def stages_of(swap: Swap, use: Use) -> tuple[PurePosixPath, ...]:
    """The folders in which files are staged."""
    return tuple(dict.fromkeys(one.at.parent for one in (*swap.staged, *(use.undo.moves if use.undo else ()))))


def script(swap: Swap, use: Use, *, boundary: str, seconds: float) -> str:
    """All of it. Contents of files in place, the new ones and then those to put back, come on standard input, a line each.

    The commands have `seconds` in all.
    """
    undo, stages = use.undo or Swap(), stages_of(swap, use)
    before = [read_contents(swap.in_place), read_contents(undo.in_place, "was"), _mark(boundary)]
    if waits_for_dovecot(use.steps):
        before.append(_SOCKET)
    before += [WRITE, *_exchange(swap, "content"), f"mark {SWAPPED} 0"]
    if not use.check and not use.steps:
        return "\n".join([*before, *leave(swap, stages)])
    work = ["exec 2>&1", _RUN, *_check(swap, use, stages), *_reload(use.steps), *leave(swap, stages), "exit 0"]
    return guarded.script("\n".join(work), seconds=seconds, tied=False, before="\n".join([*before, "set +e"]))


def _mark(boundary: str) -> str:
    """Says in the output how far it came, with an exit code."""
    return f'mark() {{ printf \'\\n%s %s %s\\n\' {quote(boundary)} "$1" "$2"; }}'


def _exchange(swap: Swap, content: str) -> Iterator[str]:
    """Renames of one folder by a single ``mv``; where that must be, files rewritten in place, and printed back."""
    yield from (f"free {q(write.path)}" for write in (*(one.write for one in swap.staged), *swap.in_place))
    yield from (f"staged {q(one.at)}" for one in swap.staged)
    yield from (f"same {q(path)} {quote(moment)}" for path, moment in swap.modified)
    yield from (f"mv -f {q(one.at)} {q(one.write.path)} || not_moved" for one in swap.keeps)
    for folder in dict.fromkeys(one.write.path.parent for one in swap.moves):
        moved = " ".join(q(one.at) for one in swap.moves if one.write.path.parent == folder)
        yield f"mv -f {moved} {q(folder)}/ || not_moved"
    for number, write in enumerate(swap.in_place):
        yield f'{own(write, write.path)}; fill "${content}{number}" {q(write.path)}'
    yield from (f"rm -f {q(write.path)}" for write in swap.removals)
    if swap.in_place:
        yield "cat " + " ".join(q(write.path) for write in swap.in_place)


def leave(swap: Swap, stages: Sequence[PurePosixPath]) -> Iterator[str]:
    """Clear away what is not needed any more: the last lines of `script`, for where it did not come to them."""
    yield from (f"rm -f {q(path)}" for path in swap.drops)
    folders = dict.fromkeys([*(stage.parent for stage in stages), *(path.parent for path in swap.drops)])
    if stages:
        yield discard(stages)
    if folders:
        yield f"rmdir {' '.join(map(q, folders))} 2>/dev/null || :"


def _check(swap: Swap, use: Use, stages: Sequence[PurePosixPath]) -> Iterator[str]:
    if not use.check:
        return
    yield f"run {join(use.check)}; c=$?; mark {CHECK} $c"
    yield "if [ $c -ne 0 ]; then"
    if use.undo:
        drops = tuple(one.write.path for one in swap.keeps)
        yield "(set -e"
        yield from _exchange(use.undo, "was")
        yield from leave(Swap(drops=drops), stages)
        yield f") >/dev/null && exit {PUT_BACK}"
    else:
        yield from leave(swap, stages)
    yield "exit 0"
    yield "fi"


def _reload(steps: Sequence[Reload]) -> Iterator[str]:
    """One after the other; a failing one does not keep the next from its service."""
    waits = waits_for_dovecot(steps)
    for number, step in enumerate(steps):
        yield f"run {join(step.argv)}; c=$?"
        if service := service_of(step):  # it may just be starting: then it is told once more
            runs = f"( {service.question} ) >/dev/null 2>&1 </dev/null"
            yield f"s=0; if [ $c -ne 0 ] && {runs}; then run {join(step.argv)}; c=$?; fi"
            yield f"[ $c -eq 0 ] || {runs} || s=1; mark {number}{STOPPED} $s"
        yield f"mark {number} $c"
        if waits and service is DOVECOT:
            yield _SOCKET_AGAIN


@dataclass(frozen=True, slots=True)
class Report:
    """What the script printed: whether the swap was done, what was read back, and of each command its exit code and output."""

    swapped: bool
    read_back: bytes = field(repr=False)
    ended: dict[str, tuple[int, bytes]] = field(repr=False)


def parse(output: bytes, boundary: str) -> Report:
    """Undo `script`: the text before each mark is what it is about."""
    ended: dict[str, tuple[int, bytes]] = {}
    rest, sign = output, b"\n" + boundary.encode() + b" "
    read_back = b""
    while True:
        text, found, rest = rest.partition(sign)
        head, _, rest = rest.partition(b"\n")
        name, _, code = head.decode(errors="replace").partition(" ")
        if not found or not code.isdecimal():
            break
        if name == SWAPPED:
            read_back = text
        ended[name] = int(code), text
    return Report(SWAPPED in ended, read_back, ended)
