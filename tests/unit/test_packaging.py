"""The distribution: its packages have plain names, so nobody else's may be in the way."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_one_of_this_checkout(package):
    assert Path(str(importlib.import_module(package).__file__)).parent == ROOT / package


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_has_a_package_of_that_name(package):
    """An editable installation lists no packages, an ordinary one lists them; a foreign one would be in the way of both."""
    assert set(importlib.metadata.packages_distributions().get(package, [])) <= {"certferry"}


def test_the_distribution_is_installed_with_its_command():
    distribution = importlib.metadata.distribution("certferry")
    assert distribution.version == PROJECT["project"]["version"]
    commands = {point.name: point.value for point in distribution.entry_points if point.group == "console_scripts"}
    assert commands == PROJECT["project"]["scripts"]
    module, _, function = commands["certferry"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_package_of_the_checkout_with_code_of_the_product_is_shipped():
    code = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()} - {"tests", "docs"}
    assert code == set(PACKAGES)
