"""Directions of each head's own, in the maps of values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import Case, case
from torch import Tensor

import vitdecomp as vd
from vitdecomp.heatmaps.directions import Directions
from vitdecomp.heatmaps.methods.value import Value
from vitdecomp.heatmaps.subject import Subject


def explained(known: Case, asked: Directions, images: Tensor) -> vd.Heatmaps:
    method, subject = Value(), Subject(known.decomposer, images, asked)
    return method.explain(replace(subject, gates=tuple(method.gates(subject))))


def by_component(name: str, *, alike: bool) -> dict[str, Tensor]:
    known = case(name)
    source = torch.Generator().manual_seed(3)
    shape = (1, 2, known.contributions.dimension)
    one = torch.randn(shape, generator=source, dtype=torch.float64)
    return {
        c.name: one if alike else torch.randn(shape, generator=source, dtype=torch.float64)
        for c in known.decomposer.components_of("head")
    }


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("vit_cls", "siglip", "swin")]
)
def test_each_head_is_asked_for_its_own_direction(name: str) -> None:
    known, own = case(name), by_component(name, alike=False)
    images = known.images[:1]
    found = explained(known, Directions(None, own), images)
    heads = [n for n in own if ".attn.head." in n]
    alone = {head: vd.explain(known.decomposer, images, own[head][0], "value", components=head).grid for head in heads}
    torch.testing.assert_close(found.grid, sum(alone.values()), rtol=1e-9, atol=1e-11)
    assert found.components is not None
    assert set(found.components.names) == set(heads)
    amounts = torch.stack([alone[head].sum((-2, -1)) for head in found.components.names], 2)
    torch.testing.assert_close(found.components.values, amounts, rtol=1e-9, atol=1e-11)


@pytest.mark.xdist_group("vit_cls")
def test_equal_directions_are_a_direction() -> None:
    known, own = case("vit_cls"), by_component("vit_cls", alike=True)
    offset = torch.tensor([[1.0, -2.0]], dtype=torch.float64).expand(4, -1)
    found = explained(known, Directions(None, own, offset), known.images)
    expected = vd.explain(known.decomposer, known.images, own["blocks.0.mlp"][0], "value")
    torch.testing.assert_close(found.grid, expected.grid, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.audit.score, expected.audit.score + offset, rtol=1e-9, atol=1e-11)
