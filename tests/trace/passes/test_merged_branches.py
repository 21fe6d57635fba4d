"""Merged branches: fewer steps, the same map."""

from __future__ import annotations

import pytest
import torch
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.trace.linear_graph import Apply
from vitdecomp.trace.passes.optimize import BRANCHES, PASSES
from vitdecomp.trace.rules.parametric import convolve

WIDTH = 6


def depthwise(size: int, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, size, groups=WIDTH, padding=size // 2, **settings)


class Mixer(nn.Module):
    """x + scale * (norm(conv(x)) + norm(conv(x)) - norm(x)), as MobileOne and RepMixer have it."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(depthwise(5), nn.BatchNorm2d(WIDTH))
        self.small = nn.Sequential(depthwise(3), nn.BatchNorm2d(WIDTH))
        self.norm = nn.BatchNorm2d(WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * (self.large(x) + self.small(x) - self.norm(x) / 2)


class Serial(nn.Module):
    """Two convolutions one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = depthwise(3), depthwise(3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Wide(nn.Module):
    """A convolution that mixes channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Excited(nn.Module):
    """Branches with a scale that depends on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = depthwise(3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) * torch.sigmoid(x.mean((2, 3), keepdim=True))


class Model(nn.Module):
    def __init__(self, block: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.mixers = nn.Sequential(block(), block())
        self.mlp = nn.Sequential(nn.Conv2d(WIDTH, 12, 1), nn.GELU(), nn.Conv2d(12, WIDTH, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.mixers(self.stem(images))
        return (x + self.mlp(x)).mean((2, 3))


def convolutions(dec: vd.Decomposer) -> int:
    graph = dec.views.of("head")[0].graph
    return sum(isinstance(value, Apply) and value.step.fn is convolve for value in graph.values)


def fitted(block: type[nn.Module]) -> tuple[vd.Decomposer, vd.Decomposer]:
    """One model, decomposed with merged branches and without."""
    model = randomised(Model(block).double().eval())
    without = tuple(name for name in PASSES if name != BRANCHES)
    images = pictures(1, 32)
    return vd.Decomposer(model, cache=None).fit(images), vd.Decomposer(model, cache=None, passes=without).fit(images)


@pytest.mark.parametrize("block", [Mixer, Serial, Wide, Excited])
def test_the_map_stays_the_same(block: type[nn.Module]) -> None:
    merged, plain = fitted(block)
    images = pictures(3, 32)
    assert merged.components_ == plain.components_
    found = merged.transform(images)
    values = found.values
    torch.testing.assert_close(values, plain.transform(images).values, atol=1e-12, rtol=1e-12)
    slow = vd.Decomposer(merged.model, cache=None, passes=()).fit(images[:1]).transform(images)
    torch.testing.assert_close(values, slow.values, atol=1e-12, rtol=1e-12)
    assert found.bias_receivers == slow.bias_receivers


def test_a_block_of_branches_is_one_convolution() -> None:
    merged, plain = fitted(Mixer)
    assert convolutions(plain) - convolutions(merged) == 2


@pytest.mark.parametrize("block", [Serial, Wide, Excited])
def test_what_would_not_be_exact_stays_apart(block: type[nn.Module]) -> None:
    merged, plain = fitted(block)
    assert convolutions(merged) == convolutions(plain)
