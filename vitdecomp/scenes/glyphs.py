"""A font of 5 x 7 pixels: for each letter its rows from the top, five bits each, in hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32

GLYPHS: Mapping[str, str] = MappingProxyType(
    {
        " ": "00 00 00 00 00 00 00",
        "a": "0e 11 11 1f 11 11 11",
        "b": "1e 11 11 1e 11 11 1e",
        "c": "0e 11 10 10 10 11 0e",
        "d": "1e 11 11 11 11 11 1e",
        "e": "1f 10 10 1e 10 10 1f",
        "f": "1f 10 10 1e 10 10 10",
        "g": "0e 11 10 17 11 11 0f",
        "h": "11 11 11 1f 11 11 11",
        "i": "0e 04 04 04 04 04 0e",
        "j": "07 02 02 02 02 12 0c",
        "k": "11 12 14 18 14 12 11",
        "l": "10 10 10 10 10 10 1f",
        "m": "11 1b 15 15 11 11 11",
        "n": "11 11 19 15 13 11 11",
        "o": "0e 11 11 11 11 11 0e",
        "p": "1e 11 11 1e 10 10 10",
        "q": "0e 11 11 11 15 12 0d",
        "r": "1e 11 11 1e 14 12 11",
        "s": "0f 10 10 0e 01 01 1e",
        "t": "1f 04 04 04 04 04 04",
        "u": "11 11 11 11 11 11 0e",
        "v": "11 11 11 11 11 0a 04",
        "w": "11 11 11 15 15 1b 11",
        "x": "11 11 0a 04 0a 11 11",
        "y": "11 11 0a 04 04 04 04",
        "z": "1f 01 02 04 08 10 1f",
    }
)


def write(word: str, scale: int) -> Float32[np.ndarray, "height width"]:
    """Return the ink of a word: 1 on its letters, 0 elsewhere; a letter has 5 x 7 cells of `scale` pixels."""
    ink = np.zeros((7, 6 * len(word) - 1), dtype=np.float32)
    for place, letter in enumerate(word):
        for row, bits in enumerate(GLYPHS[letter].split()):
            for column in range(5):
                ink[row, 6 * place + column] = int(bits, 16) >> (4 - column) & 1
    return ink.repeat(scale, axis=0).repeat(scale, axis=1)
