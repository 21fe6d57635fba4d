"""Agreement with the published codes' outputs on small random models (tests/golden/README.md says where from)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vitdecomp as vd

GOLDEN = Path(__file__).parent / "golden"
DEPTH, HEADS = 3, 4
EARLY = ("blocks.0", "bias.blocks.0", "const.cls", "const.pos", "const.norm_pre", "bias.norm_pre")


class Golden:
    """One file of reference outputs, with the model that it was computed on."""

    def __init__(self, name: str, make: Any) -> None:
        self.data = np.load(GOLDEN / f"{name}.npz")
        self.module: nn.Module = make(**json.loads(str(self.data["kwargs_json"]))).double().eval()
        weights = {k[3:]: torch.from_numpy(self.data[k]) for k in self.data.files if k.startswith("sd/")}
        self.module.load_state_dict(weights)
        self.images = self["x"].double()

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.data[key])


@pytest.fixture(params=["timm_vit", "timm_vit_layerscale"])
def timm_golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param, VisionTransformer)


def _key(component: vd.Component, per_head: bool = True) -> str:
    """The reference's name of a component; it counts layers from the last one."""
    if component.kind == "embed" or component.block is None:
        return "init"
    layer = f"layer:{DEPTH - 1 - int(component.block.split('.')[1]):02d}"
    if component.kind == "mlp":
        return f"{layer}, mlp"
    return f"{layer}, attn_head:{component.head:02d}" if per_head else f"{layer}, attns"


def _assert_equal(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).abs().max() <= 1e-9 * expected.abs().max().clamp_min(1)


def test_representation(timm_golden: Golden) -> None:
    _assert_equal(vd.Decomposer(timm_golden.module).fit_transform(timm_golden.images).total(), timm_golden["rep"])


def test_heads_with_biases_spread(timm_golden: Golden) -> None:
    spread = vd.Decomposer(timm_golden.module).fit_transform(timm_golden.images).spread_biases()
    assert len(spread.components) == DEPTH * (HEADS + 1) + 1
    for i, component in enumerate(spread.components):
        _assert_equal(spread.values[:, i], timm_golden[f"heads_from0/lnexact/comp/{_key(component)}"])


def test_differences_between_heads_do_not_depend_on_the_spread(timm_golden: Golden) -> None:
    contributions = vd.Decomposer(timm_golden.module).fit_transform(timm_golden.images)
    for block in range(DEPTH):
        heads = contributions.select(f"blocks.{block}.attn.head.*")
        reference = [timm_golden[f"heads_from0/lnexact/comp/{_key(c)}"] for c in heads.components]
        for i in range(1, HEADS):
            _assert_equal(heads.values[:, i] - heads.values[:, 0], reference[i] - reference[0])


def test_whole_attentions() -> None:
    golden = Golden("timm_vit", VisionTransformer)
    spread = vd.Decomposer(golden.module, by="module").fit_transform(golden.images).spread_biases()
    for i, component in enumerate(spread.components):
        _assert_equal(spread.values[:, i], golden[f"layers_from0/lnexact/comp/{_key(component, per_head=False)}"])


def test_the_last_blocks_alone() -> None:
    """All before the last two blocks taken for one component."""
    golden = Golden("timm_vit", VisionTransformer)
    contributions = vd.Decomposer(golden.module).fit_transform(golden.images)
    spread = contributions.groupby(_early).spread_biases()
    assert len(spread.components) == 2 * (HEADS + 1) + 1
    for i, component in enumerate(spread.components):
        key = "init" if component.name == "embed" else _key(component)
        _assert_equal(spread.values[:, i], golden[f"heads_from1/lnexact/comp/{key}"])


def test_heads_and_tokens(timm_golden: Golden) -> None:
    """Differences between two key tokens of a head, which no convention for biases touches."""
    decomposer = vd.Decomposer(timm_golden.module, by=("head", "token")).fit(timm_golden.images[:1])
    contributions = decomposer.transform(timm_golden.images)
    for block in (1, 2):
        reference = timm_golden[f"headtok_from1/lnexact/comp/layer:{DEPTH - 1 - block:02d}, attn_tokens_heads"]
        for head in range(HEADS):
            ours = contributions.select(f"blocks.{block}.attn.head.{head}.token.*").values.transpose(0, 1)
            _assert_equal(ours - ours[:1], reference[:, head] - reference[:1, head])


