"""Which of a pool's weights can be other than zero, whatever the images are."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.passes.sum_pushdown.pool import Pool
from vitdecomp.trace.passes.sum_pushdown.weights import behind, joined, laned, one_place, placed, stacked, viewed
from vitdecomp.trace.rule import Gate

SHAPING = {
    viewed, joined, laned, one_place, placed, behind, stacked, torch.permute, torch.roll, torch.narrow, operator.mul,
}  # fmt: skip


def places(pool: Pool, factor: int, recorded: Mapping[Gate, Any]) -> range:
    """The range of a factor outside of which all weights are zero; all of it where they are all zero."""
    if recorded[pool.weights].shape[len(pool.lanes) + factor] == 1:
        return range(pool.factors[factor])
    found = _possible(pool.weights, recorded).movedim(len(pool.lanes) + factor, 0).flatten(1).any(1)
    counts = found.nonzero().flatten().tolist()
    return range(counts[0], counts[-1] + 1) if counts else range(len(found))


def _possible(weights: Gate, recorded: Mapping[Gate, Any]) -> Tensor:
    """Weights as they would be if all that the model computes were one: zero where no image gives them a value."""
    found: Tensor = weights.fn(*_argument(weights.args, recorded)) if weights.fn in SHAPING else recorded[weights]
    return found if weights.fn in SHAPING else torch.ones_like(found)


def _argument(argument: Any, recorded: Mapping[Gate, Any]) -> Any:
    match argument:
        case Gate() if isinstance(recorded[argument], Tensor):
            return _possible(argument, recorded)
        case tuple():
            return tuple(_argument(a, recorded) for a in argument)
        case _:
            return resolve(argument, recorded)
