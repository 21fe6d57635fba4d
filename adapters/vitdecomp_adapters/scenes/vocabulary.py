"""The vocabulary of the embedded CLIP: byte pairs, merged in the order of their frequency (Sennrich et al., 2016)."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

Merge = tuple[str, str]
WORD_END = "</w>"
SPECIAL = 2 * 256 + 2  # open_clip has every byte, inside and at the end of a word, and two signs of its own


def merges(texts: Iterable[str], size: int) -> list[Merge]:
    """Find the pairs to merge, most frequent first, ties in alphabetical order, until each word is one piece.

    Args:
        texts: what the vocabulary is for.
        size: of the vocabulary at most.
    """
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    words = {word: [*word[:-1], f"{word[-1]}{WORD_END}"] for word in counts}
    found: list[Merge] = []
    while len(found) < size - SPECIAL:
        pairs = Counter[Merge]()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        words = {word: merged(pieces, best) for word, pieces in words.items()}
    return found


def merged(pieces: Sequence[str], pair: Merge) -> list[str]:
    """Pieces of a word, where a pair of neighbours has become one piece."""
    result: list[str] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def write(texts: Iterable[str], size: int, path: Path) -> None:
    """Write the file that open_clip's tokenizer reads: a heading, then a pair on each line.

    Unused places are filled with pairs that no text can hold, so that the vocabulary has exactly its size.
    """
    found = merges(texts, size)
    unused = [(WORD_END, f"unused{i}") for i in range(size - SPECIAL - len(found))]
    lines = ["#version: 0.2", *(" ".join(pair) for pair in [*found, *unused])]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def read(path: Path | str) -> list[Merge]:
    """Read the pairs in a file."""
    _, *lines = gzip.decompress(Path(path).read_bytes()).decode().split("\n")
    return [(first, second) for first, second in map(str.split, lines)]
