"""The state of a training run on disk: everything in one safetensors file, replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitdecomp.errors import LoadError
from vitdecomp.files import atomic

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW remembers of a parameter


def save(path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, str]) -> None:
    """Write weights, buffers and the optimizer's moments, with facts of the run such as its step."""
    tensors = {f"value.{name}": value.detach() for name, value in _values(objective).items()}
    for name, parameter in objective.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = torch.as_tensor(value)
    with atomic(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata={"facts": json.dumps(facts)})


def facts_of(path: Path) -> dict[str, str]:
    """What was written beside the tensors.

    Raises:
        LoadError: it is not such a file.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()["facts"]))
    except (SafetensorError, TypeError, KeyError, ValueError, OSError) as error:
        raise LoadError(f"{path} is not the state of a training run ({error}); remove it to begin anew") from error


@torch.no_grad()
def restore(path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read what `save` wrote into an objective and its optimizer, in place."""
    parameters = dict(objective.named_parameters())
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        for name, value in _values(objective).items():
            value.copy_(file.get_tensor(f"value.{name}"))
        for name, parameter in parameters.items():
            if f"step.{name}" in names:
                optimizer.state[parameter] = {m: file.get_tensor(f"{m}.{name}") for m in MOMENTS}


def _values(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
