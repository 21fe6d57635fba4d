"""What a model library answers: how to load a model, and which of its computations is the representation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import Tensor, nn

from vitdecomp.errors import LoadError, SpecError
from vitdecomp.registry import Registry, did_you_mean

Compute = Callable[[Any, Tensor], Tensor]
EncodeText = Callable[[Sequence[str]], Tensor]
GROUP = "vitdecomp.adapters"


class Representation(nn.Module):
    """A module whose output is one of the vectors that a model computes for each image.

    Args:
        model: the user's model; its weights are shared.
        compute: how the model makes `(n, d)` vectors from images.
    """

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.model = model
        self.compute = compute
        self.training = model.training  # its own flag alone: train() would reach into the user's model

    def forward(self, images: Tensor) -> Tensor:
        """Images to vectors, `(n, d)`."""
        return self.compute(self.model, images)


@dataclass(frozen=True, slots=True)
class Classifier:
    """The linear layer that a model ends in, on the embedding.

    Attributes:
        names: of the classes.
        layer: embeddings to logits; its rows are the classes' vectors.
    """

    names: tuple[str, ...]
    layer: nn.Linear


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with what is needed to use it.

    Attributes:
        module: the model itself.
        preprocess: a PIL image to the tensor that the model expects, `(3, height, width)`; `None` if unknown.
        spec: the string that loads the model again, such as `timm:vit_base_patch16_224`.
        outputs: the vectors that it offers, by name; `embedding` is always among them.
        input_size: shape of one image, if known.
        pretrained: whether the weights are trained ones.
        encode_text: texts to vectors in the space of the embedding, `(n, d)`, unnormalised, by the module wherever it
            is now; `None` where the model has no text tower, or nobody knows its tokenizer.
        classifier: what reads classes from the embedding; `None` where there is none, or it is no linear layer.
    """

    module: nn.Module
    preprocess: Callable[[Any], Tensor] | None
    spec: str
    outputs: Mapping[str, Compute] = field(default_factory=lambda: {"embedding": call})
    input_size: tuple[int, ...] | None = None
    pretrained: bool = False
    encode_text: EncodeText | None = None
    classifier: Classifier | None = None

    def representation(self, output: str = "embedding") -> Representation:
        """The module that computes one of the outputs.

        Raises:
            SpecError: the model offers no such output.
        """
        if output not in self.outputs:
            raise SpecError(f"{self.spec} has no output {output!r}{did_you_mean(output, list(self.outputs))}")
        return Representation(self.module, self.outputs[output])


def call(model: nn.Module, images: Tensor) -> Tensor:
    """The model's own output."""
    result: Tensor = model(images)
    return result


class Adapter(ABC):
    """All that vitdecomp knows of one model library.

    Attributes:
        prefix: what its model specs begin with, such as `timm`.
    """

    prefix: str

    @abstractmethod
    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Load a model by its name in the library.

        Args:
            name: the spec without the prefix.
            pretrained: trained weights, or random ones.
            options: further arguments for the library.

        Raises:
            SpecError: no such model.
            LoadError: its weights cannot be had.
        """

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """The model with its outputs, if a module given by a user belongs to this library."""
        return None

    def names(self, pattern: str = "*") -> list[str]:
        """Names that `load` takes, without the prefix, for listings and suggestions."""
        return []


ADAPTERS: Registry[str, Adapter] = Registry("adapter")
BROKEN: dict[str, str] = {}  # plugins that cannot be imported, and why
A = TypeVar("A", bound=Adapter)


def register_adapter(adapter: type[A], *, replace: bool = False) -> type[A]:
    """Class decorator: make the adapter's specs known. See docs/how-to/adapter.md.

    Raises:
        SpecError: the prefix is taken and `replace` is not set.
    """
    ADAPTERS.add(adapter.prefix, adapter(), replace=replace)
    return adapter


def adapters() -> Registry[str, Adapter]:
    """All adapters, those of installed plugins included. A plugin whose library is missing is passed over."""
    for plugin in entry_points(group=GROUP):
        if plugin.name not in ADAPTERS and plugin.name not in BROKEN:
            try:
                plugin.load()  # registers itself
            except ImportError as error:
                BROKEN[plugin.name] = str(error)
    return ADAPTERS


def load_model(spec: str, *, pretrained: bool = True, **options: Any) -> LoadedModel:
    """Load a model from a spec such as `timm:vit_base_patch16_224.dino` or `open_clip:ViT-B-16/laion2b_s34b_b88k`.

    Args:
        spec: `library:name`; `python:module:factory` calls a function of your own.
        pretrained: trained weights (from the library's cache or hub), or random ones.
        options: further arguments for the library, such as `checkpoint_path` for timm.

    Raises:
        SpecError: no such library or model; the message suggests near names.
        LoadError: the weights cannot be had.
    """
    prefix, colon, name = spec.partition(":")
    if not colon or not name:
        raise SpecError(f"model spec {spec!r} is not of the form library:name; libraries: {', '.join(adapters())}")
    known = adapters()
    if prefix in BROKEN:
        raise LoadError(f"the adapter for {prefix}: cannot be imported ({BROKEN[prefix]}); install its library")
    return known[prefix].load(name, pretrained=pretrained, **options)


def as_loaded(model: nn.Module | LoadedModel | str) -> LoadedModel:
    """A model given as a spec, a module or loaded already. A module of no known library stands for itself.

    Raises:
        SpecError: neither of these, or a spec that means nothing.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, str):
        return load_model(model)
    if not isinstance(model, nn.Module):
        raise SpecError(f"a model is an nn.Module, a LoadedModel or a spec string, not {type(model).__name__}")
    for adapter in adapters().values():
        known = adapter.recognise(model)
        if known is not None:
            return known
    return LoadedModel(model, None, f"python:{type(model).__module__}:{type(model).__qualname__}")
