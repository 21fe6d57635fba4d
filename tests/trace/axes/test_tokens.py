"""Contributions of tokens are told by the tokens' own numbers, and what no token needs is not computed."""

from __future__ import annotations

import pytest
import torch
from pooled import POOLS

import vitdecomp as vd
from vitdecomp.trace.find import split_by_token
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.rules.attention import attention_pattern, no_larger, rows_of

# The tokens of the last MLP that reach the output: class token, registers, 16 patches.
REACH = {
    "cls": {0},
    "mean": {*range(17)},
    "mean_of_patches": {*range(3, 19)},
    "some_tokens": {2, 3, 4},
    "slices_of_several_lengths": {0, 1, *range(4, 9), 16},
    "slice_of_slice": {6},
}


@pytest.mark.parametrize("name", REACH)
def test_tokens_keep_their_numbers(name: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    decomposer = vd.Decomposer(POOLS[name]().double().eval()).fit(images[:2])
    q = torch.randn(2, decomposer.report_.dimension, dtype=torch.float64)
    found, rows = decomposer.attribute(images, q, by="token"), decomposer.components_of("token")
    whole, modules = decomposer.attribute(images, q, by="module"), decomposer.components_of("module")
    for place, row in enumerate(rows):
        torch.testing.assert_close(found[:, :, place].sum(-1), whole[:, :, modules.index(row)], atol=1e-11, rtol=0)
        cells = {*found[:, :, place].abs().sum((0, 1)).nonzero()[:, 0].tolist()}
        if row.name == "blocks.1.mlp":
            assert cells == REACH[name]
        if row.name == "blocks.1.attn":  # every query looks at every token
            assert cells == {*range(17 + 2 * (name == "mean_of_patches") + (name == "some_tokens"))}


def test_a_class_token_asks_for_one_row_of_every_pattern() -> None:
    model = POOLS["cls"]().double().eval()
    by_token = split_by_token(vd.Decomposer(model).fit(torch.randn(2, 3, 16, 16, dtype=torch.float64)).views.paths)
    patterns = [gate for gate in by_token.graph.gates() if gate.fn is rows_of]
    _, recorded = by_token.recorder(torch.randn(3, 3, 16, 16, dtype=torch.float64))
    assert {tuple(recorded[gate].shape[-2:]) for gate in patterns} == {(1, 17)}
    calls = [n for n in by_token.recorder.module.graph.nodes if getattr(n.target, "fn", None) is attention_pattern]
    assert len(calls) == len(patterns)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_some_queries_are_the_same_queries(causal: bool, rows: int, masked: bool) -> None:
    q, k = torch.randn(2, 4, 6, 8, dtype=torch.float64), torch.randn(2, 2, 9, 8, dtype=torch.float64)
    mask = torch.randn(rows, 9, dtype=torch.float64) if masked else None
    whole = attention_pattern(q, k, mask, causal, 0.3)
    gate = Gate(rows_of, (Gate(attention_pattern, (q, k, mask, causal, 0.3)), 2, 3))
    smaller = no_larger(gate)
    assert smaller.fn is attention_pattern
    torch.testing.assert_close(smaller.fn(*smaller.args), rows_of(whole, 2, 3))
    assert no_larger(Gate(rows_of, (whole, 2, 3))).fn is rows_of
