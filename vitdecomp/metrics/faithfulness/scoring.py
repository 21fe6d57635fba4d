"""What the measures share: what they take, the rank of each pixel, and the scores of changed images, in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.errors import InputError

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`score(images, rows)`: one number for each of the images `(m, c, h, w)`, of which number j was made from the image
`rows[j]` of those that the measure was given, `(m,)`; so it can look up the class (or text) that is explained."""
Fill: TypeAlias = float | tuple[float, ...]
"""What a pixel is set to, in the units of the images: one number, or one for each channel."""

TENTHS = tuple(k / 10 for k in range(1, 10))


@runtime_checkable
class Measure(Protocol):
    """How faithful maps are to a score, one number for each image."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger number speaks for the map."""
        ...

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Measure maps, `(n, h, w)`, signed, at the size of the images, which are as the model takes them."""
        ...


def black(mean: Sequence[float], std: Sequence[float]) -> tuple[float, ...]:
    """Return what a black pixel is after normalization, -mean / std for each channel.

    Raises:
        InputError: not as many means as standard deviations, or one of these is not positive.
    """
    if len(mean) != len(std) or not all(s > 0 for s in std):
        raise InputError(f"mean {tuple(mean)} and std {tuple(std)}: give one of each per channel, std positive")
    return tuple(-m / s for m, s in zip(mean, std, strict=True))


def check_counts(**counts: int) -> None:
    """Check settings that count something.

    Raises:
        InputError: less than one.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} = {count}; give at least 1")


def check_fractions(fractions: Iterable[float]) -> None:
    """Check shares of the pixels.

    Raises:
        InputError: none, or one that is not between 0 and 1.
    """
    shares = tuple(fractions)
    if not shares or not all(0 < share < 1 for share in shares):
        raise InputError(f"fractions = {shares}; give shares of the pixels between 0 and 1, such as (0.1, 0.5, 0.9)")


def check_images(images: Tensor) -> None:
    """Check the images.

    Raises:
        InputError: not (n, c, h, w) in floating point, none, NaN or infinity.
    """
    if images.ndim != 4 or images.numel() == 0 or not images.is_floating_point():
        raise InputError(
            f"images must be (n, c, h, w) in floating point and not empty, not {tuple(images.shape)} in {images.dtype}"
        )
    _check_finite(images, "images")


def checked(images: Tensor, maps: Tensor) -> Float[Tensor, "n h w"]:
    """Check images and maps; return the maps without history on the images' device, in single precision at least.

    Raises:
        InputError: not (n, c, h, w) and (n, h, w), other sizes, no images, NaN or infinity.
    """
    check_images(images)
    n, _, h, w = images.shape
    if maps.shape != (n, h, w):
        raise InputError(
            f"maps {tuple(maps.shape)} do not fit images {tuple(images.shape)}: give one for each image, "
            f"upsampled to ({n}, {h}, {w})"
        )
    _check_finite(maps, "maps")
    found = maps.detach().to(images.device)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def ranks(maps: Float[Tensor, "n h w"], seed: int) -> Int64[Tensor, "n h w"]:
    """Return the rank of every pixel in its map, 0 for the largest value.

    Equal values are ordered at random by the seed, for all images alike, so that neither the order of the pixels
    nor the other images of a batch decide.
    """
    values = maps.flatten(1)
    shuffled = torch.randperm(values.shape[1], generator=generator(seed), device="cpu").to(maps.device)
    order = shuffled[values[:, shuffled].sort(dim=1, descending=True, stable=True).indices]
    place = torch.arange(values.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place).view_as(maps)


def generator(seed: int) -> torch.Generator:
    """Make a source of random numbers that are the same on every device, for it draws on the CPU."""
    return torch.Generator("cpu").manual_seed(seed)


def canvas(fill: Fill, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return images of a single color.

    Raises:
        InputError: not one number for each channel.
    """
    colors = torch.tensor(fill, device=images.device, dtype=images.dtype)
    if colors.numel() not in {1, images.shape[1]}:
        raise InputError(f"fill has {colors.numel()} numbers, but the images have {images.shape[1]} channels")
    return colors.view(1, -1, 1, 1).expand_as(images)


def portions(fractions: Sequence[float], pixels: int) -> list[int]:
    """Return how many pixels shares of them are, rounded down; so one is always left."""
    return [math.floor(share * pixels + 1e-6) for share in fractions]


def batches(count: int, size: int, device: torch.device) -> Iterator[Int64[Tensor, " m"]]:
    """Yield the numbers 0 .. count - 1, up to `size` at a time."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count), device=device)


@torch.no_grad()
def scored(
    score: Score,
    change: Callable[[Tensor, Tensor], Tensor],
    images: Float[Tensor, "n c h w"],
    steps: int,
    batch_size: int,
) -> Float[Tensor, "n step"]:
    """Score every image after each of some changes, all of them flattened into batches, change by change.

    Args:
        score: of a batch.
        change: from numbers of images and of changes, both `(m,)`, to changed images `(m, c, h, w)`.
        images: which are changed.
        steps: how many changes there are.
        batch_size: of the largest batch.

    Raises:
        InputError: a score that is not one finite number for each image.
    """
    found = []
    for flat in batches(len(images) * steps, batch_size, images.device):
        rows, at = flat % len(images), flat // len(images)
        values = score(change(rows, at), rows)
        if values.shape != rows.shape or not values.is_floating_point():
            raise InputError(
                f"the score of {len(rows)} images is {tuple(values.shape)} in {values.dtype}: give one number for each"
            )
        found.append(values.to(images.device, torch.promote_types(values.dtype, torch.float32)))
    scores = torch.cat(found).view(steps, len(images)).mT
    _check_finite(scores, "scores")
    return scores


def replacing(
    score: Score,
    images: Float[Tensor, "n c h w"],
    others: Float[Tensor, "n c h w"],
    rank: Int64[Tensor, "n h w"],
    counts: Sequence[int],
    batch_size: int,
) -> Float[Tensor, "n step"]:
    """Score every image with its first pixels, by rank, replaced by those of another; as many as each count says."""
    limits = torch.tensor(counts, device=images.device)

    def change(rows: Tensor, at: Tensor) -> Tensor:
        replaced = rank[rows] < limits[at][:, None, None]
        return torch.where(replaced[:, None], others[rows], images[rows])

    return scored(score, change, images, len(counts), batch_size)


def area(
    score: Score,
    images: Float[Tensor, "n c h w"],
    others: Float[Tensor, "n c h w"],
    rank: Int64[Tensor, "n h w"],
    step: int,
    batch_size: int,
) -> Float[Tensor, " n"]:
    """Return the area under the score while all pixels are replaced, `step` at a time, over the share replaced.

    Raises:
        InputError: a step of more pixels than the images have.
    """
    pixels = rank[0].numel()
    if step > pixels:
        raise InputError(f"step = {step}, but the images have {pixels} pixels; give a smaller one, such as a row")
    counts = [*range(0, pixels, step), pixels]
    scores = replacing(score, images, others, rank, counts, batch_size)
    return torch.trapezoid(scores, torch.tensor(counts, device=scores.device, dtype=scores.dtype) / pixels)


def _check_finite(values: Tensor, noun: str) -> None:
    finite = values.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise InputError(f"{noun}: NaN or infinity at image {int(finite.int().argmin())}")
