"""Base64 that somebody else wrote, read in steps: Python decodes in one that lets nothing else run, a tenth of a second long
for 20 MiB.
"""

from __future__ import annotations

import base64
from string import whitespace

STEP = 2**20
"""Characters that are decoded at once; four of them are three bytes."""


def decode_base64(text: bytes) -> bytes:
    """The bytes in a text, whose blanks and line ends do not matter.

    Raises:
        ValueError: something else is in it, or it ends in the middle.
    """
    plain = text.translate(None, whitespace.encode())
    decoded = bytearray()
    for start in range(0, len(plain), STEP):
        if len(decoded) * 4 != start * 3:
            raise ValueError("an end in the middle")
        decoded += base64.b64decode(plain[start : start + STEP], validate=True)
    return bytes(decoded)
