"""How exact a sum has to be, by number format, and how much images have to differ."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError

TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
EXACT = (torch.float64, torch.float32)  # in others a sum can hold within their rounding at best


def coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype | None:
    """Return the format with the largest rounding among those on the paths; `None` if none of them is known."""
    return max((dtype for dtype in dtypes if dtype in TOLERANCE), key=TOLERANCE.__getitem__, default=None)


def dtype_name(dtype: torch.dtype) -> str:
    """Return a number format without `torch.` in front."""
    return str(dtype).removeprefix("torch.")


def relative_error(got: Float[Tensor, "n d"], expected: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """|got - expected| / |expected| for each row, in float64 where the device has it."""
    wide = torch.float32 if expected.device.type == "mps" else torch.float64
    difference = (got.to(wide) - expected.to(wide)).norm(dim=-1)
    scaled: Tensor = difference / expected.to(wide).norm(dim=-1).clamp_min(torch.finfo(wide).tiny)
    return scaled


def check_varies(spread: float, size: float, dtype: torch.dtype, what: str) -> None:
    """Refuse images that are all alike: what would be told of them is rounding.

    Args:
        spread: root mean square of what is left when the mean over images is taken off.
        size: root mean square itself.
        dtype: in which they were computed; what is within its tolerance is rounding.
        what: begins the message, such as `the contributions`.

    Raises:
        InputError: the spread is that of rounding.
    """
    if spread <= TOLERANCE[dtype] * size:
        raise InputError(f"{what} are the same for all images but for rounding: give images that differ")
