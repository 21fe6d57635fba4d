"""Coordinates go where elements go."""

from __future__ import annotations

import torch
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.trace.axes.coordinates import along_axis, coordinates, coordinates_at
from vitdecomp.trace.capture import capture
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import shape

aten = torch.ops.aten


class Moves(nn.Module):
    """An activation, moves, a pointwise gate, and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(4, 3)

    def moved(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 3, 2, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).flatten(3).roll(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.moved(images.exp())
        return self.projection(x.transpose(2, 3) * torch.sigmoid(x.transpose(2, 3))).mean((1, 2))


def test_elements_are_followed_through_moves_and_stop_at_a_projection() -> None:
    model, x = randomised(Moves()), pictures(2, 8)[:, :, :4]
    graph = capture(model, x).module.graph
    nodes = {packet(node): node for node in graph.nodes}
    start, end = nodes[aten.exp], nodes[aten.mul]
    found = coordinates_at(start, end)
    assert found is not None
    known = coordinates(shape(start))
    assert torch.equal(found, torch.stack([model.moved(field).transpose(2, 3) for field in known]))
    assert coordinates_at(start, nodes[aten.linear]) is None


def test_along_an_axis_are_the_coordinates_of_the_best_known_row() -> None:
    fields = coordinates((2, 3))
    assert along_axis(fields, 1).tolist() == [[0, 0, 0], [0, 1, 2]]
    assert along_axis(fields, -2).tolist() == [[0, 1], [0, 0]]
    padded = fields.clone()
    padded[:, 0, 1:] = 0  # the first row is mostly padding
    assert along_axis(padded, 1).tolist() == [[1, 1, 1], [0, 1, 2]]


class Square(nn.Module):
    """Gated heads, as many as there are tokens: moves that keep the shape are moves all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qkv, self.out = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48), nn.Linear(16, 16)
        self.gate = nn.Linear(16, 16)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        q, k, v = self.qkv(x).unflatten(2, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        merged = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return (x + self.out(merged * self.gate(x).sigmoid())).mean(1)


def test_heads_that_are_as_many_as_tokens_are_not_taken_for_them() -> None:
    model, x = randomised(Square()), pictures(3, 8)
    c = vd.Decomposer(model).fit(x[:1]).transform(x)
    heads = c.select("attn*")
    assert len(heads.components) == 4
    with torch.no_grad():
        for head in range(4):  # a head is what is lost with its columns of the projection
            kept = model.out.weight.clone()
            model.out.weight[:, 4 * head : 4 * head + 4] = 0
            lost = c.total() - model(x)
            model.out.weight.copy_(kept)
            torch.testing.assert_close(heads.values[:, head], lost, rtol=0, atol=1e-10)
