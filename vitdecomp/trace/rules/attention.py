"""Attention: softmax(Q K^T) V is a source; walked through on purpose, its pattern is the gate and V the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, gate, nonlinear, register_opening, varies
from vitdecomp.trace.rules.parametric import einsum_at, matmul_left

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention

nonlinear("attention", SDPA)


@register_opening(SDPA)
def through_sdpa(
    op: Op, q: Any, k: Any, v: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> list[Term] | None:  # fmt: skip
    """The pattern times V."""
    if not varies(v):
        return None
    term = data(v) if not enable_gqa else data(v).then(torch.repeat_interleave, op.shape[-3] // _heads(v), dim=-3)
    return [term.then(matmul_left, gate(attention_pattern, q, k, mask, causal, scale, enable_gqa))]


def _heads(v: fx.Node) -> int:
    heads: int = v.meta["trial_shape"][-3]
    return heads


def attention_pattern(
    q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None, gqa: bool
) -> Tensor:
    """softmax(q k^T scale + mask), `(..., head, query, key)`."""
    if gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~seen, float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1)


@register_opening(aten.matmul, aten.bmm)
def through_matmul(op: Op, a: fx.Node, b: fx.Node) -> list[Term]:
    """The operand that holds a softmax is the gate, else the left one."""
    if pattern_operand([a, b]) == 0:
        return [data(b).then(matmul_left, a)]
    return [data(a).then(torch.matmul, b)]


@register_opening(aten.einsum)
def through_einsum(op: Op, equation: str, operands: Sequence[fx.Node], **_: Any) -> list[Term] | None:
    """The same for an einsum of two operands."""
    if len(operands) != 2:
        return None
    value = 1 - pattern_operand(operands)
    return [data(operands[value]).then(einsum_at, equation, value, (operands[1 - value],))]


def pattern_operand(operands: Sequence[fx.Node]) -> int:
    """Which of two operands is the attention pattern: the one made by a softmax, else the first."""
    return 1 if not comes_from_softmax(operands[0]) and comes_from_softmax(operands[1]) else 0


def comes_from_softmax(node: fx.Node, limit: int = 64) -> bool:
    """Whether a softmax lies behind a node with no product, norm or convolution in between."""
    frontier, seen = [node], set()
    while frontier and len(seen) < limit:
        here = frontier.pop()
        if here in seen or not varies(here) and here is not node:
            continue
        seen.add(here)
        if here.target in (aten.softmax.int, aten._softmax.default):
            return True
        if not blocks_pattern(here):
            frontier.extend(here.all_input_nodes)
    return False


_PATTERN_ENDS = {
    aten.matmul, aten.bmm, aten.einsum, SDPA, aten.layer_norm, aten.conv2d, aten.convolution, aten.group_norm,
    aten.mm, aten.baddbmm, aten._native_batch_norm_legit_no_training,
}  # fmt: skip


def blocks_pattern(node: fx.Node) -> bool:
    """Whether an operation ends the way from scores to pattern: another product, a norm, a convolution."""
    return getattr(node.target, "overloadpacket", None) in _PATTERN_ENDS
