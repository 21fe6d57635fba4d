"""Layers and heads add up to the map that they are parts of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import case
from torch import Tensor

import vitdecomp as vd
from vitdecomp.attention.attentions import Attentions, Owner
from vitdecomp.heatmaps.caption import caption
from vitdecomp.heatmaps.parts import Parts

NAME = "vit_cls"
MODELS = [
    pytest.param(n, marks=pytest.mark.xdist_group(n))
    for n in (NAME, "siglip", "cait", "swin", "third_party/windows", "third_party/encoder_sequence_first")
]


def direction(name: str = NAME) -> Tensor:
    d = case(name).contributions.dimension
    return torch.randn(2, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def explained(method: str, name: str = NAME, **settings) -> vd.Heatmaps:
    known = case(name)
    return vd.explain(known.decomposer, known.images, direction(name), method, **settings)


def some(parts: Parts | None) -> Parts:
    assert parts is not None
    return parts


@pytest.mark.parametrize("name", MODELS)
def test_layers_and_heads_of_legrad_add_up(name: str) -> None:
    maps = explained("legrad", name)
    layers, heads = some(maps.layers), some(maps.components)
    torch.testing.assert_close(layers.values.sum(2), maps.grid)
    torch.testing.assert_close(heads.values.sum(2), maps.grid.sum((-2, -1)))
    for parts in (layers, heads):
        torch.testing.assert_close(parts.shares.sum(2), torch.ones(4, 2, dtype=torch.float64))
        assert float(parts.shares.max()) < 0.9  # not one part alone
    last = explained("legrad", name, layers=1)
    torch.testing.assert_close(last.grid, layers.values[:, :, -1])
    assert some(last.layers).names == layers.names[-1:]


@pytest.mark.parametrize("name", [each for each in MODELS if each.values[0] not in ("siglip", "cait")])
def test_heads_have_the_names_of_components(name: str) -> None:
    known = {c.name for c in case(name).decomposer.components_of("head") if c.kind == "attn"}
    assert set(some(explained("legrad", name).components).names) == known


@pytest.mark.xdist_group(NAME)
def test_heads_by_hand() -> None:
    """Each head's positive gradients of block 1, summed over patches, a mean over queries and heads."""
    known, model, q = case(NAME), case(NAME).module, direction()[0]
    tokens = model.blocks[0](model._pos_embed(model.patch_embed(known.images))).detach()
    block, attn = model.blocks[1], model.blocks[1].attn
    a, b, v = attn.qkv(block.norm1(tokens)).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4).detach()
    pattern = (a @ b.mT * a.shape[-1] ** -0.5).softmax(-1).requires_grad_()
    tokens = tokens + attn.proj((pattern @ v).transpose(1, 2).flatten(2))
    tokens = tokens + block.mlp(block.norm2(tokens))
    score = torch.cosine_similarity(model.norm(tokens.mean(1)), q, dim=1).sum()
    amounts = torch.autograd.grad(score, pattern)[0].clamp_min(0)[..., 1:].mean(2).sum(-1) / 4
    heads = some(explained("legrad").components)
    found = [heads.values[:, 0, heads.names.index(f"blocks.1.attn.head.{i}")] for i in range(4)]
    torch.testing.assert_close(torch.stack(found, 1), amounts, rtol=1e-9, atol=1e-14)


