"""What an operator should know of a target that is no reason to act now. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.target import Target
from controller.endings import endings
from controller.policies import Facts


def remarks(facts: Facts) -> tuple[str, ...]:
    """A sentence for each."""
    return (*(ending.message for ending in endings(facts)), *_open_keys(facts), *_without_a_way_back(facts))


def _open_keys(facts: Facts) -> tuple[str, ...]:
    private = dict.fromkeys(path for place in facts.target.places for path in place.private)
    found = ((path, facts.observed.files.get(path)) for path in private)
    return tuple(
        f"{path} can be read by everybody (mode {file.mode:04o}); {_corrected(facts.target, path)}"
        for path, file in found
        if file and file.mode & 0o007
    )


def _corrected(target: Target, path: PurePosixPath) -> str:
    """Who ends that a key can be read by everybody."""
    if target.written_by:
        return f"{target.written_by} writes it so"
    mount = target.container.mount_of(path)
    if mount and not mount.writable:
        return "it lies on a read-only mount, so correct that where it is written"
    return "the next renewal corrects that"


def _without_a_way_back(facts: Facts) -> tuple[str, ...]:
    container, resolved = facts.target.container, facts.observed.resolved
    paths = (resolved.get(path, path) for place in facts.target.places for path in place.paths)
    alone = [str(path) for path in paths if container.folder_beside(path) is None]
    if not alone:
        return ()
    where = ", ".join(alone)
    return (
        f"a change that a crash cuts off cannot be rolled back: nothing can be kept beside {where}; mount their folder instead",
    )
