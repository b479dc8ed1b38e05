"""What sources advise: nothing that destroys anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sources

ROOT = Path(sources.__file__).parent
DESTROYS = re.compile(r"(?i)\b(?:remove|delete|erase|wipe|purge|drop|overwrite|rm|unlink)\b")


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a module but its docstrings."""
    told = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


FILES = [*sorted(ROOT.rglob("*.py")), *sorted((ROOT.parent / "controller/x509").glob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_remedy_destroys_anything(file):
    found = [text for text in texts(ast.parse(file.read_text())) if " " in text and DESTROYS.search(text)]
    assert found == []
