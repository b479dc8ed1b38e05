"""The shell text that runs inside a container, but for the act itself, which is `sinks.act`. Pure: POSIX sh, with only cat, dd,
mv, rm, rmdir, mkdir, chown, chmod, stat, readlink and sleep beside it, as coreutils and BusyBox have them alike; for access
control lists, which only coreutils know, ls and cp.

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
from sinks.previous import PREVIOUS, STAGE, file_in, unpack

UNTOUCHED = 3
"""Exit code of a script that was refused before anything was replaced."""
NO_ROOM = 5
"""Exit code where a file could not be written although the folder can be written to: what is missing there can come back."""
LACKS = 7
"""Exit code of `observe` where a program is missing that the scripts need."""
VANISHED = 6
"""Exit code where a stage was removed, or a file replaced, before we replaced anything: somebody else was there meanwhile."""

_PRINTABLE = {code: chr(code) for code in range(0x20, 0x7F)} | {ord("%"): "%%", ord("\\"): "\\\\"}
_ESCAPED = [_PRINTABLE.get(code, f"\\{code:03o}") for code in range(256)]

_PROGRAMS = "cat dd mv rm rmdir mkdir chown chmod stat readlink"
_NEEDED = f'for t in {_PROGRAMS}; do command -v "$t" >/dev/null 2>&1 || exit {LACKS}; done'
"""``sleep`` is not among them: without it only the limits inside are missing."""

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
i=$(stat -c '%y;%u %g %a %s' "$1") || {{ stat -c %a / >/dev/null 2>&1 || exit {LACKS}; exit 1; }}
printf 'F %s %s\\n' "$i" "$1"
[ "${{i##* }}" -gt {LARGEST_FILE} ] || dd if="$1" bs=65536 count={LARGEST_FILE // 65536 + 1} 2>/dev/null
}}"""
"""What a file is and holds; of one that is too large, or grows without end, no more than tells that it is."""

_LEFT = f"""left() {{
case $seen in *":$1:"*) return ;; esac
seen="$seen$1:"
o=$1/{STAGE} p=
if [ -h "$o" ] || {{ [ -e "$o" ] && [ ! -d "$o" ]; }}; then printf 'L %s\\n' "$1"; return; fi
[ ! -f "$o/{PREVIOUS}" ] || [ -h "$o/{PREVIOUS}" ] || p=$o/{PREVIOUS}
for f in "$o"/* "$o"/.[!.]*; do
case $f in "$p" | */'*' | */'.[!.]*') ;; *) printf L; break ;; esac
done
printf '%s %s\\n' "${{p:+P}}" "$1"
[ -z "$p" ] || dd if="$p" bs=65536 count=128 2>/dev/null
}}"""
"""What is in a folder's own folder of ours: an L where there is something beside ``previous``, or it is no folder; a P where
that is there, and what it holds. Links are not followed: whoever shares the volume could lead us anywhere with them."""

