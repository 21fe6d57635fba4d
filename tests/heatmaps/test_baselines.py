"""Baselines do not look at the model, and give an image the same map in whatever batch it is."""

from __future__ import annotations

import pytest
import torch
from families import case
from torch import Tensor

import vitdecomp as vd

pytestmark = pytest.mark.xdist_group("vit_cls")


def random(images: Tensor, seed: int = 0) -> Tensor:
    known = case("vit_cls")
    return vd.explain(known.decomposer, images, torch.ones(2, 48, dtype=torch.float64), "random", seed=seed).grid


def test_random_numbers_are_those_of_the_image() -> None:
    images = case("vit_cls").images
    whole = random(images)
    assert torch.equal(torch.cat([random(images[i : i + 1]) for i in range(len(images))]), whole)
    assert len(whole.unique()) == whole.numel()
    assert not torch.equal(random(images, seed=1), whole)
