"""Models of all families, each traced once on the worker that runs its tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import cached, pictures, randomised
from others import OTHERS
from third_party import MODELS
from torch import Tensor, nn
from zoo import ZOO, Animal

import vitdecomp as vd
from vitdecomp.trace.cache.cache import PathsCache

NAMES = [*ZOO, *(f"third_party/{name}" for name in MODELS)]


def grouped(names: Iterable[str]) -> list[Any]:
    """Names with a mark that keeps the tests of one model on one worker."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@dataclass
class Case:
    """A model, its decomposition, and what is known about it.

    Attributes:
        folder: where its paths were kept when they had been found.
    """

    animal: Animal
    module: nn.Module
    images: Tensor
    decomposer: vd.Decomposer
    contributions: vd.Contributions
    folder: Path


@cached
def case(name: str) -> Case:
    """A model with random weights, traced and not found in any cache."""
    torch.manual_seed(0)
    if name in ZOO or name in OTHERS:
        animal = (ZOO | OTHERS)[name]
    else:
        make, heads = MODELS[name.removeprefix("third_party/")]
        animal = Animal(make, 16, heads)
    module = randomised(animal.make())
    images = pictures(4, animal.size)
    folder = Path(os.environ["VITDECOMP_CACHE"], "families", name.replace("/", "-"), str(os.getpid()))
    decomposer = vd.Decomposer(module, cache=folder).fit(images[:1])
    shutil.copytree(folder, PathsCache.standard().folder, dirs_exist_ok=True)  # where other tests find it
    return Case(animal, module, images, decomposer, decomposer.transform(images), folder)
