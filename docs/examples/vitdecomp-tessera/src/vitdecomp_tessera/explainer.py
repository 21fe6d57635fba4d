"""The explainer: how far the score falls when a patch is erased."""

from __future__ import annotations

from typing import ClassVar

import torch

import vitdecomp as vd
from vitdecomp.heatmaps.subject import Subject


@vd.register_explainer
class Erase(vd.Explainer):
    """The score of the image minus that of the image without a patch, for each patch; one run of the model a patch.

    Args:
        fill: the value of erased pixels, as the model takes them.
    """

    name: ClassVar[str] = "erase"

    def __init__(self, fill: float = 0.0) -> None:
        self.fill = fill

    def explain(self, subject: Subject) -> vd.Heatmaps:
        """Erase patches one by one."""
        images, directions = subject.images, subject.directions
        rows, columns = subject.grid.size
        row, column = (
            torch.arange(length, device=images.device) * cells // length
            for length, cells in zip(subject.size, (rows, columns), strict=True)
        )
        patch = row[:, None] * columns + column  # of each pixel
        falls = []
        for place in range(rows * columns):
            erased = subject.decomposer.represent(images.masked_fill(patch == place, self.fill))
            falls.append(((subject.representation - erased)[:, None] * directions).sum(-1))
        return self.unaudited(subject, torch.unflatten(torch.stack(falls, -1), -1, (rows, columns)))
