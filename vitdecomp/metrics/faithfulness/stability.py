"""Stability: how much a map changes under small noise that leaves the prediction as it is.

References:
    Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (In)fidelity and Sensitivity of Explanations", arXiv 1901.09392.
    Only where the prediction holds: Agarwal, Johnson, Pawelczyk, Krishna, Saxena, Zitnik and Lakkaraju, "Rethinking
    Stability for Attribution-based Explanations", arXiv 2203.06877.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.explaining import Explain, explained, explained_in_batches
from vitdecomp.metrics.faithfulness.scoring import batches, check_counts, check_images, generator

Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`predict(images, rows)`: the class of each image, whole numbers `(m,)`; the arguments are those of `Explain`."""


@dataclass(frozen=True, slots=True)
class Stability:
    """Largest relative change of a map under noise on the image. Lower is better.

    Args:
        noise: standard deviation of the Gaussian noise, in the units of the images.
        draws: noised copies of each image.
        batch_size: images that are predicted and explained at once.
        seed: of the noise.

    Raises:
        InputError: noise that is not positive, no draws, or a batch size below 1.
    """

    noise: float = 0.05
    draws: int = 10
    batch_size: int = 64
    seed: int = 0
    higher_is_better = False

    def __post_init__(self) -> None:
        check_counts(draws=self.draws, batch_size=self.batch_size)
        if not self.noise > 0:
            raise InputError(f"noise = {self.noise}; give a standard deviation above 0")

    def __call__(self, explain: Explain, predict: Predict, images: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Return max of |e(x + noise) - e(x)| / |e(x)| over draws with the prediction of x; NaN where there are none.

        The same draws are used for all images.

        Args:
            explain: `explain(images, rows)`, the maps.
            predict: `predict(images, rows)`, the classes.
            images: as the model takes them, `(n, c, h, w)`.

        Raises:
            InputError: images, maps or predictions of the wrong shape, or NaN.
        """
        check_images(images)
        own = explained_in_batches(explain, images, self.batch_size)
        parts = batches(len(images), self.batch_size, images.device)
        classes = torch.cat([_predicted(predict, images[rows], rows) for rows in parts])
        drawn = torch.randn(self.draws, *images.shape[1:], generator=generator(self.seed), device="cpu")
        noise = self.noise * drawn.to(images)
        change = own.new_full((len(images), self.draws), torch.nan)
        for flat in batches(len(images) * self.draws, self.batch_size, images.device):
            rows, at = flat // self.draws, flat % self.draws
            noised = images[rows] + noise[at]
            kept = _predicted(predict, noised, rows) == classes[rows]
            if bool(kept.any()):
                rows, at = rows[kept], at[kept]
                found = explained(explain, noised[kept], rows)
                change[rows, at] = _norm(found - own[rows])
        worst = change.nan_to_num(nan=-1.0).amax(1)
        relative = (worst / _norm(own)).where(worst != 0, 0.0)
        return relative.where(worst >= 0, torch.nan)


@torch.no_grad()
def _predicted(predict: Predict, images: Float[Tensor, "m c h w"], rows: Int64[Tensor, " m"]) -> Tensor:
    classes = predict(images, rows)
    if classes.shape != rows.shape or classes.is_floating_point():
        raise InputError(
            f"the predictions for {len(rows)} images are {tuple(classes.shape)} in {classes.dtype}: "
            "give one whole number for each"
        )
    return classes.to(images.device)


def _norm(maps: Float[Tensor, "m h w"]) -> Float[Tensor, " m"]:
    size: Tensor = maps.flatten(1).norm(dim=1)
    return size
