"""Softened maps equal a slow version that is written out, and say what they leave out."""

from __future__ import annotations

import pytest
import torch
from families import case
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.attention.pattern_gates import even, pattern_gates
from vitdecomp.heatmaps.frozen_map import FrozenMap
from vitdecomp.heatmaps.methods.softened import spreading

NAME, MIX, BLUR = "vit_cls", 0.7, 0.1
Gates = list[Tensor]


def direction() -> Tensor:
    return torch.randn(1, 48, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def written_out(x: Tensor, gates: Gates | None, mix: float) -> tuple[Tensor, Gates]:
    """The model's run and its gates; or with gates the linear map that they leave."""
    model, found, own = case(NAME).module, [], iter(gates or ())

    def gate(value: Tensor) -> Tensor:
        found.append(value.detach())
        return next(own) if gates else value

    def norm(module: nn.LayerNorm, y: Tensor) -> Tensor:
        scale = gate((y.var(-1, unbiased=False, keepdim=True) + module.eps).rsqrt())
        return (y - gate(y.mean(-1, keepdim=True))) * scale * module.weight + module.bias

    tokens = model._pos_embed(model.patch_embed(x))
    for block in model.blocks:
        attn = block.attn
        q, k, v = attn.qkv(norm(block.norm1, tokens)).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        pattern = gate((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))
        if gates:
            pattern = (1 - mix) * pattern + mix / pattern.shape[-1]
        tokens = tokens + attn.proj((pattern @ v).transpose(1, 2).flatten(2))
        hidden = block.mlp.fc1(norm(block.norm2, tokens))
        tokens = tokens + block.mlp.fc2(hidden * gate(block.mlp.act(hidden) / hidden))
    return norm(model.norm, tokens)[:, 0], found


def slow(x: Tensor, q: Tensor, mix: float, blur: float) -> tuple[Tensor, Tensor]:
    """The map of each image, and the score through softened patterns."""
    with torch.no_grad():
        gates = written_out(x, None, mix)[1]
    pixels = x.clone().requires_grad_()
    score = (written_out(pixels, gates, mix)[0] @ q.T)[:, 0]
    (gradient,) = torch.autograd.grad(score.sum(), pixels)
    color = x.flatten(2).median(2).values[..., None, None]
    plain = ((x - color) * gradient).sum(1)
    rows = torch.arange(plain.shape[-1], dtype=x.dtype)
    result = torch.zeros_like(plain)
    for i in range(len(rows)):
        for j in range(len(rows)):
            down = torch.exp(-(((rows - i) / (blur * len(rows))) ** 2) / 2)
            across = torch.exp(-(((rows - j) / (blur * len(rows))) ** 2) / 2)
            spot = torch.outer(down / down.sum(), across / across.sum())
            result += plain[:, i, j, None, None] * spot
    return result, score.detach()


def test_maps_are_those_of_the_formula() -> None:
    known, q = case(NAME), direction()
    with torch.no_grad():
        torch.testing.assert_close(
            written_out(known.images, None, MIX)[0], known.contributions.total(), rtol=1e-10, atol=1e-10
        )
    found = vd.explain(known.decomposer, known.images, q, method="softened", mix=MIX, blur=BLUR)
    maps, score = slow(known.images, q, MIX, BLUR)
    torch.testing.assert_close(found.grid[:, 0], maps, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close((found.audit.score - found.residual)[:, 0], score, rtol=1e-9, atol=1e-10)
    assert float(found.residual.abs().min()) > 1e-4


@pytest.mark.parametrize("name", [NAME, "swin", "siglip", "third_party/windows"])
def test_true_patterns_add_up(name: str) -> None:
    known = case(name)
    q = torch.randn(2, known.contributions.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    softened, true = (
        vd.explain(known.decomposer, known.images, q, method="softened", mix=mix, blur=BLUR) for mix in (0.85, 0.0)
    )
    frozen = vd.explain(known.decomposer, known.images, q, method="frozen")
    score = known.contributions.total() @ q.T
    for maps in (softened, true):
        total = maps.grid.sum((-2, -1)) + maps.audit.constants + maps.audit.placeless + maps.residual
        torch.testing.assert_close(total, score, rtol=1e-10, atol=1e-10)
    assert float(true.residual.abs().max()) <= 1e-10
    assert float(softened.residual.abs().max()) > 1e-6
    color = known.images.flatten(2).median(2).values
    assert float(color.abs().max()) > 0.01  # so that it is seen to have left the map
    assert not torch.allclose(true.grid.sum((-2, -1)), frozen.grid.sum((-2, -1)), rtol=1e-3)


@pytest.mark.parametrize("name", ["vit_cls", "swin", "siglip", "third_party/windows"])
def test_rows_are_even_over_the_keys_that_are_seen(name: str) -> None:
    known = case(name)
    captured = known.decomposer.views.captured
    gates = pattern_gates(captured)
    recorded = known.decomposer.views.recorder(FrozenMap.of(captured).gates)(known.images)[1]
    assert gates
    assert all(each.gate in recorded for each in gates)
    hidden = 0
    for each in gates:
        pattern = recorded[each.gate]
        spread = even(pattern, each.keys)
        torch.testing.assert_close(pattern.sum(each.keys), torch.ones_like(pattern.sum(each.keys)))
        torch.testing.assert_close(spread.sum(each.keys), pattern.sum(each.keys))
        seen = pattern > 1e-20
        hidden += int((~seen).sum())
        assert bool((spread[~seen] == 0).all())
        largest = spread.amax(each.keys, keepdim=True).expand_as(spread)
        torch.testing.assert_close(spread[seen], largest[seen])
    assert (hidden > 0) == (name == "swin")  # whose shifted windows hide keys


def test_a_blur_keeps_sums() -> None:
    spread = spreading(7, 1.5, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(spread.sum(0), torch.ones(7, dtype=torch.float64))
    assert torch.equal(spreading(5, 0.0, spread), torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "message"), [({"mix": 1.2}, "mix must lie between 0 and 1"), ({"blur": -1.0}, "must not be negative")]
)
def test_what_is_refused(settings: dict[str, float], message: str) -> None:
    known = case(NAME)
    with pytest.raises(vd.SpecError, match=message):
        vd.explain(known.decomposer, known.images, direction(), method="softened", **settings)
