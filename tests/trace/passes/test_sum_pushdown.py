"""Sum push-down changes where tokens are added up, and nothing else."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from growing import CHOICES, MOVES, NODE, Growing, concrete, negate, run
from helpers import pictures, randomised
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import POOLS
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.engine.component_set import split
from vitdecomp.engine.granularity import By
from vitdecomp.engine.products import products
from vitdecomp.trace.axes.layout import Layout
from vitdecomp.trace.find import split_by_token
from vitdecomp.trace.linear_graph import Apply, LinearGraph
from vitdecomp.trace.passes.partial_sums import left, pieces
from vitdecomp.trace.passes.sum_pushdown import push_sums_down
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.probe import Derived, measured
from vitdecomp.trace.rule import Gate, same
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum, refined, weighted_sum
from vitdecomp.trace.steps.sums.weights import one_each

# --- graphs made of random steps ---------------------------------------------------------------------------------


def to_vectors(g: Growing, i: int) -> int:
    """Whatever there is as one vector for each image, summed over the first axis but the image's."""
    image = g.shapes[i].index("n")
    order = (image, *(d for d in range(len(g.shapes[i])) if d != image))
    i = g.apply(i, tuple(g.shapes[i][d] for d in order), torch.permute, order)
    if len(g.shapes[i]) > 2:
        i = g.apply(i, ("n", *g.shapes[i][2:]), torch.mean, dim=(1,), keepdim=False)
    width = torch.Size(concrete(g.shapes[i][1:], 1)).numel()
    return g.apply(i, ("n", width), torch.reshape, g.size(("n", width)))


def grown(choices: Sequence[int]) -> tuple[LinearGraph, Growing]:
    g = Growing(choices)
    last = g.leaf("n", g.choose(1, 5), g.choose(1, 4), g.choose(1, 4))
    for _ in range(g.choose(1, 10)):
        last = MOVES[g.choose(0, len(MOVES) - 1)](g, last)
    to_vectors(g, negate(g, last))
    g.gates[Gate(same, (NODE,))] = lambda n: torch.zeros(n, 1, dtype=torch.float64)
    return LinearGraph(tuple(g.values)).pruned(), g


@settings(max_examples=200, deadline=None, derandomize=True)
@given(CHOICES, st.booleans())
def test_random_graphs_keep_their_value(choices: list[int], fits: bool) -> None:
    graph, growing = grown(choices)
    recorded = growing.recorded(3)
    found = push_sums_down(measured(graph, recorded), recorded, lambda leaf, total: fits)
    assert len(found.graph.leaves) == len(graph.leaves)
    for n in (3, 2, 1):  # pushed down once, it holds for any batch
        recorded = growing.recorded(n)
        torch.testing.assert_close(run(found.graph, recorded), run(graph, recorded), rtol=1e-11, atol=1e-11)


# --- a Swin in small ------------------------------------------------------------------------------------------------


def merging(width: int) -> tuple[LinearGraph, Growing]:
    """Windows of four tokens, shifted back, then blocks of four merged, normed, and pooled: a Swin in small."""
    g = Growing([])
    x = g.leaf("n4", 2, 9, width)  # four windows of nine tokens each, two heads
    x = g.apply(x, ("n4", 9, 2, width), torch.permute, (0, 2, 1, 3))
    x = g.apply(x, ("n4", 9, 2 * width), torch.reshape, g.gate(lambda n: (n * 4, 9, 2 * width)))
    x = g.apply(x, ("n4", 9, 4), F.linear, g.noise(4, 2 * width))
    x = g.apply(x, ("n", 2, 2, 3, 3, 4), torch.reshape, g.gate(lambda n: (n, 2, 2, 3, 3, 4)))
    x = g.apply(x, ("n", 2, 3, 2, 3, 4), torch.permute, (0, 1, 3, 2, 4, 5))
    x = g.apply(x, ("n", 6, 6, 4), torch.reshape, g.gate(lambda n: (n, 6, 6, 4)))
    x = g.apply(x, ("n", 6, 6, 4), torch.roll, (1, 2), (1, 2))
    x = g.apply(x, ("n", 3, 2, 3, 2, 4), torch.reshape, g.gate(lambda n: (n, 3, 2, 3, 2, 4)))
    x = g.apply(x, ("n", 3, 3, 2, 2, 4), torch.permute, (0, 1, 3, 2, 4, 5))
    x = g.apply(x, ("n", 3, 3, 16), torch.reshape, g.gate(lambda n: (n, 3, 3, 16)))
    x = g.apply(x, ("n", 3, 3, 16), operator.mul, g.noise("n", 3, 3, 1))
    x = g.apply(x, ("n", 3, 3, 16), operator.mul, g.noise(16))
    x = g.apply(x, ("n", 3, 3, 5), F.linear, g.noise(5, 16))
    g.apply(x, ("n", 5), torch.mean, dim=(1, 2), keepdim=False)
    g.gates[Gate(same, (NODE,))] = lambda n: torch.zeros(n, 1, dtype=torch.float64)
    return LinearGraph(tuple(g.values)), g


