"""How exact a sum has to be, by number format."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}


def relative_error(got: Float[Tensor, "n d"], expected: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """|got - expected| / |expected| for each row, in float64 where the device has it."""
    wide = torch.float32 if expected.device.type == "mps" else torch.float64
    difference = (got.to(wide) - expected.to(wide)).norm(dim=-1)
    scaled: Tensor = difference / expected.to(wide).norm(dim=-1).clamp_min(torch.finfo(wide).tiny)
    return scaled
