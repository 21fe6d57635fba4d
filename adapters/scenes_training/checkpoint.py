"""The state of a training run on disk: everything in one safetensors file, replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scenes_training.optimizer import Optimizer
from vitdecomp._utils.files import atomic
from vitdecomp.errors import LoadError

VALUE = "value"  # a weight or a buffer, beside the kinds that the optimizer names


def save(path: Path, objective: nn.Module, optimizer: Optimizer, facts: dict[str, str]) -> None:
    """Write weights, buffers and what the optimizer remembers, with facts of the run such as its step."""
    tensors = {f"{VALUE}:{name}": value.detach() for name, value in _values(objective).items()} | optimizer.state()
    with atomic(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata={"facts": json.dumps(facts)})


def facts_of(path: Path) -> dict[str, str]:
    """Read what was written beside the tensors.

    Raises:
        LoadError: it is not such a file.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()["facts"]))
    except (SafetensorError, TypeError, KeyError, ValueError, OSError) as error:
        raise LoadError(f"{path} is not the state of a training run ({error}); remove it to begin anew") from error


@torch.no_grad()
def restore(path: Path, objective: nn.Module, optimizer: Optimizer) -> None:
    """Read what `save` wrote into an objective and its optimizer, in place."""
    tensors = load_file(path)
    for name, value in _values(objective).items():
        value.copy_(tensors.pop(f"{VALUE}:{name}"))
    optimizer.restore(tensors)


def _values(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
