"""Scenes for training: drawn once, then dealt in batches that a seed and a step decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from vitdecomp_adapters.scenes.classes import classify
from vitdecomp_adapters.scenes.words import tokenize

from vitdecomp.scenes import SceneDataset


@dataclass(frozen=True, slots=True)
class Batch:
    """Scenes to learn from.

    Attributes:
        images: scaled to -1 .. 1. later: the same scenes at another moment, or the same pictures.
        classes: numbers into `CLASSES`. texts: tokens of the captions.
    """

    images: Float[Tensor, "n 3 64 64"]
    later: Float[Tensor, "n 3 64 64"]
    classes: Int64[Tensor, "n several"]
    texts: Int64[Tensor, "n length"]


class Pictures:
    """All scenes of a training run. A batch depends on the seed and the step alone, so a run can be resumed.

    Args:
        data: which scenes.
        workers: processes that draw them.
        moments: how many of each scene are drawn, one or two.
    """

    def __init__(self, data: SceneDataset, workers: int = 0, moments: int = 1) -> None:
        self.seed = data.spec.seed
        self.drawn = [torch.from_numpy(data.arrays(range(len(data)), workers, moment)) for moment in range(moments)]
        self.classes = torch.from_numpy(classify(data.labels))
        self.texts = tokenize(data.captions)

    def batch(self, step: int, size: int, device: torch.device) -> Batch:
        """Scenes for a step; every scene comes once before any comes again, and the moments change places then."""
        per_round = len(self.classes) // size
        turn, place = divmod(step, per_round)
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.classes))
        rows = torch.from_numpy(order[place * size : (place + 1) * size])
        this, other = (self.drawn[(turn + offset) % len(self.drawn)] for offset in range(2))
        return Batch(
            as_input(this[rows]).to(device),
            as_input(other[rows]).to(device),
            self.classes[rows].to(device),
            self.texts[rows].to(device),
        )


def as_input(images: UInt8[Tensor, "n 64 64 3"]) -> Float[Tensor, "n 3 64 64"]:
    """Bytes as the models take them: mean and standard deviation of one half, as their transforms make them."""
    scaled: Tensor = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    return scaled.contiguous()