@pytest.mark.xdist_group("third_party/windows")
def test_heads_that_share_an_axis_with_windows() -> None:
    known = case("third_party/windows")
    made = known.decomposer.views.derived(
        Attentions, lambda: Attentions(known.decomposer.views.captured, Owner.of(known.decomposer.views.paths))
    )
    numbers = made.each[0].heads
    assert numbers.shape == (12, 16, 16)  # heads in front of four windows
    assert torch.equal(numbers, (torch.arange(12) // 4)[:, None, None].expand(12, 16, 16))


@pytest.mark.xdist_group(NAME)
@pytest.mark.parametrize("method", ["decompose", "value"])
def test_components_are_the_sums_of_their_own_maps(method: str) -> None:
    parts = some(explained(method).components)
    for name in ("blocks.0.attn", "blocks.2.attn"):
        alone = explained(method, components=f"{name}.*")
        torch.testing.assert_close(parts.values[:, :, parts.names.index(name)], alone.grid.sum((-2, -1)))
        heads = some(alone.components)
        assert heads.names == tuple(f"{name}.head.{i}" for i in range(4))
        torch.testing.assert_close(heads.values.sum(2), alone.grid.sum((-2, -1)))
    torch.testing.assert_close(parts.values.sum(2), explained(method).grid.sum((-2, -1)))
    torch.testing.assert_close(parts.shares.abs().sum(2), torch.ones(4, 2, dtype=torch.float64))
    assert float(parts.shares.min()) < 0


@pytest.mark.xdist_group(NAME)
def test_parts_of_shifted_images_still_add_up() -> None:
    maps = explained("legrad", shifts=4)
    assert maps.grid.shape[-2:] == (8, 8)
    torch.testing.assert_close(some(maps.layers).values.sum(2), maps.grid)
    torch.testing.assert_close(some(maps.components).values.sum(2), maps.grid.sum((-2, -1)))


@pytest.mark.xdist_group(NAME)
def test_parts_are_joined_and_kept_in_files(tmp_path) -> None:
    known, q, whole = case(NAME), direction(), explained("legrad")
    joined = vd.Heatmaps.joined([vd.explain(known.decomposer, x, q, "legrad") for x in known.images.split(2)])
    joined.save(tmp_path / "maps.safetensors")
    read = vd.Heatmaps.load(tmp_path / "maps.safetensors")
    for kind in ("layers", "components"):
        expected, found = some(getattr(whole, kind)), some(getattr(read, kind))
        assert found.names == expected.names
        torch.testing.assert_close(found.values, expected.values, rtol=1e-9, atol=1e-14)
    explained("chefer").save(tmp_path / "maps.safetensors")
    assert vd.Heatmaps.load(tmp_path / "maps.safetensors").layers is None


@pytest.mark.xdist_group(NAME)
def test_maps_by_layer() -> None:
    maps = explained("legrad")
    each = maps.by_layer(1)
    assert each.labels == ("blocks.0", "blocks.1", "blocks.2")
    torch.testing.assert_close(each.grid.sum(1), maps.grid[:, 1])
    torch.testing.assert_close(each.audit.score, maps.audit.score[:, 1:].expand(-1, 3))
    with pytest.raises(vd.SpecError, match="chefer is no sum over layers"):
        explained("chefer").by_layer()


def test_the_largest_are_told() -> None:
    values = torch.tensor([[[1.0, -3.0, 0.0, 4.0, 2.0]]])
    assert Parts(("a", "b", "c", "d", "e"), values).largest(0, 0) == pytest.approx({"d": 0.4, "b": -0.3, "e": 0.2})
    assert Parts(("a", "b"), torch.zeros(1, 1, 2)).largest(0, 0) == {}
    assert Parts.named(["a", "b", "a"], torch.ones(1, 1, 3)).values.tolist() == [[[2.0, 1.0]]]


@pytest.mark.xdist_group(NAME)
def test_captions_name_the_largest() -> None:
    first, second, third = caption(explained("value"), 0, 0)["from"].split(", ")
    assert all(text.startswith("blocks.") and text.endswith("%") for text in (first, second, third))
    assert any(sign in first for sign in "+-")
    assert "from" not in caption(explained("chefer"), 0, 0)


@pytest.mark.xdist_group(NAME)
def test_a_residual_is_a_part_of_the_score_or_its_rounding() -> None:
    maps = explained("decompose")
    assert float(caption(maps, 0, 0)["residual"]) < 1e-9
    left = replace(maps, audit=replace(maps.audit, residual=maps.audit.residual - 1.25))
    assert caption(left, 0, 0)["residual"] == "-1.25"
