"""ROAD: remove and debias; the score when removed pixels are imputed from their neighbors.

References:
    Rong, Leemann, Borisov, Kasneci and Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution
    Methods", arXiv 2202.00449. The combination of both orders: Gildenblat and contributors, pytorch-grad-cam.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.imputation import linear_imputation
from vitdecomp.metrics.faithfulness.scoring import (
    TENTHS,
    Score,
    check_counts,
    check_fractions,
    checked,
    generator,
    portions,
    ranks,
    scored,
)


@dataclass(frozen=True, slots=True)
class Road:
    """Half of what the score gains when the least relevant pixels go first, not the most relevant. Higher is better.

    Args:
        fractions: of the pixels that are imputed.
        noise: standard deviation of the Gaussian noise on imputed pixels, in the units of the images.
        batch_size: images that are imputed and scored at once.
        seed: of the noise, and of the order of pixels with equal values.

    Raises:
        InputError: shares that are none, negative noise, or a batch size below 1.
    """

    fractions: tuple[float, ...] = TENTHS
    noise: float = 0.01
    batch_size: int = 64
    seed: int = 0
    higher_is_better = True

    def __post_init__(self) -> None:
        check_fractions(self.fractions)
        check_counts(batch_size=self.batch_size)
        if not self.noise >= 0:
            raise InputError(f"noise = {self.noise}; give a standard deviation, 0 for none")

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return (least relevant first - most relevant first) / 2, averaged over the fractions, in units of the score.

        The noise is drawn once for each fraction, for both orders and all images alike.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: maps that do not fit, or NaN.
        """
        values, k = checked(images, maps), len(self.fractions)
        rank = torch.stack([ranks(values, self.seed), ranks(-values, self.seed)])
        limits = torch.tensor(portions(self.fractions, values[0].numel()), device=images.device)
        drawn = torch.randn(k, *images.shape[1:], generator=generator(self.seed), dtype=torch.float32, device="cpu")
        noise = self.noise * drawn.to(images)

        def change(rows: Tensor, at: Tensor) -> Tensor:
            missing = rank[at // k, rows] < limits[at % k, None, None]
            return linear_imputation(images[rows], missing) + noise[at % k] * missing[:, None]

        scores = scored(score, change, images, 2 * k, self.batch_size)
        return (scores[:, k:].mean(1) - scores[:, :k].mean(1)) / 2
