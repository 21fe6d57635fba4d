"""Products of tokens with the adjoints of weighted sums over them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

FEW = 16  # directions, which are not worth a product of large matrices
CACHE = 2**20  # bytes for each thread of a factor that stays in the processor's cache
ELSEWHERE = 2**28  # on an accelerator: parts that are too small would leave it idle


def token_products(
    values: Float[Tensor, "n head token channel"],
    adjoints: Float[Tensor, "direction n head sum channel"],
    weights: Float[Tensor, "sum _n _head token"],
) -> Float[Tensor, "direction n head token"]:
    """Compute the sum over s of weights[s] <adjoints[s], values>, for each token.

    Where each token is in one sum alone, as in patches that are merged, it is multiplied with that sum's adjoint and
    no other: with 64 sums that is 64 times less to do.
    """
    members = members_of_sums(weights)
    if members is None:
        return _mixed(values, adjoints, weights)
    found = torch.einsum("nhsmc,qnhsc->qnhsm", values[:, :, members], adjoints).flatten(3)
    return found[..., members.flatten().argsort()] * weights.sum(0)


def _mixed(values: Tensor, adjoints: Tensor, weights: Tensor) -> Float[Tensor, "direction n head token"]:
    """Multiply each token with the adjoints of all sums, in whichever order has the smaller value in between."""
    n, heads, _, channels = values.shape
    if len(adjoints) > max(FEW, len(weights)):
        return _together(values, adjoints, weights)
    if len(weights) <= channels:
        return (torch.einsum("nhtc,qnhsc->qsnht", values, adjoints) * weights).sum(1)
    each = weights.expand(-1, n, heads, -1).permute(1, 2, 3, 0)
    own = torch.unflatten(
        each @ adjoints.permute(1, 2, 3, 0, 4).flatten(3), 3, (-1, channels)
    )  # n head token direction c
    return (own @ values[..., None])[..., 0].permute(3, 0, 1, 2)


def _together(values: Tensor, adjoints: Tensor, weights: Tensor) -> Float[Tensor, "direction n head token"]:
    """Multiply what each token adds to all sums with many directions at once, some heads and tokens at a time."""
    n, heads, tokens, channels = values.shape
    each = weights.expand(-1, n, heads, -1).permute(1, 2, 3, 0).flatten(0, 1).contiguous()
    own = adjoints.flatten(3).flatten(1, 2).transpose(0, 1)  # (n head) direction (sum channel)
    values, found = values.flatten(0, 1), own.new_empty(n * heads, len(adjoints), tokens)
    row = len(weights) * channels * values.element_size()
    room = CACHE * torch.get_num_threads() if values.is_cpu else ELSEWHERE
    for some in _spans(n * heads, room // (row * tokens)):
        for part in _spans(tokens, room // row):
            outer = each[some, part, :, None] * values[some, part, None, :]
            torch.bmm(own[some], outer.flatten(2).mT, out=found[some, :, part])
    return torch.unflatten(found, 0, (n, heads)).movedim(2, 0)


def _spans(total: int, most: int) -> list[slice]:
    """Split a range into parts of at most so many, at least one."""
    return [slice(start, start + max(1, most)) for start in range(0, total, max(1, most))]


def members_of_sums(weights: Float[Tensor, "sum _n _head token"]) -> Int64[Tensor, "sum member"] | None:
    """Return the tokens of each sum, if each token is in one sum alone and all sums have as many."""
    present = (weights != 0).flatten(1, 2).any(1)
    if not bool((present.sum(0) == 1).all()):
        return None
    owner = present.int().argmax(0)
    counts = torch.bincount(owner, minlength=len(weights))
    return owner.argsort(stable=True).reshape(len(weights), -1) if bool((counts == counts[0]).all()) else None
