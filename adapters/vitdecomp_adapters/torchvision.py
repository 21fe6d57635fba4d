"""torchvision: its classification models, and what their last linear layer reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from vitdecomp._utils.hub import fetching, first_line, local_file
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import Adapter, Classifier, LoadedModel, call, own_spec, register_adapter
from vitdecomp_adapters import imagenet
from vitdecomp_adapters.checkpoint import Rules, Tensors, fill, listed
from vitdecomp_adapters.submodule import replaced


def embedding(model: nn.Module, images: Tensor) -> Tensor:
    """Compute the features that the classifier reads, `(n, d)`."""
    vector: Tensor = replaced(model, classifier(model), nn.Identity())(images)
    return vector


def classifier(model: nn.Module) -> str:
    """Path of the last linear layer, which in torchvision's models is the classifier.

    Raises:
        SpecError: the model has none.
    """
    layers = [str(path) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise SpecError(f"{type(model).__name__} has no linear classifier; use output='logits'")
    return layers[-1]


@register_adapter
class TorchvisionAdapter(Adapter):
    """Specs `torchvision:NAME`, such as `torchvision:vit_b_16`."""

    prefix = "torchvision"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Load a model; `weights` and all options but `checkpoint_path` go to `torchvision.models.get_model`.

        Raises:
            SpecError: torchvision has no such model, or it does not take the options.
            LoadError: its weights cannot be had.
        """
        known, spec = self.names(), f"torchvision:{name}"
        if name not in known:
            raise SpecError(f"torchvision has no model {name!r}{did_you_mean(name, known)}")
        checkpoint = options.pop("checkpoint_path", None)
        weights = options.pop("weights", "DEFAULT") if pretrained and not checkpoint else None
        sized = _sized(name, image_size, spec)
        if weights is None:
            module = _create(name, weights=None, **options, **sized)
        elif sized:
            module = _resized(name, weights, options, sized, spec)
        else:
            with fetching(spec):
                module = _create(name, weights=weights, **options)
        if not checkpoint:
            return describe(module.eval(), name, pretrained=weights is not None, size=image_size)
        rules = self.rules(module)
        filled = fill(
            module, local_file(checkpoint), spec, replace(rules, heads=()) if "num_classes" in options else rules
        )
        loaded = describe(module.eval(), name, pretrained=True, size=image_size, notes=filled.notes)
        if not filled.spared:
            return loaded
        notes = (*filled.notes, f"the file has no classifier ({listed(filled.spared)}): there are no logits")
        return replace(loaded, outputs={"embedding": embedding}, classifier=None, notes=notes)

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """Recognize a classification model of torchvision, if it still has its classifier."""
        owner = next(c for c in type(module).__mro__ if "forward" in vars(c)).__module__
        if not owner.startswith("torchvision.models.") or owner.count(".") > 2:
            return None
        outputs = {"embedding": embedding, "logits": call}
        return LoadedModel(module, None, own_spec(module), outputs, classifier=_last_layer(module))

    def rules(self, module: nn.Module) -> Rules:
        """Return how files fit a model of torchvision: position embeddings of other sizes, a classifier of any size."""
        head = classifier(module)
        return Rules(_converted, (head,), _set_classes, spare=lambda name: name.startswith(f"{head}."))

    def names(self, pattern: str = "*") -> list[str]:
        """Classification models."""
        from torchvision import models

        return list(models.list_models(module=models, include=pattern))

    def family(self, name: str) -> str | None:
        """Return the module that defines the model."""
        from torchvision import models

        with suppress(ValueError):
            return str(models.get_model_builder(name).__module__).rpartition(".")[2]
        return None


