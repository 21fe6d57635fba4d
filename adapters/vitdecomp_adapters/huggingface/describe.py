"""A model of transformers with its outputs, checked against what its files fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vitdecomp._utils.hub import REMEDY
from vitdecomp.errors import LoadError, SpecError
from vitdecomp.models.adapter import Classifier, LoadedModel
from vitdecomp_adapters import imagenet
from vitdecomp_adapters.huggingface.outputs import SPECTROGRAMS, argument, tokens
from vitdecomp_adapters.huggingface.readings import Reading, Readings, find_readings
from vitdecomp_adapters.huggingface.texts import text_encoder, text_features
from vitdecomp_adapters.huggingface.trial import trial_images
from vitdecomp_adapters.huggingface.unfilled import used
from vitdecomp_adapters.huggingface.weights import Filled

COMMON_SIZE = 224  # of models that do not tell theirs
VISION = ("vision_config", "image_config")  # of models of several towers
SIZES, CHANNELS, FRAMES = ("image_size", "crop_size"), ("num_channels", "in_chans"), ("num_frames", "frames_per_clip")
"""Settings by the names that models have for them, the first that is there."""
MOST_VALUES = 2**26  # of an image; a configuration that says more is broken
NAMED = 3  # parameters that a message names
SILENT = (nn.Identity, nn.Dropout, nn.Flatten)  # what does nothing to a vector in evaluation


class UnfilledError(LoadError):
    """The representation depends on parameters that no file fills."""


def describe(
    filled: Filled, spec: str, where: str, *, pretrained: bool | None, preprocess: Callable[[Any], Tensor] | None = None
) -> LoadedModel:
    """Describe a model with its outputs; leave out what depends on parameters that no file fills, and say so.

    Raises:
        SpecError: it has no vector for an image alone.
        UnfilledError: the embedding depends on such parameters.
    """
    module: Any = filled.module
    size = input_size(module, spec)
    images = trial_images(module, size or (_channels(_vision(module.config)), COMMON_SIZE, COMMON_SIZE))
    found = find_readings(module, spec, images)
    notes: list[str] = []
    embedding = _first_filled(filled, images, found.embeddings, spec, notes)
    outputs = {"embedding": embedding.compute}
    scores = found.logits
    if scores and _filled(filled, images, scores, notes):
        outputs["logits"] = scores.compute
    encoder = text_encoder(module, where, spec)
    words = torch.zeros(1, 1, dtype=torch.long, device=images.device)
    texts = Reading(lambda model, ids: text_features(model, input_ids=ids), "the text tower")
    return LoadedModel(
        module,
        preprocess,
        spec,
        outputs,
        size,
        pretrained,
        encode_text=encoder if encoder and _filled(filled, words, texts, notes) else None,
        classifier=_classifier(module, found) if "logits" in outputs else None,
        notes=(f"the embedding is {embedding.what}", *notes),
        tokens=tokens,
    )


def input_size(module: Any, spec: str) -> tuple[int, ...] | None:
    """Return the shape of one input, if the model tells.

    It is `(channels, height, width)` of images, `(frames, channels, height, width)` of videos and `(time, frequency)`
    of spectrograms.

    Raises:
        SpecError: it is no such shape.
    """
    config = _vision(module.config)
    if argument(module) == SPECTROGRAMS:
        return _checked((config.max_length, config.num_mel_bins), 2, spec)
    size = _first(config, SIZES)
    if size is None and hasattr(module, "timm_model"):
        size = _timm_size(module.timm_model)
    if size is None:
        return None
    frames = [] if (count := _first(config, FRAMES)) is None else [count]
    shape = (*frames, _channels(config), *(size if isinstance(size, (list, tuple)) else (size, size)))
    return _checked(shape, 3 + len(frames), spec)


def _checked(shape: tuple[Any, ...], axes: int, spec: str) -> tuple[int, ...]:
    if len(shape) != axes or not all(isinstance(n, int) and n > 0 for n in shape) or prod(shape) > MOST_VALUES:
        raise SpecError(f"{spec}: its configuration says that inputs have the shape {shape}")
    return shape


def _first(config: Any, names: Iterable[str]) -> Any:
    """Return the first of some settings that a configuration has."""
    return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)


def _timm_size(module: Any) -> tuple[int, ...] | None:
    """Height and width of the images of a timm model, as it was built or else as its weights came."""
    built = getattr(getattr(module, "patch_embed", None), "img_size", None)
    known = (getattr(module, "pretrained_cfg", None) or {}).get("input_size", (None, None, None))
    return built or (tuple(known[1:]) if known[1] else None)


def _vision(config: Any) -> Any:
    """Return the part of a configuration that describes images."""
    return next((getattr(config, part) for part in VISION if hasattr(config, part)), config)


def _channels(config: Any) -> Any:
    found = _first(config, CHANNELS)
    return 3 if found is None else found


def _first_filled(filled: Filled, images: Tensor, readings: Iterable[Reading], spec: str, notes: list[str]) -> Reading:
    """Return the first vector that depends on no parameter without weights; there is at least one to try."""
    reading: Reading | None = None
    for reading in readings:
        if _filled(filled, images, reading, notes):
            return reading
    assert reading is not None
    missing = used(filled.module, reading.compute, images, filled.unfilled)
    known = f" The files hold other names, such as {_named(sorted(filled.unknown))}." if filled.unknown else ""
    raise UnfilledError(
        f"{spec}: no file fills {_unfilled(filled, missing)}, on which the embedding depends.{known} {REMEDY}"
    )


def _filled(filled: Filled, inputs: Tensor, reading: Reading, notes: list[str]) -> bool:
    missing = used(filled.module, reading.compute, inputs, filled.unfilled)
    if missing:
        notes.append(f"{reading.what} is left out: no file fills {_unfilled(filled, missing)}")
    return not missing


def _unfilled(filled: Filled, names: list[str]) -> str:
    """Parameters, with the shape that does not fit."""
    return _named([name + filled.unfilled[name] for name in names])


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _classifier(module: Any, found: Readings) -> Classifier | None:
    """Find the linear layer that makes the logits of the embedding."""
    if len(found.heads) != 1:
        return None
    parts = [part for part in module.get_submodule(found.heads[0]).modules() if not next(part.children(), None)]
    layers = [part for part in parts if not isinstance(part, SILENT)]
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        return None
    labels = getattr(module.config, "id2label", None) or {}
    names = tuple(str(labels.get(i, f"class {i}")) for i in range(layers[0].out_features))
    return Classifier(names, layers[0], imagenet.ids_of(names))
