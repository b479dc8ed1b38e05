"""The shell scripts that run inside a container. Pure text building: POSIX sh, with only cat, dd, mv, rm, mkdir, chown, chmod,
stat and readlink beside the shell, as coreutils and BusyBox have them alike.

File contents never stand in a script or in argv: they come on standard input, one line for each file, and are written by the
shell's own ``printf``. ``read`` takes no byte more than its line; here-documents would go through ``/tmp`` in some shells.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from shlex import quote

from controller.domain.errors import FilesUnreadable
from controller.domain.observed import LARGEST_FILE, InstalledFile, Observed

STAGE = ".certferry"
PENDING = "pending"
UNTOUCHED = 3
"""Exit code of a swap that was refused before anything was replaced."""

_PRINTABLE = {code: chr(code) for code in range(0x20, 0x7F)} | {ord("%"): "%%", ord("\\"): "\\\\"}
_ESCAPED = [_PRINTABLE.get(code, f"\\{code:03o}") for code in range(256)]

_RESOLVE = """resolve() {
readlink -f "$1" 2>/dev/null && return
r=$1
for _ in 1 2 3 4 5 6 7 8; do
[ -h "$r" ] || break
l=$(readlink "$r")
case $l in /*) r=$l ;; *) r=${r%/*}/$l ;; esac
done
printf '%s\\n' "$r"
}"""
"""Where a path leads. ``readlink -f`` knows no answer for a link into a directory that does not exist (yet)."""

_SHOW = f"""show() {{
if [ ! -f "$1" ]; then printf 'N %s\\n' "$1"; return; fi
i=$(stat -c '%u %g %a %s' "$1") || exit
printf 'F %s %s\\n' "$i" "$1"
[ "${{i##* }}" -gt {LARGEST_FILE} ] || dd if="$1" bs=65536 count={LARGEST_FILE // 65536 + 1} 2>/dev/null
}}"""
"""What a file is and holds; of one that is too large, or grows without end, no more than tells that it is."""

_WRITE = """set -e
die() { printf '%s\\n' "$1" >&2; exit "${2:-1}"; }
[ "$(command -v printf)" = printf ] || die "the shell has no printf of its own"
free() { if [ -d "$1" ]; then die "$1 is a directory" 3; elif [ -h "$1" ]; then die "$1 is a link in a circle" 3; fi; }
staged() { [ -f "$1" ] || die "$1 is not there any more" 3; }
make() {
[ -d "$1/" ] && return
make "${1%/*}"
mkdir -m 755 "$1"
above=$(owner "${1%/*}/")
[ "$(owner "$1")" = "$above" ] || chown "$above" "$1"
}
owner() { stat -c %u:%g "$1"; }
own() {
is=$(stat -c '%u:%g %a' "$1")
[ "$is" = "$2 $3" ] && return
chown "$2" "$1"
chmod "$3" "$1"
is=$(stat -c '%u:%g %a' "$1")
[ "$is" = "$2 $3" ] || die "$1 does not take owner $2 and mode $3; without labels for them a file made by hand is kept as it is"
}
fill() { printf "$1" >"$2" || die "$2 cannot be written; is the disk full?"; }"""
"""``own`` changes nothing that is right already: not every file system and not every container allows it."""


@dataclass(frozen=True, slots=True)
class FileWrite:
    """One file to put at `path` (links resolved).

    Without an owner it gets its directory's; without content the file is removed.
    """

    path: PurePosixPath
    content: bytes | None = field(repr=False)
    mode: int = 0o600
    owner: tuple[int, int] | None = None


def _q(path: PurePosixPath) -> str:
    return quote(str(path))


def new_stage() -> PurePosixPath:
    """Where the files of one swap are staged, below the directory they go to; no two swaps meet there."""
    return PurePosixPath(STAGE, secrets.token_hex(8))


def _directories(writes: Iterable[FileWrite]) -> list[PurePosixPath]:
    return list(dict.fromkeys(write.path.parent for write in writes))


def stdin_of(writes: Iterable[FileWrite]) -> bytes:
    """File contents as the scripts read them: each is one line, a format for ``printf``."""
    return b"".join(_line(write.content or b"") for write in writes)


def _line(content: bytes) -> bytes:
    text = "".join(_ESCAPED[code] for code in content)
    return (text if text[:1] != "-" else f"\\055{text[1:]}").encode() + b"\n"  # no format begins like an option


def observe(paths: Sequence[PurePosixPath], boundary: str, ask: str = "") -> str:
    """Print owner, mode and content of each file, what is left of an earlier run, what `ask` prints, and what listens."""
    end = f"printf '\\n%s\\n' {boundary}"
    lines = [_RESOLVE, _SHOW]
    for path in paths:
        lines += [
            f"r=$(resolve {_q(path)})",
            'show "$r"',
            end,
            f"s=${{r%/*}}/{STAGE}",
            f'if [ -e "$s/{PENDING}" ]; then echo P; elif [ -e "$s" ]; then echo L; fi',
            end,
        ]
    if ask:
        lines += [ask, end]
    lines.append("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true")
    return "\n".join(lines)


def new_boundary() -> str:
    """A line that no file contains by chance."""
    return f"--{secrets.token_hex(16)}"


def parse_observed(output: bytes, paths: Sequence[PurePosixPath], boundary: str) -> Observed:
    """Undo `observe`.

    Raises:
        FilesUnreadable: a file is too large.
        ValueError: the output is not what the script prints.
    """
    *parts, sockets = output.split(b"\n" + boundary.encode() + b"\n")
    answers = parts.pop() if len(parts) == 2 * len(paths) + 1 else b""
    files: dict[PurePosixPath, InstalledFile | None] = {}
    resolved: dict[PurePosixPath, PurePosixPath] = {}
    marks = b""
    for path, part, mark in zip(paths, parts[::2], parts[1::2], strict=True):
        head, _, content = part.partition(b"\n")
        files[path], resolved[path] = _parse_file(path, head.decode(errors="surrogateescape"), content)
        marks += mark
    told = answers.decode(errors="replace")
    return Observed(files, resolved, _listening(sockets.decode()), b"P" in marks, b"L" in marks, told)


def _parse_file(path: PurePosixPath, head: str, content: bytes) -> tuple[InstalledFile | None, PurePosixPath]:
    if head.startswith("N "):
        return None, PurePosixPath(posixpath.normpath(head[2:]))
    _, uid, gid, mode, size, resolved = head.split(" ", 5)
    if max(int(size), len(content)) > LARGEST_FILE:
        raise FilesUnreadable(too_large(path))
    return InstalledFile(path, content, int(uid), int(gid), int(mode, 8)), PurePosixPath(resolved)


def too_large(path: PurePosixPath) -> str:
    """What is to be said of such a file."""
    return f"{path} is larger than {LARGEST_FILE // 2**20} MiB: that is no certificate or key, and will not be replaced"


def _listening(text: str) -> frozenset[int] | None:
    """Ports in state 0A (LISTEN) of /proc/net/tcp and tcp6 (proc(5)); ``None`` where neither could be read."""
    if not text:
        return None
    rows = (line.split() for line in text.splitlines())
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A")


def read_contents(writes: Sequence[FileWrite]) -> str:
    """Take the lines of standard input into variables; where it ends early nothing has happened yet, and nothing will."""
    return "\n".join(f"IFS= read -r content{number} || exit {UNTOUCHED}" for number, _ in enumerate(writes))


def stage(writes: Sequence[FileWrite], at: PurePosixPath) -> str:
    """Write what `read_contents` took beside its destination, with its final owner and mode, and print it back."""
    lines = [_WRITE, "umask 077", *(f"free {_q(write.path)}" for write in writes)]
    lines += [f"make {_q(directory)}; mkdir -p {_q(directory / at)}" for directory in _directories(writes)]
    for number, write in enumerate(writes):
        staged = _staged(write, at)
        lines.append(f'fill "$content{number}" {_q(staged)}; {_own(write, staged)}')
    return "\n".join([*lines, "cat " + " ".join(_q(_staged(write, at)) for write in writes)])


def _staged(write: FileWrite, at: PurePosixPath) -> PurePosixPath:
    return write.path.parent / at / write.path.name


def _own(write: FileWrite, path: PurePosixPath) -> str:
    owner = f"{write.owner[0]}:{write.owner[1]}" if write.owner else f'"$(owner {_q(write.path.parent)})"'
    return f"own {_q(path)} {owner} {write.mode:o}"


def swap(
    moves: Sequence[FileWrite],
    in_place: Sequence[FileWrite],
    removals: Sequence[FileWrite],
    at: PurePosixPath,
    *,
    confirm: bool,
) -> str:
    """Make all changes at once: renames of one directory by a single ``mv``, mounted files rewritten with what `read_contents`
    took, and printed back.

    Once begun nothing ends it but its own end, certferry's death least of all: half a swap is the worst there is. `confirm`
    leaves a mark beside the stages; without it any mark goes.
    """
    lines = [_WRITE, *(f"free {_q(write.path)}" for write in (*moves, *in_place))]
    lines += [f"staged {_q(_staged(write, at))}" for write in moves]
    if confirm:
        first = [*moves, *in_place][0].path.parent / STAGE
        lines.append(f"(umask 077; mkdir -p {_q(first)}; : >{_q(first / PENDING)}) 2>/dev/null || true")
    lines += [
        "mv -f " + " ".join(_q(_staged(w, at)) for w in moves if w.path.parent == directory) + f" {_q(directory)}/"
        for directory in _directories(moves)
    ]
    lines += [f'{_own(write, write.path)}; fill "$content{number}" {_q(write.path)}' for number, write in enumerate(in_place)]
    lines += [f"rm -f {_q(write.path)}" for write in removals]
    for directory in _directories((*moves, *in_place, *removals)):
        mark = "" if confirm else f"rm -f {_q(directory / STAGE / PENDING)}; "
        lines.append(f"{{ {mark}rmdir {_q(directory / at)}; rmdir {_q(directory / STAGE)}; }} 2>/dev/null || true")
    if in_place:
        lines.append("cat " + " ".join(_q(write.path) for write in in_place))
    return "\n".join(lines)


def discard(writes: Sequence[FileWrite], at: PurePosixPath) -> str:
    """Remove the stages of one swap."""
    directories = _directories(writes)
    stages, parents = (" ".join(_q(d / below) for d in directories) for below in (at, PurePosixPath(STAGE)))
    return f"rm -rf {stages}; rmdir {parents} 2>/dev/null || true"


def clean(directories: Iterable[PurePosixPath]) -> str:
    """Remove all stages and marks."""
    return "rm -rf " + " ".join(_q(directory / STAGE) for directory in dict.fromkeys(directories))
