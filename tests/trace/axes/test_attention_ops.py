"""Attentions are found by what their products do, however they are written."""

from __future__ import annotations

from typing import Any

import pytest
import third_party
import torch
from families import case
from helpers import pictures, randomised
from torch import fx, nn

from vitdecomp.trace.axes.attention_ops import (
    attention_operations,
    behind,
    free_axes,
    is_product_of_data,
    single_query,
    value_axes,
)
from vitdecomp.trace.capture import capture
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import Op, module_path, shape

aten = torch.ops.aten
WRITTEN = {
    "matmul": "einops_cls",
    "einsum": "einsum",
    "fused": "gated",
    "two patterns": "differential",
    "no softmax": "linear_attention",
    "one head of values": "multi_query",
}


def graph_of(kind: str) -> fx.Graph:
    return case(f"third_party/{WRITTEN[kind]}").decomposer.views.captured.module.graph


def kinds(*but: str) -> list[Any]:
    """The ways to write attention, each on the worker that has traced its model."""
    return [
        pytest.param(kind, marks=pytest.mark.xdist_group(f"third_party/{name}"))
        for kind, name in WRITTEN.items()
        if kind not in but
    ]


@pytest.mark.parametrize("kind", kinds())
def test_every_block_has_one_attention_and_scores_are_none(kind: str) -> None:
    graph = graph_of(kind)
    found = attention_operations(graph)
    blocks = [f"layers.{i}.0" for i in range(third_party.DEPTH)]
    assert [module_path(node) for node in found] == blocks
    products = [node for node in graph.nodes if is_product_of_data(node)]
    assert len(products) > len(found) or kind == "fused"


@pytest.mark.parametrize("kind", kinds("no softmax"))  # which has no pattern
def test_queries_and_width_are_free_and_the_width_is_the_values(kind: str) -> None:
    node = attention_operations(graph_of(kind))[0]
    tokens, width = 17, third_party.WIDTH // third_party.HEADS
    assert sorted(shape(node)[a] for a in free_axes(node)) == sorted([tokens, width])
    assert [shape(node)[a] for a in value_axes(node)] == [width]


@pytest.mark.xdist_group("third_party/gated")
def test_an_attention_is_found_behind_a_gate_and_not_behind_a_projection() -> None:
    graph = graph_of("fused")
    attention = attention_operations(graph)[0]
    gated = next(node for node in graph.nodes if packet(node) is aten.mul and behind(node) is not None)
    assert behind(gated) is attention
    projection = next(iter(gated.users))
    assert behind(next(iter(projection.users))) is None


class Pool(nn.Module):
    """A learned query reads all patches."""

    def __init__(self, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, queries, 12))
        self.read = nn.MultiheadAttention(12, 2, batch_first=True)
        self.patches, self.mix = nn.Conv2d(3, 12, 4, 4), nn.Linear(12, 12)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).mT
        queries = self.query + self.mix(tokens).mean(1, keepdim=True)
        return self.read(queries, tokens, tokens, need_weights=False)[0].mean(1)


@pytest.mark.parametrize("queries", [1, 3])
def test_one_query_pools(queries: int) -> None:
    (node,) = attention_operations(capture(randomised(Pool(queries)), pictures(2, 16)).module.graph)
    assert single_query(Op(node)) == (queries == 1)
