"""Text of others before it meets a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.printable import printable, printable_json, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mail.example.com", "mail.example.com"),
        ("bücher €", "bücher €"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\u009b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_does_not_print_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co"])))
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert [line.isprintable() for line in printable_lines(text).split("\n")] == [True] * (text.count("\n") + 1)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_means_the_same_and_steers_nothing(value: object) -> None:
    shown = printable_json(json.dumps(value, indent=2, ensure_ascii=False))

    assert json.loads(shown) == value
    assert all(line.isprintable() for line in shown.split("\n"))
