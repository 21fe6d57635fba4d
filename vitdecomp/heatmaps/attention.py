"""Where the queries and keys of every attention lie, and one run of the model with the patterns written out.

In such a run each pattern stays part of the autograd graph: the gradient of a score with respect to it is the full one,
through every later layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, fx

from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.blocks import Block, Tail, find_blocks, mean_over, token_axes
from vitdecomp.heatmaps.differentiable import Differentiable
from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.axes.fields import Field
from vitdecomp.trace.axes.grids import Grid, find_grids
from vitdecomp.trace.axes.places import LOST, Places
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import resolve, run_step
from vitdecomp.trace.rule import Gate, Step, Term, module_path, opened_terms, same, shape_of
from vitdecomp.trace.rules.parametric import einsum_at

ROUNDING = 64  # parts of a pixel, below which places are the same
NOWHERE = -1
"""In place of the number of a token: padding, and what mixes several tokens."""


@dataclass(frozen=True)
class Attention:
    """One attention of the model, and the tokens behind each element of its pattern for one image.

    Tokens are numbered: the cells of the grid row by row, then class and register tokens.

    Attributes:
        module: its path.
        grid: rows and columns of its keys' patches.
        keys, queries: the tokens of every element of the pattern, or `NOWHERE`.
        heads: of every element, the number of its head.
        read: the queries that the representation depends on.
    """

    module: str
    grid: tuple[int, int]
    keys: Int64[Tensor, "*pattern"]
    queries: Int64[Tensor, "*pattern"]
    heads: Int64[Tensor, "*pattern"]
    read: Bool[Tensor, "*pattern"]

    @property
    def tokens(self) -> int:
        """How many tokens there are, class and register tokens included."""
        return max(int(self.keys.max()), int(self.queries.max())) + 1

    @property
    def cells(self) -> int:
        """How many patches there are."""
        return self.grid[0] * self.grid[1]

    def matrix(self, x: Float[Tensor, "n pattern"]) -> Float[Tensor, "n query key"]:
        """Average over heads, `(query, key)` by the numbers of tokens; zero where a query does not see a key."""
        t, queries, keys = self.tokens, self.queries.flatten().to(x.device), self.keys.flatten().to(x.device)
        known = (queries >= 0) & (keys >= 0)
        total = x.new_zeros((len(x), t * t)).index_add_(1, (queries * t + keys)[known], x[:, known])
        return torch.unflatten(total / (int(self.heads.max()) + 1), 1, (t, t))

    def by_key(self, x: Float[Tensor, "*lead pattern"], rows: Tensor | None = None) -> Float[Tensor, "*lead cell"]:
        """Average all elements of each patch as a key: over its heads and the queries that see it.

        Args:
            x: values of the elements of the pattern, flat.
            rows: the elements that count; all by default.
        """
        keys = self.keys.flatten().to(x.device)
        counted = (keys >= 0) & (keys < self.cells)
        if rows is not None:
            counted &= rows.flatten().to(x.device)
        where = keys[counted]
        total = x.new_zeros((*x.shape[:-1], self.cells)).index_add_(-1, where, x[..., counted])
        count = x.new_zeros(self.cells).index_add_(0, where, x.new_ones(len(where)))
        return total / count.clamp_min(1)


@dataclass(frozen=True)
class Run:
    """One run of the model on a batch, part of an autograd graph.

    Attributes:
        output: the representation. patterns: of each attention in its own axes. kept: values that were asked for.
    """

    output: Float[Tensor, "n d"]
    patterns: tuple[Tensor, ...]
    kept: Mapping[fx.Node, Tensor]


class Attentions:
    """All attentions of a captured model whose keys have places in the image.

    Args:
        captured: the model's graph.
        block_of: gives the residual block of an attention's module.

    Attributes:
        each: the attentions, in the order of the graph.

    Raises:
        SpecError: the model has none.
    """

    def __init__(self, captured: Captured, block_of: Callable[[str], str]) -> None:
        self.captured, self.block_of = captured, block_of
        if captured.batch is not None:
            raise SpecError(
                f"attention patterns need a graph for any number of images, and this one, by {captured.front_end}, "
                f"holds for {captured.batch}: take method='decompose'"
            )
        found = {node: opened_terms(node) for node in attention_operations(captured.module.graph)}
        self._terms = {node: terms[0] for node, terms in found.items() if terms}
        tokens = _Tokens(captured, self._terms)
        self._terms = {node: self._terms[node] for node in tokens.placed}
        if not self._terms:
            raise SpecError("no attention of this model has keys with places in the image: take method='decompose'")
        one, two = self.run(captured.trial[:1]), self.run(captured.trial[:2])
        self._images = [_image_axis(a, b) for a, b in zip(one.patterns, two.patterns, strict=True)]
        with torch.enable_grad():
            score = (one.output * _random_like(one.output)).sum()
        reads = torch.autograd.grad(score, one.patterns, allow_unused=True)
        self.each = tuple(
            tokens.attention(node, pattern, read)
            for node, pattern, read in zip(self._terms, one.patterns, reads, strict=True)
        )

    def run(self, images: Float[Tensor, "n *image"], wanted: Collection[fx.Node] = ()) -> Run:
        """Run the model with all patterns written out.

        Args:
            images: a batch.
            wanted: nodes whose values are kept too.
        """
        return self._run(_WrittenOut(self.captured, self._terms, wanted), images)

    def behind(self, number: int, images: Float[Tensor, "n *image"], tokens: Tensor) -> Run:
        """Run the model behind a block, without the blocks behind it, on the block's output.

        Where the model has no pool of its own that attends to tokens, their mean stands in the place of each.
        """
        tail = self.tails[number]
        terms = {n: t for n, t in self._terms.items() if n in tail.needed}
        return self._run(_Behind(self.captured, terms, tail, tokens), images)

    @staticmethod
    def _run(run: _WrittenOut, images: Tensor) -> Run:
        with torch.enable_grad():
            output = run.run(images)
        output = output[0] if isinstance(output, (tuple, list)) else output
        return Run(output, tuple(run.patterns.values()), run.kept)

    @property
    def pools(self) -> bool:
        """Whether the last attention has queries of its own, which belong to no token: it pools the tokens."""
        return bool((self.each[-1].queries == NOWHERE).all())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The residual blocks of the attentions, one for each; an attention that pools is none.

        Raises:
            SpecError: blocks do not follow one another.
        """
        each = self.each[:-1] if self.pools else self.each
        return find_blocks(self.captured, [self.block_of(attention.module) for attention in each])

    @cached_property
    def tails(self) -> tuple[Tail, ...]:
        """The model behind each block without the later ones."""
        axes = () if self.pools else token_axes(self.captured, self.blocks[-1].output)
        return tuple(Tail.of(self.captured, self.blocks, number, axes) for number in range(len(self.blocks)))

    def flat(self, number: int, x: Tensor, images: int) -> Float[Tensor, "n pattern"]:
        """Give values in the axes of a pattern one axis for images and one for all else."""
        axis, outer = self._images[number]
        return torch.unflatten(x, axis, (outer, images, -1)).movedim(axis + 1, 0).reshape(images, -1)


