"""Models of several inputs, all but one of which are held."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import transformers
from helpers import randomised
from torch import Tensor, nn
from vision_zoo import COMMON, TEXT

import vitdecomp as vd

X = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Conditioned(nn.Module):
    """Tokens of an image and of something else, side by side in one attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, image: Tensor, context: Tensor, *, scale: float = 1.0) -> Tensor:
        x = torch.cat([self.embed(image).flatten(2).transpose(1, 2), context], 1)
        found: Tensor = (x + scale * self.attn(x, x, x, need_weights=False)[0]).mean(1)
        return found


def model() -> Any:
    torch.manual_seed(0)
    return randomised(Conditioned())


def test_the_sum_is_that_of_the_model_with_the_other_input() -> None:
    module, context = model(), torch.randn(1, 3, 8, dtype=torch.float64)
    decomposer = vd.Decomposer(vd.hold(module, context=context, scale=0.5), cache=None).fit(X[:1])
    found = decomposer.transform(X)
    with torch.no_grad():
        expected = module(X, context.expand(3, -1, -1), scale=0.5)
    assert (found.total() - expected).abs().max() < 1e-12 * expected.abs().max()
    assert found.error.max() < 1e-12
    assert decomposer.report_.heads == {"attn": 2}  # by the model's own names


def test_either_input_can_be_asked_about() -> None:
    module, context = model(), torch.randn(4, 3, 8, dtype=torch.float64)
    decomposer = vd.Decomposer(vd.hold(module, "context", image=X[:1]), cache=None).fit(context[:1])
    found = decomposer.transform(context)
    with torch.no_grad():
        expected = module(X[:1].expand(4, -1, -1, -1), context)
    assert (found.total() - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="older versions mask in float32 alone")
def test_an_image_for_held_texts() -> None:
    parts = {"vision_config": COMMON, "text_config": {**TEXT, "max_position_embeddings": 8}}
    module = randomised(transformers.CLIPModel(transformers.CLIPConfig(**parts, projection_dim=16)))
    ids = torch.tensor([[1, 5, 7, 2], [1, 9, 11, 2]])
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    held = vd.hold(module, "pixel_values", input_ids=ids)
    decomposer = vd.Decomposer(held, output="logits_per_image", cache=None).fit(x[:1])
    found = decomposer.transform(x)
    with torch.no_grad():
        expected = module(pixel_values=x, input_ids=ids).logits_per_image
    assert found.values.shape[-1] == 2
    assert (found.total() - expected).abs().max() < 1e-11 * expected.abs().max()
    inner = vd.Decomposer(held, output="vision_model.encoder.layers.0", positions=0, cache=None).fit(x[:1])
    assert inner.report_.exact


def test_patches_with_held_places() -> None:
    """NaFlex: the places decide the size of the grid that position embeddings are resized to."""
    made = timm.create_model("naflexvit_base_patch16_gap", embed_dim=24, depth=2, num_heads=3, num_classes=0)
    module = randomised(made)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3))[None]
    patches = torch.randn(3, 6, 16 * 16 * 3, dtype=torch.float64)
    held = vd.hold(module, patch_coord=places, patch_valid=torch.tensor([[True] * 5 + [False]]))
    decomposer = vd.Decomposer(held, cache=None).fit(patches[:1])
    found = decomposer.transform(patches)
    with torch.no_grad():
        valid = held.held["patch_valid"].expand(3, -1)
        expected = module(patches, patch_coord=places.expand(3, -1, -1), patch_valid=valid)
    assert (found.total() - expected).abs().max() < 1e-12 * expected.abs().max()
    assert {*decomposer.report_.heads.values()} == {3}
    assert not decomposer.report_.missing


def test_training_flags_are_left_alone() -> None:
    module = model().train()
    vd.hold(module, context=X)
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize(
    ("name", "held", "message"),
    [
        (None, {"contxt": X}, r"'context'; the arguments of Conditioned are image, context, scale"),
        (None, {"context": X, "size": 3}, "'size'"),
        ("picture", {"context": X}, "arguments of Conditioned"),
    ],
)
def test_arguments_that_the_model_does_not_have(name: str | None, held: dict[str, Any], message: str) -> None:
    with pytest.raises(vd.SpecError, match=message):
        vd.hold(model(), name, **held)
