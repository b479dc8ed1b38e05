"""What is written to a path: content, owner and mode. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.errors import WriteRefused
from controller.domain.observed import InstalledFile, Observed, Receipt
from controller.domain.target import Place, Target
from sinks import previous
from sinks.script import FileWrite

KEY_MODE, CERTIFICATE_MODE = 0o600, 0o644
_KEY_BITS = 0o640
"""What a key's mode may have: its owner reads and writes, its group reads. Never others."""


def paths_of(places: Iterable[Place]) -> list[PurePosixPath]:
    """All files of some places, each once."""
    return list(dict.fromkeys(path for place in places for path in place.paths))


def check_apart(target: Target, observed: Observed, contents: Mapping[PurePosixPath, bytes]) -> None:
    """Paths that links or mounts lead to one file can hold one thing only.

    Raises:
        WriteRefused: two are to hold different things.
    """
    found: dict[tuple[str, PurePosixPath], PurePosixPath] = {}
    for path, content in contents.items():
        other = found.setdefault(target.container.host_file(observed.resolved.get(path, path)), path)
        if content != contents[other]:
            text = f"{other} and {path} are one file: make them two, or set certferry.combined-path alone"
            raise WriteRefused(f"{text} (in {target.name})")


def new_files(target: Target, observed: Observed, contents: Mapping[PurePosixPath, bytes]) -> list[FileWrite]:
    """The files to write, at the destinations of their links."""
    private = frozenset(path for place in (*target.places, *target.internal) for path in place.private)
    return [_new_file(target, observed, path, content, private=path in private) for path, content in contents.items()]


def modified_of(target: Target, observed: Observed, paths: Collection[PurePosixPath]) -> tuple[tuple[PurePosixPath, str], ...]:
    """When files of the target's places were written, as far as that is known; empty where nothing is.

    Copies that the container makes itself are not among them: it may have made them since.
    """
    ours = [path for path in paths_of(target.places) if path in paths and path in observed.files]
    found = [(observed.resolved.get(path, path), observed.files[path]) for path in ours]
    return tuple((path, file.modified if file else "") for path, file in found if file is None or file.modified)


def _new_file(target: Target, observed: Observed, path: PurePosixPath, content: bytes, *, private: bool) -> FileWrite:
    """With the owner and mode of the one it replaces, else those of the labels, else the safe ones."""
    present = observed.files.get(path)
    mode = key_mode(present) if private else (present.mode if present else CERTIFICATE_MODE)
    if private and target.mode is not None:
        mode = target.mode
    owner = target.owner or ((present.uid, present.gid) if present else None)
    return FileWrite(observed.resolved.get(path, path), content, mode, owner)


def key_mode(present: InstalledFile | None) -> int:
    """The mode of a key that replaces a file: an existing key's, without what nobody needs; else for its owner alone.

    What other tools put there as a placeholder may be readable for everybody.
    """
    if present is None or b"PRIVATE KEY-----" not in present.content:
        return KEY_MODE
    return present.mode & _KEY_BITS | 0o400


def previous_files(receipt: Receipt) -> list[FileWrite]:
    """The files that put back what was there; one without content is to be removed."""
    return [_previous(receipt.resolved.get(path, path), file) for path, file in receipt.previous.items()]


def _previous(path: PurePosixPath, file: InstalledFile | None) -> FileWrite:
    if file is None:
        return FileWrite(path, None)
    return FileWrite(path, file.content, file.mode, (file.uid, file.gid))


def keeps_of(receipt: Receipt, kept: previous.Files) -> list[FileWrite]:
    """The ``previous`` files to write before a change: what it replaces, beside what is `kept` of changes that are still open.

    Of a path that is kept already the older file stays: the newer one was never confirmed.
    """
    container = receipt.target.container
    replaced = {receipt.resolved.get(path, path): file for path, file in receipt.previous.items()}
    return [
        _keep(folder, files, _owner(receipt))
        for folder, files in previous.by_folder(container, replaced | dict(kept)).items()
        if files.keys() - kept.keys()
    ]


def others_of(target: Target, observed: Observed) -> list[FileWrite]:
    """The ``previous`` files as they stay when nothing is needed of them for this target, and for others there is."""
    ours = set(observed.resolved.values()) | set(observed.files)
    others = {path: file for path, file in observed.kept.items() if path not in ours}
    return [_keep(folder, files, None) for folder, files in previous.by_folder(target.container, others).items()]


def _keep(folder: PurePosixPath, files: previous.Files, owner: tuple[int, int] | None) -> FileWrite:
    return FileWrite(previous.file_in(folder), previous.pack(folder, files), KEY_MODE, owner)


def _owner(receipt: Receipt) -> tuple[int, int] | None:
    """The owner of the key, or of the first file there is."""
    private = frozenset(path for place in (*receipt.target.places, *receipt.target.internal) for path in place.private)
    files = sorted(receipt.previous.items(), key=lambda item: item[0] not in private)
    return next(((file.uid, file.gid) for _, file in files if file), None)


def drops_of(receipt: Receipt) -> list[PurePosixPath]:
    """The ``previous`` files that are not needed any more when all is put back."""
    paths = (write.path for write in previous_files(receipt))
    return [previous.file_in(folder) for folder in folders_of(receipt.target.container, paths)]


def folders_of(container: Container, paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Where ``previous`` of some files may lie."""
    found = (container.folder_beside(path) for path in paths)
    return list(dict.fromkeys(folder for folder in found if folder is not None))