def _image_axis(one: Tensor, two: Tensor) -> tuple[int, int]:
    """Find where images lie in a pattern: an axis, and how many windows or heads stand in front of them on it.

    Args:
        one: the pattern of one image.
        two: that of the same image and another one.
    """
    axis = next(i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b)
    length = one.shape[axis]

    def misses(outer: int) -> float:
        first = torch.unflatten(two, axis, (outer, 2, -1)).select(axis + 1, 0).flatten(axis, axis + 1)
        return float((first - one).detach().abs().max())

    return axis, min((outer for outer in range(1, length + 1) if length % outer == 0), key=misses)


def _random_like(x: Tensor) -> Tensor:
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x) + 0.5


class _WrittenOut(Differentiable):
    """A run of the graph in which attentions are products of a pattern that can be differentiated with values."""

    def __init__(self, captured: Captured, terms: Mapping[fx.Node, Term], wanted: Collection[fx.Node]) -> None:
        super().__init__(captured.module)
        self.terms, self.wanted = terms, wanted
        self.patterns: dict[fx.Node, Tensor] = {}
        self.kept: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; an attention in two steps."""
        value = self._attend(n) if n in self.terms else super().run_node(n)
        if n in self.wanted:
            self.kept[n] = value
        return value

    def _attend(self, n: fx.Node) -> Tensor:
        here, term = _Here(self.env), self.terms[n]
        values = resolve(term.operand, here)
        for step in term.steps[:-1]:
            values = run_step(step, values, here)
        pattern = _pattern_of(term.steps[-1], here)
        if not pattern.requires_grad:
            pattern = pattern.detach().requires_grad_()
        self.patterns[n] = pattern
        return _applied(term.steps[-1], values, pattern)


class _Behind(_WrittenOut):
    """A run of what is behind a block, on its output."""

    def __init__(self, captured: Captured, terms: Mapping[fx.Node, Term], tail: Tail, tokens: Tensor) -> None:
        super().__init__(captured, terms, ())
        self.tail, self.tokens = tail, tokens
        self.garbage_collect_values = False  # a value may be read again in place of a block that is left out

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, or put another value in its place."""
        tail = self.tail
        if n not in tail.needed and n.op != "placeholder":
            return None
        value = self.tokens if n is tail.begin else self._value(n)
        return mean_over(value, tail.axes) if n is tail.last and tail.axes else value

    def _value(self, n: fx.Node) -> Any:
        return self.env[self.tail.replaced[n]] if n in self.tail.replaced else super().run_node(n)


