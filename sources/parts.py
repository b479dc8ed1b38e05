"""What the layouts share: reading the files of one pair, and telling when the path names the wrong folder."""

from __future__ import annotations

from pathlib import PurePosixPath
from posixpath import dirname, join, normpath

from controller.domain.errors import PartMissing, SourceMalformed, SourceUnavailable
from controller.x509.foreign import is_text_of_a_link
from sources.layout import Tree
from sources.pairs import Contents, label_of


def read_part(tree: Tree, path: str) -> bytes:
    """One file of a pair; where that is the text of a link, as copies without links have it, the file that it names.

    Raises:
        PartMissing: it is missing; that passes while a program writes.
        SourceMalformed: it is a link that leads nowhere, likewise.
        SourceUnavailable: it cannot be read; with the remedy.
    """
    if tree.kind(path) == "missing":
        if target := tree.link(path):
            raise SourceMalformed(f"{path} leads to {target}, where nothing is; mount what it leads to as well")
        raise PartMissing(f"{path} is missing")
    named = named_by(tree, path)
    return tree.read(named or path)


def named_by(tree: Tree, path: str) -> str:
    """The file of the tree that a file names which holds nothing but the text of a link; else empty."""
    try:
        data = tree.read(path) if tree.kind(path) == "file" else b""
    except (SourceUnavailable, SourceMalformed):
        return ""
    if not is_text_of_a_link(data):
        return ""
    named = normpath(join(dirname(path), data.decode().strip()))
    return named if tree.kind(named) == "file" and not named.startswith(("/", "..")) else ""


def link_of(tree: Tree, path: str) -> str:
    """Where a link points, as it is written, be it that it became a text on its way here; empty for what is none."""
    return tree.link(path) or (tree.read(path).decode().strip() if named_by(tree, path) else "")


def is_there(tree: Tree, path: str) -> bool:
    """Whether there is anything of that name, be it a link that leads nowhere."""
    return tree.kind(path) != "missing" or bool(tree.link(path))


def folders(tree: Tree, contents: Contents, folder: str = "") -> list[str]:
    """The names of the folders directly in a folder, links to folders among them; none where it is missing.

    That a folder cannot be read is a problem of its own; of the root it is raised as `SourceUnavailable`.
    """
    if not folder:
        return [name for name in tree.names() if tree.kind(name) == "folder"]
    with contents.entry(label_of(folder)):
        found = tree.names(folder) if tree.kind(folder) == "folder" else []
        return [name for name in found if tree.kind(f"{folder}/{name}") == "folder"]
    return []


def above(tree: Tree) -> str:
    """The folder above the root, for hints."""
    container, colon, path = tree.where.rpartition(":")
    return f"{container}{colon}{PurePosixPath(path).parent}"
