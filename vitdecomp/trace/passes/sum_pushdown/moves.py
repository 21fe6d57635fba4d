"""How a pool moves in front of each kind of linear step."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.passes.sum_pushdown.channels import before_linear
from vitdecomp.trace.passes.sum_pushdown.pool import Pool, Shape, refined
from vitdecomp.trace.passes.sum_pushdown.queries import before_pattern
from vitdecomp.trace.passes.sum_pushdown.shapes import Moved, Recorded, regrouped, settled
from vitdecomp.trace.passes.sum_pushdown.weights import mix, one_place, placed, put_at, viewed
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.arithmetic import cast
from vitdecomp.trace.rules.merge import embed
from vitdecomp.trace.rules.parametric import convolve, matmul_left
from vitdecomp.trace.rules.pool import sample

aten = torch.ops.aten
Mover: TypeAlias = "Callable[[Step, Pool, Shape, Shape, Recorded], Moved | None]"


def _pointwise(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """A gate that is the same for all that is added up stays behind the pool; another one joins the weights."""
    gate = step.args[0]
    size = _size(gate, recorded)
    if before != after or len(step.args) > 1 or len(size) > len(after):
        return None
    size = (1,) * (len(after) - len(size)) + size
    varying = {i for axis, numbers in enumerate(pool.numbered) for i in numbers if size[axis] > 1}
    if not varying:
        number = not isinstance(resolve(gate, recorded), Tensor)
        return pool, step if number else replace(step, args=(Gate(viewed, (gate, ())),))
    shape = tuple(v if i in varying else 1 for i, v in enumerate(pool.view))
    if not varying & pool.pooled:
        return pool, replace(step, args=(Gate(viewed, (gate, tuple(shape[i] for i in pool.left))),))
    own = pool.weighted(recorded)
    if not any(n > 1 and i not in own | varying | pool.pooled for i, n in enumerate(pool.factors)):
        return None  # the weights would be as large as the value
    return replace(pool, weights=Gate(step.fn, (pool.weights, Gate(viewed, (gate, shape))))), None


def _unchanged(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    return pool, step


def _matmul(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """A product with one matrix."""
    return _linear(step, pool, before, after, recorded) if len(_size(step.args[0], recorded)) == 2 else None


def _linear(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    if len(pool.groups[-1]) > 1:
        return before_linear(step, pool, before, after, recorded)
    moved = _mixed(pool, len(after) - 1, before, recorded)
    return None if moved is None else (moved, step)


def _convolve(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """A product with every pixel alike."""
    weight, fn, (stride, padding, _, groups) = step.args[0], step.args[1], step.args[2]
    alone = fn is aten.conv2d.default and {*_size(weight, recorded)[2:], *stride, groups} == {1} and not any(padding)
    moved = _mixed(pool, 1, before, recorded) if alone else None
    if moved is None:
        return None
    return moved, Step(mix, (weight, len(pool.lanes) + pool.left.index(pool.numbered[1][0])))


def _mixed(pool: Pool, axis: int, before: Shape, recorded: Recorded) -> Pool | None:
    """The pool before a product along one axis, which must not be pooled or weighted itself."""
    factor = pool.single(axis)
    if factor not in pool.left or factor == pool.image or factor in pool.weighted(recorded) or before[axis] == 1:
        return None
    return replace(pool, groups=(*pool.groups[:axis], (before[axis],), *pool.groups[axis + 1 :]))


def _permute(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    source = {axis: place for place, axis in enumerate(step.args[0])}
    order = [i for axis in range(len(before)) for i in pool.numbered[source[axis]]]
    place = {i: k for k, i in enumerate(order)}
    moved = Pool(
        tuple(pool.groups[source[axis]] for axis in range(len(before))),
        place[pool.image],
        frozenset(place[i] for i in pool.pooled),
        pool.lanes,
        Gate(torch.permute, (pool.weights, _behind_lanes(pool, order))),
    )
    back = [moved.left.index(place[i]) for i in pool.left]
    same = back == sorted(back)
    return moved, None if same else Step(torch.permute, (_behind_lanes(pool, back),))


def _behind_lanes(pool: Pool, order: Sequence[int]) -> tuple[int, ...]:
    """An order of axes behind the lanes as one of all axes."""
    lanes = len(pool.lanes)
    return (*range(lanes), *(lanes + i for i in order))


def _reshape(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """Other factors; those that are kept among pooled ones of the same axis become lanes."""
    found = refined(pool, before)
    if found is None:
        return None
    groups, parents = found
    weights = regrouped(pool, groups, parents, recorded)
    chosen = frozenset(i for i, parent in enumerate(parents) if parent in pool.pooled)
    moved = Pool(groups, parents.index(pool.image), chosen, pool.lanes, weights)
    return settled(moved, pool, recorded)


def _roll(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    shifts, axes = (a if isinstance(a, tuple) else (a,) for a in (*step.args, ())[:2])
    factors = [pool.single(axis % len(after)) for axis in axes]
    if not axes or any(factor not in pool.pooled for factor in factors):
        return None
    places = tuple(len(pool.lanes) + factor for factor in factors if factor is not None)
    return replace(pool, weights=Gate(torch.roll, (pool.weights, tuple(-s for s in shifts), places))), None


def _pad(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    widths, named = step.args[0], dict(step.kwargs)
    if named.get("mode", "constant") != "constant" or any(w < 0 for w in widths):
        return None
    for axis, start in zip(range(len(after) - 1, -1, -1), widths[::2], strict=False):
        if before[axis] != after[axis]:
            found = _cut(pool, axis, start, before[axis], recorded)
            if found is None:
                return None
            pool = found
    return pool, None


def _embed(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    axis, start, _ = step.args
    if not isinstance(start, int):
        return None
    found = _cut(pool, axis, start, before[axis], recorded)
    return _along_kept(step, pool, before, after, recorded) if found is None else (found, None)


def _cut(pool: Pool, axis: int, start: int, length: int, recorded: Recorded) -> Pool | None:
    """The pool of what lies in a range of an axis; all else there is zero."""
    factor = pool.single(axis)
    if factor is None or factor not in pool.pooled:
        return None
    weights = pool.weights
    if factor in pool.weighted(recorded):
        weights = Gate(torch.narrow, (weights, len(pool.lanes) + factor, start, length))
    return replace(pool, groups=(*pool.groups[:axis], (length,), *pool.groups[axis + 1 :]), weights=weights)


def _narrow(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """What is added up in a range; a single place is a sum with weights that are zero at all others."""
    axis, start, length = step.args
    if not isinstance(start, int):
        return None
    if before == after:
        return pool, None
    if length == 1:
        behind = sum(len(group) for group in pool.groups[axis + 1 :])
        places: list[int | None] = [None if a == axis else a for a in range(len(before))]
        new: list[Shape] = [(before[axis],) if a == axis else () for a in range(len(before))]
        return _pooling(pool, places, new, Gate(one_place, (pool.weights, start, before[axis], behind)), recorded)
    factor = pool.single(axis)
    if factor is None or factor not in pool.pooled:
        return _along_kept(step, pool, before, after, recorded)
    weights = Gate(placed, (pool.weights, len(pool.lanes) + factor, start, length, before[axis]))
    return replace(pool, groups=(*pool.groups[:axis], (before[axis],), *pool.groups[axis + 1 :]), weights=weights), None


def _along_kept(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """A range of an axis that is neither added up nor weighted is the same before a pool and behind it."""
    axis, *rest = step.args
    factor = pool.single(axis)
    if factor not in pool.left or factor == pool.image or factor in pool.weighted(recorded) or after[axis] == 1:
        return None
    moved = replace(pool, groups=(*pool.groups[:axis], (before[axis],), *pool.groups[axis + 1 :]))
    place = len(pool.lanes) + pool.left.index(factor)
    one = step.fn is embed and before[axis] == 1  # a pool leaves out that axis
    return moved, Step(put_at if one else step.fn, (place, *rest))


def _reduce(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """A mean or a sum is a pool itself."""
    named = dict(step.kwargs)
    if step.args or named.get("dim") is None:
        return None
    dims = named["dim"] if isinstance(named["dim"], tuple) else (named["dim"],)
    axes = {d % len(before) for d in dims}
    if all(before[a] == 1 for a in axes):  # no sum at all
        return _reshape(step, pool, before, after, recorded)
    rest = iter(range(len(after)))
    left = [None if a in axes and not named.get("keepdim") else next(rest) for a in range(len(before))]
    places = [None if a in axes else place for a, place in enumerate(left)]
    new = [(before[a],) if a in axes else () for a in range(len(before))]
    weight = 1 / math.prod(before[a] for a in axes) if step.fn is torch.mean else 1.0
    return _pooling(pool, places, new, weight, recorded)


def _sample(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """Means of blocks that do not overlap."""
    fn, settings = step.args
    if fn not in MEANS or len(before) != len(after) or any(b % a for b, a in zip(before[2:], after[2:], strict=True)):
        return None
    blocks = tuple(b // a for b, a in zip(before[2:], after[2:], strict=True))
    if not MEANS[fn](settings, blocks):
        return None
    new = [(), (), *((block,) if block > 1 else () for block in blocks)]
    return _pooling(pool, [*range(len(after))], new, 1 / math.prod(blocks), recorded)


def _pooling(
    pool: Pool, places: Sequence[int | None], new: Sequence[Shape], weight: float | Gate, recorded: Recorded
) -> Moved | None:
    """The pool before a step that adds up: for each axis the one that it becomes, and the factors that go."""
    own: list[Sequence[int]] = [() if place is None else pool.numbered[place] for place in places]
    parents = [parent for a, extra in enumerate(new) for parent in (*own[a], *(None for _ in extra))]
    if pool.image not in parents:
        return None
    groups = tuple((*(pool.factors[i] for i in own[a]), *extra) for a, extra in enumerate(new))
    weights = Gate(operator.mul, (regrouped(pool, groups, parents, recorded), weight))
    chosen = frozenset(i for i, parent in enumerate(parents) if parent is None or parent in pool.pooled)
    moved = Pool(groups, parents.index(pool.image), chosen, pool.lanes, weights)
    return settled(moved, pool, recorded)


# --- small helpers ---


def _size(gate: Any, recorded: Recorded) -> Shape:
    value = resolve(gate, recorded)
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _is_block_mean(settings: Any, blocks: Shape) -> bool:
    kernel, stride, padding, ceil = settings[:4]
    weighted = len(settings) > 5 and settings[5] is not None
    return tuple(kernel) == blocks == tuple(stride or kernel) and not any(padding) and not ceil and not weighted


def _is_any_mean(settings: Any, blocks: Shape) -> bool:
    return True


MEANS: dict[Any, Callable[[Any, Shape], bool]] = {
    aten.avg_pool1d.default: _is_block_mean,
    aten.avg_pool2d.default: _is_block_mean,
    aten.avg_pool3d.default: _is_block_mean,
    aten.adaptive_avg_pool1d.default: _is_any_mean,
    aten.adaptive_avg_pool2d.default: _is_any_mean,
    aten.adaptive_avg_pool3d.default: _is_any_mean,
}

MOVERS: dict[Any, Mover] = {
    operator.mul: _pointwise,
    operator.truediv: _pointwise,
    operator.neg: _unchanged,
    cast: _unchanged,
    F.linear: _linear,
    torch.matmul: _matmul,
    convolve: _convolve,
    torch.permute: _permute,
    torch.reshape: _reshape,
    torch.unsqueeze: _reshape,
    torch.flatten: _reshape,
    torch.roll: _roll,
    F.pad: _pad,
    embed: _embed,
    torch.narrow: _narrow,
    torch.sum: _reduce,
    torch.mean: _reduce,
    sample: _sample,
    matmul_left: before_pattern,
}