WRITE = """set -e
root=
while read -r k v; do case $k$v in CapEff:*[2367abefABEF]) root=1 ;; esac; done </proc/self/status 2>/dev/null || :
die() { printf '%s\\n' "$1" >&2; exit "${2:-1}"; }
[ "$(command -v printf)" = printf ] || die "the shell has no printf of its own"
free() {
if [ -d "$1" ]; then die "$1 is a directory" 3; elif [ -h "$1" ]; then die "$1 is a link in a circle" 3; fi
if [ -c "$1" ] || [ -b "$1" ]; then die "$1 is a device" 3; fi
if [ -n "$root" ] && [ -e "$1" ] && [ ! -w "$1" ] && [ -w "${1%/*}/" ]; then die "$1 may not be replaced: it is immutable" 3; fi
}
same() { [ "$(stat -c %y "$1" 2>/dev/null)" = "$2" ] || die "somebody else replaced $1 meanwhile" 6; }
staged() { [ -f "$1" ] || die "$1 is not there any more" 6; }
make() {
[ -d "$1/" ] && return
[ ! -e "$1" ] || [ -d "$1/" ] || die "$1 is no directory"
make "${1%/*}"
mkdir -m 755 "$1" || [ -d "$1/" ] || cannot "$1" "${1%/*}/"
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
fill() {
printf "$1" >"$2" && return
if [ -e "$2" ]; then cannot "$2" "$2"; else cannot "$2" "${2%/*}"; fi
}
like() {
case $(ls -ld "$1" 2>/dev/null) in ??????????+*) cp -p "$1" "$2" 2>/dev/null || : ;; esac
}
stage() { mkdir -p "$1" 2>/dev/null || mkdir -p "$1" || cannot "$1" "${1%/*/*}"; }
cannot() {
[ -w "$2" ] && die "$1 cannot be written; is the disk full?" 5
[ -z "$root" ] || die "$1 cannot be written: $2 is read-only now" 5
die "$1 cannot be written: $2 is read-only"
}
not_moved() { [ -z "$root" ] || exit 5; exit 1; }"""
"""``own`` changes nothing that is right already: not every file system and not every container allows it.

Whether something can be written to is asked of the system (access(2)), which says no where it is mounted read-only, or
immutable, to root as well: to whoever has the right to write everywhere (CAP_DAC_OVERRIDE, capabilities(7)). What Docker
calls writable may be so again, and for whoever has that right a rename that fails (``not_moved``) is no matter of rights.
``like`` takes over an access control list of the replaced file (acl(5)): who reads the key by it still can."""


