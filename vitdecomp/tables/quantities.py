"""What a table tells of each contribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError

Quantity = Callable[[Float[Tensor, "n component d"]], Float[Tensor, "n component ..."]]
SIZES = ("norm", "share")
VECTOR = "vector"


def norm(values: Float[Tensor, "n component d"]) -> Float[Tensor, "n component"]:
    """Compute |c_i| in float64."""
    found: Tensor = torch.linalg.vector_norm(values.double(), dim=2)
    return found


def share(values: Float[Tensor, "n component d"]) -> Float[Tensor, "n component"]:
    """Compute <c_i, r> / |r|^2 in float64, with r the sum over the components: shares of an image add up to 1.

    Where r is zero there are no shares, and they are NaN.
    """
    wide = values.double()
    total = wide.sum(1)
    return torch.einsum("ncd,nd->nc", wide, total) / total.square().sum(1, keepdim=True)


def vector(values: Float[Tensor, "n component d"]) -> Float[Tensor, "n component d"]:
    """Return the contributions themselves; half precision becomes float32, which every reader knows."""
    return values if values.dtype == torch.float64 else values.float()


QUANTITIES: Mapping[str, Quantity] = {"norm": norm, "share": share, VECTOR: vector}


def check_quantities(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each of them once.

    Raises:
        SpecError: one is unknown, or there is none.
    """
    for name in names or ("",):
        if name not in QUANTITIES:
            raise SpecError(f"no quantity {name!r}{did_you_mean(name, QUANTITIES)}; choose of {', '.join(QUANTITIES)}")
    return tuple(dict.fromkeys(names))
