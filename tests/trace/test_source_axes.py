"""The report says which axis of each source is what, and by which evidence."""

from __future__ import annotations

import json

import pytest
import third_party
from helpers import cached, pictures, randomised
from timm.models import levit, swin_transformer, twins
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import vitdecomp as vd
from vitdecomp.trace.source_axes import SourceAxes

SWIN = {"num_classes": 0, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4}
MODELS = {
    "class token": lambda: VisionTransformer(32, 8, embed_dim=48, depth=2, num_heads=4, num_classes=0),
    "windows": lambda: swin_transformer.SwinTransformer(32, 2, **SWIN),
    "heads before images": third_party.WindowViT,
    "five axes": lambda: twins.Twins(
        img_size=32, num_classes=0, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1),
        mlp_ratios=(2, 2, 2, 2), wss=(4, 4, 4, 4), sr_ratios=(4, 2, 1, 1),
    ),
    "activation between": lambda: levit.Levit(
        img_size=64, num_classes=0, embed_dim=(16, 24, 32), key_dim=4, depth=(1, 1, 1), num_heads=(2, 3, 4)
    ),
    "gated": lambda: third_party.EinopsViT(third_party.GatedAttention),
}  # fmt: skip
SIZES = {"heads before images": 16, "gated": 16, "activation between": 64}


@cached
def decomposed(name: str) -> tuple[nn.Module, vd.Decomposer]:
    model = randomised(MODELS[name]())
    return model, vd.Decomposer(model).fit(pictures(1, SIZES.get(name, 32)))


def attentions(name: str) -> list[SourceAxes]:
    return [axes for axes in decomposed(name)[1].report_.axes if axes.kind == "attn"]


def sizes(axes: SourceAxes, label: str) -> int:
    product = 1
    for axis in axes.axes:
        for name, size in axis:
            product *= size if name == label else 1
    return product


@pytest.mark.parametrize("name", MODELS)
def test_every_source_is_laid_out_with_evidence(name: str) -> None:
    _, dec = decomposed(name)
    for axes in dec.report_.axes:
        labels = [label for axis in axes.axes for label, _ in axis]
        assert labels.count("image") == 1
        assert {*axes.evidence} == {*labels} - ({"token"} if "token" not in axes.evidence else set())
        assert ("head" in labels) == (axes.kind == "attn" and dec.report_.heads[axes.source] > 1)
    names = {c.name.removesuffix(f".head.{c.head}") for c in dec.components_ if not c.is_constant}
    assert {axes.source for axes in dec.report_.axes} == names
    json.dumps(dec.report_.to_json())


@pytest.mark.parametrize("name", MODELS)
def test_the_head_axis_has_the_modules_own_number_of_heads(name: str) -> None:
    model, dec = decomposed(name)
    modules = dict(model.named_modules())
    for axes in attentions(name):
        own = getattr(modules.get(axes.source), "num_heads", third_party.HEADS)
        assert sizes(axes, "head") == own
        assert dec.report_.heads[axes.source] == own


def test_what_is_said_of_a_plain_transformer() -> None:
    first, last = attentions("class token")
    assert str(first) == "image, head 4, token 1, channel 12"
    assert first.shape == (1, 4, 17, 12)
    assert first.evidence == {
        "image": "axis 0: its elements of one image reach the representation of that image alone",
        "head": "axis 1: along the channels of blocks.0.attn.proj, and in both the pattern and the values of "
        "blocks.0.attn",
        "token": "all that lies along neither the images nor the channels; 1 of 17 reach the representation directly",
        "channel": "axis 3: along the channels of blocks.0.attn.proj",
    }
    assert last.source == "blocks.1.attn"


def test_windows_and_images_share_an_axis() -> None:
    first = attentions("windows")[0]
    assert str(first) == "(image x token 16), head 2, token 16, channel 12"
    assert str(attentions("heads before images")[0]).startswith("(head ")


def test_heads_behind_an_activation_name_the_attention_that_they_come_from() -> None:
    for name in ("gated", "activation between"):
        axes = next(axes for axes in attentions(name) if "in which the heads of" in axes.evidence["head"])
        assert f"the heads of {axes.source}" in axes.evidence["head"]


def test_the_evidence_is_kept_with_the_paths(tmp_path) -> None:
    model = randomised(MODELS["windows"]())
    found, again = (vd.Decomposer(model, cache=tmp_path).fit(pictures(1, 32)).report_.axes for _ in range(2))
    assert found == again == decomposed("windows")[1].report_.axes
    assert list(tmp_path.iterdir())