def test_merged_tokens_become_several_sums_in_front_of_windows_that_cross_them() -> None:
    graph, growing = merging(7)
    recorded = growing.recorded(3)
    found = push_sums_down(measured(graph, recorded), recorded, lambda leaf, total: True)
    (total,) = found.sums.values()
    assert total.sums == (2, 2)
    (leaf,) = found.graph.leaves.values()
    assert recorded[leaf.value].shape == (2, 2, 3, 2, 7)  # all of 36 tokens are added up
    steps = [v.step.fn for v in found.graph.values if isinstance(v, Apply)]
    assert torch.roll not in steps
    torch.testing.assert_close(run(found.graph, growing.recorded(2)), run(graph, growing.recorded(2)))


# --- sums themselves --------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=3, unique=True),
    st.integers(0, 2),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_weighted_sums_are_the_sums_of_the_products(
    factors: list[int], axes: list[int], sums: int, broadcast: list[bool]
) -> None:
    view = (-1, *factors)
    chosen = sorted({axis % len(factors) + 1 for axis in axes})
    x = torch.randn(2, *factors, dtype=torch.float64)
    size = [1 if narrow else s for s, narrow in zip(factors, broadcast, strict=False)]
    weights = torch.randn(*(2,) * sums, 2, *size, dtype=torch.float64)
    found = weighted_sum(x, weights, view, chosen)
    slow = (x * weights).sum([sums + axis for axis in chosen]) if chosen else x * weights
    left_over = [s for axis, s in enumerate(factors, 1) if axis not in chosen and s != 1]
    torch.testing.assert_close(found, slow.reshape(*(2,) * sums, 2, *left_over))


def test_repeated_values_are_summed_by_adding_weights() -> None:
    x, weights = torch.randn(1, 1, 5, dtype=torch.float64).expand(2, 6, 5), torch.randn(2, 6, 1, dtype=torch.float64)
    torch.testing.assert_close(weighted_sum(x, weights, (-1, 6, 5), (1,)), (x * weights).sum(1))


@given(st.permutations([2, 3, 4, 5]), st.integers(0, 3), st.integers(0, 3))
def test_refining_keeps_the_order_of_elements(sizes: list[int], low: int, high: int) -> None:
    low, high = sorted((low, high))
    merged = (*sizes[:low], torch.Size(sizes[low : high + 1]).numel(), *sizes[high + 1 :])
    total = WeightedSum(((7,), *((s,) for s in sizes)), 0, frozenset({1}), (), Gate(same, ()))
    found = refined(total, (7, *merged))
    assert found is not None
    groups, parents = found
    assert [torch.Size(group).numel() for group in groups] == [7, *merged]
    assert parents == tuple(range(5))


def test_shapes_that_cross_each_other_are_not_refined() -> None:
    total = WeightedSum(((7,), (2,), (3,)), 0, frozenset(), (), Gate(same, ()))
    assert refined(total, (7, 3, 2)) is None
    assert refined(total, (14, 3)) == (((7, 2), (3,)), (0, 1, 2))
    assert (
        refined(WeightedSum(((6,),), 0, frozenset(), (), Gate(same, ())), (2, 3)) is None
    )  # the image cannot be split


def test_several_sums_take_one_place_each() -> None:
    weights = torch.randn(5, 3, 1, 4, dtype=torch.float64)
    found = one_each(weights, 0, (2,), (6,))
    assert found.shape == (6, 5, 3, 6, 4)
    x = torch.randn(5, 3, 6, 4, dtype=torch.float64)
    for place in range(6):
        torch.testing.assert_close((found[place] * x).sum((1, 2, 3)), (weights[:, :, 0] * x[:, :, place]).sum((1, 2)))


def test_heads_and_channels_stay_in_the_layout_of_what_is_left() -> None:
    layout = Layout(((("n", -1), ("t", 4)), (("h", 2),), (("t", 9),), (("w", 7),)))
    total = WeightedSum(((3, 4), (2,), (9,), (7,)), 0, frozenset({1, 3}), (2, 2), Gate(same, ()))
    found = pieces(layout, total, set())
    assert found is not None
    rest = left(total, found)
    assert rest == Layout(((("t", 2),), (("t", 2),), (("n", -1),), (("h", 2),), (("w", 7),)))
    assert (
        pieces(layout, WeightedSum(total.groups, 0, frozenset({2}), (), total.weights), set()) is None
    )  # heads added up
    assert pieces(layout, total, {4}) is None  # channels with weights of their own


