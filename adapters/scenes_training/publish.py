"""The weights as they are shipped: half precision, with what they are, where they come from and what they reach."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from vitdecomp_adapters.scenes.adapter import MODELS
from vitdecomp_adapters.scenes.measure import measure

from scenes_training.run import Run
from vitdecomp._utils.files import atomic


def publish(run: Run, model: nn.Module, out: Path, n: int = 4000) -> tuple[Path, dict[str, float]]:
    """Write `NAME.safetensors` and measure what was written, on scenes that were not trained on.

    Returns:
        The file, and the figures, which stand in its metadata too.
    """
    path = out / f"{run.name}.safetensors"
    weights = {name: _stored(value) for name, value in model.state_dict().items()}
    model.load_state_dict(weights)  # what is measured is what is shipped
    figures = measure(run.name, model.eval().cpu(), n)
    with atomic(path) as partial:
        save_file(weights, partial, metadata=_facts(run, figures))
    return path, figures


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value


def _facts(run: Run, figures: dict[str, float]) -> dict[str, str]:
    facts = {
        "model": MODELS[run.name],
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "seconds": round(run.seconds),
        "device": run.device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": run.commit,
        "figures": figures,
    }
    return {"vitdecomp": json.dumps(facts)}
