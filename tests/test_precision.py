"""Number formats: half precision, autocast inside and around a model, 8-bit weights; what is quantized as it runs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from torch import Tensor, nn
from zoo import ZOO

import vitdecomp as vd
from vitdecomp._utils.subclasses import plain_tensors
from vitdecomp._utils.tolerance import TOLERANCE, relative_error
from vitdecomp.decompose import AROUND
from vitdecomp.testing import untouched

HALF, BRAIN = torch.float16, torch.bfloat16
EPS = {HALF: 2**-11, BRAIN: 2**-8, torch.float32: 2**-24}


class Autocast(nn.Module):
    """A model that computes in two formats."""

    def __init__(self, model: nn.Module, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__()
        self.model, self.run = model, partial(torch.autocast, "cpu", dtype, **settings)

    def forward(self, images: Tensor) -> Tensor:
        with self.run():
            found: Tensor = self.model(images)
        return found


def hugging_face() -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    return Dinov2Model(Dinov2Config(**sizes))


@cache
def exact(family: str) -> tuple[nn.Module, Tensor, vd.Contributions]:
    """A model in float64, images, and its contributions."""
    make, size = (hugging_face, 32) if family == "hf" else (ZOO[family].make, ZOO[family].size)
    torch.manual_seed(0)
    module, images = randomised(make()), pictures(2, size)
    return module, images, vd.Decomposer(module).fit_transform(images)


def far(found: vd.Contributions, wanted: vd.Contributions) -> float:
    """Measure how far contributions of the same names are apart, relative to all of them."""
    values = {_own(c.name): found.values[:, i].double() for i, c in enumerate(found.components)}
    assert set(values) == {c.name for c in wanted.components}
    same = torch.stack([values[c.name] for c in wanted.components], 1)
    return float((same - wanted.values).norm() / wanted.values.norm())


def _own(name: str) -> str:
    """Take off where a test has put the model."""
    return name.replace("model.", "").replace("vit.", "")


def decomposed(module: nn.Module, images: Tensor, **settings: Any) -> tuple[vd.Decomposer, vd.Contributions]:
    """Contributions whose sum was compared with the module itself, which is as it was."""
    with untouched(module):
        decomposer = vd.Decomposer(module, **settings).fit(images[:1])
        found = decomposer.transform(images)
    with torch.no_grad():
        wanted = decomposer.loaded_.representation(decomposer.output)(images)
    error = relative_error(found.total(), wanted)
    assert float(error.max()) <= decomposer.allowed_error
    assert found.values.dtype == wanted.dtype
    assert decomposer.report_.exact
    return decomposer, found


@pytest.mark.parametrize(
    ("family", "dtype"), [("vit_cls", BRAIN), ("open_clip_vit", HALF), ("swin", BRAIN), ("swin", HALF), ("hf", BRAIN)]
)
def test_a_model_in_half_precision(family: str, dtype: torch.dtype) -> None:
    module, images, wanted = exact(family)
    decomposer, found = decomposed(copy.deepcopy(module).to(dtype), images.to(dtype))
    assert decomposer.report_.tolerance == TOLERANCE[dtype]
    assert decomposer.report_.sum_holds == f"within the rounding of {str(dtype).removeprefix('torch.')}"
    assert EPS[torch.float32] < far(found, wanted) < 8 * EPS[dtype]  # it was rounded, and not by more than that


@pytest.mark.parametrize(("family", "dtype"), [("vit_cls", BRAIN), ("cait", BRAIN), ("swin", HALF), ("hf", HALF)])
def test_autocast_inside_a_model_is_decomposed_as_it_computes(family: str, dtype: torch.dtype) -> None:
    module, images, wanted = exact(family)
    plain = vd.load_model(copy.deepcopy(module).float()).representation()
    mixed = Autocast(plain, dtype)
    decomposer, found = decomposed(mixed, images.float())
    assert decomposer.report_.tolerance == TOLERANCE[dtype]
    assert decomposer.report_.covered
    assert EPS[torch.float32] < far(found, wanted) < 8 * EPS[dtype]
    with torch.no_grad():  # the plain model is another one
        assert float(relative_error(plain(images.float()), mixed(images.float())).max()) > EPS[dtype] / 16


def test_regions_of_a_model_keep_the_names_of_its_modules() -> None:
    class Regions(nn.Module):
        """Blocks in bfloat16, the last norm in float32, all of it without gradients."""

        def __init__(self, vit: Any) -> None:
            super().__init__()
            self.vit = vit

        def forward(self, images: Tensor) -> Tensor:
            vit = self.vit
            with torch.no_grad(), torch.autocast("cpu", BRAIN):
                x = vit.blocks(vit.norm_pre(vit._pos_embed(vit.patch_embed(images))))
                with torch.autocast("cpu", enabled=False):
                    x = vit.norm(x.float())
            return x[:, 0] + 1

    module, images, wanted = exact("vit_cls")
    decomposer, found = decomposed(Regions(copy.deepcopy(module).float()), images.float())
    assert decomposer.report_.heads == {f"vit.blocks.{i}.attn": 4 for i in range(3)}
    assert {_own(c.name) for c in found.components} > {c.name for c in wanted.components}
    assert decomposer.report_.precision == "bfloat16"


def test_autocast_that_is_switched_off_changes_nothing() -> None:
    module, images, _ = exact("vit_cls")
    decomposer, _ = decomposed(Autocast(copy.deepcopy(module).float(), BRAIN, enabled=False), images.float())
    assert decomposer.report_.sum_holds == "exact"
    assert decomposer.report_.precision == "float32"


def test_push_and_pull_agree_in_several_formats() -> None:
    module, images, _ = exact("swin")
    decomposer, found = decomposed(Autocast(copy.deepcopy(module).float(), BRAIN), images.float())
    directions = torch.eye(found.values.shape[2])[:5]
    pulled = decomposer.attribute(images.float(), directions)
    pushed = torch.einsum("ncd,qd->nqc", found.values.float(), directions)
    assert float((pulled - pushed).norm() / pushed.norm()) < EPS[BRAIN]
    tokens = decomposer.attribute(images.float(), directions, by=("head", "token")).sum(3)
    assert tokens.norm() <= TOLERANCE[BRAIN] + pulled.norm()


def test_autocast_around_a_call_is_ignored_and_told() -> None:
    module, images, _ = exact("vit_cls")
    single = copy.deepcopy(module).float()
    with torch.autocast("cpu", BRAIN):
        decomposer = vd.Decomposer(single).fit(images.float())
        found = decomposer.transform(images.float())
        mixed = single(images.float()).detach()
    assert decomposer.report_.notes[-1] == AROUND
    assert decomposer.report_.sum_holds == "exact"
    assert float(relative_error(found.total(), single(images.float()).detach()).max()) < TOLERANCE[torch.float32]
    assert float(relative_error(found.total(), mixed).max()) > TOLERANCE[torch.float32]
    assert AROUND not in vd.Decomposer(single).fit(images.float()).report_.notes


def test_autocast_is_asked_for_by_a_function() -> None:
    module, images, wanted = exact("vit_cls")

    def mixed(model: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", BRAIN):
            found: Tensor = model(x)
        return found

    decomposer, found = decomposed(copy.deepcopy(module).float(), images.float(), output=mixed)
    assert decomposer.report_.precision == "bfloat16"
    assert EPS[torch.float32] < far(found, wanted) < 8 * EPS[BRAIN]  # by the model's own names


def quantized(module: nn.Module, config: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization = pytest.importorskip("torchao.quantization", exc_type=ImportError)
        kind = getattr(quantization, config)
        newest = {"version": 2} if "version" in signature(kind).parameters else {}  # before torchao 0.18
        quantization.quantize_(module, kind(**newest))
    return module


@pytest.mark.parametrize(("family", "dtype"), [("vit_cls", torch.float32), ("cait", torch.float32), ("hf", BRAIN)])
def test_weights_of_eight_bits(family: str, dtype: torch.dtype) -> None:
    module, images, wanted = exact(family)
    eight = quantized(copy.deepcopy(module).to(dtype), "Int8WeightOnlyConfig")
    decomposer, found = decomposed(eight, images.to(dtype))
    assert decomposer.report_.tolerance == TOLERANCE[dtype]  # the weights are constants: nothing is rounded on a path
    assert decomposer.report_.covered
    assert 2**-10 < far(found, wanted) < 2**-4  # it is another model than that before


def test_a_quantized_model_is_known_by_its_weights(tmp_path: Path) -> None:
    module, images, _ = exact("vit_cls")
    x = images.float()
    eight = quantized(copy.deepcopy(module).float(), "Int8WeightOnlyConfig")
    first = vd.Decomposer(eight, cache=tmp_path).fit(x)
    again = vd.Decomposer(eight, cache=tmp_path).fit(x)
    assert again.origin_ == first.origin_ != vd.Decomposer(copy.deepcopy(module).float()).fit(x).origin_
    assert torch.equal(again.transform(x).values, first.transform(x).values)
    weight: Any = dict(eight.named_parameters())["blocks.0.mlp.fc2.weight"]
    scale = next(part for _, part in plain_tensors("", weight) if part.is_floating_point())
    with torch.no_grad():
        scale.mul_(2)
    found = first.transform(x)  # goes on with the weights as they are now
    assert float(relative_error(found.total(), eight(x).detach()).max()) < TOLERANCE[torch.float32]
    assert first.origin_ != again.origin_


def test_activations_that_are_quantized_are_refused() -> None:
    module, images, _ = exact("vit_cls")
    eight = quantized(copy.deepcopy(module).float(), "Int8DynamicActivationInt8WeightConfig")
    with pytest.raises(vd.TraceError, match=r"at blocks\.0\.attn\.qkv: it quantizes act.*weights alone") as told:
        vd.Decomposer(eight).fit(images.float())
    assert "\n" not in str(told.value)


class Rounding(nn.Module):
    """Multiplies whole numbers, by whichever operation."""

    def __init__(self, model: nn.Module, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.product = model, product
        self.register_buffer("weight", torch.randint(-9, 9, (48, 5), dtype=torch.int32))

    def forward(self, images: Tensor) -> Tensor:
        x = self.model(images)
        scale = x.abs().amax(-1, keepdim=True) / 127
        return self.product((x / scale).round().to(torch.int32), self.weight).to(x.dtype) * scale


@pytest.mark.parametrize("product", [torch.matmul, torch.mm])
def test_products_of_whole_numbers_are_refused(product: Callable[[Tensor, Tensor], Tensor]) -> None:
    module, images, _ = exact("vit_cls")
    with pytest.raises(vd.TraceError, match="at the model itself: it quantizes activations"):
        vd.Decomposer(Rounding(module, product)).fit(images)
