"""The tables in the pages are those of the program."""

from __future__ import annotations

import pytest

from controller.labels import LABELS
from controller.settings import Settings, variable
from docs import tables

EMPTY = "before\n<!-- {0}:begin -->\nold\n<!-- {0}:end -->\nafter\n"


def test_the_tables_in_the_readme_and_the_docs_are_up_to_date(capsys):
    assert (tables.ROOT / "README.md").is_file()
    assert tables.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_has_its_place_in_some_page(name):
    assert any(f"<!-- {name}:begin -->" in page.read_text() for page in tables.pages())


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_replaces_what_is_between_its_markers_and_nothing_else(name):
    filled = tables.fill(EMPTY.format(name))
    assert filled == f"before\n<!-- {name}:begin -->\n{tables.TABLES[name]()}<!-- {name}:end -->\nafter\n"
    assert tables.fill(filled) == filled


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    for make_table in tables.TABLES.values():
        lines = make_table().splitlines()
        assert {line.replace("\\|", "").count("|") for line in lines} == {lines[0].count("|")}


def test_the_tables_are_complete():
    assert all(f"`certferry.{definition.name}`" in tables.label_table() for definition in LABELS)
    assert all(f"`{variable(field)}`" in tables.setting_table() for field in Settings.model_fields)


def test_pages_are_rewritten_and_a_check_only_tells(tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text(EMPTY.format("labels"))
    assert tables.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "README.md is out of date; run python docs/tables.py\n"
    assert page.read_text() == EMPTY.format("labels")
    assert tables.main([], tmp_path) == 0
    assert tables.main(["--check"], tmp_path) == 0
    assert page.read_text() == tables.fill(EMPTY.format("labels"))


def test_wrong_markers_are_an_error():
    with pytest.raises(ValueError, match="no table is called label; there are labels, settings, reasons"):
        tables.fill("<!-- label:begin --><!-- label:end -->")
    with pytest.raises(ValueError, match="<!-- labels:begin --> has no <!-- labels:end --> after it"):
        tables.fill("<!-- labels:begin -->")