def _early(c: vd.Component) -> str:
    """All before the last two blocks, taken for one component."""
    return "embed" if c.name.startswith(EARLY) else c.name


def test_heads_and_tokens_with_biases_spread(timm_golden: Golden) -> None:
    decomposer = vd.Decomposer(timm_golden.module, by=("head", "token")).fit(timm_golden.images[:1])
    spread = decomposer.transform(timm_golden.images).groupby(_early).spread_biases()
    for block in (1, 2):
        reference = timm_golden[f"headtok_from1/lnexact/comp/layer:{DEPTH - 1 - block:02d}, attn_tokens_heads"]
        for head in range(HEADS):
            ours = spread.select(f"blocks.{block}.attn.head.{head}.token.*").values.transpose(0, 1)
            _assert_equal(ours, reference[:, head])


def test_tokens_with_biases_spread() -> None:
    golden = Golden("timm_vit", VisionTransformer)
    contributions = vd.Decomposer(golden.module, by="token").fit_transform(golden.images)
    whole = contributions.groupby(lambda c: c.module if c.kind == "mlp" else _early(c))
    spread = whole.groupby(_early).spread_biases()
    for block in (1, 2):
        layer = f"tok_from1/lnexact/comp/layer:{DEPTH - 1 - block:02d}"
        ours = spread.select(f"blocks.{block}.attn.token.*").values.transpose(0, 1)
        _assert_equal(ours, golden[f"{layer}, attns"])
        _assert_equal(spread.select(f"blocks.{block}.mlp").total(), golden[f"{layer}, mlp"])


class TestOpenClip:
    """Hooks of arXiv 2310.05916 on an open_clip tower: forward order, divided by the norm of the representation."""

    @pytest.fixture
    def golden(self) -> Golden:
        def make(**kwargs: Any) -> nn.Module:
            return open_clip.transformer.VisionTransformer(**kwargs)  # type: ignore[no-untyped-call]

        return Golden("openclip_prs", make)

    def test_heads(self, golden: Golden) -> None:
        contributions = vd.Decomposer(golden.module).fit_transform(golden.images)
        norm = contributions.total().norm(dim=1)[:, None, None]
        _assert_equal(contributions.total(), golden["rep"])
        for block in range(DEPTH):
            ours = contributions.select(f"transformer.resblocks.{block}.attn.head.*").values / norm
            reference = golden["no_spatial/attn"][:, block]
            _assert_equal(ours - ours[:, :1], reference - reference[:, :1])

    def test_tokens(self, golden: Golden) -> None:
        decomposer = vd.Decomposer(golden.module, by=("head", "token")).fit(golden.images[:1])
        contributions = decomposer.transform(golden.images)
        norm = contributions.total().norm(dim=1)[:, None, None]
        for block in range(DEPTH):
            for head in range(HEADS):
                name = f"transformer.resblocks.{block}.attn.head.{head}.token.*"
                ours = contributions.select(name).values / norm
                reference = golden["spatial/attn"][:, block, :, head]
                _assert_equal(ours - ours[:, :1], reference - reference[:, :1])

    def test_mlps(self, golden: Golden) -> None:
        """The reference's MLPs carry their own bias and a share of the final norm's bias and mean."""
        contributions = vd.Decomposer(golden.module).fit_transform(golden.images)
        norm = contributions.total().norm(dim=1)[:, None]
        names = [f"transformer.resblocks.{b}.mlp" for b in range(DEPTH)]
        ours = [contributions.select([n, f"bias.{n}.c_proj"]).total() / norm for n in names]
        reference = golden["no_spatial/mlp"][:, 1:]  # the first entry is the embedding
        for block in range(1, DEPTH):
            _assert_equal(ours[block] - ours[0], reference[:, block] - reference[:, 0])
