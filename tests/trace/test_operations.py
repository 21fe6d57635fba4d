"""Each operation is in one class, and the classes are those that the rules and the older sets had."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from vitdecomp.trace import operations
from vitdecomp.trace.operations import factors, is_parametric, is_pointwise, packet

aten = torch.ops.aten
APART = {
    name: getattr(operations, name)
    for name in (
        "ATTENTIONS",
        "SOFTMAX",
        "PRODUCTS",
        "PROJECTIONS",
        "NORMS",
        "POOLING",
        "REARRANGES",
        "REPEATS",
        "JOINS",
    )
}


@pytest.mark.parametrize("one", APART)
def test_no_operation_is_of_two_kinds(one: str) -> None:
    for other, members in APART.items():
        assert other == one or not APART[one] & members, (one, other)
    assert APART[one]


def test_every_name_is_an_operation_of_this_torch() -> None:
    for members in APART.values():
        assert all(hasattr(member, "overloads") for member in members)


def test_every_matrix_product_that_attentions_are_written_with_is_a_product() -> None:
    assert {aten.matmul, aten.bmm, aten.mm, aten.einsum, aten.baddbmm, aten.addmm} <= operations.PRODUCTS
    assert {aten.linear, aten.conv2d, aten.convolution} <= operations.PROJECTIONS
    assert not operations.MIXES & operations.MOVES


def call(graph: fx.Graph, op: object, *args: object, varies: tuple[fx.Node, ...] = ()) -> fx.Node:
    node = graph.call_function(op, args)  # type: ignore[arg-type]
    node.meta["varies"] = bool(varies)
    return node


def test_what_is_added_to_a_product_is_no_factor() -> None:
    graph = fx.Graph()
    c, a, b = (graph.placeholder(name) for name in "cab")
    a.meta["varies"] = c.meta["varies"] = True
    added = call(graph, aten.addmm.default, c, a, b, varies=(a,))
    assert factors(added) == [a, b]
    assert is_parametric(added)  # a alone, although what is added varies too
    b.meta["varies"] = True
    assert not is_parametric(added)


def test_attentions_have_three_factors_and_einsums_all_their_operands() -> None:
    graph = fx.Graph()
    q, k, v = (graph.placeholder(name) for name in "qkv")
    assert factors(call(graph, aten.scaled_dot_product_attention.default, q, k, v, q)) == [q, k, v]
    assert factors(call(graph, aten.einsum.default, "a,b,c->", [q, k, v])) == [q, k, v]


def test_pointwise_by_torchs_own_tag_or_by_name() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    for op in (aten.gelu.default, aten.mul.Tensor, aten.hardswish.default, aten.clone.default):
        assert is_pointwise(call(graph, op, x)), op
    for op in (aten.matmul.default, aten.softmax.int, aten.mean.dim):
        assert not is_pointwise(call(graph, op, x)), op
    assert packet(x) is None
