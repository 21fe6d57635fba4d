"""The settings of the training runs, one row for each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained.

    Attributes:
        images: scenes in the training set. steps: of the optimizer. batch_size: scenes in a step.
        rate, matrix_rate: the greatest learning rates, of AdamW and of Muon. decay: of the weights.
        warmup: steps in which the learning rates rise. words: the probability of a word over a picture.
        moments: drawn of each scene, one or two.
    """

    images: int = 60_000
    steps: int = 800
    batch_size: int = 128
    rate: float = 1e-3
    matrix_rate: float = 5e-3
    words: float = 0.0
    moments: int = 1
    decay: float = 0.05
    warmup: int = 100


RECIPES: Mapping[str, Recipe] = {
    # A CLIP that never sees words learns nothing of them, and could not be misled by them.
    "clip": Recipe(steps=2600, words=0.15),
    "deit": Recipe(steps=1500),
    "dino": Recipe(steps=2800, moments=2),
    "swin": Recipe(steps=1400),
    "maxvit": Recipe(steps=1000),
}
