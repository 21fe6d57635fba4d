"""Attention: softmax(Q K^T) V is a source; walked through, its pattern is the gate, V the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.errors import TraceError
from vitdecomp.trace.operations import (
    ATTENTIONS,
    CONVOLUTIONS,
    FUSED,
    NORMS,
    PRODUCTS,
    SDPA,
    SOFTMAX,
    factors,
    is_parametric,
    packet,
)
from vitdecomp.trace.rule import (
    Gate,
    Op,
    Step,
    Term,
    data,
    gate,
    module_path,
    nonlinear,
    opened_terms,
    register_opening,
    shape,
    shape_of,
    varies,
)
from vitdecomp.trace.rules.parametric import einsum_at, matmul_left
from vitdecomp.trace.search import Limit, Search

aten = torch.ops.aten
MIXING = "mixing"  # note on a node that mixes streams: which operand holds the weights
nonlinear("attention", SDPA, *FUSED, aten._native_multi_head_attention, aten._transformer_encoder_layer_fwd)


@register_opening(SDPA, *FUSED)
def through_sdpa(op: Op, q: Any, k: Any, v: Any, *settings: Any, **named: Any) -> list[Term] | None:
    """Multiply the pattern by V."""
    if not varies(v) or op.index:
        return None
    names = [a.name for a in op.target._schema.arguments if not a.kwarg_only][3:]
    given = {**dict(zip(names, settings, strict=True)), **named}
    mask = given.get("attn_mask", given.get("attn_bias"))
    pattern = gate(attention_pattern, q, k, mask, given.get("is_causal", False), given.get("scale"))
    return [_for_every_head(data(v), shape(v), op.shape).then(matmul_left, pattern)]


def _for_every_head(values: Term, size: Sequence[int], out: Sequence[int]) -> Term:
    """Repeat values that several heads share (grouped queries) once for each head."""
    groups = out[-3] // size[-3] if len(out) > 2 and size[-3] > 1 else 1
    return values if groups == 1 else values.then(torch.repeat_interleave, groups, dim=-3)


def attention_pattern(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    start: int = 0,
    length: int | None = None,
) -> Tensor:
    """softmax(q k^T scale + mask), `(..., head, query, key)`; zero for a query that may see no key.

    With a start and a length, of a range of the queries alone.
    """
    rows = q.shape[-2] if length is None else length
    q = q.narrow(-2, start, rows)
    if q.ndim > 2 and k.shape[-3] not in (1, q.shape[-3]):
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril(start)
        scores = scores.masked_fill(~seen, float("-inf"))
    if mask is not None:
        mask = mask.narrow(-2, start, rows) if mask.ndim > 1 and mask.shape[-2] > 1 else mask
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    blind = (scores == float("-inf")).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(blind, 0.0), -1).masked_fill(blind, 0.0)


def rows_of(pattern: Tensor, start: int, length: int) -> Tensor:
    """Copy a range of a pattern's queries, so that the rest can be freed."""
    return pattern.narrow(-2, start, length).clone()


def no_larger(gate: Gate) -> Gate:
    """Return a gate with the same value that computes no queries which are thrown away.

    Only a run of the model needs it: while paths are found, a range of queries is cut from the recorded pattern.
    """
    if gate.fn is rows_of and isinstance(gate.args[0], Gate) and gate.args[0].fn is attention_pattern:
        return Gate(attention_pattern, (*gate.args[0].args[:5], *gate.args[1:]))
    return gate


def value_term(node: fx.Node) -> tuple[Term, Step]:
    """Return the values of an attention, with an axis for every head, and the step that applies the pattern."""
    (term,) = opened_terms(node) or []
    *before, step = term.steps
    values = replace(term, steps=tuple(before))
    if step.fn is einsum_at:
        return _einsum_values(values, step)
    return values.then(expand_heads, gate(shape_of, node)), step


def expand_heads(v: Tensor, out: Sequence[int]) -> Tensor:
    """Repeat values that heads share once for each head: `(..., key, width)` with the output's leading axes."""
    return v.expand(*out[:-2], *v.shape[-2:])


