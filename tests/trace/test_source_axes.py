"""The report says which axis of each source is what, and by which evidence."""

from __future__ import annotations

import json

import pytest
import third_party
from families import case
from helpers import cached, pictures, randomised
from timm.models import levit, twins
from torch import nn

import vitdecomp as vd
from vitdecomp.trace.source_axes import SourceAxes

KNOWN = {
    "class token": "vit_cls",
    "windows": "swin",
    "heads before images": "third_party/windows",
    "gated": "third_party/gated",
}
OWN = {
    "five axes": lambda: twins.Twins(
        img_size=32, num_classes=0, embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1),
        mlp_ratios=(2, 2, 2, 2), wss=(4, 4, 4, 4), sr_ratios=(4, 2, 1, 1),
    ),
    "activation between": lambda: levit.Levit(
        img_size=64, num_classes=0, embed_dim=(16, 24, 32), key_dim=4, depth=(1, 1, 1), num_heads=(2, 3, 4)
    ),
}  # fmt: skip
SIZES = {"five axes": 32, "activation between": 64}
MODELS = [pytest.param(name, marks=pytest.mark.xdist_group(KNOWN.get(name, name))) for name in (*KNOWN, *OWN)]


@cached
def decomposed(name: str) -> tuple[nn.Module, vd.Decomposer]:
    if name in KNOWN:
        known = case(KNOWN[name])
        return known.module, known.decomposer
    model = randomised(OWN[name]())
    return model, vd.Decomposer(model).fit(pictures(1, SIZES[name]))


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


@pytest.mark.xdist_group("vit_cls")
def test_what_is_said_of_a_plain_transformer() -> None:
    first, *_, last = attentions("class token")
    assert str(first) == "image, head 4, token 1, channel 12"
    assert first.shape == (1, 4, 17, 12)
    assert first.evidence == {
        "image": "axis 0: its elements of one image reach the representation of that image alone",
        "head": "axis 1: along the channels of blocks.0.attn.proj, and in both the pattern and the values of "
        "blocks.0.attn",
        "token": "all that lies along neither the images nor the channels; 1 of 17 reach the representation directly",
        "channel": "axis 3: along the channels of blocks.0.attn.proj",
    }
    assert last.source == "blocks.2.attn"


@pytest.mark.xdist_group("swin")
def test_windows_and_images_share_an_axis() -> None:
    assert str(attentions("windows")[0]) == "(image x token 16), head 2, token 16, channel 12"


@pytest.mark.xdist_group("third_party/windows")
def test_heads_in_front_of_images_share_an_axis_with_them() -> None:
    assert str(attentions("heads before images")[0]).startswith("(head ")


@pytest.mark.parametrize("name", [param for param in MODELS if param.values[0] in ("gated", "activation between")])
def test_heads_behind_an_activation_name_the_attention_that_they_come_from(name: str) -> None:
    axes = next(axes for axes in attentions(name) if "in which the heads of" in axes.evidence["head"])
    assert f"the heads of {axes.source}" in axes.evidence["head"]


@pytest.mark.xdist_group("swin")
def test_the_evidence_is_kept_with_the_paths() -> None:
    traced = case("swin")
    again = vd.Decomposer(traced.module, cache=traced.folder).fit(traced.images[:1])
    assert again.report_.axes == traced.decomposer.report_.axes
