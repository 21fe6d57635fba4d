"""The tokenizer of the embedded CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from vitdecomp_adapters.scenes import clip


@cache
def tokenizer() -> Any:
    """open_clip's tokenizer with the vocabulary of the embedded world."""
    import open_clip

    clip.register()
    return open_clip.get_tokenizer(clip.NAME)


def tokenize(texts: Sequence[str]) -> Int64[Tensor, "n length"]:
    """Tokens of some texts, filled up with zeros."""
    tokens: Tensor = tokenizer()(list(texts))
    return tokens
