"""What is recorded of a leaf: its value less constants, in a frame of its own."""

from __future__ import annotations

from torch import Tensor


def without(total: Tensor, *constants: Tensor) -> Tensor:
    """Subtract constants from a sum."""
    for constant in constants:
        total = total - constant
    return total
