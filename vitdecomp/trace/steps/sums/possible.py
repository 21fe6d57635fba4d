"""Which weights of a sum can be other than zero, whatever the images are."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum
from vitdecomp.trace.steps.sums.weights import STRUCTURAL

KEEPS_ZEROS = STRUCTURAL | {torch.permute, torch.roll, torch.narrow, operator.mul}


def places(wanted: WeightedSum, factor: int, recorded: Mapping[Gate, Any]) -> range:
    """Return the range of a factor outside of which all weights are zero; all of it where they are all zero."""
    if recorded[wanted.weights].shape[len(wanted.sums) + factor] == 1:
        return range(wanted.factors[factor])
    found = _possible(wanted.weights, recorded).movedim(len(wanted.sums) + factor, 0).flatten(1).any(1)
    counts = found.nonzero().flatten().tolist()
    return range(counts[0], counts[-1] + 1) if counts else range(len(found))


def _possible(weights: Gate, recorded: Mapping[Gate, Any]) -> Tensor:
    """Compute the weights as if all that the model computes were one: zero where no image gives them a value."""
    if weights.fn not in KEEPS_ZEROS:
        return torch.ones_like(recorded[weights])
    found: Tensor = weights.fn(*_argument(weights.args, recorded))
    return found


def _argument(argument: Any, recorded: Mapping[Gate, Any]) -> Any:
    match argument:
        case Gate() if isinstance(recorded[argument], Tensor):
            return _possible(argument, recorded)
        case tuple():
            return tuple(_argument(a, recorded) for a in argument)
        case _:
            return resolve(argument, recorded)
