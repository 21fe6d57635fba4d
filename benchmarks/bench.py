"""The models that are measured, and one of them traced, with images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from machine import missing
from timing import Conditions, told
from torch import Tensor, nn

from vitdecomp import Decomposer, LoadedModel, LoadError, load_model
from vitdecomp.models.adapter import ADAPTERS, as_loaded
from vitdecomp.models.random_weights import randomise

LIBRARIES = {"timm": "timm", "open_clip": "open_clip", "hf": "transformers", "torchvision": "torchvision"}
"""The beginning of a spec to the library that it needs."""


@dataclass(frozen=True)
class Model:
    """A model, and what its decompositions may cost as ratios to the plain pass.

    Attributes:
        spec: of vitdecomp. title: for tables. options: of the model library.
        push: for all contributions. pull: for one direction. many: for 100 directions. fit: seconds to trace it.
        each: whether tasks with a batch of their own are measured too.
    """

    spec: str
    title: str
    options: Mapping[str, Any] = field(default_factory=dict)
    push: float | None = None
    pull: float | None = None
    many: float | None = None
    fit: float | None = None
    each: bool = True

    @property
    def why_not(self) -> str:
        """Why it cannot be measured here; empty if it can."""
        library = LIBRARIES.get(self.spec.partition(":")[0])
        return missing(library) if library else ""


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.spec: model
        for model in (
            Model("timm:vit_base_patch16_224", "ViT-B/16", push=1.05, pull=1.15, many=1.6, fit=10),
            Model(
                "timm:vit_base_patch14_dinov2",
                "DINOv2-B/14",
                {"img_size": 224},
                push=1.05,
                pull=1.15,
                many=1.6,
                each=False,
            ),
            Model("open_clip:ViT-B-16", "CLIP ViT-B/16", push=1.05, pull=1.15, many=1.6, fit=10, each=False),
            Model("timm:swin_base_patch4_window7_224", "Swin-B", push=1.15, pull=1.9),
            Model("timm:maxvit_small_tf_224", "MaxViT-S", push=1.20, pull=1.9, each=False),
        )
    }
)


def model_of(spec: str) -> Model:
    """Return a model of the list, or any other without targets."""
    return MODELS.get(spec) or Model(spec, spec)


@dataclass(frozen=True)
class Bench:
    """A model that is fitted, and images.

    Attributes:
        loaded: the model. module: its plain pass, images to vectors. dec: fitted on two images.
        images: a batch. fit: seconds that it took. conditions: under which it is measured.
    """

    loaded: LoadedModel
    module: nn.Module
    dec: Decomposer
    images: Tensor
    fit: float
    conditions: Conditions

    @classmethod
    def load(cls, model: Model, batch: int, conditions: Conditions, cache: Path | None = None) -> Bench:
        """Load a model of the list with random weights, traced; keep what is found in a cache, if there is one."""
        loaded = load(model)
        return cls.of(loaded, loaded.input_size or (3, 224, 224), batch, conditions, cache)

    @classmethod
    def of(
        cls,
        model: LoadedModel | nn.Module,
        shape: Sequence[int],
        batch: int,
        conditions: Conditions,
        cache: Path | None = None,
    ) -> Bench:
        """Any model of yours; its weights become random ones."""
        register("timm:")
        loaded = as_loaded(model)
        randomise(loaded.module)
        conditions.placed(loaded.module.eval())
        images = conditions.noise(batch, *shape)
        dec, seconds = _timed_fit(loaded, shape, conditions, cache)
        return cls(loaded, loaded.representation(), dec, images, seconds, conditions)

    def again(self) -> float:
        """Seconds to fit the same model once more, with what its cache has kept."""
        return _timed_fit(self.loaded, self.images.shape[1:], self.conditions, self.dec.cache)[1]

    def with_batch(self, batch: int) -> Bench:
        """Take the same model, fitted as it is, on so many images."""
        return replace(self, images=self.conditions.noise(batch, *self.images.shape[1:]))

    def directions(self, count: int) -> Tensor:
        """Draw the same random directions each time, `(direction, d)`."""
        return self.conditions.noise(count, self.dec.report_.dimension, seed=1)


def register(spec: str) -> None:
    """Make an adapter known where vitdecomp is on the path and not installed, so that it has no entry points."""
    prefix = spec.partition(":")[0]
    if prefix in LIBRARIES and prefix not in ADAPTERS and not missing(LIBRARIES[prefix]):
        import_module(f"vitdecomp_adapters.{'huggingface' if prefix == 'hf' else prefix}")


def traced(loaded: LoadedModel, images: Tensor, cache: Any = None) -> Decomposer:
    """Fitted, however inexact a number format is; without a cache, so that it takes as long as the first time."""
    return Decomposer(loaded, tolerance=float("inf"), cache=cache).fit(images)


def _timed_fit(
    loaded: LoadedModel, shape: Sequence[int], conditions: Conditions, cache: Any
) -> tuple[Decomposer, float]:
    few = conditions.noise(2, *shape)
    conditions.wait()
    began = time.perf_counter()
    dec = traced(loaded, few, cache)
    conditions.wait()
    return dec, time.perf_counter() - began


def load(model: Model) -> LoadedModel:
    """Load a model without trained weights.

    Raises:
        SpecError: there is no such model.
        LoadError: it cannot be had.
    """
    register(model.spec)
    torch.manual_seed(0)
    return load_model(model.spec, pretrained=False, **model.options)


def opened(model: Model, batch: int, conditions: Conditions, cache: Path | None = None) -> Bench | str:
    """Load a model of the list with random weights, traced; or say why it cannot be measured here."""
    if model.why_not:
        return model.why_not
    try:
        return Bench.load(model, batch, conditions, cache)
    except (ImportError, LoadError) as error:  # the library is there, and something that it needs is not
        return f"failed: {told(error)}"
