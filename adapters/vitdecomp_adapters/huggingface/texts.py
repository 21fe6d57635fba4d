"""The text towers of CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.hub import TOKENIZER_REMEDY, check_vocabulary, fetching
from vitdecomp_adapters.huggingface.library import SAFE, transformers

SHARED_SPACE = ("clip", "siglip")  # types of models whose texts and images share a space


class TextEncoder:
    """The text tower of a CLIP or SigLIP, with the tokenizer of its repository.

    Args:
        module: the model.
        where: repository or directory with the tokenizer.
        spec: for messages.
    """

    def __init__(self, module: nn.Module, where: str, spec: str) -> None:
        self.module, self.where, self.spec = module, where, spec

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Texts to vectors in the space shared with images; their norm is left as it is.

        Raises:
            LoadError: the tokenizer cannot be had.
        """
        model: Any = self.module
        length = model.config.text_config.max_position_embeddings
        # SigLIP was trained on texts filled up to the whole length; for CLIP it makes no difference.
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return text_features(model, **tokens.to(model.device))

    @cached_property
    def tokenizer(self) -> Any:
        """The repository's tokenizer; had on first use, since images do without."""
        local = Path(self.where).is_dir()
        with fetching(self.spec, local=local, what="tokenizer files", remedy=TOKENIZER_REMEDY):
            tokenizer = transformers().AutoTokenizer.from_pretrained(self.where, **SAFE)
            config: Any = self.module.config
            check_vocabulary(tokenizer, config.text_config.vocab_size)
        return tokenizer


def text_encoder(module: Any, where: str, spec: str) -> TextEncoder | None:
    """Load the text tower; `None` if there is none or its tokenizer cannot be found."""
    has_one = hasattr(module, "get_text_features") and module.config.model_type in SHARED_SPACE
    return TextEncoder(module, where, spec) if where and has_one else None


def text_features(model: Any, **tokens: Tensor) -> Float[Tensor, "n d"]:
    """Compute the vectors of texts; older versions of transformers return them without a name.

    Their tokenizers return more than each model takes.
    """
    taken = signature(model.get_text_features).parameters
    out = model.get_text_features(**{k: v for k, v in tokens.items() if k in taken or "input_ids" not in taken})
    vectors: Tensor = getattr(out, "pooler_output", out)
    return vectors
