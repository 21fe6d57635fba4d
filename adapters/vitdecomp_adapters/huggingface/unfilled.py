"""Parameters that no file filled, and whether a vector depends on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitdecomp._utils.hub import quiet
from vitdecomp.models.adapter import Compute, Representation
from vitdecomp_adapters.huggingface.trial import behind, recording

PREFIX = "model."  # of the model inside a Representation


def used(module: nn.Module, compute: Compute, inputs: Tensor, names: Collection[str]) -> list[str]:
    """Find which of the named tensors a vector depends on.

    A parameter counts that stands in the autograd graph of the vector. Any other tensor counts, such as the statistics
    of a batch norm, that makes the vector NaN if it is.

    Args:
        module: the model.
        compute: how it makes the vector.
        inputs: what it is made from.
        names: of parameters and buffers.
    """
    if not names:
        return []
    representation = Representation(module, compute).eval()
    with recording(inputs.device):
        out = representation(inputs)
        behind_it = {id(node.variable) for node in behind([out.grad_fn]) if hasattr(node, "variable")}
    tensors = _tensors(module)
    asked = [name for name in names if name in tensors]
    found = {name for name in asked if id(tensors[name]) in behind_it}
    rest = {name: tensors[name] for name in asked if name not in found and tensors[name].is_floating_point()}
    return sorted(found | set(_poisonous(representation, inputs, rest)))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _poisonous(representation: nn.Module, inputs: Tensor, tensors: Mapping[str, Tensor]) -> list[str]:
    """Find by halving the tensors that make the vector NaN if they are."""
    if not tensors:
        return []
    poisoned = {PREFIX + name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}
    with torch.no_grad(), quiet():
        out = functional_call(representation, poisoned, (inputs,))
    if not bool(out.isnan().any()):
        return []
    names = list(tensors)
    if len(names) == 1:
        return names
    half = len(names) // 2
    return [
        name
        for part in (names[:half], names[half:])
        for name in _poisonous(representation, inputs, {name: tensors[name] for name in part})
    ]
