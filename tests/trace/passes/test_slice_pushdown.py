"""Slice push-down changes where tokens are chosen, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from growing import CHOICES, MOVES, Growing, negate, run
from hypothesis import given, settings
from pooled import POOLS
from torch import Tensor

import vitdecomp as vd
from vitdecomp.trace.linear_graph import SOURCE, LinearGraph
from vitdecomp.trace.passes.slice_pushdown import push_slices_down
from vitdecomp.trace.probe import Derived, measured
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.walk import fold_image, walk

# --- graphs made of random steps ------------------------------------------------------------------------------


def grown(choices: Sequence[int]) -> Growing:
    """A linear graph that begins with tokens `(n, t, c)` and goes on as the choices say."""
    g = Growing(choices)
    last = g.leaf("n", g.choose(1, 5), g.choose(1, 4))
    for _ in range(g.choose(1, 10)):
        last = MOVES[g.choose(0, len(MOVES) - 1)](g, last)
    negate(g, last)
    return g


@settings(max_examples=100, deadline=None, derandomize=True)
@given(CHOICES)
def test_random_graphs_keep_their_value(choices: list[int]) -> None:
    growing = grown(choices)
    graph = LinearGraph(tuple(growing.values)).pruned()
    pushed = push_slices_down(measured(graph, growing.recorded(3)))
    for n in (3, 2):  # pushed down once, it holds for any batch
        recorded = growing.recorded(n)
        torch.testing.assert_close(run(pushed, recorded), run(graph, recorded), rtol=1e-11, atol=1e-11)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(CHOICES)
def test_random_graphs_never_grow_leaves(choices: list[int]) -> None:
    growing = grown(choices)
    graph, recorded = LinearGraph(tuple(growing.values)).pruned(), growing.recorded(3)
    pushed = push_slices_down(measured(graph, recorded))
    before, after = ([recorded[v.value].numel() for v in x.leaves.values()] for x in (graph, pushed))
    assert len(after) <= len(before)
    assert sum(after) <= sum(before)


# --- models ----------------------------------------------------------------------------------------------------


@cache
def traced(name: str) -> tuple[LinearGraph, LinearGraph, Callable[[int], tuple[Tensor, Derived]]]:
    torch.manual_seed(0)
    model = POOLS[name]().double().eval()
    captured = vd.Decomposer(model).fit(torch.randn(2, 3, 16, 16, dtype=torch.float64)).views.captured
    graph = fold_image(walk(captured))
    recorder = Recorder(captured, graph.gates())
    recorded = Derived(recorder(captured.trial)[1])

    def record(n: int) -> tuple[Tensor, Derived]:
        output, values = recorder(torch.randn(n, 3, 16, 16, dtype=torch.float64))
        return output, Derived(values)

    return graph, push_slices_down(measured(graph, recorded)), record


@pytest.mark.xdist_group("pushed_models")
@pytest.mark.parametrize("name", POOLS)
@torch.no_grad()
def test_models_keep_their_value(name: str) -> None:
    graph, pushed, record = traced(name)
    for n in (3, 2):
        output, recorded = record(n)
        torch.testing.assert_close(run(graph, recorded), output, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(run(pushed, recorded), output, rtol=1e-11, atol=1e-11)


@pytest.mark.xdist_group("pushed_models")
@pytest.mark.parametrize(("name", "tokens"), [("cls", 1), ("some_tokens", 3), ("slice_of_slice", 1), ("mean", 17)])
@torch.no_grad()
def test_leaves_shrink_to_the_tokens_that_count(name: str, tokens: int) -> None:
    _, pushed, record = traced(name)
    _, recorded = record(2)
    lengths = {s for leaf in pushed.leaves.values() for s in [recorded[leaf.value].shape[-2]] if leaf.kind == SOURCE}
    assert lengths == {tokens}


@pytest.mark.xdist_group("pushed_models")
@torch.no_grad()
def test_patch_branches_that_the_class_token_never_reads_are_gone() -> None:
    graph, pushed, _ = traced("cait")
    before, after = ({leaf.node for leaf in g.leaves.values() if leaf.kind == SOURCE} for g in (graph, pushed))
    assert len(before) == 6  # two attentions, two MLPs, two class attentions
    assert len(after) == 2
    assert not any(v.node.target is torch.ops.aten.gelu.default for v in pushed.leaves.values())
