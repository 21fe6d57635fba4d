"""Every registered step does what it says, and no more than the table below says."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import run_step
from vitdecomp.trace.probe import Derived
from vitdecomp.trace.rule import Gate, Step, broadcast
from vitdecomp.trace.rules.arithmetic import cast
from vitdecomp.trace.rules.attention import append_axes
from vitdecomp.trace.rules.merge import drop, embed, keep
from vitdecomp.trace.rules.parametric import convolve, einsum_at, matmul_left
from vitdecomp.trace.rules.pool import best, pick, pick_along, sample, winners
from vitdecomp.trace.steps import ANY, STEPS, LinearStep, contracted_axis, kind_of, register_step
from vitdecomp.trace.steps.slices import Slice
from vitdecomp.trace.steps.sums.weights import mix

aten = torch.ops.aten


def made(seed: int, *shape: int) -> Tensor:
    """Different numbers, without a generator, which torch.vmap would refuse."""
    return torch.sin(1.7 * torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64) + seed).reshape(shape)


def value(*shape: int) -> Gate:
    """A gate that computes itself: random numbers of a shape."""
    return Gate(made, (7, *shape))


def mask(*shape: int) -> Gate:
    return Gate(operator.gt, (value(*shape), 0.0))


class Example(NamedTuple):
    """A step on an input of a shape, and what is said to be known of it."""

    fn: Callable[..., Tensor]
    args: tuple[Any, ...]
    knows: str
    shape: tuple[int, ...] = (2, 6, 4)
    kwargs: tuple[tuple[str, Any], ...] = ()

    @property
    def step(self) -> Step:
        return Step(self.fn, self.args, self.kwargs)

    def run(self, x: Tensor) -> Tensor:
        return run_step(self.step, x, Derived())


IMAGE = (2, 3, 4, 4)
CONV = (aten.conv2d.default, ((1, 1), (0, 0), (1, 1), 1))
LARGEST = Gate(winners, (value(*IMAGE), 2, (2, 2), (2, 2), (0, 0), (1, 1), False))
EXAMPLES = [
    Example(operator.mul, (value(4),), "pointwise stack slice sum"),
    Example(operator.truediv, (value(6, 1),), "pointwise stack slice sum"),
    Example(operator.neg, (), "pointwise stack slice sum"),
    Example(cast, (torch.float64,), "pointwise stack slice sum"),
    Example(keep, (mask(6, 4),), "pointwise stack slice"),
    Example(drop, (mask(2, 6, 4),), "pointwise stack slice"),
    Example(F.linear, (value(5, 4),), "contracts stack slice sum place"),
    Example(torch.matmul, (value(4, 5),), "contracts stack sum place"),
    Example(matmul_left, (value(2, 3, 6),), "contracts slice sum place"),
    Example(einsum_at, ("bnd,od->bno", 0, (value(5, 4),)), "contracts place"),
    Example(convolve, (value(5, 3, 1, 1), *CONV), "contracts stack sum place", IMAGE),
    Example(mix, (value(5, 6, 1, 1), 1), "stack"),
    Example(torch.reshape, ((2, 3, 2, 4),), "moves stack slice sum"),
    Example(torch.flatten, (1,), "moves sum"),
    Example(torch.unsqueeze, (1,), "moves sum"),
    Example(torch.permute, ((1, 2, 0),), "moves stack slice sum"),
    Example(broadcast, ((3, 2, 6, 4),), "moves slice"),
    Example(torch.select, (1, 2), "moves"),
    Example(torch.transpose, (0, 1), "moves"),
    Example(torch.unflatten, (1, (2, 3)), "moves"),
    Example(append_axes, (value(5, 7), (0,)), "moves"),
    Example(torch.narrow, (1, 2, 3), "moves slice sum"),
    Example(embed, (1, 2, 9), "moves slice sum"),
    Example(torch.roll, ((2,), (1,)), "moves sum"),
    Example(F.pad, ((0, 0, 1, 2),), "sum"),
    Example(torch.sum, (), "slice sum", kwargs=(("dim", (1,)), ("keepdim", False))),
    Example(torch.mean, (), "slice sum", kwargs=(("dim", (1,)), ("keepdim", True))),
    Example(sample, (aten.avg_pool2d.default, ((2, 2), (2, 2), (0, 0), False, True)), "sum place", IMAGE),
    Example(pick, (LARGEST, 2), "place", IMAGE),
    Example(pick_along, (Gate(best, (value(2, 6, 4), (0, 1, 2), 2, True)), -1), "place"),
]
ABLE = {"stack": "stacked", "slice": "sliced", "sum": "summed", "place": "places", "contracts": "contracted_axis"}


def test_every_step_has_an_example() -> None:
    assert {example.fn for example in EXAMPLES} == {*STEPS}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.fn.__name__)
class TestEachStep:
    def test_it_knows_what_the_table_says(self, example: Example) -> None:
        kind = type(kind_of(example.fn))
        own = {word for word, name in ABLE.items() if getattr(kind, name) is not getattr(LinearStep, name)}
        own |= {word for word in ("pointwise", "moves") if getattr(kind, word)}
        said = {*example.knows.split()}
        assert said <= own
        # a subclass may refuse what its base class can: then it returns None
        refused = own - said
        assert all(kind.__name__ == "Mask" and word == "sum" for word in refused)

    def test_a_stack_is_its_rows_one_by_one(self, example: Example) -> None:
        rows = made(1, 3, *example.shape)
        found = kind_of(example.fn).stacked(example.step, rows, Derived())
        torch.testing.assert_close(found, torch.stack([example.run(row) for row in rows]), rtol=0, atol=1e-12)

    def test_it_is_linear(self, example: Example) -> None:
        a, b = made(1, *example.shape), made(2, *example.shape)
        torch.testing.assert_close(example.run(2 * a - b), 2 * example.run(a) - example.run(b), rtol=1e-12, atol=1e-12)

    def test_a_slice_is_the_slice_of_the_whole(self, example: Example) -> None:
        x = made(1, *example.shape)
        whole = example.run(x)
        for dim, size in enumerate(whole.shape):
            wanted = Slice(dim, size // 2, 1)
            found = kind_of(example.fn).sliced(example.step, wanted, example.shape, tuple(whole.shape))
            if found is None:
                continue
            part = x if found.wanted is None else x.narrow(*found.wanted)
            result = part if found.step is None else run_step(found.step, part, Derived())
            torch.testing.assert_close(result, whole.narrow(*wanted), rtol=0, atol=1e-12)

    def test_what_it_is_called_is_what_it_does(self, example: Example) -> None:
        kind, x = kind_of(example.fn), made(1, *example.shape)
        result, one = example.run(x), example.run(torch.ones(example.shape, dtype=torch.float64))
        if kind.pointwise:
            torch.testing.assert_close(result, x * one)
        if kind.moves:
            assert {*result.flatten().tolist()} <= {*x.flatten().tolist(), 0.0}
        axis = contracted_axis(example.step)
        if axis is not None:  # the axis is mixed: one place of it reaches several of the output
            alone = torch.zeros_like(x)
            alone.select(axis, 0).copy_(x.select(axis, 0))
            rest = torch.zeros_like(x)
            rest.select(axis, 1).copy_(x.select(axis, 1))
            assert bool(((example.run(alone) != 0) & (example.run(rest) != 0)).any())

    def test_the_stand_in_for_places_has_the_shape_of_the_result(self, example: Example) -> None:
        x = made(1, *example.shape)
        stand_in = kind_of(example.fn).places(example.step, Derived())
        if stand_in is not None:
            assert stand_in(x).shape == example.run(x).shape


def test_a_step_that_nobody_knows_is_slow_and_right() -> None:
    step = Step(torch.cumsum, (), (("dim", 1),))
    assert kind_of(step.fn) is ANY
    rows = made(1, 3, 2, 6)
    torch.testing.assert_close(ANY.stacked(step, rows, Derived()), rows.cumsum(2))
    assert ANY.sliced(step, Slice(0, 0, 1), (2, 6), (2, 6)) is None
    assert ANY.places(step, Derived()) is None
    assert contracted_axis(step) is None


def test_a_step_of_ones_own_can_be_made_fast() -> None:
    def swap_halves(x: Tensor) -> Tensor:
        return torch.cat(x.chunk(2, -1)[::-1], -1)

    @register_step(swap_halves)
    class SwapHalves(LinearStep):
        moves = True

        def stacked(self, step: Step, x: Tensor, recorded: Any) -> Tensor:
            return swap_halves(x)

    try:
        assert isinstance(kind_of(swap_halves), SwapHalves)
        rows = made(1, 3, 2, 6)
        torch.testing.assert_close(
            kind_of(swap_halves).stacked(Step(swap_halves), rows, Derived()),
            torch.stack([swap_halves(row) for row in rows]),
        )
    finally:
        STEPS.remove(swap_halves)


@pytest.mark.parametrize(
    ("equation", "place", "axis"),
    [
        ("bnd,od->bno", 0, -1),
        ("od,bnd->bno", 1, -1),
        ("bdn,do", 0, -2),
        ("...d,od->...o", 0, -1),
        ("bd...,do->bo...", 0, 1),
        ("bnd->bd", 0, None),  # a sum over tokens mixes no channels
        ("bnd,d->bnd", 0, None),
        ("bnd,n->bd", 0, -2),
    ],
)
def test_channel_axis_of_an_einsum(equation: str, place: int, axis: int | None) -> None:
    assert contracted_axis(Step(einsum_at, (equation, place, ()))) == axis
