"""The output of a module inside a model, as a model's own output."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vitdecomp.errors import InputError
from vitdecomp.models.outputs import Compute


def output_of(path: str, run: Compute) -> Compute:
    """Build a function that returns what a submodule returns while the model runs.

    The module has a hook as long as the model runs, and none afterwards.

    Args:
        path: the submodule's, such as `blocks.8`; of several calls the last one counts.
        run: runs the model.
    """

    def compute(model: nn.Module, images: Tensor) -> Any:
        seen: list[Any] = []
        handle = model.get_submodule(path).register_forward_hook(lambda module, args, result: seen.append(result))
        try:
            run(model, images)
        finally:
            handle.remove()
        if not seen:
            raise InputError(f"output {path!r}: the model does not call this module")
        return seen[-1]

    return compute


def has_module(model: nn.Module, path: str) -> bool:
    """Check whether a model has a submodule of this path."""
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return bool(path)
