"""Random smoothing: latent tokens as the mean over noised copies of the tokens of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitdecomp.errors import SpecError


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Noise that is added to the tokens of a layer before they attend to themselves alone.

    The deviation of each coordinate of each token is a share of the drift there: how far self-attention from the first
    layer on has moved the mean over the images of `fit`.

    Args:
        draws: copies over which vectors are averaged.
        factor: the share of the drift.
        seed: of the noise, which is the same for all images.

    Raises:
        SpecError: no draws, or a negative factor.

    References:
        INViTE, ICLR 2024, section 3.3: 1,000 draws, a tenth of the drift.
    """

    draws: int = 100
    factor: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1 or not 0 <= self.factor < float("inf"):
            raise SpecError(f"smoothing needs draws of at least 1 and a factor of at least 0, not {self}")

    def noise(self, drift: Tensor, layer: int) -> Tensor:
        """Draw the noise of a layer.

        Args:
            drift: in the axes of the tokens, for one image.
            layer: its number.

        Returns:
            One copy after another along a new first axis.
        """
        source = torch.Generator().manual_seed(self.seed * 65_537 + layer)
        draws = torch.randn(self.draws, *drift.shape, generator=source, dtype=torch.float64)
        return self.factor * draws.to(drift) * drift
