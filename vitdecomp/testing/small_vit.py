"""A vision transformer that is small enough to try a method for heatmaps on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitdecomp.models.loaded_model import LoadedModel
from vitdecomp.models.random_weights import randomise

WIDTH, HEADS, DEPTH, PATCH = 16, 2, 2, 8


class Block(nn.Module):
    """Attention and an MLP, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens, `(n, token, d)`."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class SmallViT(nn.Module):
    """Reads images of 24 x 32 pixels in 3 x 4 patches; the class token describes them."""

    size = (3, 3 * PATCH, 4 * PATCH)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, 13, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        """Images to vectors, `(n, d)`."""
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions
        found: Tensor = self.norm(self.blocks(x))[:, 0]
        return found


def small_vit(seed: int = 0) -> LoadedModel:
    """Make the model in double precision, with random weights; the global random state is not used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallViT().double().eval()
    randomise(model, seed)
    return LoadedModel(model, None, "python:vitdecomp.testing:SmallViT", input_size=SmallViT.size)
