"""Models whose parameters are all random, random images, and a memory for what is slow to make."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and evaluation mode, every parameter and statistic moved away from its initial value."""
    source = torch.Generator().manual_seed(seed)
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.add_(0.3 * torch.rand(buffer.shape, generator=source, dtype=torch.float64))
    return module


def pictures(n: int, size: int | tuple[int, int], seed: int = 1) -> Tensor:
    """Random images in float64."""
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cached(make: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what a factory made for each of its arguments, within one worker."""
    return lru_cache(maxsize=None)(make)
