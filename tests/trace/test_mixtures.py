"""Streams that are mixed by data: hyper-connections (arXiv 2409.19606) are walked through, attentions are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd

WIDTH, STREAMS, HEADS = 24, 4, 3


class Attention(nn.Module):
    def __init__(self, *, kernel: bool = False) -> None:
        super().__init__()
        self.qkv, self.proj, self.kernel = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), kernel

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        if self.kernel:
            found = (F.elu(q) + 1) @ ((F.elu(k) + 1).transpose(-1, -2) @ v)
        else:
            found = F.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).reshape(n, tokens, WIDTH))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))


def by_einsum(weights: Tensor, streams: Tensor) -> Tensor:
    return torch.einsum("nlst,nlsd->nltd", weights, streams)


def by_einsum_streams_first(weights: Tensor, streams: Tensor) -> Tensor:
    return torch.einsum("nlsd,nlst->nltd", streams, weights)


def by_matmul(weights: Tensor, streams: Tensor) -> Tensor:
    return weights.transpose(-1, -2) @ streams


def by_product(weights: Tensor, streams: Tensor) -> Tensor:
    return (weights.unsqueeze(-1) * streams.unsqueeze(-2)).sum(2)


class HyperConnection(nn.Module):
    """A block that reads one mixture of the streams and adds to all of them (eq. 10 to 14 there)."""

    def __init__(self, block: nn.Module, mix: Callable[[Tensor, Tensor], Tensor], *, outer: bool) -> None:
        super().__init__()
        self.block, self.mix, self.outer = block, mix, outer
        self.norm, self.before = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.dynamic, self.static = nn.Parameter(torch.ones(WIDTH, STREAMS + 1)), nn.Parameter(torch.eye(4, 5))
        self.depth, self.ones = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(STREAMS))

    def forward(self, streams: Tensor) -> Tensor:
        normed = self.norm(streams)
        mixed = self.mix(torch.tanh(normed @ self.dynamic) + self.static, streams)
        share = torch.tanh(normed @ self.depth) + self.ones
        out = self.block(self.before(mixed[..., 0, :]))
        added = torch.einsum("nld,nls->nlsd", out, share) if self.outer else out.unsqueeze(-2) * share.unsqueeze(-1)
        return mixed[..., 1:, :] + added


class Model(nn.Module):
    def __init__(self, *blocks: nn.Module, streams: bool) -> None:
        super().__init__()
        self.patch, self.streams = nn.Conv2d(3, WIDTH, 8, 8), streams
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)
        if self.streams:
            x = x.unsqueeze(2).expand(-1, -1, STREAMS, -1)
        for block in self.blocks:
            x = block(x) if self.streams else x + block(x)
        return self.norm(x.sum(2) if self.streams else x).mean(1)


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("mix", [by_einsum, by_einsum_streams_first, by_matmul, by_product])
def test_all_blocks_are_reached_through_mixed_streams(mix: Callable[[Tensor, Tensor], Tensor], outer: bool) -> None:
    blocks = [HyperConnection(block, mix, outer=outer) for _ in range(2) for block in (Attention(), mlp())]
    model, images = randomised(Model(*blocks, streams=True).double().eval()), pictures(3, 32)
    dec = vd.Decomposer(model, cache=None).fit(images[:1])
    assert not dec.report_.missing
    assert dec.transform(images).error.max() < 1e-12
    kinds = Counter(component.kind for component in dec.components_ if component.kind != "const")
    assert kinds == {"attn": 2 * HEADS, "mlp": 2, "embed": 1}


@pytest.mark.parametrize("kernel", [False, True])
def test_an_attention_beside_a_residual_is_a_source(kernel: bool) -> None:
    blocks = [block for _ in range(2) for block in (Attention(kernel=kernel), mlp())]
    model, images = randomised(Model(*blocks, streams=False).double().eval()), pictures(3, 32)
    dec = vd.Decomposer(model, cache=None).fit(images[:1])
    assert not dec.report_.opened
    assert sum(component.kind == "attn" for component in dec.components_) == 2 * HEADS
