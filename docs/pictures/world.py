"""What the pictures are of: scenes, the models' contributions to them, and CLIP's vectors of images and texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.texts import scene_features

import vitdecomp as vd
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.scenes import SceneDataset

CLIP = "scenes:clip"
SEED = 3  # of scenes that no model was trained on
BATCH = 100


@dataclass(frozen=True)
class Seen:
    """A model's contributions to a data set, and its preprocessed images."""

    decomposer: vd.Decomposer
    c: vd.Contributions
    pixels: Tensor


@cache
def clip() -> ClipSpace:
    """Return the CLIP whose words are used."""
    return ClipSpace(CLIP, device="cpu")


def scenes(n: int, split: str = "test", subset: str = "plain") -> SceneDataset:
    """Draw scenes."""
    return SceneDataset(n, SEED, split, subset)


def pixels(model: vd.LoadedModel, data: SceneDataset) -> Tensor:
    """Preprocess all images as a model expects them."""
    plain = SceneDataset(len(data), data.spec.seed, data.spec.split, data.spec.subset, transform=preprocessing(model))
    return torch.stack([image for image, _ in plain])


def seen(model: str, *data: SceneDataset) -> list[Seen]:
    """Take several data sets apart by one model, head by head."""
    loaded = vd.load_model(model)
    found, dec = [], vd.Decomposer(loaded, by="head")
    for part in data:
        images = pixels(loaded, part)
        if not found:
            dec.fit(images[:2])
        c = vd.Contributions.joined([dec.transform(batch) for batch in images.split(BATCH)])
        found.append(Seen(dec, c, images))
    return found


def vectors(data: SceneDataset) -> Tensor:
    """Return CLIP's vectors of the images."""
    return clip().encode_image(pixels(vd.load_model(CLIP), data)).cpu()


@cache
def features() -> Mapping[str, Tensor]:
    """Return the vectors of each feature's words."""
    return {name: clip().encode_text(words).cpu() for name, words in scene_features().items()}


def picture(data: SceneDataset, row: int) -> np.ndarray:
    """Return one image as it was drawn."""
    return data.sample(row).image
