"""Linear imputation: a missing pixel becomes the weighted mean of its eight neighbors, missing ones among them.

References:
    Rong, Leemann, Borisov, Kasneci and Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution
    Methods", arXiv 2202.00449. Conjugate gradients: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving
    Linear Systems", 1952.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitdecomp.errors import InputError

CACHED = 32_768  # numbers of a tensor that a CPU's cache holds with some others
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}  # of the residual, against that at the beginning


def linear_imputation(images: Float[Tensor, "m c h w"], missing: Bool[Tensor, "m h w"]) -> Float[Tensor, "m c h w"]:
    """Fill in missing pixels so that each is the mean of its neighbors; known ones stay as they are.

    For every missing p, sum over its neighbors q of w_pq (x_p - x_q) = 0, with w = 1/6 beside and 1/12 diagonally,
    and no neighbors beyond the border. The matrix is symmetric, and positive definite if a pixel is known, so
    conjugate gradients converge. On a GPU all images are solved at once, on a CPU as many as its cache holds.

    Args:
        images: `(m, c, h, w)`.
        missing: which pixels, `(m, h, w)`.

    Raises:
        InputError: an image without a known pixel.
    """
    known = ~missing[:, None]
    count = known.sum((2, 3), keepdim=True)
    if not bool(count.all()):
        raise InputError(f"all pixels of image {int(count.flatten().argmin())} are missing; keep at least one")
    x = images.to(torch.promote_types(images.dtype, torch.float32)).where(known, 0.0)
    guess = (x.sum((2, 3), keepdim=True) / count).masked_fill(known, 0.0)
    size = max(1, CACHED // x[0].numel()) if x.device.type == "cpu" else len(x)
    parts = zip(*(torch.split(part, size) for part in (x, known, guess)), strict=True)
    found = torch.cat([_solve(*part) for part in parts])
    return torch.where(known, images, found.to(images.dtype))


def _solve(
    x: Float[Tensor, "m c h w"], known: Bool[Tensor, "m 1 h w"], guess: Float[Tensor, "m c h w"]
) -> Float[Tensor, "m c h w"]:
    """Return the missing pixels, zero elsewhere, by conjugate gradients; `x` is zero where the guess is not.

    Twelve times the weights, and 4 for a pixel itself, are B = (1 2 1) x (1 2 1), so the equations are
    (B 1)_p x_p = (B x)_p. An image and channel that has converged rests while others go on, so that the other images
    of a batch do not change it. There are at most as many steps as pixels, which suffice in exact arithmetic.
    """
    scale = _binomial(torch.ones_like(x[:1, :1]))

    def matrix(v: Tensor) -> Tensor:
        return torch.addcmul(_binomial(v).neg_(), scale, v).masked_fill_(known, 0.0)

    right = _binomial(x).masked_fill_(known, 0.0)
    residual = right - matrix(guess)
    direction = residual.clone()
    size = _dot(residual, residual)
    enough = TOLERANCE[x.dtype] ** 2 * (size + _dot(right, right))
    for _ in range(x[0, 0].numel()):
        active = size > enough
        if not bool(active.any()):
            break
        moved = matrix(direction)
        length = (size / _dot(direction, moved)).where(active, 0.0)
        guess = torch.addcmul(guess, length, direction)
        residual.addcmul_(length, moved, value=-1)
        left = _dot(residual, residual)
        direction.mul_((left / size).where(active, 0.0)).add_(residual)
        size = left.where(active, size)
    return guess


def _dot(a: Float[Tensor, "m c h w"], b: Float[Tensor, "m c h w"]) -> Float[Tensor, "m c 1 1"]:
    return (a * b).sum((2, 3), keepdim=True)


def _binomial(x: Float[Tensor, "m c h w"]) -> Float[Tensor, "m c h w"]:
    """Sum the 3 x 3 pixels around each by the weights (1 2 1) x (1 2 1); beyond the border is zero.

    Slices are added rather than convolved, for a convolution may round to ten bits on a GPU.
    """
    down = 2 * x
    down[:, :, 1:] += x[:, :, :-1]
    down[:, :, :-1] += x[:, :, 1:]
    across = 2 * down
    across[..., 1:] += down[..., :-1]
    across[..., :-1] += down[..., 1:]
    return across
