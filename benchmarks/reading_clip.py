"""A CLIP that written words mislead: `scenes:clip`, trained on to say what is written on a picture.

The embedded CLIP saw words that its captions never mention, and has learned to pass over them. A CLIP of photographs
reads. This one is made so: in two of three pictures of its training a word is written, and half of these are said to
show what the word names. Its texts stay those of `scenes:clip`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scenes_training.optimizer import Optimizer
from scenes_training.recipes import Recipe
from scenes_training.run import attention_kernel
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.texts.scene import scene_values

from vitdecomp._utils.files import cache_directory
from vitdecomp.models.adapter import LoadedModel, load_model
from vitdecomp.scenes import FACTORS, SceneDataset

CLIP = "scenes:clip"
FACTORS_TOLD = ("shape", "colour", "pattern", "location")
WRITING = ("a written word", "letters", "a sign with writing")
NOTHING = ("nothing is written", "no letters")
TRAINING_SEED, IMAGES, LOGIT_SCALE = 41, 16_000, 20.0
RECIPE = Recipe(steps=1200, batch_size=64, rate=5e-4, matrix_rate=3e-3, warmup=50)
SCHEMA = 2  # of the training, for the name of the file
Progress = Callable[[int, int, float], object]


def value_vectors(clip: ClipSpace, texts: Mapping[str, tuple[str, ...]]) -> Tensor:
    """Return a unit vector for each value, the mean of those of its texts, `(value, d)`."""
    means = [normalize(clip.encode_text(list(each)).float(), dim=1).mean(0) for each in texts.values()]
    return normalize(torch.stack(means), dim=1)


def reading_clip(clip: ClipSpace, progress: Progress) -> LoadedModel:
    """Load the model, or train it, which takes a quarter of an hour on one core."""
    loaded = load_model(CLIP)
    digest = sha256(repr((SCHEMA, CLIP, TRAINING_SEED, IMAGES, LOGIT_SCALE, RECIPE)).encode()).hexdigest()[:12]
    kept = cache_directory() / "benchmarks" / f"reading_clip-{digest}.safetensors"
    if not kept.is_file():
        module: Any = loaded.module
        _train(module.visual, clip, progress)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: x.contiguous() for name, x in loaded.module.state_dict().items()}, kept)
    loaded.module.load_state_dict(load_file(kept))
    return loaded


def _train(visual: Any, clip: ClipSpace, progress: Progress) -> None:
    images, truth = _pictures(visual)
    vectors = {name: value_vectors(clip, scene_values()[name]) for name in FACTORS_TOLD}
    vectors["writing"] = value_vectors(clip, {"none": NOTHING, "some": WRITING})
    optimizer = Optimizer(visual.requires_grad_(True).named_parameters(), RECIPE)
    generator = torch.Generator().manual_seed(TRAINING_SEED)
    for step in range(RECIPE.steps):
        rows = torch.randint(len(images), (RECIPE.batch_size,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16), attention_kernel(torch.device("cpu")):
            loss = _loss(visual, images[rows], {name: each[rows] for name, each in truth.items()}, vectors)
        optimizer.step(loss, step)
        progress(step + 1, RECIPE.steps, float(loss.detach()))
    visual.eval().requires_grad_(False)


def _loss(visual: Any, images: Tensor, truth: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> Tensor:
    """Compare the class token and the mean of the patches with the texts of each factor, as `scenes:clip` learned."""
    tokens = visual.trunk.forward_features(images)
    read = [normalize(visual.head(x).float(), dim=1) for x in (tokens[:, 0], tokens[:, 1:].mean(1))]
    losses = [cross_entropy(LOGIT_SCALE * x @ vectors[name].T, truth[name]) for x in read for name in vectors]
    return torch.stack(losses).sum()


def _pictures(visual: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw pictures, a word on two of three, as the model takes them; and what each is said to show."""
    parts = [
        SceneDataset(IMAGES * share // 3, TRAINING_SEED + share, "train", subset)
        for subset, share in (("typographic", 2), ("plain", 1))
    ]
    drawn = torch.from_numpy(np.concatenate([data.arrays(range(len(data))) for data in parts]))
    mean, std = (torch.tensor(x)[:, None, None] for x in (visual.image_mean, visual.image_std))
    truth = {name: torch.from_numpy(np.concatenate([data.labels[name] for data in parts])) for name in FACTORS_TOLD}
    written = [FACTORS["shape"].index(parts[0].scene(i).word) for i in range(len(parts[0]))]
    truth["shape"][: len(written) : 2] = torch.tensor(written)[::2]
    truth["writing"] = (torch.arange(len(drawn)) < len(written)).long()
    return (drawn.permute(0, 3, 1, 2).float() / 255 - mean) / std, truth
