"""The tokens behind the elements of attention patterns: which patch, class or register token is each query and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, fx

from vitdecomp.attention.pattern_gates import matrix_axes
from vitdecomp.attention.written_out import applied
from vitdecomp.trace.axes.fields import Field
from vitdecomp.trace.axes.grids import Grid, find_grids, numbered
from vitdecomp.trace.axes.places import LOST, Places
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import Gate, Step, Term, module_path, shape_of

ROUNDING = 64  # parts of a pixel, below which places are the same
NOWHERE = -1
"""In place of the number of a token: padding, and what mixes several tokens."""


@dataclass(frozen=True)
class Attention:
    """One attention of the model, and the tokens behind each element of its pattern for one image.

    Tokens are numbered: the cells of the grid row by row, then class and register tokens.

    Attributes:
        module: its path.
        grid: how many patches of its keys there are along each axis, such as rows and columns.
        keys, queries: the tokens of every element of the pattern, or `NOWHERE`.
        heads: of every element, the number of its head.
        read: the queries that the representation depends on.
    """

    module: str
    grid: tuple[int, ...]
    keys: Int64[Tensor, "*pattern"]
    queries: Int64[Tensor, "*pattern"]
    heads: Int64[Tensor, "*pattern"]
    read: Bool[Tensor, "*pattern"]

    @property
    def tokens(self) -> int:
        """How many tokens there are, class and register tokens included."""
        return max(int(self.keys.max()), int(self.queries.max())) + 1

    @property
    def has_places(self) -> bool:
        """Whether keys differ in their place; attention between channels (XCiT) has the same one for all."""
        cells = self.keys[(self.keys >= 0) & (self.keys < self.cells)]
        return bool((cells != cells[:1]).any())

    @property
    def has_several_queries(self) -> bool:
        """Whether tokens are queries, not one alone as in pools and class attention."""
        return len(torch.unique(self.queries[self.queries != NOWHERE])) > 1

    @property
    def head_count(self) -> int:
        """How many heads there are."""
        return int(self.heads.max()) + 1

    @property
    def cells(self) -> int:
        """How many patches there are."""
        return prod(self.grid)

    def matrix(self, x: Float[Tensor, "n pattern"], tokens: int) -> Float[Tensor, "n query key"]:
        """Average over heads, `(query, key)` by the numbers of tokens; zero where a query does not see a key.

        Args:
            x: values of the elements of the pattern, flat.
            tokens: how many the matrix has; class attention sees one more than the blocks before it.
        """
        t, queries, keys = tokens, self.queries.flatten().to(x.device), self.keys.flatten().to(x.device)
        known = (queries >= 0) & (keys >= 0)
        total = x.new_zeros((len(x), t * t)).index_add_(1, (queries * t + keys)[known], x[:, known])
        return torch.unflatten(total / self.head_count, 1, (t, t))

    def by_head(
        self, x: Float[Tensor, "*lead pattern"], rows: Tensor | None = None
    ) -> Float[Tensor, "*lead head cell"]:
        """Compute what each head adds to `by_key`."""
        keys, count = self.keys.flatten().to(x.device), self.head_count
        counted = (keys >= 0) & (keys < self.cells)
        if rows is not None:
            counted &= rows.flatten().to(x.device)
        cells = keys[counted]
        where = self.heads.flatten().to(x.device)[counted] * self.cells + cells
        total = x.new_zeros((*x.shape[:-1], count * self.cells)).index_add_(-1, where, x[..., counted])
        times = x.new_zeros(self.cells).index_add_(0, cells, x.new_ones(len(cells)))
        return torch.unflatten(total, -1, (count, self.cells)) / times.clamp_min(1)

    def by_key(self, x: Float[Tensor, "*lead pattern"], rows: Tensor | None = None) -> Float[Tensor, "*lead cell"]:
        """Average all elements of each patch as a key: over its heads and the queries that see it.

        Args:
            x: values of the elements of the pattern, flat.
            rows: the elements that count; all by default.
        """
        return self.by_head(x, rows).sum(-2)


class PatternTokens:
    """Find the tokens behind the elements of patterns, for one image.

    Args:
        captured: the model's graph.
        terms: the values of each attention, and the step that applies its pattern.

    Attributes:
        placed: the attentions whose values lie on a grid.
    """

    def __init__(self, captured: Captured, terms: Mapping[fx.Node, Term]) -> None:
        places = Places(captured, {*terms, *(term.operand for term in terms.values())})  # type: ignore[arg-type]
        self.terms, self.fields = terms, places.fields
        self.values: dict[fx.Node, Field] = {}
        for node, term in terms.items():
            try:
                self.values[node] = Places.through(places.fields[term.operand], term.steps[:-1], _Shapes(places.shapes))  # type: ignore[index]
            except LOST:
                continue
        numbered = dict(enumerate(self.values))
        at = {i: distinct_places(self.values[node]) for i, node in numbered.items()}
        grids = find_grids(at, captured.trial.shape[1:])
        self.placed: dict[fx.Node, Grid] = {numbered[i]: grid for i, grid in grids.items()}

    def attention(self, node: fx.Node, pattern: Tensor, reads: Tensor | None) -> Attention:
        """Describe one attention: a pattern of one image, and its gradient, which is zero where nothing reads it."""
        step, grid = self.terms[node].steps[-1], self.placed[node]
        values, queries = self.values[node], self.fields.get(node)
        keys = numbers_of(grid, _carried(values, step, pattern))
        asked = None if queries is None else _carried(queries, step, pattern, values)
        own = torch.full_like(keys, NOWHERE) if asked is None else numbers_of(grid, asked)
        read = torch.zeros_like(keys, dtype=torch.bool) if reads is None else (reads != 0)
        return Attention(module_path(node), grid.size, keys, own, _heads(keys, own, matrix_axes(node)), read)


class _Shapes(dict[Gate, Any]):
    """Gates that depend on shapes alone."""

    def __init__(self, shapes: Mapping[fx.Node, tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = shapes

    def __missing__(self, gate: Gate) -> Any:
        if gate.fn is shape_of:
            return self.shapes[gate.args[0]]
        raise LookupError(f"{gate} depends on the input")


def _carried(field: Field, step: Step, pattern: Tensor, like: Field | None = None) -> Field:
    """Carry a field to the elements of a pattern: that of the values, or of the output with `like` that of the values.

    The product is linear in the pattern. Its derivative tells which values an element multiplies, and where to.
    """
    ones = torch.ones((like or field).seen.shape, dtype=torch.float64)

    def sums(x: Tensor) -> Tensor:
        weights = torch.ones(pattern.shape, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            out = applied(step, x if like is None else ones, weights)
            total = out.sum() if like is None else (out * x).sum()
        return torch.autograd.grad(total, weights)[0]

    width = sums(torch.ones_like(field.seen.contiguous()))
    return field.mixed(lambda x: sums(x.contiguous()) / width)


def distinct_places(field: Field) -> Tensor:
    """Return the different coordinates of all elements that are made of the input, `(place, axis)`."""
    seen = (field.seen > 0).flatten()
    at = torch.stack([axis.expand(field.seen.shape).flatten()[seen] for axis in field.at], -1)
    found: Tensor = torch.unique((at * ROUNDING).round(), dim=0) / ROUNDING
    return found


def numbers_of(grid: Grid, field: Field) -> Tensor:
    """Return the number of the token behind each element: cells row by row, then constants, `NOWHERE` for all else."""
    places = [_nearest(lines.values, field.at[axis]) for lines, axis in zip(grid.lines, grid.axes, strict=True)]
    constants = prod(grid.size) - 1 + field.number.round().long()
    elsewhere = torch.where((field.constant > 0) & (field.number > 0), constants, NOWHERE)
    return torch.where(field.seen > 0.5, numbered(places, grid.size), elsewhere)


def _nearest(values: Tensor, at: Tensor) -> Tensor:
    between = (values[1:] + values[:-1]) / 2
    found: Tensor = torch.searchsorted(between, at.contiguous())
    return found


def _heads(keys: Tensor, queries: Tensor, matrix: tuple[tuple[int, ...], tuple[int, ...]]) -> Tensor:
    """Return the number of the head of every element: along heads, neither its query nor its key changes.

    Heads may share an axis with windows, in front of them or behind. The axes of queries and keys are none of heads.
    """
    number, rank = torch.zeros_like(keys), keys.ndim
    for axis in sorted({*range(-rank, 0)} - {*matrix[0], *matrix[1]}):
        size = keys.shape[axis]
        shapes = [(k, size // k) for k in range(size, 1, -1) if size % k == 0]
        for sizes, inner in [*((s, 0) for s in shapes), *((s[::-1], 1) for s in shapes)]:
            parts = [torch.unflatten(x, axis, sizes).movedim(axis - 1 + inner, 0) for x in (keys, queries)]
            if all(bool((x == x[:1]).all()) for x in parts):
                along = torch.arange(size).reshape(sizes)
                own = along // sizes[1] if inner == 0 else along % sizes[1]
                number = number * sizes[inner] + own.reshape(-1, *(1,) * (-1 - axis))
                break
    return number
