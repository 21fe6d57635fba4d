"""The package transformers, and what belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from vitdecomp._utils.limits import check_configuration
from vitdecomp.errors import LoadError

SAFE = {"trust_remote_code": False}  # no model repository's code is ever run


def transformers() -> Any:
    """Import the package.

    Raises:
        LoadError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise LoadError("hf: models need the package transformers: pip install transformers") from error
    return transformers


def is_model(module: nn.Module) -> bool:
    """Check whether a module is a model of transformers; it is not imported for that."""
    return any(
        c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.") for c in type(module).__mro__
    )


def find_place(where: str, spec: str, *, local: bool) -> tuple[str, bool]:
    """Find a folder or the name of a repository, and whether it is a folder.

    Args:
        where: what was given.
        spec: for messages.
        local: whether it can be nothing but a folder.

    Raises:
        LoadError: it is written as a path, and there is no such folder.
        InputError: files of the folder are larger than any configuration.
    """
    path = Path(where).expanduser()
    if path.is_dir():
        check_configuration(path)
        return str(path), True
    if path.is_file():
        raise LoadError(f"{spec}: {where} is a file; give the folder with config.json and the weights")
    if local or path.is_absolute() or where[0] in ".~" or where.count("/") > 1 or "\\" in where:
        raise LoadError(f"{spec}: the folder {where} does not exist")
    return where, False


def check_adapters(where: str, spec: str) -> None:
    """Refuse adapters of peft: what they belong to is whatever model their file names.

    Raises:
        LoadError: there are some.
    """
    if transformers().utils.find_adapter_config_file(where) is not None:
        raise LoadError(f"{spec} holds adapters of peft; load them and their model with peft, and give the module")
