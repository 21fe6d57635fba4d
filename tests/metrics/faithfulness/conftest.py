"""A score that is a sum over the pixels, whose true map is known, and a real model's probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """Hold what a measure takes."""

    score: Callable[[Tensor, Tensor], Tensor]
    images: Tensor
    maps: Tensor

    def __iter__(self):
        return iter((self.score, self.images, self.maps))

    def one(self, i: int) -> Case:
        """The case of a single image, which then is row 0."""
        return Case(lambda x, rows: self.score(x, rows + i), self.images[i : i + 1], self.maps[i : i + 1])


@pytest.fixture
def additive() -> Case:
    """A linear score and its true contributions, `weight * pixel`, all different, of either sign."""
    images = pictures(5, 12)
    weights = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return Case(lambda x, rows: (weights[rows] * x).sum((1, 2, 3)), images, (weights * images).sum(1))


@pytest.fixture(scope="session")
def classifier() -> nn.Module:
    """A ViT of eight classes with two blocks."""
    return randomised(VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=8))


@pytest.fixture(scope="session")
def classified(classifier: nn.Module) -> Case:
    """The probability of the predicted class of five images, and random maps with ties."""
    images = pictures(5, 16)
    with torch.no_grad():
        classes = classifier(images).argmax(1)
    maps = torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64).round(decimals=1)
    return Case(lambda x, rows: classifier(x).softmax(1).gather(1, classes[rows, None])[:, 0], images, maps)
