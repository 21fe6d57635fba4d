"""Small transformers that differ in which tokens they pool."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, TOKENS = 8, 16
PROJECTION = torch.randn(WIDTH, 5, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FlatAttention(nn.Module):
    """Tokens first, and one axis for tokens and images on the way to the last projection: nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        found: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found.transpose(0, 1)


class Block(nn.Module):
    def __init__(self, attention: Callable[[], nn.Module] = Attention) -> None:
        super().__init__()
        self.norm, self.attn, self.scale = nn.LayerNorm(WIDTH), attention(), nn.Parameter(torch.rand(WIDTH))
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.attn(self.norm(x))
        return x + self.mlp(x)


class ClassBlock(nn.Module):
    """CaiT: the class token reads all tokens; the patches go by untouched."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.q, self.kv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, cls: Tensor, patches: Tensor) -> Tensor:
        x = self.norm(torch.cat([cls, patches], 1))
        k, v = self.kv(x).chunk(2, -1)
        cls = cls + F.scaled_dot_product_attention(self.q(x[:, :1]), k, v)
        return torch.cat([cls, patches], 1)


class Latents(nn.Module):
    """SigLIP: learned queries read the tokens, head by head; with several of them the model takes their mean."""

    def __init__(self, queries: int = 1) -> None:
        super().__init__()
        self.latents, self.q = nn.Parameter(torch.randn(1, queries, WIDTH)), nn.Linear(WIDTH, WIDTH)
        self.kv, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(self.latents.expand(x.shape[0], -1, -1)).unflatten(2, (2, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, 2, -1)).permute(2, 0, 3, 1, 4)
        found = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found.mean(1)


class FlatLatent(nn.Module):
    """The same with nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.attention = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        found: Tensor = self.attention(self.latent.expand(1, x.shape[1], -1), x, x, need_weights=False)[0]
        return found[0]


class Model(nn.Module):
    def __init__(
        self,
        pool: Callable[[Tensor], Tensor],
        *,
        registers: int = 0,
        class_blocks: int = 0,
        attention: Callable[[], nn.Module] = Attention,
    ) -> None:
        super().__init__()
        self.patches, self.pool = nn.Conv2d(3, WIDTH, 4, 4), pool
        self.cls, self.registers = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(registers, WIDTH))
        self.blocks = nn.ModuleList(Block(attention) for _ in range(2))
        self.class_blocks = nn.ModuleList(ClassBlock() for _ in range(class_blocks))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        cls = self.cls.expand(x.shape[0], 1, WIDTH)
        x = torch.cat([cls, self.registers.expand(x.shape[0], -1, -1), x], 1) if not self.class_blocks else x
        for block in self.blocks:
            x = block(x)
        for block in self.class_blocks:
            x = torch.cat([block(cls, x)[:, :1], x], 1)
            cls, x = x[:, :1], x[:, 1:]
        return self.pool(self.norm(torch.cat([cls, x], 1) if self.class_blocks else x))


POOLS: dict[str, Callable[[], Model]] = {
    "cls": lambda: Model(lambda x: x[:, 0]),
    "mean": lambda: Model(lambda x: x.mean(1)),
    "mean_of_patches": lambda: Model(lambda x: x[:, 3:].mean(1), registers=2),
    "cls_and_mean": lambda: Model(lambda x: torch.cat([x[:, 0], x[:, 1:].mean(1)], -1)),
    "cls_plus_mean": lambda: Model(lambda x: x[:, 0] + x[:, 2:9].mean(1), registers=1),
    "some_tokens": lambda: Model(lambda x: x[:, 2:5].flatten(1), registers=1),
    "slices_of_several_lengths": lambda: Model(lambda x: x[:, :2].sum(1) + x[:, 4:9].mean(1) - x[:, -1]),
    "slice_of_slice": lambda: Model(lambda x: x[:, 1:][:, 2:7][:, :, :5][:, -2]),
    "flat": lambda: Model(lambda x: x[:, 0] @ PROJECTION.to(x), attention=FlatAttention),
    "flat_mean_of_two": lambda: Model(lambda x: x[:, 1:3].mean(1), attention=FlatAttention),
    "latent": lambda: Model(Latents()),
    "mean_of_latents": lambda: Model(Latents(3)),
    "flat_latent": lambda: Model(FlatLatent()),
    "cait": lambda: Model(lambda x: x[:, 0], class_blocks=2),
}
