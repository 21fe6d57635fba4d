"""SaCo: does a group of pixels with more salience cost more when it is taken away alone?

References:
    Wu, Kang, Tang, Hong and Yan, "On the Faithfulness of Vision Transformer Explanations", arXiv 2404.01415.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.scoring import Fill, Score, canvas, check_counts, checked, ranks, scored


@dataclass(frozen=True, slots=True)
class SaCo:
    """Salience-guided faithfulness coefficient, from -1 to 1. Higher is better.

    Args:
        groups: of pixels by rank, K in the paper.
        fill: what the pixels of a group are set to, in the units of the images; `None`: each channel's mean over the
            image, as in the paper.
        batch_size: images that are scored at once.
        seed: of the order of pixels with equal values.

    Raises:
        InputError: fewer than two groups, or a batch size below 1.
    """

    groups: int = 10
    fill: Fill | None = None
    batch_size: int = 64
    seed: int = 0
    higher_is_better = True

    def __post_init__(self) -> None:
        check_counts(groups=self.groups - 1, batch_size=self.batch_size)

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return sum of sign * (s_i - s_j) over sum of (s_i - s_j), over pairs of groups of which i ranks higher.

        s is the mean salience of a group (in the paper the sum, which is as good for groups of equal size); the sign
        is 1 where taking group i away costs at least as much as taking group j, else -1. A constant map has 0.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: maps that do not fit, NaN, or more groups than pixels.
        """
        values, k = checked(images, maps), self.groups
        pixels = values[0].numel()
        if k > pixels:
            raise InputError(f"groups = {k}, but the images have {pixels} pixels; give fewer")
        group = ranks(values, self.seed) * k // pixels
        average = images.mean((2, 3), keepdim=True).expand_as(images)
        others = average if self.fill is None else canvas(self.fill, images)

        def change(rows: Tensor, at: Tensor) -> Tensor:
            return torch.where((group[rows] == at[:, None, None])[:, None], others[rows], images[rows])

        left = scored(score, change, images, k, self.batch_size)
        above = values - values.amin((1, 2), keepdim=True)  # so that a constant map is exactly zero
        parts = [group == i for i in range(k)]
        salience = torch.stack([above.where(part, 0.0).sum((1, 2)) / part.sum((1, 2)) for part in parts], 1)
        higher, lower = torch.triu_indices(k, k, 1, device=images.device)
        weight = (salience[:, higher] - salience[:, lower]).clamp(min=0).to(left)
        total = weight.sum(1)
        agreed = torch.where(left[:, higher] <= left[:, lower], weight, -weight).sum(1)
        return (agreed / total).where(total > 0, 0.0)
