"""Contributions of tokens as vectors: the same as by pull, at about its cost, and in portions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import ZOO

import vitdecomp as vd
from vitdecomp.engine import component_set as units

BYS: list[Any] = ["token", ("head", "token")]


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("name", ["vit_registers_avg", "siglip", "cait", "swin", "xcit"])
def test_vectors_are_what_pull_finds_and_add_up(name: str, by: Any) -> None:
    animal = ZOO[name]
    images = pictures(2, animal.size)
    dec = vd.Decomposer(randomised(animal.make()), by=by).fit(images[:1])
    c = dec.transform(images)
    assert c.error.max() <= 1e-12
    q = torch.randn(1, c.values.shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pulled, rows = dec.attribute(images, q, by=by)[:, 0], dec.components_of(by)
    assert pulled.shape[-1] == len(dec.tokens_)
    products, names = c.values @ q[0], [row.name for row in rows]
    scale = products.abs().max()
    found = torch.zeros_like(pulled)
    for i, component in enumerate(c.components):
        if component.token is not None:
            row = names.index(component.name.rpartition(".token.")[0])
            found[:, row, component.token] = products[:, i]
    torch.testing.assert_close(found, pulled, atol=1e-11 * float(scale), rtol=0)
    whole = dec.attribute(images, q, by="head" if "head" in by else "module")[:, 0]
    places = [c.name for c in dec.components_of("head" if "head" in by else "module")]
    for i, row in enumerate(names):
        torch.testing.assert_close(found[:, i].sum(-1), whole[:, places.index(row)], atol=1e-11 * float(scale), rtol=0)


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("name", ["vit_cls", "swin"])
def test_small_portions_give_the_same(name: str, by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    animal = ZOO[name]
    images, model = pictures(2, animal.size), randomised(animal.make())
    whole = vd.Decomposer(model, by=by).fit(images[:1]).transform(images)
    rows = []

    def counted(*args: Any) -> Any:
        rows.append(max(x.numel() for starts in args[2].values() for x in starts.values()) * 8)
        return push(*args)

    push = units.push
    monkeypatch.setattr(units, "push", counted)
    monkeypatch.setattr(units, "PUSHED_BYTES", {"cpu": 2**20})
    parts = vd.Decomposer(model, by=by).fit(images[:1]).transform(images)
    torch.testing.assert_close(parts.values, whole.values, atol=1e-12, rtol=0)
    assert len(rows) > 1
    assert max(rows) <= 2**20


def flops(run: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("by", BYS)
def test_nothing_is_multiplied_with_the_zeros_of_other_tokens(by: Any) -> None:
    model: nn.Module = VisionTransformer(
        img_size=64, patch_size=4, embed_dim=96, depth=3, num_heads=3, num_classes=0
    ).eval()
    model.requires_grad_(False)  # the counter looks for gradients of modules that are called
    images = torch.randn(1, 3, 64, 64)
    dec = vd.Decomposer(model, by=by, cache=None).fit(images)
    assert len(dec.tokens_) == 257
    dec.transform(images)  # what depends on the weights alone is computed once
    # Behind the look for changes of the model, which would see the hooks of the counter and run it once more.
    assert flops(lambda: dec._decompose(images, dec.by)) < 2 * flops(lambda: model(images))


class TestRoom:
    def test_a_result_that_is_too_large_is_refused_before_the_model_runs(
        self, tiny_vit: nn.Module, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = pictures(2, 32)
        dec = vd.Decomposer(tiny_vit, by=("head", "token")).fit(images[:1])
        needed = dec.transform(images[:1]).values.nbytes
        monkeypatch.setattr(units, "free_bytes", lambda device: needed)
        assert dec.transform(images[:1]).values.nbytes == needed
        seen: list[Tensor] = []
        dec.views.of(dec.by)[0].recorder.module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        with pytest.raises(
            vd.InputError, match=r"2 image\(s\), .* components of 48 numbers .* by=\.\.\., or .*attribute"
        ):
            dec.transform(images)
        assert not seen

    def test_nothing_is_refused_where_nobody_knows(self, tiny_vit: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(units, "free_bytes", lambda device: None)
        assert vd.Decomposer(tiny_vit).fit_transform(pictures(1, 32)).error.max() < 1e-12
