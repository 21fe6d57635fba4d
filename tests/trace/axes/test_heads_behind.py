"""Heads that are attentions of their own, put side by side in front of one projection."""

from __future__ import annotations

import pytest
import torch
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd

WIDTH, HEADS = 12, 3


class Cascade(nn.Module):
    """Attentions of some channels each, one fed with what the one before it found, as EfficientViT has them."""

    def __init__(self, *, widths: tuple[int, ...], activated: bool) -> None:
        super().__init__()
        self.widths, self.activated = widths, activated
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for width in widths)
        self.proj = nn.Linear(sum(widths), WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for part, qkv in zip(x.split(self.widths, -1), self.qkv, strict=True):
            fed = part + found[-1] if found and found[-1].shape == part.shape else part
            q, k, v = qkv(fed).chunk(3, -1)
            found.append((q @ k.transpose(-1, -2)).softmax(-1) @ v)
        joined = torch.cat(found, -1)
        return self.proj(joined.relu() if self.activated else joined)


class Model(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.patch, self.attn = nn.Conv2d(3, WIDTH, 8, 8), attention
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = x + self.attn(x)
        return (x + self.mlp(x)).mean(1)


def fitted(**settings: object) -> tuple[nn.Module, vd.Decomposer, Tensor]:
    images, model = pictures(3, 32), randomised(Model(Cascade(**settings)).double().eval())  # type: ignore[arg-type]
    return model, vd.Decomposer(model, cache=None).fit(images[:1]), images


@pytest.mark.parametrize("activated", [False, True])
def test_each_head_is_a_component_with_its_own_channels(activated: bool) -> None:
    model, dec, images = fitted(widths=(4, 4, 4), activated=activated)
    c = dec.transform(images)
    assert c.error.max() < 1e-12
    assert not dec.report_.missing
    heads = [component for component in dec.components_ if component.kind == "attn"]
    assert len(heads) == HEADS
    # Without the last head's columns of the projection, its contribution alone goes.
    with torch.no_grad():
        model.get_parameter("attn.proj.weight")[:, 8:] = 0
    without = vd.Decomposer(model, cache=None).fit(images[:1]).transform(images).select("attn*").values
    kept, gone = [c.select(head.name).values for head in heads[:2]], c.select(heads[2].name).values
    torch.testing.assert_close(without[:, :2], torch.cat(kept, 1), atol=1e-12, rtol=1e-12)
    assert gone.abs().max() > 1e-3


def test_heads_of_several_widths_are_not_told_apart_behind_an_activation() -> None:
    _, dec, images = fitted(widths=(2, 4, 6), activated=True)
    assert dec.transform(images).error.max() < 1e-12
    assert len(dec.report_.missing) == HEADS