class _Here(dict[Gate, Any]):
    """Gates while a run is at a node."""

    def __init__(self, env: Mapping[fx.Node, Any]) -> None:
        super().__init__()
        self.env = env

    def __missing__(self, gate: Gate) -> Any:
        if gate.fn is same and isinstance(gate.args[0], fx.Node):
            return self.env[gate.args[0]]
        return gate.fn(*(resolve(a, self) for a in gate.args), **{k: resolve(a, self) for k, a in gate.kwargs})


def _pattern_of(step: Step, values: Mapping[Gate, Any]) -> Tensor:
    """Return the pattern among the arguments of the step that applies it."""
    argument = step.args[2][0] if step.fn is einsum_at else step.args[0]
    found: Tensor = resolve(argument, values)
    return found


def _applied(step: Step, values: Tensor, pattern: Tensor) -> Tensor:
    """Multiply a pattern with values."""
    arguments = (*step.args[:2], (pattern,)) if step.fn is einsum_at else (pattern,)
    return step.fn(values, *arguments)


class _Tokens:
    """The tokens behind the elements of patterns, for one image.

    Args:
        captured: the model's graph.
        terms: the values of each attention, and the step that applies its pattern.

    Attributes:
        placed: the attentions whose keys lie on a grid.
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
        at = {i: _distinct_places(self.values[node]) for i, node in numbered.items()}
        grids = find_grids(at, captured.trial.shape[1:])
        self.placed: dict[fx.Node, Grid] = {numbered[i]: grid for i, grid in grids.items()}
        self.axes = captured.trial.ndim - 1

    def attention(self, node: fx.Node, pattern: Tensor, reads: Tensor | None) -> Attention:
        """One attention."""
        step, grid = self.terms[node].steps[-1], self.placed[node]
        values, queries = self.values[node], self.fields.get(node)
        keys = _numbers(grid, _carried(values, step, pattern))
        asked = None if queries is None else _carried(queries, step, pattern, values)
        own = torch.full_like(keys, NOWHERE) if asked is None else _numbers(grid, asked)
        read = torch.zeros_like(keys, dtype=torch.bool) if reads is None else (reads != 0)
        return Attention(module_path(node), grid.size, keys, own, _heads(keys, own), read)


class _Shapes(dict[Gate, Any]):
    """Gates that depend on shapes alone."""

    def __init__(self, shapes: Mapping[fx.Node, tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = shapes

    def __missing__(self, gate: Gate) -> Any:
        if gate.fn is shape_of:
            return self.shapes[gate.args[0]]
        raise LookupError(f"{gate} depends on the image")


def _carried(field: Field, step: Step, pattern: Tensor, like: Field | None = None) -> Field:
    """Carry a field to the elements of a pattern: that of the values, or of the output with `like` that of the values.

    The product is linear in the pattern. Its derivative tells which values an element multiplies, and where to.
    """
    ones = torch.ones((like or field).seen.shape, dtype=torch.float64)

    def sums(x: Tensor) -> Tensor:
        weights = torch.ones(pattern.shape, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            out = _applied(step, x if like is None else ones, weights)
            total = out.sum() if like is None else (out * x).sum()
        return torch.autograd.grad(total, weights)[0]

    width = sums(torch.ones_like(field.seen.contiguous()))
    return field.mixed(lambda x: sums(x.contiguous()) / width)


def _distinct_places(field: Field) -> Tensor:
    """Return the different coordinates of all elements that are made of the image, `(place, axis)`."""
    seen = (field.seen > 0).flatten()
    at = torch.stack([axis.expand(field.seen.shape).flatten()[seen] for axis in field.at], -1)
    found: Tensor = torch.unique((at * ROUNDING).round(), dim=0) / ROUNDING
    return found


def _numbers(grid: Grid, field: Field) -> Tensor:
    """Return the number of the token behind each element."""
    rows, columns = grid.size
    row, column = (
        _nearest(lines.values, at) for lines, at in zip((grid.rows, grid.columns), field.at[-2:], strict=True)
    )
    constants = rows * columns - 1 + field.number.round().long()
    elsewhere = torch.where((field.constant > 0) & (field.number > 0), constants, NOWHERE)
    return torch.where(field.seen > 0.5, row * columns + column, elsewhere)


def _nearest(values: Tensor, at: Tensor) -> Tensor:
    between = (values[1:] + values[:-1]) / 2
    found: Tensor = torch.searchsorted(between, at.contiguous())
    return found


def _heads(keys: Tensor, queries: Tensor) -> Tensor:
    """Return the number of the head of every element: along heads, neither its query nor its key changes."""
    number = torch.zeros_like(keys)
    for axis, size in enumerate(keys.shape):
        first = (keys.narrow(axis, 0, 1), queries.narrow(axis, 0, 1))
        if size > 1 and bool((keys == first[0]).all()) and bool((queries == first[1]).all()):
            along = torch.arange(size).reshape(-1, *(1,) * (keys.ndim - 1 - axis))
            number = number * size + along
    return number
