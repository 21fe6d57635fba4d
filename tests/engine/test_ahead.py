"""Constants pushed ahead: computed once for a model, and anew when its weights change."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd
import vitdecomp.engine.component_set as units


class Convolved(nn.Module):
    """Residual depthwise convolutions, then, where told, a norm by the image's own statistics."""

    def __init__(self, *, normalized: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, groups=6) for _ in range(3))
        self.norm = nn.GroupNorm(1, 6) if normalized else nn.Identity()
        self.mlp = nn.Sequential(nn.Conv2d(6, 12, 1), nn.GELU(), nn.Conv2d(12, 6, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for conv in self.convs:
            x = x + conv(x)
        return self.norm(x + self.mlp(x)).mean((2, 3))


def fitted(*, normalized: bool) -> tuple[nn.Module, vd.Decomposer, Tensor]:
    images, model = pictures(3, 32), randomised(Convolved(normalized=normalized).double().eval())
    return model, vd.Decomposer(model, cache=None, passes=()).fit(images[:1]), images


@pytest.mark.parametrize("normalized", [False, True])
def test_the_contributions_are_those_of_constants_pushed_from_their_place(normalized: bool) -> None:
    _, dec, images = fitted(normalized=normalized)
    paths, components = dec.views.of("head")
    representation, recorded = paths.recorder(images)
    slow = components.pushed(recorded, len(images), representation)
    assert dec.views.ahead("head").starts
    torch.testing.assert_close(dec.transform(images).values, slow, atol=1e-13, rtol=1e-12)


def test_constants_begin_where_the_images_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    _, dec, images = fitted(normalized=True)
    _, components = dec.views.of("head")
    constants = {p.part.leaf for p in components.partitions if p.part.who.kind == "const"}
    begun: dict[int, Collection[int]] = {}
    push = units.push

    def noted(*args: Any) -> Any:
        begun.update({leaf: [*starts] for leaf, starts in args[2].items()})
        return push(*args)

    monkeypatch.setattr(units, "push", noted)
    dec.transform(images)
    ahead = {leaf for leaf in constants if min(begun[leaf]) > leaf}
    assert ahead == {*dec.views.ahead("head").starts}
    # The norm's mean is of the images, and its bias has no step before it: these stay.
    assert len(ahead) > len(constants) / 2
    assert len(ahead) < len(constants)


def seen(model: nn.Module) -> None:
    model.get_parameter("convs.0.bias").mul_(2)
    model.get_parameter("convs.1.weight").mul_(-1)


def unseen(model: nn.Module) -> None:
    """Change an element that is not compared, which counts no version."""
    model.get_parameter("convs.1.weight").data[1, 0, 0, 1] *= 3


@pytest.mark.parametrize("change", [seen, unseen])
def test_weights_that_change_are_followed(change: Callable[[nn.Module], None]) -> None:
    model, dec, images = fitted(normalized=True)
    before = dec.transform(images)
    with torch.no_grad():
        change(model)
    after = dec.transform(images)
    fresh = vd.Decomposer(model, cache=None).fit(images[:1]).transform(images)
    torch.testing.assert_close(after.values, fresh.values, atol=1e-12, rtol=1e-12)
    assert not torch.allclose(before.values, after.values)


def test_a_subset_follows_weights_of_its_own() -> None:
    _, dec, images = fitted(normalized=True)
    bias = next(c for c in dec.components_ if "convs.0" in c.name)
    subset = dec.subset([bias])
    _, before = subset(images)
    with torch.no_grad():
        for name, weight in subset.model.named_parameters():
            if name == "convs.1.weight":
                weight.mul_(-1)
    _, after = subset(images)
    assert not torch.allclose(before, after)
