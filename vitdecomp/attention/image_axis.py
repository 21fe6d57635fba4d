"""Where the images of a batch lie in a value of the graph, which may hold windows or heads in front of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from vitdecomp.errors import SpecError
from vitdecomp.trace.capture import Captured


@dataclass(frozen=True, slots=True)
class ImageAxis:
    """An axis of a value, and how many windows or heads stand in front of the images on it."""

    axis: int
    outer: int

    @classmethod
    def of(cls, one: Tensor, two: Tensor) -> ImageAxis:
        """Find it from the value for one image, and that for the same image and another one."""
        axis = next(i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b)
        length = one.shape[axis]

        def misses(outer: int) -> float:
            first = torch.unflatten(two, axis, (outer, 2, -1)).select(axis + 1, 0).flatten(axis, axis + 1)
            return float((first - one).detach().abs().max())

        return cls(axis, min((outer for outer in range(1, length + 1) if length % outer == 0), key=misses))

    def flat(self, x: Tensor, images: int) -> Shaped[Tensor, "n element"]:
        """Give a value of so many images one axis for images and one for all else."""
        apart = torch.unflatten(x, self.axis, (self.outer, images, -1))
        return apart.movedim(self.axis + 1, 0).reshape(images, -1)

    def repeated(self, x: Tensor, images: int) -> Tensor:
        """Repeat a value of one image for so many images."""
        apart = torch.unflatten(x, self.axis, (self.outer, 1, -1))
        sizes = [-1] * apart.ndim
        sizes[self.axis + 1] = images
        return apart.expand(sizes).flatten(self.axis, self.axis + 2)


def check_any_number(captured: Captured, what: str) -> None:
    """Raise `SpecError` where a graph holds for one number of images alone, so that the axis cannot be told."""
    if captured.batch is not None:
        raise SpecError(
            f"{what} need a graph for any number of images, and this one, by {captured.front_end}, holds for "
            f"{captured.batch}"
        )


def random_like(x: Tensor) -> Tensor:
    """Draw weights of a score that hides nothing: from .5 to 1.5, the same ones each time."""
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x) + 0.5
