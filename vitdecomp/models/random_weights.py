"""Random weights without zeros: fresh models have zero biases and tiny scales, which hide what they do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 0.05


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0, scale: float = SCALE) -> None:
    """Add noise to all parameters and statistics of a model that you own, in place.

    Vectors and scalars (biases, norms, layer scales) get noise of standard deviation `scale`; matrices get
    noise of `scale` times their own root mean square, or `scale` if they are zero. Running variances stay
    positive. The global random state is not used.
    """
    source = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.add_(_noise(parameter, source) * _strength(parameter, scale))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(_noise(buffer, source) * scale)
        elif name.endswith("running_var"):
            buffer.mul_(1 + scale * _noise(buffer, source).abs())


def _strength(parameter: Tensor, scale: float) -> float:
    size = float(parameter.double().square().mean().sqrt()) if parameter.ndim > 1 else 1.0
    return scale * size if size > 1e-6 else scale


def _noise(like: Tensor, source: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=source, dtype=torch.float64).to(like)