# --- models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*POOLS} - {"cls", "some_tokens"}))
def test_early_paths_attribute_like_the_plain_ones(name: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    found = vd.Decomposer(POOLS[name]().double().eval()).fit(images[:2])
    q = torch.randn(2, found.report_.dimension, dtype=torch.float64)
    paths = found.views.paths
    plain: dict[By, LinearPaths] = {"head": paths, "token": split_by_token(paths), "neuron": paths, "module": paths}
    for by, slow in {**plain, ("head", "token"): plain["token"]}.items():
        components, (representation, recorded) = split(slow, by), slow.recorder(images)
        with torch.no_grad():
            expected = products(slow, components, recorded, q[:, None].expand(-1, 3, -1))
            vectors = components.pushed(recorded, 3, representation)
        torch.testing.assert_close(found.attribute(images, q, by=by), expected, atol=1e-11, rtol=0)
        torch.testing.assert_close(found.transform(images, by=by).values, vectors, atol=1e-11, rtol=0)


def leaf_sizes(decomposer: vd.Decomposer, images: Tensor) -> set[int]:
    paths = decomposer.views.of("head")[0]
    recorded = Derived(paths.recorder(images)[1])
    return {recorded[leaf.value].numel() // len(images) for leaf in paths.graph.leaves.values()}


def test_a_mean_of_tokens_leaves_one_token_of_every_source() -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    found = vd.Decomposer(POOLS["mean"]().double().eval()).fit(images)
    assert max(leaf_sizes(found, images)) == 8  # the width: MLPs begin behind their last projection


@pytest.mark.parametrize(("name", "sums"), [("latent", 2), ("flat_latent", 2), ("cls_and_mean", 2), ("cait", 3)])
def test_tokens_that_several_read_are_added_up_for_each(name: str, sums: int) -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    found = vd.Decomposer(POOLS[name]().double().eval()).fit(images)
    sizes = leaf_sizes(found, images) - {8 * 4 * 4}  # the patches' own image, before its channels come last
    assert max(sizes) == sums * 8


@pytest.mark.parametrize(("name", "queries"), [("flat", 1), ("flat_mean_of_two", 2), ("mean", 17)])
def test_patterns_have_the_queries_that_count(name: str, queries: int) -> None:
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    found = vd.Decomposer(POOLS[name]().double().eval(), by="token").fit(images[:2])
    nodes = found.views.of("token")[0].recorder.module.graph.nodes
    patterns = [n.target.template[0] for n in nodes if getattr(n.target, "__name__", "") == "attention_pattern"]
    assert len(patterns) == 2
    rows = [length[0] if (length := args[6:]) else 17 for args in patterns]
    assert rows == [queries, queries]


def test_several_granularities_at_once_are_those_one_by_one() -> None:
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    found = vd.Decomposer(POOLS["cls_plus_mean"]().double().eval()).fit(images[:2])
    q = torch.randn(2, found.report_.dimension, dtype=torch.float64)
    bys: list[By] = ["head", "token", "neuron"]
    for by, table in zip(bys, found.attribute_each(images, q, bys), strict=True):
        torch.testing.assert_close(table, found.attribute(images, q, by=by), atol=1e-12, rtol=0)


class AttentionPool(nn.Module):
    """Tokens that a learned query reads, with values by a product `x A` that is no `F.linear`."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.patches, self.turned = nn.Conv2d(3, 12, 4, 4), turned
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.query, self.keys = nn.Parameter(torch.randn(1, 3, 1, 4)), nn.Linear(12, 12)
        self.values = nn.Parameter(torch.randn(12, 12))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        x = x + self.mlp(x)
        values = F.linear(x, self.values) if self.turned else x @ self.values
        k, v = (y.unflatten(2, (3, 4)).transpose(1, 2) for y in (self.keys(x), values))
        found = F.scaled_dot_product_attention(self.query.expand(len(x), -1, -1, -1), k, v)
        return found.transpose(1, 2).flatten(1)


@pytest.mark.parametrize("turned", [True, False])
def test_sums_of_each_head_pass_products_with_a_matrix_on_either_side(turned: bool) -> None:
    module, images = randomised(AttentionPool(turned)), pictures(3, 16)
    fast, plain = (
        vd.Decomposer(module, passes=passes, cache=None).fit_transform(images) for passes in (("sum-push-down",), ())
    )
    torch.testing.assert_close(fast.values, plain.values, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(fast.total(), module(images).detach(), rtol=1e-11, atol=1e-11)