def describe(
    module: nn.Module,
    name: str,
    *,
    pretrained: bool,
    size: tuple[int, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> LoadedModel:
    """Describe a model with its outputs and the transforms of its best weights."""
    from torchvision import models

    weights: Any = models.get_model_weights(name)
    standard = weights.DEFAULT.transforms()
    side = getattr(module, "image_size", standard.crop_size[0])
    shape = (3, *(size[-2:] if size else (side, side)))
    return LoadedModel(
        module,
        transform(standard, shape),
        f"torchvision:{name}",
        {"embedding": embedding, "logits": call},
        shape,
        pretrained,
        preprocess_for=partial(transform, standard),
        classifier=_last_layer(module, weights.DEFAULT.meta["categories"]),
        notes=notes,
    )


def transform(standard: Any, size: tuple[int, ...]) -> Callable[[Any], Tensor]:
    """Build torchvision's own transform for evaluation with another crop, resized by the same ratio.

    Raises:
        SpecError: other channels than three.
    """
    if size[0] != 3:
        raise SpecError(f"torchvision's transforms make images of 3 channels, not {size[0]}: give a preprocess")
    if tuple(size[1:]) == tuple(standard.crop_size) * (3 - len(standard.crop_size)):
        return standard  # type: ignore[no-any-return]
    made = copy.copy(standard)
    ratio = min(standard.resize_size) / min(standard.crop_size)
    made.crop_size = [size[1]] if size[1] == size[2] else [*size[1:]]
    made.resize_size = [round(max(size[1:]) * ratio)]
    return made  # type: ignore[no-any-return]


def _last_layer(module: nn.Module, categories: Sequence[str] = ()) -> Classifier | None:
    """Return the classifier, with the names of the classes that its weights have, if it has as many."""
    try:
        layer = module.get_submodule(classifier(module))
    except SpecError:
        return None
    assert isinstance(layer, nn.Linear)
    if len(categories) != layer.out_features:
        return Classifier(tuple(f"class {i}" for i in range(layer.out_features)), layer)
    return Classifier(tuple(categories), layer, imagenet.ids_of(categories))


def _create(name: str, **options: Any) -> nn.Module:
    from torchvision import models

    try:
        module: nn.Module = models.get_model(name, **options)
    except (TypeError, ValueError) as error:
        given = {key: value for key, value in options.items() if key != "weights"} or "its defaults"
        raise SpecError(f"torchvision cannot build {name} with {given}: {first_line(error)}") from error
    return module


def _sized(name: str, size: tuple[int, ...] | None, spec: str) -> dict[str, Any]:
    """Return the option that makes a model for another size; convolutions and windows of Swin need none."""
    if size is None:
        return {}
    if len(size) == 3 and size[0] != 3:
        raise SpecError(f"{spec} takes images of 3 channels, not {size[0]}")
    height, width = size[-2:]
    if name.startswith("vit_") and height != width:
        raise SpecError(f"{spec} takes square images, not {height}x{width}")
    options: dict[str, dict[str, Any]] = {"vit_": {"image_size": height}, "maxvit": {"input_size": (height, width)}}
    return next((given for start, given in options.items() if name.startswith(start)), {})


def _resized(name: str, weights: Any, options: dict[str, Any], sized: dict[str, Any], spec: str) -> nn.Module:
    """Build a model for another size with trained weights; torchvision resamples their position embeddings."""
    from torchvision import models

    with fetching(spec):
        chosen: Any = models.get_model_weights(name)[weights] if isinstance(weights, str) else weights
        tensors = chosen.get_state_dict(progress=False, check_hash=True)
    module = _create(name, weights=None, **{"num_classes": len(chosen.meta["categories"]), **options}, **sized)
    module.load_state_dict(_converted(tensors, module))
    return module


def _converted(tensors: Tensors, module: nn.Module) -> Mapping[str, Tensor]:
    """Resample the position embeddings of another image size as torchvision does."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    if not hasattr(module, "patch_size") or not hasattr(module, "image_size"):
        return tensors
    size, patch = int(module.image_size), int(module.patch_size)  # type: ignore[arg-type]
    return interpolate_embeddings(size, patch, tensors)  # type: ignore[no-any-return]


def _set_classes(module: nn.Module, classes: int) -> None:
    """Put a new classifier where the number of classes is another; keep the old one where none is given."""
    path = classifier(module)
    old: Any = module.get_submodule(path)
    if classes and classes != old.out_features:
        module.set_submodule(path, nn.Linear(old.in_features, classes, bias=old.bias is not None))