@dataclass(frozen=True, slots=True)
class FileWrite:
    """One file to put at `path` (links resolved).

    Without an owner it gets its directory's; without content the file is removed.
    """

    path: PurePosixPath
    content: bytes | None = field(repr=False)
    mode: int = 0o600
    owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A file to put in place, and where it is made ready."""

    write: FileWrite
    at: PurePosixPath


def q(path: PurePosixPath) -> str:
    """A path as a word of shell text."""
    return quote(str(path))


def new_stage() -> PurePosixPath:
    """Where the files of one act are staged, below the folder they go to; no two acts meet there."""
    return PurePosixPath(STAGE, secrets.token_hex(8))


def staged(write: FileWrite, stage: PurePosixPath) -> Staged:
    """A file and its place in the stage of its folder."""
    return Staged(write, write.path.parent / stage / write.path.name)


def stdin_of(writes: Iterable[FileWrite]) -> bytes:
    """File contents as the scripts read them: each is one line, a format for ``printf``."""
    return b"".join(_line(write.content or b"") for write in writes)


def _line(content: bytes) -> bytes:
    text = "".join(_ESCAPED[code] for code in content)
    return (text if text[:1] != "-" else f"\\055{text[1:]}").encode() + b"\n"  # no format begins like an option


def observe(paths: Sequence[PurePosixPath], boundary: str, ask: str = "") -> str:
    """Print owner, mode and content of each file, what is left of an earlier run, and the listening sockets.

    What is left is told for the folder of each file, once, and for the root folder. Before the sockets comes what `ask` prints.
    Ends with `LACKS` where the other scripts could not do their work.
    """
    end = f"printf '\\n%s\\n' {boundary}"
    lines = [_NEEDED, _RESOLVE, _SHOW, _LEFT, "seen=:"]
    for path in paths:
        lines += [f"r=$(resolve {q(path)})", 'show "$r"', end, 'left "${r%/*}"', end]
    lines += ['left ""', end, *([ask, end] if ask else []), "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true"]
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
    *parts, last, sockets = output.split(b"\n" + boundary.encode() + b"\n")
    answers = b""
    if len(parts) > 2 * len(paths):
        *parts, last, answers = *parts, last
    files: dict[PurePosixPath, InstalledFile | None] = {}
    resolved: dict[PurePosixPath, PurePosixPath] = {}
    for path, part in zip(paths, parts[::2], strict=True):
        head, _, content = part.partition(b"\n")
        files[path], resolved[path] = _parse_file(path, head.decode(errors="surrogateescape"), content)
    kept, litter, damaged = _parse_left([part for part in (*parts[1::2], last) if part])
    return Observed(files, resolved, _listening(sockets.decode()), kept, litter, answers.decode(errors="replace"), damaged)


def _parse_left(parts: Iterable[bytes]) -> tuple[dict[PurePosixPath, InstalledFile | None], bool, bool]:
    """What folders keep, whether something else is left in one, and whether what one keeps is not understood."""
    kept: dict[PurePosixPath, InstalledFile | None] = {}
    litter = damaged = False
    for part in parts:
        head, _, content = part.partition(b"\n")
        marks, _, folder = head.decode(errors="surrogateescape").partition(" ")
        found = unpack(PurePosixPath("/", folder), content)
        kept |= found
        litter |= "L" in marks
        damaged |= "P" in marks and not found
    return kept, litter, damaged


def _parse_file(path: PurePosixPath, head: str, content: bytes) -> tuple[InstalledFile | None, PurePosixPath]:
    if head.startswith("N "):
        return None, PurePosixPath(posixpath.normpath(head[2:]))
    modified, _, known = head.removeprefix("F ").partition(";")
    uid, gid, mode, size, resolved = known.split(" ", 4)
    if max(int(size), len(content)) > LARGEST_FILE:
        raise FilesUnreadable(too_large(path))
    return InstalledFile(path, content, int(uid), int(gid), int(mode, 8), modified), PurePosixPath(resolved)


def too_large(path: PurePosixPath) -> str:
    """What is to be said of such a file."""
    return f"{path} is larger than {LARGEST_FILE // 2**20} MiB: that is no certificate or key, and will not be replaced"


def _listening(text: str) -> frozenset[int] | None:
    """Ports in state 0A (LISTEN) of /proc/net/tcp and tcp6 (proc(5)); ``None`` where neither could be read."""
    if not text:
        return None
    rows = (line.split() for line in text.splitlines())
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A")


def read_contents(writes: Sequence[FileWrite], name: str = "content") -> str:
    """Take the lines of standard input into variables; where it ends early nothing has happened yet, and nothing will."""
    return "\n".join(f"IFS= read -r {name}{number} || exit {UNTOUCHED}" for number, _ in enumerate(writes))


def stage(files: Sequence[Staged]) -> str:
    """Write what `read_contents` took to its stage, with its final owner and mode, and print it back."""
    lines = [WRITE, "umask 077", *(f"free {q(one.write.path)}" for one in files)]
    folders = dict.fromkeys((one.at.parent.parent.parent, one.at.parent) for one in files)
    lines += [f"make {q(folder)}; stage {q(stage)}" for folder, stage in folders]
    for number, one in enumerate(files):
        lines.append(f'like {q(one.write.path)} {q(one.at)}; fill "$content{number}" {q(one.at)}; {own(one.write, one.at)}')
    return "\n".join([*lines, "cat " + " ".join(q(one.at) for one in files)])


def own(write: FileWrite, path: PurePosixPath) -> str:
    """Give a file that was just made its owner and mode."""
    owner = f"{write.owner[0]}:{write.owner[1]}" if write.owner else f'"$(owner {q(write.path.parent)})"'
    return f"own {q(path)} {owner} {write.mode:o}"


def discard(stages: Iterable[PurePosixPath]) -> str:
    """Remove stages, and our folder around each where nothing else is in it."""
    stages = list(stages)
    folders = " ".join(dict.fromkeys(q(stage.parent) for stage in stages))
    return f"rm -rf {' '.join(map(q, stages))}; rmdir {folders} 2>/dev/null || true"


def clean(folders: Iterable[PurePosixPath], *, previous: bool) -> str:
    """Remove all that is left in our folder of each folder; `previous` too, where that is not needed any more."""
    lines = []
    for folder in dict.fromkeys(folders):
        ours = q(folder / STAGE)
        if previous:
            lines.append(f"rm -rf {ours} || c=1")
        else:
            kept = q(file_in(folder))
            each = f'for f in {ours}/* {ours}/.[!.]*; do [ "$f" = "$p" ] || rm -rf "$f" || c=1; done'
            lines += [f"p=; [ ! -f {kept} ] || [ -h {kept} ] || p={kept}"]
            lines += [
                f"if [ -h {ours} ] || [ ! -d {ours} ]; then rm -f {ours} || c=1; else {each}; rmdir {ours} 2>/dev/null; fi"
            ]
    return "\n".join(["c=0", *lines, "exit $c"])
