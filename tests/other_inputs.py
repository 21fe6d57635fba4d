"""Small models of other inputs than images: videos, spectrograms, volumes, with the grid of their patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers
from helpers import randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
FILM: dict[str, Any] = {**SMALL, "image_size": 16, "num_frames": 4}


class Attention(nn.Module):
    """Attention over the last axis but one, however many axes are in front."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(found.transpose(1, 2).reshape(n, tokens, width))


class Mlp(nn.Module):
    """The MLP of a block, with its norm and residual sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class VolumeViT(nn.Module):
    """A vision transformer with patches of 4 x 4 x 4 voxels."""

    def __init__(self, *, class_token: bool) -> None:
        super().__init__()
        self.embed = nn.Conv3d(1, 24, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 24)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 24 + class_token, 24))
        self.blocks = nn.Sequential(*(nn.Sequential(Attention(24, 3), Mlp(24)) for _ in range(2)))
        self.norm = nn.LayerNorm(24)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        return tokens.mean(1) if self.cls_token is None else tokens[:, 0]


class Divided(nn.Module):
    """A block with attention along time, then along space."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.space, self.mlp = Attention(24, 3), Attention(24, 3), Mlp(24)

    def forward(self, x: Tensor) -> Tensor:
        n, frames, places, width = x.shape
        along_time = self.time(x.transpose(1, 2).reshape(n * places, frames, width))
        frame_by_frame = along_time.reshape(n, places, frames, width).transpose(1, 2).reshape(n * frames, places, width)
        return self.mlp(self.space(frame_by_frame)).reshape(n, frames, places, width)


class DividedViT(nn.Module):
    """A video transformer with divided attention and the mean of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 24, 4, 4), nn.LayerNorm(24)
        self.places, self.frames = (nn.Parameter(torch.zeros(s)) for s in ((1, 1, 6, 24), (1, 4, 1, 24)))
        self.blocks = nn.Sequential(Divided(), Divided())

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(0, 1)).flatten(2).transpose(1, 2).reshape(x.shape[0], x.shape[1], 6, 24)
        return self.norm(self.blocks(tokens + self.places + self.frames)).mean((1, 2))


class Waveform(nn.Module):
    """Sound as it is: one axis, and patches along it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Conv1d(1, 24, 8, 8), nn.Sequential(Attention(24, 3), Mlp(24))
        self.norm = nn.LayerNorm(24)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.block(self.embed(x[:, None]).transpose(1, 2))).mean(1)


class Case(NamedTuple):
    """A model, the shape of an input, how many patches lie along which of its axes, and its heads."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    axes: tuple[int, ...]
    heads: int = 6
    constants: int = 0


def _videomae() -> nn.Module:
    return transformers.VideoMAEModel(transformers.VideoMAEConfig(**FILM, patch_size=4, tubelet_size=2))


def _vivit() -> nn.Module:
    return transformers.VivitModel(transformers.VivitConfig(**FILM, tubelet_size=[2, 4, 8]))


def _timesformer() -> nn.Module:
    return transformers.TimesformerModel(transformers.TimesformerConfig(**FILM, patch_size=4))


def _ast() -> nn.Module:
    config = transformers.ASTConfig(
        **SMALL, patch_size=6, frequency_stride=4, time_stride=5, max_length=30, num_mel_bins=18
    )
    return transformers.ASTModel(config)


def _timm() -> nn.Module:
    return VisionTransformer((16, 40), 8, in_chans=1, embed_dim=24, depth=2, num_heads=3, num_classes=5)


CASES = {
    "videomae": Case(_videomae, (4, 3, 16, 16), (2, 4, 4), (0, 2, 3)),
    "vivit": Case(_vivit, (4, 3, 16, 16), (2, 4, 2), (0, 2, 3), constants=1),
    "timesformer": Case(_timesformer, (4, 3, 16, 16), (4, 4, 4), (0, 2, 3), constants=1),
    "ast": Case(_ast, (30, 18), (5, 4), (0, 1), constants=2),
    "timm, one channel": Case(_timm, (1, 16, 40), (2, 5), (1, 2), constants=1),
    "volume, class token": Case(lambda: VolumeViT(class_token=True), (1, 8, 12, 16), (2, 3, 4), (1, 2, 3), constants=1),
    "volume, mean": Case(lambda: VolumeViT(class_token=False), (1, 8, 12, 16), (2, 3, 4), (1, 2, 3)),
    "divided": Case(DividedViT, (4, 3, 8, 12), (4, 2, 3), (0, 2, 3), heads=12),
    "waveform": Case(Waveform, (64,), (8,), (0,), heads=3),
}


def model_of(name: str) -> nn.Module:
    """A model with random parameters, in float64."""
    torch.manual_seed(0)
    return randomised(CASES[name].make())


def inputs_of(name: str, n: int, seed: int = 1) -> Tensor:
    """Random inputs of a model, in float64."""
    return torch.randn(n, *CASES[name].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
