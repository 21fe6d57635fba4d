"""A fitted decomposer, written, read and copied: the same numbers without a second trace."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.trace.cache import search
from vitdecomp.trace.rule import RULES

IMAGES = pictures(3, 16)
DIRECTIONS = torch.ones(1, 24, dtype=torch.float64)


def make(seed: int = 0) -> Any:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    return randomised(VisionTransformer(**sizes, num_classes=0), seed)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From when this is called nothing may be traced."""
    return lambda: monkeypatch.setattr(search, "capture", None)


@pytest.mark.parametrize("by", ["head", "token", ("head", "token"), "neuron"])
def test_what_is_read_decomposes_alike(by: Any, tmp_path: Path, untraced: Any) -> None:
    model, file = make(), tmp_path / "d.safetensors"
    first = vd.Decomposer(model, by=by, through=["blocks.1.attn"]).fit(IMAGES)
    expected = first.transform(IMAGES)
    first.save(file)
    untraced()
    second = vd.Decomposer.load(file, model)
    found = second.transform(IMAGES)
    assert torch.equal(found.values, expected.values)
    assert found.components == expected.components
    assert found.origin == expected.origin
    assert (second.by, second.through) == (first.by, ("blocks.1.attn",))
    assert second.report_.exact
    assert second.report_.sites == first.report_.sites
    assert torch.equal(second.attribute(IMAGES, DIRECTIONS), first.attribute(IMAGES, DIRECTIONS))
    assert file.stat().st_size < sum(p.nbytes for p in model.parameters())


def test_other_models_and_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "d.safetensors"
    with pytest.raises(vd.SpecError, match="not fitted yet"):
        vd.Decomposer(make()).save(file)
    vd.Decomposer(make()).fit(IMAGES).save(file)
    with pytest.raises(vd.InputError, match="with other weights"):
        vd.Decomposer.load(file, make(seed=1))
    with pytest.raises(vd.InputError, match="there is no file"):
        vd.Decomposer.load(tmp_path / "nothing", make())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(vd.InputError, match=r"damaged|does not fit"):
        vd.Decomposer.load(file, make())


def test_an_output_that_is_a_function(tmp_path: Path) -> None:
    def doubled(model: nn.Module, images: Tensor) -> Tensor:
        found: Tensor = model(images)
        return 2 * found

    model, file = make(), tmp_path / "d.safetensors"
    first = vd.Decomposer(model, output=doubled).fit(IMAGES)
    first.save(file)
    with pytest.raises(vd.SpecError, match="give it as output="):
        vd.Decomposer.load(file, model)
    second = vd.Decomposer.load(file, model, output=doubled)
    assert torch.equal(second.transform(IMAGES).values, first.transform(IMAGES).values)


@pytest.mark.parametrize("own_rule", [False, True])
def test_a_copy_has_a_model_of_its_own(own_rule: bool, tmp_path: Path) -> None:
    model = make()
    first = vd.Decomposer(model, cache=None).fit(IMAGES)
    op = torch.ops.aten.special_bessel_j0
    try:
        if own_rule:
            vd.register_rule(op)(lambda op, x: None)
        second = copy.deepcopy(first)
    finally:
        if own_rule:
            RULES.remove(op)
    before = first.transform(IMAGES)
    assert torch.equal(second.transform(IMAGES).values, before.values)
    with torch.no_grad():
        model.norm.weight.mul_(2)
    assert torch.equal(second.transform(IMAGES).values, before.values)
    assert not torch.equal(first.transform(IMAGES).values, before.values)


def test_a_copy_of_what_is_not_fitted() -> None:
    first = vd.Decomposer(make(), by="module", cache=None)
    second = copy.deepcopy(first)
    assert second.by == "module"
    assert second.model is not first.model
    assert torch.equal(second.fit_transform(IMAGES).values, first.fit_transform(IMAGES).values)
