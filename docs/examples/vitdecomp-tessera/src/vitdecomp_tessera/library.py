"""Tessera, a model library as anybody might have it; it knows nothing of vitdecomp.

Its transformers have an operation of their own, written as a kernel for speed: half of each token's channels move on to
the next token, so that neighbours mix without an attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SIZES = {"small": {"width": 32, "depth": 2}, "large": {"width": 64, "depth": 4}}


@torch.library.custom_op("tessera::shift_tokens", mutates_args=())
def shift_tokens(x: Tensor, by: int) -> Tensor:
    """Move the first half of the channels on by so many tokens, around the end; `(n, token, d)` to the same."""
    moving, staying = x.chunk(2, -1)
    return torch.cat([moving.roll(by, -2), staying], -1)


@shift_tokens.register_fake
def _(x: Tensor, by: int) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.by = inputs[1]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    moved: Tensor = shift_tokens(gradient, -ctx.by)
    return moved, None


shift_tokens.register_autograd(_backward, setup_context=_keep)


class Block(nn.Module):
    """A shift, attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attend(self, x: Tensor) -> Tensor:
        """Tokens to tokens, `(n, token, d)`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens, `(n, token, d)`."""
        x = shift_tokens(x, 1)
        x = x + self.attend(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class Tessera(nn.Module):
    """Reads an image in patches of 8 pixels and describes it with `width` numbers, and with one of `classes`."""

    def __init__(self, width: int = 32, depth: int = 2, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.size = 32
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def describe(self, images: Tensor) -> Tensor:
        """Images to embeddings, `(n, width)`."""
        tokens: Tensor = self.norm(self.blocks(self.patches(images).flatten(2).mT))
        return tokens.mean(1)

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits, `(n, class)`."""
        logits: Tensor = self.head(self.describe(images))
        return logits
