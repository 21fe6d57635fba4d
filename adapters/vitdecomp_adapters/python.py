"""Your own models: `python:module:factory` calls a function of a module that Python can import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from vitdecomp.adapter import Adapter, LoadedModel, as_loaded, register_adapter
from vitdecomp.errors import LoadError, SpecError, VitdecompError
from vitdecomp.registry import did_you_mean
from vitdecomp_adapters.hub import first_line


@register_adapter
class PythonAdapter(Adapter):
    """Specs `python:module:factory`; the module may lie in the working directory."""

    prefix = "python"

    def load(self, name: str, *, pretrained: bool, **options: Any) -> LoadedModel:
        """Call the factory, which returns an `nn.Module` or a `LoadedModel`.

        `pretrained` is passed on if the factory has such a parameter; the options always are.

        Raises:
            SpecError: no such module or factory, or it returns something else.
            LoadError: the module or the factory fails.
        """
        path, _, attribute = name.partition(":")
        with _working_directory():
            factory = _factory(_module(path, name), attribute, name)
            made = factory if isinstance(factory, nn.Module) else _call(factory, name, pretrained, options)
            if not isinstance(made, (nn.Module, LoadedModel)):
                raise SpecError(f"python:{name} returned a {type(made).__name__}, not an nn.Module or a LoadedModel")
            # A timm model that comes from a factory is still a timm model.
            loaded = made if isinstance(made, LoadedModel) else as_loaded(made.eval())
        return replace(loaded, spec=f"python:{name}")


@contextmanager
def _working_directory() -> Iterator[None]:
    """Find modules of the working directory too, as `python -m` does and an installed command does not."""
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _module(path: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise LoadError(f"python:{name}: importing {path} failed: {first_line(error)}") from error
        where = "the working directory or the installed packages"
        raise SpecError(f"python:{name}: there is no module {error.name!r} in {where}") from error
    except Exception as error:  # somebody else's code
        raise LoadError(f"python:{name}: importing {path} failed: {first_line(error)}") from error


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


def _call(factory: Callable[..., Any], name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        if "pretrained" in signature(factory).parameters:
            options = {"pretrained": pretrained, **options}
        return factory(**options)
    except VitdecompError:
        raise
    except Exception as error:  # somebody else's code
        raise LoadError(f"python:{name}: {factory.__name__}() failed: {first_line(error)}") from error
