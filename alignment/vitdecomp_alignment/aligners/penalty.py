"""How far linear maps are from keeping lengths and angles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError

Maps = Sequence[Float[Tensor, "_ _ d_clip"]]


class Excess(torch.autograd.Function):
    """W W^T - I, for functions whose gradient G is symmetric as this is: that of W is then 2 G W, one product."""

    @staticmethod
    def forward(ctx: Any, maps: Float[Tensor, "k s t"]) -> Float[Tensor, "k s s"]:  # noqa: D102
        ctx.save_for_backward(maps)
        found = maps @ maps.mT
        found.diagonal(dim1=1, dim2=2).sub_(1)
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Float[Tensor, "k s s"]) -> Float[Tensor, "k s t"]:  # noqa: D102
        (maps,) = ctx.saved_tensors
        return torch.baddbmm(maps, grad_outputs[0], maps, beta=0, alpha=2)


def excess(maps: Float[Tensor, "k r d_clip"]) -> Float[Tensor, "k s s"]:
    """W W^T - I of each map, or W^T W - I where that is the smaller: zero when W is as orthogonal as it can be.

    Beyond the smaller of its two dimensions no map can keep lengths; what is missing there is a constant. Only
    functions that treat it and its transpose alike have the right gradient.
    """
    found: Tensor = Excess.apply(maps if maps.shape[1] <= maps.shape[2] else maps.mT)
    return found


def frobenius(maps: Maps, count: int | None = None) -> Tensor:
    """Sum |W^T W - I|_F over components: the penalty of the paper (arXiv 2406.01583, section 3.2)."""
    return torch.stack([torch.linalg.vector_norm(excess(w), dim=(1, 2)).sum() for w in maps]).sum()


def mean_square(maps: Maps, count: int | None = None) -> Tensor:
    """Average d_clip mean((W^T W - I)^2) over components: the penalty of the paper's public code.

    Args:
        maps: of all components, or of some.
        count: of all components; what this gives for some of them adds up to the mean.
    """
    squares = torch.stack([excess(w).square().sum() / w.shape[2] for w in maps]).sum()
    return squares / (sum(len(w) for w in maps) if count is None else count)


def deviation(maps: Maps) -> float:
    """Average min_k |W^T W / k - I|_F / sqrt(rank) over components, between 0 and 1.

    0 where angles are kept and all lengths are changed alike, which is what keeps their order (arXiv 2406.01583,
    theorem 1); 1 - 1/rank at the root where all but one direction are lost.
    """
    parts = []
    for w in maps:
        gram = excess(w.detach().double())
        gram = gram + torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        strength = torch.linalg.eigvalsh(gram).clamp(min=0)
        along = strength.sum(1).square() / strength.square().sum(1).clamp(min=torch.finfo(gram.dtype).tiny)
        parts.append((1 - along / gram.shape[1]).clamp(min=0).sqrt())
    return float(torch.cat(parts).mean())


PENALTIES: Mapping[str, Callable[[Maps, int | None], Tensor]] = {"frobenius": frobenius, "mean_square": mean_square}


def penalty(name: str) -> Callable[[Maps, int | None], Tensor]:
    """Return a penalty by its name.

    Raises:
        SpecError: there is none.
    """
    if name not in PENALTIES:
        raise SpecError(f"no penalty {name!r}{did_you_mean(name, PENALTIES)}")
    return PENALTIES[name]
