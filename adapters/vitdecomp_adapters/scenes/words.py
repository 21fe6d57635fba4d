"""The tokenizer of the embedded CLIP, equal to open_clip's, which takes long to import."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import regex
import torch
from jaxtyping import Int64
from torch import Tensor

from vitdecomp_adapters.scenes import clip
from vitdecomp_adapters.scenes.vocabulary import WORD_END, Merge, merged, read

START, END = "<start_of_text>", "<end_of_text>"
WORD = regex.compile(rf"{START}|{END}|'(?:s|t|re|ve|m|ll|d)|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE)
PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that come first in a vocabulary
WORDS = 2**14  # whose pieces are remembered


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces of words. A byte is written as the character of its number.

    Attributes:
        tokens: of the pieces. ranks: of the pairs to merge, first ones first.
        length: tokens that the model takes.
    """

    tokens: Mapping[str, int]
    ranks: Mapping[Merge, int]
    length: int


@cache
def vocabulary() -> Vocabulary:
    """Read the vocabulary of the embedded world."""
    text = clip.config()["text_cfg"]
    pairs = read(text["tokenizer_kwargs"]["bpe_path"])
    symbols = [chr(byte) for byte in [*PRINTED, *sorted({*range(0x100)} - {*PRINTED})]]
    pieces = [*symbols, *(symbol + WORD_END for symbol in symbols), *map("".join, pairs), START, END]
    return Vocabulary(
        {piece: i for i, piece in enumerate(pieces)}, {pair: i for i, pair in enumerate(pairs)}, text["context_length"]
    )


def tokenize(texts: Sequence[str]) -> Int64[Tensor, "n length"]:
    """Tokens of some texts, cut to what the model takes, and filled up with zeros."""
    known = vocabulary()
    rows = torch.zeros(len(texts), known.length, dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        pieces = [piece for word in WORD.findall(_cleaned(text)) for piece in _pieces(word)]
        tokens = [known.tokens[piece] for piece in (START, *pieces[: known.length - 2], END)]
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def _cleaned(text: str) -> str:
    """Write a text in small letters, mended, with single spaces."""
    if "&" in text or not (text.isascii() and text.isprintable()):
        import ftfy  # which takes a while, and most texts need no mending

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


@lru_cache(WORDS)
def _pieces(word: str) -> tuple[str, ...]:
    if word in (START, END):
        return (word,)
    ranks = vocabulary().ranks
    pieces = [*word.encode().decode("latin-1")]
    pieces[-1] += WORD_END
    while pairs := ranks.keys() & {*pairwise(pieces)}:
        pieces = merged(pieces, min(pairs, key=ranks.__getitem__))
    return tuple(pieces)
