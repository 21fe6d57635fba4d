"""Linear graphs made of random steps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, fx

from vitdecomp.trace.linear_graph import SOURCE, Apply, Leaf, LinearGraph, Sum, Value
from vitdecomp.trace.probe import Derived
from vitdecomp.trace.rule import Gate, Step, broadcast, same
from vitdecomp.trace.rules.merge import drop, embed, keep
from vitdecomp.trace.rules.parametric import matmul_left

NODE = fx.Graph().placeholder("x")


class Growing:
    """A linear graph in the making: values of known shape, gates with a value for each batch size."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices = iter(choices)
        self.values: list[Value] = []
        self.shapes: list[tuple[Any, ...]] = []  # "n" stands for the number of images, "n4" for four times as many
        self.gates: dict[Gate, Callable[[int], Any]] = {}

    def gate(self, make: Callable[[int], Any]) -> Gate:
        gate = Gate(same, (f"gate {len(self.gates)}",))
        self.gates[gate] = make
        return gate

    def size(self, shape: tuple[Any, ...]) -> Gate:
        return self.gate(lambda n: concrete(shape, n))

    def noise(self, *shape: Any, mask: bool = False) -> Gate:
        seed = len(self.gates)

        def make(n: int) -> Tensor:
            x = torch.randn(concrete(shape, n), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            return x > 0 if mask else x

        return self.gate(make)

    def leaf(self, *shape: Any) -> int:
        return self.put(Leaf(NODE, self.noise(*shape), SOURCE), shape)

    def apply(self, i: int, shape: tuple[Any, ...], fn: Callable[..., Tensor], *args: Any, **kwargs: Any) -> int:
        return self.put(Apply(i, Step(fn, args, tuple(kwargs.items())), NODE), shape)

    def put(self, value: Value, shape: tuple[Any, ...]) -> int:
        self.values.append(value)
        self.shapes.append(shape)
        return len(self.values) - 1

    def choose(self, low: int, high: int) -> int:
        return low + next(self.choices, 0) % (high - low + 1)

    def recorded(self, n: int) -> Derived:
        return Derived({gate: make(n) for gate, make in self.gates.items()})


def concrete(shape: tuple[Any, ...], n: int) -> tuple[int, ...]:
    return tuple(n * int(s[1:] or 1) if isinstance(s, str) else s for s in shape)


def scale(g: Growing, i: int) -> int:
    shape = g.shapes[i]
    ones = tuple(1 if g.choose(0, 1) else s for s in shape)[g.choose(0, len(shape) - 1) :]
    return g.apply(i, shape, (operator.mul, operator.truediv)[g.choose(0, 1)], g.noise(*ones))


def mask(g: Growing, i: int) -> int:
    return g.apply(i, g.shapes[i], (keep, drop)[g.choose(0, 1)], g.noise(*g.shapes[i][1:], mask=True))


def negate(g: Growing, i: int) -> int:
    return g.apply(i, g.shapes[i], operator.neg)


def project(g: Growing, i: int) -> int:
    *outer, width = g.shapes[i]
    if width == "n":
        return i
    ways = ((F.linear, g.noise(3, width)), (torch.matmul, g.noise(width, 3)))
    return g.apply(i, (*outer, 3), *ways[g.choose(0, 1)])


def permute(g: Growing, i: int) -> int:
    orders = list(permutations(range(len(g.shapes[i]))))
    order = orders[g.choose(0, len(orders) - 1)]
    return g.apply(i, tuple(g.shapes[i][d] for d in order), torch.permute, order)


def merge_axes(g: Growing, i: int) -> int:
    shape = g.shapes[i]
    pairs = [d for d in range(len(shape) - 1) if "n" not in shape[d : d + 2]]
    if not pairs:
        return i
    d = pairs[g.choose(0, len(pairs) - 1)]
    merged = (*shape[:d], shape[d] * shape[d + 1], *shape[d + 2 :])
    return g.apply(i, merged, torch.reshape, g.size(merged))


def split_axis(g: Growing, i: int) -> int:
    shape = g.shapes[i]
    even = [d for d, s in enumerate(shape) if s != "n" and s % 2 == 0 and s > 0]
    if not even or len(shape) > 5:
        return i
    d = even[g.choose(0, len(even) - 1)]
    split = (*shape[:d], 2, shape[d] // 2, *shape[d + 1 :])
    return g.apply(i, split, torch.reshape, g.size(split))


def choose_some(g: Growing, i: int) -> int:
    shape = g.shapes[i]
    long = [d for d, s in enumerate(shape) if s != "n" and s > 1]
    if not long:
        return i
    d = long[g.choose(0, len(long) - 1)]
    start = g.choose(0, shape[d] - 1)
    length = g.choose(1, shape[d] - start)
    return g.apply(i, (*shape[:d], length, *shape[d + 1 :]), torch.narrow, d, start, length)


def put_beside(g: Growing, i: int) -> int:
    """A concatenation with a new leaf."""
    shape = g.shapes[i]
    fixed = [d for d, s in enumerate(shape) if s != "n"]
    if not fixed:
        return i
    d = fixed[g.choose(0, len(fixed) - 1)]
    extra, whole = g.choose(1, 2), shape[d]
    total = (*shape[:d], whole + extra, *shape[d + 1 :])
    other = g.leaf(*shape[:d], extra, *shape[d + 1 :])
    first, second = (0, whole) if g.choose(0, 1) else (extra, 0)
    ends = (
        g.apply(i, total, embed, d, first, whole + extra),
        g.apply(other, total, embed, d, second, whole + extra),
    )
    return g.put(Sum(ends, NODE), total)


def average(g: Growing, i: int) -> int:
    shape = g.shapes[i]
    if len(shape) < 3:
        return i
    d, keepdim = g.choose(1, len(shape) - 1), bool(g.choose(0, 1))
    if shape[d] == "n":
        return i
    rest = (*shape[:d], *((1,) if keepdim else ()), *shape[d + 1 :])
    return g.apply(i, rest, (torch.sum, torch.mean)[g.choose(0, 1)], dim=(d - len(shape),), keepdim=keepdim)


def widen(g: Growing, i: int) -> int:
    shape = (*((2,) if len(g.shapes[i]) < 5 else ()), *(3 if s == 1 else s for s in g.shapes[i]))
    return g.apply(i, shape, broadcast, g.size(shape))


def attend(g: Growing, i: int) -> int:
    """A frozen pattern, with or without axes of its own for what lies in front of the queries."""
    shape = g.shapes[i]
    if len(shape) < 2 or shape[-2] == "n":
        return i
    queries, lead = g.choose(1, 4), shape[:-2] if g.choose(0, 1) else ()
    return g.apply(i, (*shape[:-2], queries, shape[-1]), matmul_left, g.noise(*lead, queries, shape[-2]))


def roll(g: Growing, i: int) -> int:
    """A step that selections cannot pass."""
    return g.apply(i, g.shapes[i], torch.roll, 1, len(g.shapes[i]) - 1)


def add_branch(g: Growing, i: int) -> int:
    """A residual branch: another way from the same value, or a value from before."""
    like = [j for j, s in enumerate(g.shapes[:-1]) if s == g.shapes[i] and j != i]
    other = like[g.choose(0, len(like) - 1)] if like else g.apply(i, g.shapes[i], operator.neg)
    third = g.leaf(*g.shapes[i])
    return g.put(Sum((i, other, third), NODE), g.shapes[i])


def read_by_head(g: Growing, i: int) -> int:
    """One of several projections, of which each head adds up the places with weights of its own."""
    *lead, places, width = g.shapes[i]
    if not lead or len(lead) > 2 or "n" in (places, width):
        return i
    several, heads, size = g.choose(1, 3), g.choose(1, 3), g.choose(1, 3)
    wide = (*lead, places, several * heads * size)
    i = g.apply(i, wide, F.linear, g.noise(wide[-1], width))
    split = (*lead, places, several, heads, size)
    i = g.apply(i, split, torch.reshape, g.size(split))
    one = (*lead, places, 1, heads, size)
    i = g.apply(i, one, torch.narrow, len(lead) + 1, g.choose(0, several - 1), 1)
    i = g.apply(i, one, operator.mul, g.noise(*lead, places, 1, heads, 1))
    summed = (*lead, heads, size)
    i = g.apply(i, summed, torch.sum, dim=(-4, -3), keepdim=False)
    joined = (*lead, 1, heads * size)
    return g.apply(i, joined, torch.reshape, g.size(joined))


def read_twice(g: Growing, i: int) -> int:
    """The same value added up with different weights, by two who want it so, and perhaps a third who wants it whole."""
    *lead, places, width = g.shapes[i]
    if not lead or "n" in (places, width):
        return i
    summed = (*lead, 1, width)
    ends = [
        g.apply(
            g.apply(i, g.shapes[i], operator.mul, g.noise(*lead, places, 1)), summed, torch.sum, dim=(-2,), keepdim=True
        )
        for _ in range(2)
    ]
    if g.choose(0, 1):
        ends.append(g.apply(i, summed, torch.narrow, len(lead), g.choose(0, places - 1), 1))
    return g.put(Sum(tuple(ends), NODE), summed)


MOVES = (
    scale, mask, negate, project, permute, merge_axes, split_axis, choose_some, choose_some, put_beside, average,
    widen, roll, add_branch, attend, read_by_head, read_twice,
)  # fmt: skip


CHOICES = st.lists(st.integers(0, 719), min_size=4, max_size=50)


def run(graph: LinearGraph, recorded: Derived) -> Tensor:
    """The graph at its recorded leaves."""
    return graph.evaluate(recorded, {i: recorded[leaf.value] for i, leaf in graph.leaves.items()})
