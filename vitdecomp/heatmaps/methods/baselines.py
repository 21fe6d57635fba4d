"""`random` and `center`: maps that know nothing of the model."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.subject import Subject


@register_explainer
class Random(Explainer):
    """Independent uniform numbers, the same for an image in whatever batch it is.

    Args:
        seed: of the numbers, with the image.
    """

    name: ClassVar[str] = "random"
    signed: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def explain(self, subject: Subject) -> Heatmaps:
        """Draw a number for each patch."""
        shape = (subject.score.shape[1], *subject.grid.size)
        grid = torch.stack([torch.rand(shape, generator=self._source(x), dtype=torch.float64) for x in subject.images])
        return self.unaudited(subject, grid.to(subject.score))

    def _source(self, image: Tensor) -> torch.Generator:
        return torch.Generator().manual_seed(int(digest([f"{self.seed} ", image])[:15], 16))


@register_explainer
class Center(Explainer):
    """A Gaussian around the center of the image: objects tend to be there.

    Args:
        width: its standard deviation, as a share of the length of each axis, such as height and width.
    """

    name: ClassVar[str] = "center"
    signed: ClassVar[bool] = False

    def __init__(self, width: float = 0.25) -> None:
        self.width = width

    def explain(self, subject: Subject) -> Heatmaps:
        """Give every image the same map."""
        n, directions = subject.score.shape
        lines = [torch.exp(-(((torch.arange(k) + 0.5) / k - 0.5) / self.width).square() / 2) for k in subject.grid.size]
        grid = reduce(lambda grid, line: grid[..., None] * line, lines).to(subject.score)
        return self.unaudited(subject, grid.expand(n, directions, *grid.shape))