def _einsum_values(values: Term, step: Step) -> tuple[Term, Step]:
    """Do the same for an einsum: add letters that the pattern shares with the output and not with the values."""
    equation, place, others = step.args
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    own, pattern = (inputs.split(",")[i] for i in (place, 1 - place))
    free = [x for x in pattern if x in output and x not in own and x.isalpha()]
    shared = free[:-1]  # the last one is the query
    if not shared or "." in equation:
        return values, step
    operands = [own + "".join(shared), pattern]
    equation = ",".join(operands if place == 0 else operands[::-1]) + arrow + output
    axes = tuple(pattern.index(x) for x in shared)
    return values.then(append_axes, others[0], axes), Step(einsum_at, (equation, place, others))


def append_axes(v: Tensor, pattern: Tensor, axes: Sequence[int]) -> Tensor:
    """Repeat values along some axes of the pattern, which come last."""
    sizes = [pattern.shape[a] for a in axes]
    return v.reshape(*v.shape, *(1 for _ in sizes)).expand(*v.shape, *sizes)


@register_opening(aten.matmul, aten.bmm)
def through_matmul(op: Op, a: fx.Node, b: fx.Node) -> list[Term]:
    """Take the operand that holds a softmax as the gate, else the left one."""
    if pattern_place(op.call) == 0:
        return [data(b).then(matmul_left, a)]
    return [data(a).then(torch.matmul, b)]


@register_opening(aten.einsum)
def through_einsum(op: Op, equation: str, operands: Sequence[fx.Node], **_: Any) -> list[Term] | None:
    """Do the same for an einsum of two operands."""
    if len(operands) != 2:
        return None
    value = 1 - pattern_place(op.call)
    return [data(operands[value]).then(einsum_at, equation, value, (operands[1 - value],))]


def pattern_operand(operands: Sequence[fx.Node]) -> int:
    """Return which of two operands is the pattern: made by a softmax, or else by a product, or else the first.

    A pattern whose heads are mixed by parameters (talking heads) is looked for last.
    """
    for is_pattern in (comes_from_softmax, comes_from_product, comes_from_mixed_softmax):
        found = [is_pattern(x) for x in operands]
        if found[0] != found[1]:
            return found.index(True)
    return 0


def pattern_place(node: fx.Node) -> int:
    """Return which operand of a product of two is its pattern, or the weights with which it mixes streams."""
    known = node.meta.get(MIXING)
    return pattern_operand(factors(node)) if known is None else int(known)


def comes_from_softmax(node: fx.Node) -> bool:
    """Check whether a softmax lies behind a node with no product, norm or convolution in between.

    Raises:
        TraceError: the search for it had to be cut short.
    """
    return _is_made_of(node, _is_softmax)


def comes_from_mixed_softmax(node: fx.Node) -> bool:
    """Check the same with products with parameters in between."""
    return _is_made_of(node, _is_softmax, mixed=True)


def comes_from_product(node: fx.Node) -> bool:
    """Check whether a product of two operands of the image lies behind a node, with no norm in between."""
    return _is_made_of(node, lambda n: packet(n) in PRODUCTS | ATTENTIONS and sum(map(varies, factors(n))) > 1)


def _is_softmax(node: fx.Node) -> bool:
    return packet(node) in SOFTMAX


def _is_made_of(node: fx.Node, wanted: Callable[[fx.Node], bool], *, mixed: bool = False) -> bool:
    """Check whether there is such a node between one and the operations that end the way from scores to pattern.

    With `mixed`, products with parameters do not end it.
    """

    def near(here: fx.Node) -> list[fx.Node]:
        ends = blocks_pattern(here) and not (mixed and is_parametric(here))
        return [] if ends else [operand for operand in here.all_input_nodes if varies(operand)]

    search = Search([node] if varies(node) else [], near, limit=Limit(node, "which factor is an attention's pattern"))
    found = any(map(wanted, search))
    if search.cut:
        raise TraceError(
            f"cannot tell pattern from values in {module_path(node) or 'the model'} (node {node.name}): too many "
            "operations lie between scores and pattern. Wrap the attention in F.scaled_dot_product_attention"
        )
    return found


def blocks_pattern(node: fx.Node) -> bool:
    """Check whether an operation ends the way from scores to pattern: another product, a norm, a convolution.

    A linear layer does not: with it, talking heads mix their scores.
    """
    return packet(node) in PRODUCTS | ATTENTIONS | CONVOLUTIONS | NORMS
