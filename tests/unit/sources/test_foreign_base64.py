"""Base64 in steps is what the standard library decodes in one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources import foreign_base64
from sources.foreign_base64 import decode_base64


@given(data=st.binary(max_size=100), blanks=st.lists(st.integers(0, 150), max_size=5))
def test_whatever_was_encoded_is_there_again(data: bytes, blanks: list[int]) -> None:
    text = base64.b64encode(data)
    for at in blanks:
        text = text[:at] + b"\r\n " + text[at:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign_base64, "STEP", 8)
        assert decode_base64(text) == data


@pytest.mark.parametrize("text", [b"QQ==QQ==", b"QUFBQUFBQ===QUFB", b"QUFBQUE=QUFB", b"QUFBQUFBQ", b"QUFB!UFB", b"\xff" * 4])
def test_what_ends_in_the_middle_or_holds_something_else_is_refused(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_base64, "STEP", 8)
    with pytest.raises(ValueError):
        decode_base64(text)
