"""What a decomposition is asked for, of which models, and what it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from machine import missing
from timing import PLAIN, Conditions, Row, measured, told
from torch import Tensor, nn

from vitdecomp import Decomposer, LoadedModel, LoadError, load_model
from vitdecomp.adapter import ADAPTERS, as_loaded
from vitdecomp.random_weights import randomise

MANY = 100  # texts
PER_IMAGE = 32  # images with a direction each
HEADS = "heads, MLPs, constants"
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
    """A model of the list, or any other without targets."""
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
    def load(cls, model: Model, batch: int, conditions: Conditions) -> Bench:
        """A model of the list with random weights, traced."""
        loaded = load(model)
        return cls.of(loaded, loaded.input_size or (3, 224, 224), batch, conditions)

    @classmethod
    def of(cls, model: LoadedModel | nn.Module, shape: Sequence[int], batch: int, conditions: Conditions) -> Bench:
        """Any model of yours; its weights become random ones."""
        register("timm:")
        loaded = as_loaded(model)
        randomise(loaded.module)
        conditions.placed(loaded.module.eval())
        few, images = conditions.noise(2, *shape), conditions.noise(batch, *shape)
        conditions.wait()
        began = time.perf_counter()
        dec = traced(loaded, few)
        conditions.wait()
        return cls(loaded, loaded.representation(), dec, images, time.perf_counter() - began, conditions)

    def with_batch(self, batch: int) -> Bench:
        """The same model, fitted as it is, on so many images."""
        return replace(self, images=self.conditions.noise(batch, *self.images.shape[1:]))

    def directions(self, count: int) -> Tensor:
        """The same random ones each time, `(direction, d)`."""
        return self.conditions.noise(count, self.dec.report_.dimension, seed=1)


Run: TypeAlias = Callable[[], Any]
Make: TypeAlias = Callable[[Bench], Run]
"""What is prepared once, to what is timed."""


def plain(bench: Bench) -> Run:
    """The model's own code."""

    def run() -> Tensor:
        with torch.inference_mode():
            return bench.module(bench.images)  # type: ignore[no-any-return]

    return run


def push(bench: Bench) -> Run:
    """All contributions."""
    return lambda: bench.dec.transform(bench.images)


def pull(by: Any, count: int = 1) -> Make:
    """Products of the same directions with all contributions."""

    def make(bench: Bench) -> Run:
        directions = bench.directions(count)
        return lambda: bench.dec.attribute(bench.images, directions, by=by)

    return make


def pull_all(bench: Bench) -> Run:
    """Products of one direction with heads, tokens (of all blocks, and the patches) and neurons."""
    directions = bench.directions(1)
    return lambda: bench.dec.attribute_each(bench.images, directions, ["head", "token", "neuron"])


def pull_each(by: Any) -> Make:
    """Products of a direction of each image's own."""

    def make(bench: Bench) -> Run:
        directions = bench.directions(len(bench.images))[:, None]
        return lambda: bench.dec.attribute(bench.images, directions, by=by)

    return make


@dataclass(frozen=True)
class Task:
    """One thing that is asked for.

    Attributes:
        make: it. target: of a model, which of its limits holds. memory: how many times the plain pass's peak it may
            take. batch: if it needs one of its own.
    """

    make: Make
    target: str = ""
    memory: float | None = None
    batch: int | None = None

    def limit(self, model: Model) -> float | None:
        """What it may cost, as a ratio to the plain pass."""
        return getattr(model, self.target) if self.target else None


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        PLAIN: Task(plain),
        HEADS: Task(push, "push", 1.5),
        "one direction by head": Task(pull("head"), "pull"),
        "one direction by token": Task(pull("token"), "pull"),
        "one direction by neuron": Task(pull("neuron"), "pull"),
        "one direction by head x token": Task(pull(("head", "token")), "pull"),
        "one direction by head, token and neuron at once": Task(pull_all, "pull", 2.0),
        f"{MANY} directions by head": Task(pull("head", MANY), "many"),
        f"{PER_IMAGE} images, each its direction, by head x token": Task(
            pull_each(("head", "token")), "pull", batch=PER_IMAGE
        ),
    }
)


def register(spec: str) -> None:
    """Make an adapter known where vitdecomp is on the path and not installed, so that it has no entry points."""
    prefix = spec.partition(":")[0]
    if prefix in LIBRARIES and prefix not in ADAPTERS and not missing(LIBRARIES[prefix]):
        import_module(f"vitdecomp_adapters.{'huggingface' if prefix == 'hf' else prefix}")


def traced(loaded: LoadedModel, images: Tensor) -> Decomposer:
    """Fitted, however inexact a number format is."""
    return Decomposer(loaded, tolerance=float("inf")).fit(images)


def load(model: Model) -> LoadedModel:
    """A model without trained weights.

    Raises:
        SpecError: there is no such model.
        LoadError: it cannot be had.
    """
    register(model.spec)
    torch.manual_seed(0)
    return load_model(model.spec, pretrained=False, **model.options)


def opened(model: Model, batch: int, conditions: Conditions) -> Bench | str:
    """A model of the list with random weights, traced; or why it cannot be measured here."""
    if model.why_not:
        return model.why_not
    try:
        return Bench.load(model, batch, conditions)
    except (ImportError, LoadError) as error:  # the library is there, and something that it needs is not
        return f"failed: {told(error)}"


def times(model: Model, batch: int, conditions: Conditions, *, per_image: int = PER_IMAGE) -> dict[str, Any]:
    """Rows of all tasks of one model, with how long it took to trace and how many components it has.

    Args:
        model: one of the list, or any other.
        batch: images of the tasks that do not have a batch of their own.
        conditions: where, and how often.
        per_image: the largest batch of those that do.
    """
    found: dict[str, Any] = {"model": model.spec, "batch": batch, "why": ""}
    bench = opened(model, batch, conditions)
    if isinstance(bench, str):
        return {**found, "why": bench}
    rows = _rows(bench, None)
    for own in dict.fromkeys(task.batch for task in TASKS.values() if task.batch and model.each):
        rows += _rows(bench.with_batch(min(own, per_image)), own)
    return {**found, "fit": bench.fit, "components": len(bench.dec.components_), "rows": [asdict(row) for row in rows]}


def _rows(bench: Bench, own: int | None) -> list[Row]:
    """Of the tasks with such a batch of their own, beside the plain pass on it."""
    chosen = {name: task.make(bench) for name, task in TASKS.items() if name == PLAIN or task.batch == own}
    return measured(chosen, len(bench.images), bench.conditions)
