"""The text tower of the embedded CLIP in torch's own modules: the whole needs open_clip and timm, long to import."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vitdecomp_adapters.scenes import clip
from vitdecomp_adapters.scenes.words import tokenize


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Float[Tensor, "n length width"], mask: Float[Tensor, "length length"]) -> Tensor:
        """Tokens to tokens, `(n, length, width)`; the mask is added to the scores."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """Texts to vectors. It holds all weights of the CLIP by their names, so that it has the same checksum.

    Args:
        weights: of the CLIP, those of the image tower included.
    """

    mask: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        text = clip.config()["text_cfg"]
        width, length = text["width"], text["context_length"]
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, text["heads"]) for _ in range(text["layers"]))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, clip.config()["embed_dim"]))
        self.register_buffer("mask", torch.full((length, length), -torch.inf).triu(1), persistent=False)
        used = self.state_dict().keys()
        for name in weights.keys() - used:
            _hold(self, name, weights[name])
        self.load_state_dict(weights)
        self.eval()

    def forward(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Tokens to vectors in the space shared with images; their norm is left as it is."""
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:  # type: ignore[union-attr]
            x = block(x, self.mask)
        ends = tokens.argmax(1)  # no token has a higher number than the sign for the end
        last: Tensor = self.ln_final(x[torch.arange(len(x)), ends])
        return last @ self.text_projection

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Do the same for texts, on the tower's device."""
        vectors: Tensor = self(tokenize(texts).to(self.positional_embedding.device))
        return vectors


def _hold(module: nn.Module, name: str, weight: Tensor) -> None:
    """Keep a weight that is not used, at its place in the state dict."""
    *path, last = name.split(".")
    for step in path:
        if step not in dict(module.named_children()):
            module.add_module(step, nn.Module())
        module = module.get_submodule(step)
    module.register_buffer(last, weight)
