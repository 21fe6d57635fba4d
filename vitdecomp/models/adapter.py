"""What a model library answers: how to load a model, and which of its computations is the representation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import nn

from vitdecomp._utils.registry import Registry
from vitdecomp.errors import SpecError, VitdecompError
from vitdecomp.models.loaded_model import Classifier, EncodeText, ImageSize, LoadedModel, Representation
from vitdecomp.models.outputs import Compute, call
from vitdecomp.models.wrappers import refuse_torchscript, unwrapped

__all__ = [
    "Adapter",
    "Classifier",
    "Compute",
    "EncodeText",
    "ImageSize",
    "LoadedModel",
    "Representation",
    "adapters",
    "as_loaded",
    "call",
    "class_words",
    "load_model",
    "load_texts",
    "own_spec",
    "recognised",
    "register_adapter",
]

DEFAULT_CHANNELS = 3


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

    def load_texts(self, name: str) -> LoadedModel | None:
        """Load what reads the texts of a trained model without the rest of it; `None` where that saves no time.

        Its module's weights have the names and values of the whole model's, so that their checksum is the same.

        Raises:
            LoadError: the weights cannot be had.
        """
        return None

    def recognise(self, module: nn.Module) -> LoadedModel | None:
        """Return the model with its outputs, if a module given by a user belongs to this library."""
        return None

    def names(self, pattern: str = "*") -> list[str]:
        """Names that `load` takes, without the prefix, for listings and suggestions."""
        return []

    def family(self, name: str) -> str | None:
        """Name the family that a model belongs to in the library, as in the support table; `None` if it has none."""
        return None

    def class_words(self, class_id: str) -> str | None:
        """Return the words for a class that the library knows by an id, such as WordNet's `n01440764`."""
        return None

    def defines(self, name: str) -> bool:
        """Check whether the library itself defines a model of this name.

        To load such a model runs no code, and reads no file and no repository, that the name chooses: so a name found
        in a stranger's file may be loaded.
        """
        return False


ADAPTERS: Registry[str, Adapter] = Registry("adapter", "vitdecomp.adapters")
A = TypeVar("A", bound=Adapter)


def register_adapter(adapter: type[A], *, replace: bool = False) -> type[A]:
    """Class decorator: make the adapter's specs known. See docs/how-to/adapter.md.

    Raises:
        SpecError: the prefix is taken and `replace` is not set.
    """
    ADAPTERS.add(adapter.prefix, adapter(), replace=replace)
    return adapter


def adapters() -> Registry[str, Adapter]:
    """Return all adapters, those of installed plugins included. A plugin that cannot be imported is passed over."""
    return ADAPTERS.load_plugins()


@torch.inference_mode(False)  # weights made in it could not be traced
def load_model(
    model: str | nn.Module | LoadedModel,
    *,
    pretrained: bool = True,
    image_size: int | ImageSize | None = None,
    **options: Any,
) -> LoadedModel:
    """Load a model from a spec such as `timm:vit_base_patch16_224.dino` or `open_clip:ViT-B-16/laion2b_s34b_b88k`.

    Args:
        model: `library:name`; `python:module:factory` calls a function of your own. Or a module: it is recognised
            behind wrappers such as `torch.compile` and `DataParallel`, and keeps its weights.
        pretrained: trained weights (from the library's cache or hub), or random ones.
        image_size: `N`, `(height, width)` or `(channels, height, width)` in place of what the model was made for.
        options: further arguments for the library, such as `checkpoint_path` for timm.

    Raises:
        SpecError: no such library or model; the message suggests near names. Or the size cannot be changed.
        LoadError: the weights cannot be had.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(model, str):
        if options or not pretrained:
            raise SpecError("pretrained and options are for a model that is loaded; a module is taken as it is")
        return _at_size(as_loaded(model), size)
    adapter, name = _find(model)
    if size is not None and "image_size" in signature(adapter.load).parameters:
        options["image_size"] = size
    return _at_size(adapter.load(name, pretrained=pretrained, **options), size)


def load_texts(spec: str) -> LoadedModel | None:
    """Load what reads the texts of a trained model, as `Adapter.load_texts` says; `None` if the whole has to be loaded.

    Raises:
        SpecError: no such library.
        LoadError: the weights cannot be had.
    """
    adapter, name = _find(spec)
    return adapter.load_texts(name)


def is_defined(spec: str) -> bool:
    """Check whether a spec names a model that an installed library defines, as `Adapter.defines` says."""
    prefix, _, name = spec.partition(":")
    adapter = adapters().get(prefix)
    return adapter is not None and adapter.defines(name)


def class_words(class_id: str) -> str:
    """Return the words for a class that a data set names by an id, as a library knows them; else the id itself."""
    found = (adapter.class_words(class_id) for adapter in adapters().values())
    return next((words for words in found if words is not None), class_id)


def as_loaded(model: nn.Module | LoadedModel | str) -> LoadedModel:
    """Load a model given as a spec, a module or loaded already. A module of no known library is taken as it is.

    Raises:
        SpecError: neither of these, a spec that means nothing, or TorchScript.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, str):
        return load_model(model)
    if not isinstance(model, nn.Module):
        raise SpecError(f"a model is an nn.Module, a LoadedModel or a spec string, not {type(model).__name__}")
    module = unwrapped(model)
    refuse_torchscript(module)
    known = recognised(module)
    return LoadedModel(module, None, own_spec(module), notes=_inside(module)) if known is None else known[1]


def recognised(module: nn.Module) -> tuple[Adapter, LoadedModel] | None:
    """Find the adapter of the library that a module belongs to, and the module with its outputs; `None` if unknown."""
    for adapter in adapters().values():
        known = adapter.recognise(module)
        if known is not None:
            return adapter, known
    return None


def _inside(module: nn.Module) -> tuple[str, ...]:
    """For a module of the user's that holds a model of a library: whose output is decomposed, and how to change it."""
    kind, notes = type(module).__name__, []
    for name, child in module.named_children():
        try:
            known = recognised(unwrapped(child))
        except VitdecompError:  # a part that gives no vector may still be of use to the whole
            continue
        if known is not None:
            notes.append(
                f"what {kind} returns is decomposed as it is; {kind}.{name} is a {known[0].prefix} model: "
                "give it alone to decompose its embedding"
            )
    return tuple(notes)


def own_spec(module: nn.Module) -> str:
    """Make a spec for a module that was not loaded by one."""
    return f"python:{type(module).__module__}:{type(module).__qualname__}"


def _find(spec: str) -> tuple[Adapter, str]:
    """Find the adapter for a spec, and the model's name there."""
    prefix, colon, name = spec.partition(":")
    known = adapters()
    if not colon or not name:
        raise SpecError(f"model spec {spec!r} is not of the form library:name; libraries: {', '.join(known)}")
    return known[prefix], name


def _at_size(loaded: LoadedModel, size: ImageSize | None) -> LoadedModel:
    """Set the size that images are preprocessed to; the adapter has built the model for it if need be."""
    if size is None:
        return loaded
    channels = loaded.input_size[0] if loaded.input_size else DEFAULT_CHANNELS
    wanted = size if len(size) == 3 else (channels, *size)
    if loaded.input_size == wanted:
        return loaded
    if loaded.preprocess is None:
        return replace(loaded, input_size=wanted)
    if loaded.preprocess_for is None:
        raise SpecError(
            f"{loaded.spec} has a preprocessing for images of {loaded.input_size}, and none is known for "
            f"{wanted}: leave the image size out, or give a LoadedModel with preprocess_for"
        )
    return replace(loaded, preprocess=loaded.preprocess_for(wanted), input_size=wanted)
