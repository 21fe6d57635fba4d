"""Your own models: `python:module:factory` calls a function of a module that Python can import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from types import ModuleType
from typing import Any

from torch import nn

from vitdecomp._utils.hub import first_line, local_file
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import LoadError, SpecError, VitdecompError
from vitdecomp.models.adapter import Adapter, LoadedModel, as_loaded, recognised, register_adapter
from vitdecomp.models.user_code import import_own, working_directory
from vitdecomp_adapters.checkpoint import KnowsFiles, fill


@register_adapter
class PythonAdapter(Adapter):
    """Specs `python:module:factory`; the module may lie in the working directory."""

    prefix = "python"

    def load(
        self, name: str, *, pretrained: bool, image_size: tuple[int, ...] | None = None, **options: Any
    ) -> LoadedModel:
        """Call the factory, which returns an `nn.Module` or a `LoadedModel`.

        `pretrained`, `image_size` and `checkpoint_path` are passed on if the factory has such a parameter; other
        options always are. A checkpoint that the factory does not take is loaded into the module that it returns.

        Raises:
            SpecError: no such module or factory, or it returns something else.
            LoadError: the module or the factory fails, or the checkpoint does not fit.
        """
        path, _, attribute = name.partition(":")
        checkpoint = options.pop("checkpoint_path", None)
        offered = {"pretrained": pretrained and not checkpoint, "image_size": image_size, "checkpoint_path": checkpoint}
        with working_directory():
            factory = _factory(import_own(path, f"python:{name}"), attribute, name)
            taken = () if isinstance(factory, nn.Module) else signature(factory).parameters
            options = {
                **{key: value for key, value in offered.items() if key in taken and value is not None},
                **options,
            }
            made = factory if isinstance(factory, nn.Module) else _call(factory, name, options)
            if not isinstance(made, (nn.Module, LoadedModel)):
                raise SpecError(f"python:{name} returned a {type(made).__name__}, not an nn.Module or a LoadedModel")
            # A timm model that comes from a factory is still a timm model.
            loaded = made if isinstance(made, LoadedModel) else as_loaded(made.eval())
        loaded = replace(loaded, spec=f"python:{name}")
        if checkpoint is None:
            return loaded
        return _marked(loaded) if "checkpoint_path" in taken else _filled(loaded, local_file(checkpoint))


def _filled(loaded: LoadedModel, path: str) -> LoadedModel:
    """Fill the model with the weights of a file, by the rules of the library that it belongs to."""
    known = recognised(loaded.module)
    rules = known[0].rules(loaded.module) if known is not None and isinstance(known[0], KnowsFiles) else None
    filled = fill(loaded.module, path, loaded.spec, rules)
    again = recognised(loaded.module)  # its classifier may be another
    classifier = again[1].classifier if loaded.classifier is not None and again is not None else loaded.classifier
    return replace(loaded, classifier=classifier, pretrained=True, notes=(*loaded.notes, *filled.notes))


def _marked(loaded: LoadedModel) -> LoadedModel:
    """Mark a model whose factory loaded the file itself."""
    return replace(loaded, pretrained=True)


def _factory(module: ModuleType, attribute: str, name: str) -> Any:
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and callable(v)]
    if not attribute:
        raise SpecError(f"python:{name} names no factory; write python:module:factory{did_you_mean('', own)}")
    factory = getattr(module, attribute, None)
    if factory is None:
        raise SpecError(f"module {module.__name__} has no {attribute!r}{did_you_mean(attribute, own)}")
    if not callable(factory):
        raise SpecError(f"python:{name} is a {type(factory).__name__}, not a function that makes a model")
    return factory


def _call(factory: Callable[..., Any], name: str, options: dict[str, Any]) -> Any:
    try:
        return factory(**options)
    except VitdecompError:
        raise
    except Exception as error:  # somebody else's code
        remedy = "; --random-weights (pretrained=False) or --checkpoint FILE does without" * bool(
            options.get("pretrained")
        )
        raise LoadError(f"python:{name}: {factory.__name__}() failed: {first_line(error)}{remedy}") from error
