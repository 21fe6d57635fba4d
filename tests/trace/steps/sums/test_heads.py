"""A product of which each head has rows of its own."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from growing import NODE, Growing, run

from vitdecomp.trace.linear_graph import Apply, LinearGraph
from vitdecomp.trace.passes.sum_pushdown import Summed, push_sums_down
from vitdecomp.trace.probe import measured
from vitdecomp.trace.rule import Gate, same
from vitdecomp.trace.steps.sums.heads import times_rows

TOKENS, WIDTH, HEADS, SIZE = 9, 5, 3, 2


def test_each_sum_is_multiplied_with_its_rows() -> None:
    x = torch.randn(2, HEADS, 4, WIDTH, dtype=torch.float64)  # two sums that stay, one for each head, four images
    matrix = torch.randn(3 * HEADS * SIZE, WIDTH, dtype=torch.float64)
    rows = ((3, 1), (HEADS, None), (SIZE, None))
    found = times_rows(x, matrix, rows, (1, None), (2, -1, HEADS, SIZE))
    for head in range(HEADS):
        for k in range(SIZE):
            row = matrix[(1 * HEADS + head) * SIZE + k]
            torch.testing.assert_close(found[:, :, head, k], x[:, head] @ row)


def read(several: int, chosen: int) -> tuple[Growing, Summed]:
    """Some of several projections, of which each head adds the tokens up with weights of its own."""
    g = Growing([])
    x = g.leaf("n", TOKENS, WIDTH)
    x = g.apply(x, ("n", TOKENS, several * HEADS * SIZE), F.linear, g.noise(several * HEADS * SIZE, WIDTH))
    split = ("n", TOKENS, several, HEADS, SIZE)
    x = g.apply(x, split, torch.reshape, g.size(split))
    x = g.apply(x, ("n", TOKENS, chosen, HEADS, SIZE), torch.narrow, 2, 1, chosen)
    x = g.apply(x, ("n", TOKENS, chosen, HEADS, SIZE), operator.mul, g.noise("n", TOKENS, 1, HEADS, 1))
    x = g.apply(x, ("n", HEADS, SIZE), torch.sum, dim=(1, 2), keepdim=False)
    g.apply(x, ("n", HEADS * SIZE), torch.reshape, g.size(("n", HEADS * SIZE)))
    g.gates[Gate(same, (NODE,))] = lambda n: torch.zeros(n, 1, dtype=torch.float64)
    graph, recorded = LinearGraph(tuple(g.values)), g.recorded(3)
    found = push_sums_down(measured(graph, recorded), recorded, lambda leaf, total: True)
    for n in (3, 1):
        torch.testing.assert_close(run(found.graph, g.recorded(n)), run(graph, g.recorded(n)))
    return g, found


def test_heads_that_weight_tokens_differently_become_several_sums() -> None:
    g, found = read(several=3, chosen=1)
    (total,) = found.sums.values()
    assert total.sums == (HEADS,)
    (leaf,) = found.graph.leaves.values()
    assert g.recorded(3)[leaf.value].shape == (HEADS, 3, WIDTH)
    assert times_rows in [v.step.fn for v in found.graph.values if isinstance(v, Apply)]


def test_sums_of_several_projections_stay_behind_them() -> None:
    _, found = read(several=3, chosen=2)
    assert times_rows not in [v.step.fn for v in found.graph.values if isinstance(v, Apply)]
