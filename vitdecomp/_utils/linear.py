"""Linear layers as one product of matrices."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear


def linear_at_once(
    x: Float[Tensor, "*axes channel"], weight: Float[Tensor, "*out channel"], bias: Tensor | None = None
) -> Float[Tensor, "*axes *out"]:
    """Multiply all rows at once: torch takes several products where they lie otherwise than it expects.

    Args:
        x: rows along any axes.
        weight: a matrix, or one row of it.
        bias: of the layer.
    """
    found = linear(x.reshape(-1, x.shape[-1]), weight, bias)
    return found.reshape((*x.shape[:-1], *found.shape[1:]))
